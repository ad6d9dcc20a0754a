//! Carries events to Kafka: each as one record whose key is the order's id, so that a partition holds the events of an
//! order in their order.
//!
//! The producer is idempotent, waits for all replicas in sync, and never lets a record overtake one of the same
//! partition that failed (`enable.gapless.guarantee`). A batch is delivered when every record of it is; else all of it comes
//! again, so a consumer may see a version twice but never a gap.

mod cloud_events;
mod options;
mod producer;

pub use cloud_events::CloudEvents;
pub use options::{Options, OptionsError, Sasl, SaslMechanism, Security};

use async_trait::async_trait;
use order_core::journal::Event;
use order_core::ports::{Sink, SinkFault};
use producer::Producer;
use std::sync::{Arc, Mutex, PoisonError};

/// What is written to a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// What decides the partition.
    pub key: String,
    /// The body.
    pub value: Vec<u8>,
    /// Names and values, in order.
    pub headers: Vec<(&'static str, String)>,
}

/// What becomes of an event in Kafka.
pub trait Encode: Send + Sync {
    /// The record; `None` when the event is of no concern here.
    fn encode(&self, event: &Event) -> Option<Record>;
}

/// The sink. Nothing is connected before the first delivery.
pub struct KafkaSink {
    options: Options,
    encode: Box<dyn Encode>,
    producer: Mutex<Option<Arc<Producer>>>,
}

impl KafkaSink {
    /// A sink that writes what `encode` makes of events.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(options: Options, encode: Box<dyn Encode>) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self { options, encode, producer: Mutex::new(None) })
    }

    /// The producer, made anew after a failure: what failed in one is never finished by another.
    fn producer(&self) -> Result<Arc<Producer>, SinkFault> {
        let mut kept = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        match &*kept {
            Some(producer) => Ok(Arc::clone(producer)),
            None => {
                let made = Producer::new(&self.options).map_err(|error| SinkFault(error.to_string()))?;
                Ok(Arc::clone(kept.insert(Arc::new(made))))
            }
        }
    }

    fn discard(&self) {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let producer = self.producer()?;
        let records = events.iter().filter_map(|event| self.encode.encode(event));
        let delivered = producer.deliver(records).await;
        delivered.map_err(|why| {
            self.discard();
            SinkFault(format!("{why} (kafka.brokers {})", self.options.brokers))
        })
    }
}
