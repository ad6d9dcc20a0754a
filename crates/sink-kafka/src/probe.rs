//! A look at the brokers, for health checks.

use crate::client::Ails;
use crate::producer::Producer;
use crate::{Options, topic};

/// Connects, logs in and looks at `topics`; gives what was found, for people. Makes nothing.
///
/// # Errors
/// What is wrong, and what to do.
pub async fn probe(options: &Options, topics: &[String]) -> Result<String, Ails> {
    let (mut options, topics) = (options.clone(), topics.to_vec());
    // A look changes nothing: the follower makes what is missing.
    let makes = options.new_topics.take();
    let found = tokio::task::spawn_blocking(move || look(&options, &topics, makes.is_some()));
    found.await.unwrap_or_else(|_| {
        Err(Ails { why: "the look broke off".to_owned(), fix: "look into the log".to_owned() })
    })
}

fn look(options: &Options, topics: &[String], makes: bool) -> Result<String, Ails> {
    let (producer, _) = Producer::open(options, &[])?;
    let mut found = Vec::new();
    for topic in topics {
        match topic::partitions(producer.client(), topic).map_err(|error| producer.explained(&error))? {
            Some(partitions) => found.push(format!("{topic} has {partitions} partitions")),
            None if makes => found.push(format!("{topic} is not there yet, and is made when it is needed")),
            None => return Err(topic::missing(options, topic)),
        }
    }
    Ok(found.join(", "))
}
