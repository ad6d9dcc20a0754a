//! Records that are written and then safe; connected when it is first needed, and anew after a failure.

use crate::client::Ails;
use crate::producer::Producer;
use crate::{Options, OptionsError, Record};
use std::sync::Arc;
use tokio::sync::Mutex;

/// Writes records to topics.
pub struct Publisher {
    options: Options,
    topics: Vec<String>,
    producer: Mutex<Option<Arc<Producer>>>,
}

impl Publisher {
    /// One that writes to `topics`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(options: Options, topics: Vec<String>) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self { options, topics, producer: Mutex::new(None) })
    }

    /// Connects, and makes sure that the topics are there.
    ///
    /// # Errors
    /// When that cannot be; with what to do.
    pub async fn open(&self) -> Result<(), Ails> {
        self.producer().await.map(drop)
    }

    /// Writes all of `records`, those of a key in their order, and returns once they are safe: on every replica in sync.
    ///
    /// # Errors
    /// Why the first of those that are not safe is not; some may be.
    pub async fn publish(&self, records: &[Record]) -> Result<(), Ails> {
        if records.is_empty() {
            return Ok(());
        }
        let producer = self.producer().await?;
        let published = producer.deliver(records).await;
        if published.is_err() {
            self.discard(producer).await;
        }
        published.map_err(|ails| self.named(ails))
    }

    /// The producer, made anew after a failure: what failed in one is never finished by another.
    async fn producer(&self) -> Result<Arc<Producer>, Ails> {
        let mut kept = self.producer.lock().await;
        if let Some(producer) = &*kept {
            return Ok(Arc::clone(producer));
        }
        let (options, topics) = (self.options.clone(), self.topics.clone());
        // librdkafka blocks while it connects.
        let opened = tokio::task::spawn_blocking(move || Producer::open(&options, &topics)).await;
        let opened = opened.unwrap_or_else(|_| Err(broken_off()));
        let (producer, partitions) = opened.map_err(|ails| self.named(ails))?;
        for (topic, partitions) in self.topics.iter().zip(partitions) {
            tracing::info!(brokers = %self.options.brokers, topic, partitions, "writes to Kafka");
        }
        Ok(Arc::clone(kept.insert(Arc::new(producer))))
    }

    async fn discard(&self, failed: Arc<Producer>) {
        let kept = self.producer.lock().await.take_if(|kept| Arc::ptr_eq(kept, &failed));
        // librdkafka blocks while it takes down what it has.
        drop(tokio::task::spawn_blocking(move || drop((kept, failed))));
    }

    fn named(&self, ails: Ails) -> Ails {
        Ails { why: format!("kafka at {}: {}", self.options.brokers, ails.why), ..ails }
    }
}

pub(crate) fn broken_off() -> Ails {
    Ails { why: "connecting broke off".to_owned(), fix: "look into the log".to_owned() }
}
