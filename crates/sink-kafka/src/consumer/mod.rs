//! Reading topics as one of a group: what is handled, and only that, is committed.
//!
//! librdkafka is polled by a thread of its own, which hands records on through a bounded channel, pauses partitions while that
//! is full, and so stays a member of its group however long a batch takes. Records of a partition that was taken away meanwhile
//! are dropped unhandled: whoever has it now gets them.

mod poll;
mod state;

pub use state::ConsumerState;

use crate::cloud_events::TRACEPARENT;
use crate::{Options, OptionsError};
use async_trait::async_trait;
use order_core::consumers::ConsumerStats;
use order_core::fault_point;
use order_core::trace::TraceContext;
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

    /// Where in a trace it belongs (W3C Trace Context).
    pub fn trace(&self) -> Option<TraceContext> {
        TraceContext::parse(std::str::from_utf8(self.header(TRACEPARENT)?).ok()?)
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
    /// Most bytes of records that are in hand: those of a batch, and those that wait behind it. A larger record is alone.
    pub bytes_max: usize,
    /// After so long without a word the group takes a member for dead; 6 seconds at least, as brokers have it.
    pub session_timeout: Duration,
}

impl Subscription {
    /// One with the usual limits: 500 records, 8 MiB, 10 seconds.
    pub fn new(group: &str, topics: &[&str]) -> Self {
        let (group, topics) = (group.to_owned(), topics.iter().map(|&topic| topic.to_owned()).collect());
        let (batch_max, bytes_max) = (500, 8 << 20);
        Self { group, topics, batch_max, bytes_max, session_timeout: Duration::from_secs(10) }
    }
}

/// A member of a group.
pub struct Consumer {
    options: Options,
    subscription: Subscription,
    state: Arc<ConsumerState>,
    stats: Arc<ConsumerStats>,
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
        Ok(Self { options, subscription, state: Arc::default(), stats: Arc::default() })
    }

    /// Counts there what is in hand, from its first try on, and how often it is held; the rest is the handler's to count.
    pub fn counting(mut self, stats: Arc<ConsumerStats>) -> Self {
        self.stats = stats;
        self
    }

    /// How it is doing, for metrics and health checks; good while it runs.
    pub fn state(&self) -> Arc<ConsumerState> {
        Arc::clone(&self.state)
    }

    /// Reads and has handled until `stop` says so; then what was handled is committed and the group is left. Dropped, it
    /// does the same in the background.
    pub async fn run<H: Handler>(self, handler: &H, mut stop: watch::Receiver<bool>) {
        let mut pause = RETRY_MIN;
        while let Some(mut polling) = self.begin(&mut stop).await {
            let began = self.state.handled();
            let stopped = self.read(handler, &mut polling, &mut stop).await;
            polling.end().await;
            self.state.set_left();
            if stopped {
                return;
            }
            // librdkafka gave this member up; another is made.
            pause = if self.state.handled() > began { RETRY_MIN } else { (pause * 2).min(RETRY_MAX) };
            if !wait(pause, &mut stop).await {
                return;
            }
        }
    }

    /// Reads as one member; true when `stop` has come, false when it can read no more.
    async fn read<H: Handler>(
        &self,
        handler: &H,
        polling: &mut Polling,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        loop {
            let batch = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return true,
                batch = polling.batch(self.subscription.batch_max) => batch,
            };
            let Some(batch) = batch else { return false };
            let batch = read(handler, batch);
            if batch.is_empty() {
                continue;
            }
            match self.handled(handler, &batch, polling, stop).await {
                Handled::All => {}
                Handled::Lost => continue,
                Handled::Stopped => return true,
            }
            let poison = batch.iter().filter(|one| matches!(one, Incoming::Poison { .. })).count();
            self.state.counted(batch.len(), poison);
            fault_point::pass("inbox.after_commit");
            polling.commit(batch.iter().map(Incoming::record));
        }
    }

    /// Joins the group once the topics are there; `None` when `stop` comes first.
    async fn begin(&self, stop: &mut watch::Receiver<bool>) -> Option<Polling> {
        let mut pause = RETRY_MIN;
        while !*stop.borrow() {
            match Polling::begin(&self.options, &self.subscription, &self.state).await {
                Ok(polling) => return Some(polling),
                Err(ails) => self.state.cannot_read(&self.subscription.group, &ails.to_string(), false),
            }
            if !wait(pause, stop).await {
                return None;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        None
    }

    /// Has a batch handled, however often that fails.
    async fn handled<H: Handler>(
        &self,
        handler: &H,
        batch: &[Incoming<H::Message>],
        polling: &Polling,
        stop: &mut watch::Receiver<bool>,
    ) -> Handled {
        let (mut pause, group) = (RETRY_MIN, &self.subscription.group);
        let _in_hand = self.stats.take();
        while let Err(why) = handler.handle(batch).await {
            self.stats.count_held();
            self.state.cannot_handle(group, &why);
            if !wait(pause, stop).await {
                return Handled::Stopped;
            }
            // What was taken away meanwhile is another's to handle, and so is what ails it.
            if !batch.iter().any(|one| polling.holds(one.record())) {
                self.state.handles(group);
                return Handled::Lost;
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
        self.state.handles(group);
        Handled::All
    }
}

/// What became of a batch.
enum Handled {
    /// All of it was handled.
    All,
    /// Nothing of it is ours any more.
    Lost,
    /// The process is about to end.
    Stopped,
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
