//! The thread that polls librdkafka.

use super::{ConsumerState, Received, Subscription};
use crate::Options;
use crate::client::{Ails, Reports, locked};
use crate::producer::Producer;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

/// Longest that the thread waits for a record before it looks at what else there is to do.
const POLL: Duration = Duration::from_millis(50);
/// For so long the thread waits for room by itself. Then it pauses partitions, which makes librdkafka forget what it fetched,
/// and polls on: whoever does not poll is no member any more.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks for room.
const LOOK: Duration = Duration::from_millis(2);
/// How often librdkafka tells how far behind we are.
const STATISTICS_MS: &str = "5000";

/// A topic and a partition.
type Place = (String, i32);

/// The partitions that are ours, and since which of the rebalances.
#[derive(Debug, Default)]
struct Held {
    partitions: BTreeMap<Place, u64>,
    rebalances: u64,
}

/// A record, and the rebalance that its partition came with.
struct Tagged {
    record: Received,
    rebalance: u64,
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
    commits: std::sync::mpsc::Sender<Vec<(Place, u64, i64)>>,
    held: Arc<Mutex<Held>>,
    stop: Arc<AtomicBool>,
    ended: Option<tokio::task::JoinHandle<()>>,
    /// The rebalances that the partitions of the batch at hand came with.
    batch: BTreeMap<Place, u64>,
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
        let (commits, to_commit) = std::sync::mpsc::channel();
        let (held, stop) = (Arc::new(Mutex::new(Held::default())), Arc::new(AtomicBool::new(false)));
        let context =
            Context { reports: Reports::default(), state: Arc::clone(state), held: Arc::clone(&held) };
        let (options, subscription) = (options.clone(), subscription.clone());
        let joined = tokio::task::spawn_blocking(move || join(&options, &subscription, context)).await;
        let consumer = joined.unwrap_or_else(|_| Err(crate::publisher::broken_off()))?;
        let thread = Thread {
            consumer,
            sender: Some(sender),
            to_commit,
            held: Arc::clone(&held),
            stop: Arc::clone(&stop),
            waiting: VecDeque::new(),
            full: None,
            rebalances: 0,
        };
        let ended = tokio::task::spawn_blocking(move || thread.run());
        Ok(Self { records, commits, held, stop, ended: Some(ended), batch: BTreeMap::new() })
    }

    /// What there is to handle, at most `max`; waits for some. `None` when the thread has ended.
    pub(super) async fn batch(&mut self, max: usize) -> Option<Vec<Received>> {
        let mut tagged = Vec::new();
        if self.records.recv_many(&mut tagged, max.max(1)).await == 0 {
            return None;
        }
        let held = locked(&self.held);
        self.batch.clear();
        let mut records = Vec::with_capacity(tagged.len());
        for Tagged { record, rebalance } in tagged {
            let place = (record.topic.clone(), record.partition);
            if held.partitions.get(&place) == Some(&rebalance) {
                self.batch.insert(place, rebalance);
                records.push(record);
            }
        }
        Some(records)
    }

    /// Whether the partition of a record of the last batch is still ours.
    pub(super) fn holds(&self, record: &Received) -> bool {
        let place = (record.topic.clone(), record.partition);
        locked(&self.held).partitions.get(&place) == self.batch.get(&place)
    }

    /// Commits what lies up to and with `records`, those of the last batch.
    pub(super) fn commit<'a>(&self, records: impl Iterator<Item = &'a Received>) {
        let mut ends = BTreeMap::new();
        for record in records {
            ends.insert((record.topic.clone(), record.partition), record.offset + 1);
        }
        let tagged = |(place, end): (Place, i64)| {
            let rebalance = *self.batch.get(&place)?;
            Some((place, rebalance, end))
        };
        // A thread that is gone commits nothing; the records then come again.
        drop(self.commits.send(ends.into_iter().filter_map(tagged).collect()));
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
    to_commit: std::sync::mpsc::Receiver<Vec<(Place, u64, i64)>>,
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
                    self.keep(tagged);
                }
                // Told by the log of the client; it connects again by itself.
                Some(Err(error)) => tracing::debug!(%error, "cannot read from Kafka; trying again"),
                None => {}
            }
        }
        self.sender.take();
        self.commit(CommitMode::Sync);
        self.consumer.unsubscribe();
    }

    fn tagged(&self, message: &BorrowedMessage<'_>) -> Tagged {
        let record = received(message);
        let place = (record.topic.clone(), record.partition);
        let rebalance = locked(&self.held).partitions.get(&place).copied().unwrap_or_default();
        Tagged { record, rebalance }
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
        let wanted = |sender: &mpsc::Sender<Tagged>| match full {
            Full::Since(_) => 1,
            Full::Paused => sender.max_capacity() / 2,
        };
        if self.sender.as_ref().is_none_or(|sender| sender.capacity() >= wanted(sender)) {
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
        while let Some(tagged) = self.waiting.pop_front() {
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

    /// Commits what was handled of partitions that are still ours.
    fn commit(&self, mode: CommitMode) {
        let mut ends = TopicPartitionList::new();
        {
            let held = locked(&self.held);
            for ((topic, partition), rebalance, end) in self.to_commit.try_iter().flatten() {
                let place = (topic, partition);
                if held.partitions.get(&place) != Some(&rebalance) {
                    continue;
                }
                match ends.find_partition(&place.0, partition) {
                    Some(mut found) => drop(found.set_offset(Offset::Offset(end))),
                    None => drop(ends.add_partition_offset(&place.0, partition, Offset::Offset(end))),
                }
            }
        }
        if ends.count() > 0
            && let Err(error) = self.consumer.commit(&ends, mode)
        {
            tracing::debug!(%error, "cannot commit offsets; these records may come again");
        }
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
    state: Arc<ConsumerState>,
    held: Arc<Mutex<Held>>,
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
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let mut held = locked(&self.held);
        held.rebalances += 1;
        let number = held.rebalances;
        match rebalance {
            Rebalance::Assign(partitions) => {
                self.state.set_joined();
                for one in partitions.elements() {
                    held.partitions.insert((one.topic().to_owned(), one.partition()), number);
                }
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
}
