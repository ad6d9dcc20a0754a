//! Reading topics as one of a group: what is handled, and only that, is committed.
//!
//! librdkafka is polled by a thread of its own, which hands records on through a bounded channel, pauses partitions while that
//! is full, and so stays a member of its group however long a batch takes. Records of a partition that was taken away meanwhile
//! are dropped unhandled: whoever has it now gets them.

mod poll;
mod state;

pub use state::ConsumerState;

use crate::client::Ails;
use crate::{Options, OptionsError};
use async_trait::async_trait;
use poll::Polling;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// First wait after something failed; doubles up to `RETRY_MAX`.
const RETRY_MIN: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A record as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// What decided the partition, where the producer gave it.
    pub key: Option<Vec<u8>>,
    /// The body; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// When it was written, in milliseconds since 1970, where the broker says.
    pub written_ms: Option<i64>,
}

impl Received {
    /// The last header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_slice())
    }
}

/// A record that was read, or that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming<M> {
    /// What it says.
    Message {
        /// As it came.
        record: Received,
        /// As it was read.
        message: M,
    },
    /// It says nothing that is understood, and never will: to be parked, so that the partition goes on.
    Poison {
        /// As it came.
        record: Received,
        /// Why, for people.
        why: String,
    },
}

impl<M> Incoming<M> {
    /// As it came.
    pub fn record(&self) -> &Received {
        match self {
            Self::Message { record, .. } | Self::Poison { record, .. } => record,
        }
    }
}

/// Does what records ask for.
#[async_trait]
pub trait Handler: Send + Sync {
    /// What a record says.
    type Message: Send + Sync;

    /// Reads a body.
    ///
    /// # Errors
    /// Why it cannot be read, for people: then it is poison.
    fn read(&self, record: &Received, value: &[u8]) -> Result<Self::Message, String>;

    /// Handles a batch, each partition's in its order, and parks the poison in it; returns once all of that is committed.
    /// The same records can come again: after a failure, a crash, a rebalance.
    ///
    /// # Errors
    /// When none of it may count as handled, for people: it comes again.
    async fn handle(&self, batch: &[Incoming<Self::Message>]) -> Result<(), String>;
}

/// What is read, as whom.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The group, whose members share the partitions.
    pub group: String,
    /// The topics.
    pub topics: Vec<String>,
    /// Most records of one batch; at least 1.
    pub batch_max: usize,
    /// After so long without a word the group takes a member for dead; 6 seconds at least, as brokers have it.
    pub session_timeout: Duration,
}

impl Subscription {
    /// One with the usual limits: 500 records, 10 seconds.
    pub fn new(group: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|&topic| topic.to_owned()).collect();
        Self { group: group.to_owned(), topics, batch_max: 500, session_timeout: Duration::from_secs(10) }
    }
}

/// A member of a group.
pub struct Consumer {
    options: Options,
    subscription: Subscription,
    state: Arc<ConsumerState>,
}

impl Consumer {
    /// One that reads `subscription`. Nothing is connected yet.
    ///
    /// # Errors
    /// When the options cannot be used: librdkafka names which.
    pub fn new(options: Options, subscription: Subscription) -> Result<Self, OptionsError> {
        options.check()?;
        poll::config(&options, &subscription)
            .create_native_config()
            .map_err(|error| OptionsError(error.to_string()))?;
        Ok(Self { options, subscription, state: Arc::default() })
    }

    /// How it is doing, for metrics and health checks; good while it runs.
    pub fn state(&self) -> Arc<ConsumerState> {
        Arc::clone(&self.state)
    }

    /// Reads and has handled until `stop` says so; then what was handled is committed and the group is left. Dropped, it
    /// leaves the group and commits nothing more.
    pub async fn run<H: Handler>(self, handler: &H, mut stop: watch::Receiver<bool>) {
        let Some(mut polling) = self.begin(&mut stop).await else { return };
        loop {
            let batch = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                batch = polling.batch(self.subscription.batch_max) => batch,
            };
            let Some(batch) = batch else { break };
            let batch = read(handler, batch);
            if batch.is_empty() {
                continue;
            }
            if !self.handled(handler, &batch, &polling, &mut stop).await {
                break;
            }
            let poison = batch.iter().filter(|one| matches!(one, Incoming::Poison { .. })).count();
            self.state.counted(batch.len(), poison);
            polling.commit(batch.iter().map(Incoming::record));
        }
        polling.end().await;
    }

    /// Joins the group once the topics are there; `None` when `stop` comes first.
    async fn begin(&self, stop: &mut watch::Receiver<bool>) -> Option<Polling> {
        let mut pause = RETRY_MIN;
        loop {
            match Polling::begin(&self.options, &self.subscription, &self.state).await {
                Ok(polling) => {
                    self.recovered();
                    return Some(polling);
                }
                Err(ails) => self.ails(&ails),
            }
            if !wait(pause, stop).await {
                return None;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Has a batch handled, however often that fails; false when `stop` comes first, or nothing of it is ours any more.
    async fn handled<H: Handler>(
        &self,
        handler: &H,
        batch: &[Incoming<H::Message>],
        polling: &Polling,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut pause = RETRY_MIN;
        while let Err(why) = handler.handle(batch).await {
            let fix = "the records come again until they are handled".to_owned();
            self.ails(&Ails { why, fix });
            if !wait(pause, stop).await {
                return false;
            }
            // What was taken away meanwhile is another's to handle.
            if !batch.iter().any(|one| polling.holds(one.record())) {
                return true;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        self.recovered();
        true
    }

    fn ails(&self, ails: &Ails) {
        if self.state.set_fault(Some(ails.to_string())).is_none() {
            let Subscription { group, topics, .. } = &self.subscription;
            tracing::error!(group, ?topics, error = %ails, "cannot handle records; trying again");
        }
    }

    fn recovered(&self) {
        if self.state.set_fault(None).is_some() {
            tracing::info!(group = self.subscription.group, "handles records again");
        }
    }
}

/// False when `stop` comes first.
async fn wait(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => false,
        () = tokio::time::sleep(pause) => true,
    }
}

fn read<H: Handler>(handler: &H, batch: Vec<Received>) -> Vec<Incoming<H::Message>> {
    let read_one = |record: Received| {
        let message = match &record.value {
            Some(value) => handler.read(&record, value),
            None => Err("the record has no value".to_owned()),
        };
        match message {
            Ok(message) => Incoming::Message { record, message },
            Err(why) => Incoming::Poison { record, why },
        }
    };
    batch.into_iter().map(read_one).collect()
}
