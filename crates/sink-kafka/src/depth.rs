//! How much lies in a topic.

use crate::client::Ails;
use crate::producer::Producer;
use crate::publisher::broken_off;
use crate::{Options, OptionsError, topic};

/// Counts the records of a topic, whoever reads it.
pub struct Depth {
    options: Options,
    topic: String,
    /// Kept from one look to the next, unless that one failed.
    client: Option<Producer>,
}

impl Depth {
    /// One that looks at `topic`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(mut options: Options, topic: &str) -> Result<Self, OptionsError> {
        options.check()?;
        // A look changes nothing.
        options.new_topics = None;
        Ok(Self { options, topic: topic.to_owned(), client: None })
    }

    /// The records between the beginnings and the ends of its partitions; 0 where there is no such topic. In one that is
    /// compacted fewer may be left.
    ///
    /// # Errors
    /// Why it cannot be told.
    pub async fn look(&mut self) -> Result<u64, Ails> {
        let (client, options, topic) = (self.client.take(), self.options.clone(), self.topic.clone());
        // librdkafka blocks while it asks.
        let looked = tokio::task::spawn_blocking(move || {
            let client = match client {
                Some(client) => client,
                None => Producer::open(&options, &[])?.0,
            };
            count(&client, &topic).map(|records| (client, records))
        });
        let (client, records) = looked.await.unwrap_or_else(|_| Err(broken_off()))?;
        self.client = Some(client);
        Ok(records)
    }
}

fn count(client: &Producer, topic: &str) -> Result<u64, Ails> {
    let ails = |error| client.explained(&error);
    let partitions = topic::partitions(client.client(), topic).map_err(ails)?.unwrap_or(0);
    let mut records = 0;
    for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
        let (low, high) =
            client.client().fetch_watermarks(topic, partition, topic::PATIENCE).map_err(ails)?;
        records += u64::try_from(high.saturating_sub(low)).unwrap_or(0);
    }
    Ok(records)
}
