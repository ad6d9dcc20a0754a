//! The thread that polls librdkafka.

use super::{ConsumerState, Received, Subscription};
use crate::Options;
use crate::client::{Ails, Reports, locked};
use crate::producer::Producer;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

/// Longest that the thread waits for a record before it looks at what else there is to do.
const POLL: Duration = Duration::from_millis(50);
/// For so long the thread waits for room by itself. Then it pauses partitions, which makes librdkafka forget what it fetched,
/// and polls on: whoever does not poll is no member any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for room.
const LOOK: Duration = Duration::from_millis(2);
/// Between a commit that failed and the next.
const COMMIT_AGAIN: Duration = Duration::from_secs(1);
/// How often librdkafka tells how far behind we are.
const STATISTICS_MS: &str = "5000";

/// A topic and a partition.
type Place = (String, i32);

/// The partitions that are ours.
#[derive(Debug, Default)]
struct Held {
    partitions: BTreeMap<Place, Part>,
    rebalances: u64,
    /// When a commit failed last.
    failed_at: Option<Instant>,
}

/// A partition that is ours.
#[derive(Debug)]
struct Part {
    /// The rebalance that it came with.
    rebalance: u64,
    /// Up to where it was handled, since then.
    handled: Option<i64>,
    /// Up to where that was committed, as far as is known.
    committed: Option<i64>,
}

impl Held {
    fn rebalance_of(&self, place: &Place) -> Option<u64> {
        self.partitions.get(place).map(|part| part.rebalance)
    }

    /// What was handled and is not known to be committed; from now on it counts as committed.
    fn take_handled(&mut self) -> TopicPartitionList {
        let mut ends = TopicPartitionList::new();
        for ((topic, partition), part) in &mut self.partitions {
            if part.handled != part.committed
                && let Some(end) = part.handled
            {
                drop(ends.add_partition_offset(topic, *partition, Offset::Offset(end)));
                part.committed = part.handled;
            }
        }
        ends
    }

    /// A commit of these failed.
    fn not_committed(&mut self, ends: &TopicPartitionList) {
        self.failed_at = Some(Instant::now());
        for one in ends.elements() {
            if let Some(part) = self.partitions.get_mut(&(one.topic().to_owned(), one.partition())) {
                part.committed = None;
            }
        }
    }
}

/// A record, and the rebalance that its partition came with.
struct Tagged {
    record: Received,
    rebalance: u64,
    /// Its share of the bytes that may be in hand, once it has it.
    room: Option<OwnedSemaphorePermit>,
}

/// How many bytes are one share of the room.
const SHARE: usize = 1024;

/// Shares of `bytes`.
fn shares(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(SHARE)).unwrap_or(u32::MAX).max(1)
}

impl Tagged {
    fn shares(&self) -> u32 {
        let Received { key, value, headers, .. } = &self.record;
        let sizes = headers.iter().map(|(name, value)| name.len() + value.len());
        let sizes = sizes.chain(key.iter().chain(value).map(Vec::len));
        shares(sizes.sum())
    }
}

