//! Records that are written and then safe; connected when it is first needed, and anew after a failure.

use crate::client::Ails;
use crate::producer::{Failed, Producer};
use crate::{Options, OptionsError, Record};
use order_core::parking::RefusedFor;
use std::fmt;
use std::sync::Arc;
use tokio::sync::Mutex;

/// Why not all records were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotWritten {
    /// Something that may pass: some may be written.
    Ails(Ails),
    /// Some will never be taken as they are; all others are safe, but for those of the same keys behind them, which were left
    /// out.
    Refused(Vec<Refused>),
}

/// A record that will never be taken as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Which of those that were given.
    pub index: usize,
    /// Why.
    pub reason: RefusedFor,
    /// More about it, and what to do.
    pub why: String,
}

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotWritten::Ails(ails) => ails.fmt(f),
            NotWritten::Refused(refused) => match refused.first() {
                Some(first) => write!(f, "{} refused for good; the first: {}", refused.len(), first.why),
                None => f.write_str("none refused"),
            },
        }
    }
}

/// Whether a record is a refused one, or behind one of its key.
fn behind(refused: &[Refused], records: &[Record], index: usize) -> bool {
    refused.iter().any(|one| one.index <= index && records[one.index].key == records[index].key)
}

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
    /// [`NotWritten::Refused`] names each that will never be taken; else why they are not safe, though some may be.
    pub async fn publish(&self, records: &[Record]) -> Result<(), NotWritten> {
        // Found before anything is sent, so that nothing overtakes it.
        let mut refused: Vec<Refused> = Vec::new();
        for (index, record) in records.iter().enumerate() {
            if !behind(&refused, records, index) {
                refused.extend(self.too_large(index, record));
            }
        }
        let sent: Vec<usize> =
            (0..records.len()).filter(|index| !behind(&refused, records, *index)).collect();
        refused.extend(self.send(records, &sent).await.map_err(|ails| NotWritten::Ails(self.named(ails)))?);
        if refused.is_empty() { Ok(()) } else { Err(NotWritten::Refused(refused)) }
    }

    /// Sends those of `records`; what brokers refuse is found by sending each alone.
    async fn send(&self, records: &[Record], sent: &[usize]) -> Result<Vec<Refused>, Ails> {
        if sent.is_empty() {
            return Ok(Vec::new());
        }
        let producer = self.producer().await?;
        let Err(failed) = producer.deliver(sent.iter().map(|index| &records[*index])).await else {
            return Ok(Vec::new());
        };
        self.discard(producer).await;
        match failed.refused {
            // One took others of its request down with it, and none is named.
            Some(_) => self.send_one_by_one(records, sent).await,
            None => Err(failed.ails),
        }
    }

    async fn send_one_by_one(&self, records: &[Record], sent: &[usize]) -> Result<Vec<Refused>, Ails> {
        let mut refused: Vec<Refused> = Vec::new();
        for &index in sent {
            if behind(&refused, records, index) {
                continue;
            }
            let producer = self.producer().await?;
            let Err(failed) = producer.deliver([&records[index]]).await else { continue };
            if failed.refused.is_none() || producer.is_broken() {
                self.discard(producer).await;
            }
            let Failed { ails, refused: Some(reason) } = failed else { return Err(failed.ails) };
            refused.push(Refused { index, reason, why: ails.to_string() });
        }
        Ok(refused)
    }

    /// A record that is certain to be refused here.
    fn too_large(&self, index: usize, record: &Record) -> Option<Refused> {
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let bytes = record.key.len() + record.value.len() + headers;
        (bytes > self.options.record_bytes_max).then(|| {
            let why = format!(
                "topic {}: a record of {bytes} bytes; raise kafka.message_max_kib, and max.message.bytes of the topic",
                record.topic
            );
            Refused { index, reason: RefusedFor::TooLarge, why }
        })
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
