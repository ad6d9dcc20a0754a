//! Carries events to Kafka, and reads what others wrote there as one of a group. An event is one record whose key is the
//! order's id, so that a partition holds the events of an order in their order.
//!
//! The producer is idempotent, waits for all replicas in sync, and never lets a record overtake one of the same
//! partition that failed (`enable.gapless.guarantee`). A batch is delivered when every record of it is; else all of it comes
//! again, so a consumer may see a version twice but never a gap. What is read is committed once it is handled, and comes again
//! otherwise.

mod client;
mod cloud_events;
mod consumer;
mod depth;
mod options;
mod probe;
mod producer;
mod publisher;
mod telling;
mod topic;

pub use client::Ails;
pub use cloud_events::{CloudEvents, TRACEPARENT};
pub use consumer::{Consumer, ConsumerState, Handler, Incoming, Received, Subscription};
pub use depth::Depth;
pub use options::{Identity, NewTopics, Options, OptionsError, Sasl, SaslMechanism, Security};
pub use probe::probe;
pub use publisher::{NotWritten, Publisher, Refused};
pub use telling::{First, TellingSink};

use async_trait::async_trait;
use order_core::ids::OrderId;
use order_core::journal::Event;
use order_core::parking::RefusedFor;
use order_core::ports::{RefusedEvent, Sink, SinkFault};
use std::fmt::{self, Write};

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
    pub headers: Headers,
}

/// Headers of a record, in order. The values lie in one text: a record has a dozen, and is made of each event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers {
    values: String,
    /// Each name, and where its value ends.
    names: Vec<(&'static str, usize)>,
}

impl Headers {
    /// None yet, and room for so many with values of so many bytes in all.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        Self { values: String::with_capacity(bytes), names: Vec::with_capacity(count) }
    }

    /// Adds one.
    pub fn push(&mut self, name: &'static str, value: impl fmt::Display) {
        // A text takes all that is written to it.
        let written = write!(self.values, "{value}");
        debug_assert!(written.is_ok());
        self.names.push((name, self.values.len()));
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        let mut begin = 0;
        self.names
            .iter()
            .map(move |(name, end)| (*name, &self.values[std::mem::replace(&mut begin, *end)..*end]))
    }
}

impl<V: fmt::Display> FromIterator<(&'static str, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'static str, V)>>(headers: I) -> Self {
        let mut all = Self::default();
        headers.into_iter().for_each(|(name, value)| all.push(name, value));
        all
    }
}

/// What becomes of an event in Kafka.
pub trait Encode: Send + Sync {
    /// Where records go: these topics are there before the first is written.
    fn topics(&self) -> Vec<String>;

    /// The record; `None` when the event is of no concern here.
    fn encode(&self, event: &Event) -> Option<Record>;
}

/// The sink.
pub struct KafkaSink {
    publisher: Publisher,
    encode: Box<dyn Encode>,
}

impl KafkaSink {
    /// A sink that writes what `encode` makes of events. Nothing is connected yet.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(options: Options, encode: Box<dyn Encode>) -> Result<Self, OptionsError> {
        Ok(Self { publisher: Publisher::new(options, encode.topics())?, encode })
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn kind(&self) -> &'static str {
        "kafka"
    }

    async fn open(&self) -> Result<(), SinkFault> {
        self.publisher.open().await.map_err(|ails| SinkFault::transient(ails.to_string()))
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        let mut made = Made::default();
        for (index, event) in events.iter().enumerate() {
            made.extend(index, self.encode.encode(event));
        }
        made.publish(&self.publisher).await
    }
}

/// Records, and which of the events given to a sink each was made of.
#[derive(Debug, Default)]
pub struct Made {
    records: Vec<Record>,
    of: Vec<usize>,
    /// Of which no record can be made, and what order each is of.
    refused: Vec<(OrderId, RefusedEvent)>,
}

impl Made {
    /// Adds what is told of the event at `index` of those given to the sink, if anything.
    pub fn extend(&mut self, index: usize, record: Option<Record>) {
        self.of.extend(record.is_some().then_some(index));
        self.records.extend(record);
    }

    /// Notes that of the event at `index`, one of the order `order_id`, no record can be made, and why.
    pub fn refuse(&mut self, index: usize, order_id: OrderId, reason: RefusedFor, why: String) {
        self.refused.push((order_id, RefusedEvent { index, reason, why }));
    }

    /// Whether an event of this order was refused: what is behind it waits with it, and is not added.
    pub fn has_refused(&self, order_id: OrderId) -> bool {
        self.refused.iter().any(|(refused, _)| *refused == order_id)
    }

    /// Writes the records.
    ///
    /// # Errors
    /// As [`Publisher::publish`]; what is refused is named by its event.
    pub async fn publish(self, publisher: &Publisher) -> Result<(), SinkFault> {
        let Self { records, of, refused } = self;
        let mut refused: Vec<RefusedEvent> = refused.into_iter().map(|(_, event)| event).collect();
        match publisher.publish(&records).await {
            Ok(()) => {}
            Err(NotWritten::Ails(ails)) => return Err(SinkFault::transient(ails.to_string())),
            Err(NotWritten::Refused(more)) => {
                refused.extend(more.into_iter().map(|Refused { index, reason, why }| RefusedEvent {
                    index: of[index],
                    reason,
                    why,
                }))
            }
        }
        if refused.is_empty() { Ok(()) } else { Err(SinkFault::Refused(refused)) }
    }
}