/// How librdkafka is to read.
pub(super) fn config(options: &Options, subscription: &Subscription) -> ClientConfig {
    let mut config = options.config();
    config
        .set("group.id", &subscription.group)
        .set("session.timeout.ms", subscription.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", (subscription.session_timeout / 3).as_millis().to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // Whoever joins a group for the first time is to miss nothing.
        .set("auto.offset.reset", "earliest")
        .set("queued.max.messages.kbytes", "16384")
        .set("statistics.interval.ms", STATISTICS_MS)
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A thread that polls, for as long as this lives.
pub(super) struct Polling {
    records: mpsc::Receiver<Tagged>,
    held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    ended: Option<tokio::task::JoinHandle<()>>,
    /// The rebalances that the partitions of the batch at hand came with.
    batch: BTreeMap<Place, u64>,
    /// The room that its records take.
    room: Vec<OwnedSemaphorePermit>,
}

impl Polling {
    /// Makes sure that the topics are there, and joins the group.
    ///
    /// # Errors
    /// When brokers are out of reach or refuse us, or a topic is missing.
    pub(super) async fn begin(
        options: &Options,
        subscription: &Subscription,
        state: &Arc<ConsumerState>,
    ) -> Result<Self, Ails> {
        let (sender, records) = mpsc::channel(subscription.batch_max.max(1) * 2);
        let (held, stop) = (Arc::new(Mutex::new(Held::default())), Arc::new(AtomicBool::new(false)));
        let (reports, group) = (Reports::default(), subscription.group.clone());
        let context = Context { reports, group, state: Arc::clone(state), held: Arc::clone(&held) };
        let room = Arc::new(Semaphore::new(shares(subscription.bytes_max) as usize));
        let (options, subscription) = (options.clone(), subscription.clone());
        let joined = tokio::task::spawn_blocking(move || join(&options, &subscription, context)).await;
        let consumer = joined.unwrap_or_else(|_| Err(crate::publisher::broken_off()))?;
        let thread = Thread {
            consumer,
            sender: Some(sender),
            shares: u32::try_from(room.available_permits()).unwrap_or(u32::MAX),
            room,
            held: Arc::clone(&held),
            stop: Arc::clone(&stop),
            waiting: VecDeque::new(),
            full: None,
            rebalances: 0,
        };
        let ended = tokio::task::spawn_blocking(move || thread.run());
        Ok(Self { records, held, stop, ended: Some(ended), batch: BTreeMap::new(), room: Vec::new() })
    }

    /// What there is to handle, at most `max`; waits for some. `None` when the thread has ended. The batch before must be
    /// gone: its room is for others now.
    pub(super) async fn batch(&mut self, max: usize) -> Option<Vec<Received>> {
        self.room.clear();
        let mut tagged = Vec::new();
        if self.records.recv_many(&mut tagged, max.max(1)).await == 0 {
            return None;
        }
        let held = locked(&self.held);
        self.batch.clear();
        let mut records = Vec::with_capacity(tagged.len());
        for Tagged { record, rebalance, room } in tagged {
            let place = (record.topic.clone(), record.partition);
            if held.rebalance_of(&place) == Some(rebalance) {
                self.batch.insert(place, rebalance);
                records.push(record);
                self.room.extend(room);
            }
        }
        Some(records)
    }

    /// Whether the partition of a record of the last batch is still ours.
    pub(super) fn holds(&self, record: &Received) -> bool {
        let place = (record.topic.clone(), record.partition);
        locked(&self.held).rebalance_of(&place) == self.batch.get(&place).copied()
    }

    /// Has committed what lies up to and with `records`, those of the last batch.
    pub(super) fn commit<'a>(&self, records: impl Iterator<Item = &'a Received>) {
        let mut held = locked(&self.held);
        for record in records {
            let place = (record.topic.clone(), record.partition);
            // What was taken away meanwhile comes again, to whoever has it.
            if let Some(part) = held.partitions.get_mut(&place)
                && self.batch.get(&place) == Some(&part.rebalance)
            {
                part.handled = Some(record.offset + 1);
            }
        }
    }

    /// Commits what was handled, and leaves the group.
    pub(super) async fn end(mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(ended) = self.ended.take() {
            drop(ended.await);
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Blocks.
fn join(
    options: &Options,
    subscription: &Subscription,
    context: Context,
) -> Result<BaseConsumer<Context>, Ails> {
    // A producer looks at topics, and makes them: a consumer of a topic that is not there would wait in silence.
    drop(Producer::open(options, &subscription.topics)?);
    let failed =
        |error: KafkaError| Reports::default().explained(&error.to_string(), error.rdkafka_error_code());
    let consumer =
        BaseConsumer::from_config_and_context(&config(options, subscription), context).map_err(failed)?;
    let topics: Vec<&str> = subscription.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics).map_err(failed)?;
    Ok(consumer)
}

struct Thread {
    consumer: BaseConsumer<Context>,
    sender: Option<mpsc::Sender<Tagged>>,
    /// Shares of bytes that may be in hand, and how many there are when nothing is.
    room: Arc<Semaphore>,
    shares: u32,
    held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    /// What found no room in the channel.
    waiting: VecDeque<Tagged>,
    full: Option<Full>,
    /// The last that was looked at.
    rebalances: u64,
}

/// What was done about a channel that is full.
#[derive(Clone, Copy)]
enum Full {
    /// Nothing yet.
    Since(Instant),
    /// Nothing is fetched.
    Paused,
}

impl Thread {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            self.commit(CommitMode::Async);
            self.follow_rebalances();
            if self.waits_for_room() {
                continue;
            }
            match self.consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let tagged = self.tagged(&message);
                    drop(message);
                    self.consumer.context().reads();
                    self.keep(tagged);
                }
                Some(Err(error)) if self.consumer.context().cannot_read(&error) => break,
                Some(Err(_)) | None => {}
            }
        }
        self.sender.take();
        self.commit(CommitMode::Sync);
        self.consumer.unsubscribe();
    }

    fn tagged(&self, message: &BorrowedMessage<'_>) -> Tagged {
        let record = received(message);
        let place = (record.topic.clone(), record.partition);
        let rebalance = locked(&self.held).rebalance_of(&place).unwrap_or_default();
        Tagged { record, rebalance, room: None }
    }

    /// Hands a record on, behind those that wait.
    fn keep(&mut self, tagged: Tagged) {
        self.waiting.push_back(tagged);
        self.send();
        match self.full {
            // Also what a rebalance brought meanwhile.
            Some(Full::Paused) => self.paused(true),
            None if !self.waiting.is_empty() => self.full = Some(Full::Since(Instant::now())),
            Some(Full::Since(_)) | None => {}
        }
    }

    /// A partition that was paused when it went away comes back paused: whatever came is paused, or not, as the rest.
    fn follow_rebalances(&mut self) {
        let rebalances = locked(&self.held).rebalances;
        if rebalances != self.rebalances {
            self.rebalances = rebalances;
            self.paused(matches!(self.full, Some(Full::Paused)));
        }
    }

    /// Hands on what waits. True when there was no room and nothing is to be polled: it is looked for again.
    fn waits_for_room(&mut self) -> bool {
        let Some(full) = self.full else { return false };
        // Half of the room first where partitions are paused: fetching anew is dear.
        let there_is = |sender: &mpsc::Sender<Tagged>| match full {
            Full::Since(_) => sender.capacity() > 0,
            Full::Paused => {
                sender.capacity() >= sender.max_capacity() / 2
                    && self.room.available_permits() >= (self.shares / 2) as usize
            }
        };
        if self.sender.as_ref().is_none_or(there_is) {
            self.send();
        }
        match full {
            Full::Since(since) if !self.waiting.is_empty() => {
                if since.elapsed() < PATIENCE {
                    std::thread::sleep(LOOK);
                    return true;
                }
                self.paused(true);
                self.full = Some(Full::Paused);
            }
            Full::Paused if self.waiting.is_empty() => {
                self.paused(false);
                self.full = None;
            }
            Full::Since(_) => self.full = None,
            Full::Paused => {}
        }
        false
    }

    /// Sends what waits, as far as there is room.
    fn send(&mut self) {
        let Some(sender) = &self.sender else { return };
        while let Some(mut tagged) = self.waiting.pop_front() {
            if tagged.room.is_none() {
                let shares = tagged.shares().min(self.shares);
                tagged.room = Arc::clone(&self.room).try_acquire_many_owned(shares).ok();
            }
            if tagged.room.is_none() {
                self.waiting.push_front(tagged);
                return;
            }
            match sender.try_send(tagged) {
                Ok(()) => {}
                Err(TrySendError::Full(tagged)) => {
                    self.waiting.push_front(tagged);
                    return;
                }
                Err(TrySendError::Closed(_)) => {
                    self.stop.store(true, Ordering::Release);
                    return;
                }
            }
        }
    }

    fn paused(&self, paused: bool) {
        let Ok(partitions) = self.consumer.assignment() else { return };
        let done = if paused { self.consumer.pause(&partitions) } else { self.consumer.resume(&partitions) };
        if let Err(error) = done {
            tracing::debug!(%error, paused, "cannot pause or resume partitions");
        }
    }

    /// Commits what was handled of partitions that are ours.
    fn commit(&self, mode: CommitMode) {
        let ends = {
            let mut held = locked(&self.held);
            let too_soon = held.failed_at.is_some_and(|at| at.elapsed() < COMMIT_AGAIN);
            if too_soon && matches!(mode, CommitMode::Async) {
                return;
            }
            held.take_handled()
        };
        commit(&self.consumer, &self.held, &ends, mode);
    }
}

fn commit(consumer: &BaseConsumer<Context>, held: &Mutex<Held>, ends: &TopicPartitionList, mode: CommitMode) {
    if ends.count() > 0
        && let Err(error) = consumer.commit(ends, mode)
    {
        tracing::debug!(%error, "cannot commit offsets; these records may come again");
        locked(held).not_committed(ends);
    }
}

fn received(message: &BorrowedMessage<'_>) -> Received {
    let headers = message.headers().map(|headers| {
        let owned = |header: rdkafka::message::Header<'_, &[u8]>| {
            (header.key.to_owned(), header.value.unwrap_or_default().to_vec())
        };
        headers.iter().map(owned).collect()
    });
    Received {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.unwrap_or_default(),
        written_ms: message.timestamp().to_millis(),
    }
}

/// What librdkafka tells, from the thread that polls.
struct Context {
    reports: Reports,
    group: String,
    state: Arc<ConsumerState>,
    held: Arc<Mutex<Held>>,
}

impl Context {
    fn reads(&self) {
        self.state.reads(&self.group);
    }

    /// Notes why nothing can be read, if that is so; true when this member never will again.
    fn cannot_read(&self, error: &KafkaError) -> bool {
        use RDKafkaErrorCode as Code;
        let code = error.rdkafka_error_code();
        match code {
            // One connection of several, which is made again; that none is left is told besides.
            Some(
                Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut | Code::PartitionEOF,
            ) => {
                tracing::debug!(%error, "reading from Kafka");
            }
            _ => {
                let ails = self.reports.explained(&error.to_string(), code);
                let out_of_reach = code == Some(Code::AllBrokersDown);
                self.state.cannot_read(&self.group, &ails.to_string(), out_of_reach);
            }
        }
        matches!(error, KafkaError::MessageConsumptionFatal(_))
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.reports.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.reports.error(error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let partitions = statistics.topics.values().flat_map(|topic| topic.partitions.values());
        // A partition that is not ours is behind by −1.
        self.state.set_lag(partitions.filter_map(|one| u64::try_from(one.consumer_lag).ok()).sum());
        let is_up = statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP");
        if is_up && statistics.cgrp.is_some_and(|group| group.join_state == "steady") {
            self.state.reaches(&self.group);
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // Before another gets them: it begins where this ends.
        if let Rebalance::Revoke(_) = rebalance
            && !consumer.assignment_lost()
        {
            let ends = locked(&self.held).take_handled();
            commit(consumer, &self.held, &ends, CommitMode::Sync);
        }
        let mut held = locked(&self.held);
        held.rebalances += 1;
        let rebalance_number = held.rebalances;
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.state.set_joined();
                for one in partitions.elements() {
                    let part = Part { rebalance: rebalance_number, handled: None, committed: None };
                    held.partitions.insert((one.topic().to_owned(), one.partition()), part);
                }
                // A member reads, though there may be nothing for it.
                self.reads();
            }
            Rebalance::Revoke(partitions) => {
                for one in partitions.elements() {
                    held.partitions.remove(&(one.topic().to_owned(), one.partition()));
                }
            }
            Rebalance::Error(error) => tracing::debug!(%error, "the group cannot share its partitions yet"),
        }
        self.state.set_partitions(held.partitions.len());
    }

    fn commit_callback(&self, result: KafkaResult<()>, ends: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed; trying again");
            locked(&self.held).not_committed(ends);
        }
    }
}
