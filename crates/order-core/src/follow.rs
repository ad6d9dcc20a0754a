//! Following the journal: a follower is a name, a cursor for each shard, and a sink. What the sink has safely, the
//! cursor passes; never the other way round. What is to be carried on once more has a pair of places of its own, and comes
//! first. A sink that fails too often is left alone but for probes.

use crate::app::App;
use crate::breaker::{Breaker, BreakerPolicy, Call};
use crate::command::{Advance, AdvancePart, Command};
use crate::error::{Error, Fault, Rejection};
use crate::fault_point;
use crate::ids::{Shard, TenantId};
use crate::journal::{Cursor, Event, Head};
use crate::ports::{Sink, SinkFault, Storage};
use crate::trace::{Attribute, Span, SpanName};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Bytes of events after which a page, or a delivery, is full; one event more may be in it.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// How a follower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerPolicy {
    /// Most events of one delivery.
    pub batch_size: usize,
    /// First wait after the sink failed; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest wait after the sink failed.
    pub retry_max: Duration,
    /// How often to look when nothing wakes it.
    pub idle: Duration,
    /// When the sink is left alone.
    pub breaker: BreakerPolicy,
}

impl Default for FollowerPolicy {
    fn default() -> Self {
        Self {
            batch_size: 500,
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            idle: Duration::from_secs(1),
            breaker: BreakerPolicy::default(),
        }
    }
}

/// Why followers are stuck, by name; in memory only.
#[derive(Debug, Default)]
pub struct FollowerFaults(Mutex<BTreeMap<String, String>>);

impl FollowerFaults {
    /// What ails the follower `name` now.
    pub fn of(&self, name: &str) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    fn set(&self, name: &str, fault: Option<String>) {
        let mut faults = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match fault {
            Some(fault) => faults.insert(name.to_owned(), fault),
            None => faults.remove(name),
        };
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many events were carried on; there may be more.
    Carried(usize),
    /// Nothing is behind the cursor.
    UpToDate,
    /// An operator paused it.
    Paused,
    /// Its place was changed meanwhile; the next step reads from there.
    Moved,
    /// The sink failed too often and is left alone: the next probe may be made after so long.
    Held(Duration),
}

/// Carries the journal to one sink.
pub struct Follower {
    app: Arc<App>,
    name: String,
    sink: Arc<dyn Sink>,
    policy: FollowerPolicy,
    breaker: Mutex<Breaker>,
    /// Whether the sink is open.
    open: AtomicBool,
}

impl Follower {
    /// The follower `name`, which feeds `sink`. Its row must be there ([`App::ensure_follower`]).
    pub fn new(app: Arc<App>, name: &str, sink: Arc<dyn Sink>, policy: FollowerPolicy) -> Self {
        let breaker = Mutex::new(Breaker::new(policy.breaker));
        Self { app, name: name.to_owned(), sink, policy, breaker, open: AtomicBool::new(false) }
    }

    /// Reads what is to be carried on once more, else what is behind the cursor, delivers it, moves that place; and keeps in
    /// [`FollowerFaults`] what ails it.
    ///
    /// # Errors
    /// When storage or the sink fails; the place then stays, and the same events come again.
    pub async fn step(&self) -> Result<Progress, Error> {
        let progress = self.carry().await;
        match &progress {
            Ok(Progress::Carried(_) | Progress::Moved | Progress::UpToDate) => self.recovered(),
            Ok(Progress::Paused) => {}
            // What the sink said last is told already, unless there was nothing to carry for a while.
            Ok(Progress::Held(_)) if self.app.follower_faults.of(&self.name).is_some() => {}
            Ok(Progress::Held(_)) => self.failed("the sink failed too often and is left alone for a while"),
            Err(error) => self.failed(&error.to_string()),
        }
        progress
    }

    async fn carry(&self) -> Result<Progress, Error> {
        let row = self.app.storage.follower(&self.name).await?.ok_or(Rejection::FollowerUnknown)?;
        if row.paused {
            return Ok(Progress::Paused);
        }
        if !self.open.load(Ordering::Relaxed) {
            self.sink.open().await.map_err(|fault| self.fault(&fault))?;
            self.open.store(true, Ordering::Relaxed);
        }
        let heads = self.app.storage.heads().await?;
        row.cursor.check(self.app.storage.install().epoch, &heads)?;
        let limit = u32::try_from(self.policy.batch_size).unwrap_or(u32::MAX);
        // What comes again comes before what is new: so an order's events are in their order from there on.
        let (part, heads, begin) = match &row.replay {
            Some(replay) => (AdvancePart::Replay, replay.heads(&heads), &replay.next),
            None => (AdvancePart::Cursor, heads, &row.cursor.positions),
        };
        let streams = read_fairly(self.app.storage.as_ref(), &heads, &mut begin.clone(), limit).await?;
        let mut events: Vec<Event> = streams.into_iter().flatten().collect();
        let epoch = row.cursor.epoch;
        if events.is_empty() {
            let Some(replay) = &row.replay else { return Ok(Progress::UpToDate) };
            // What was left of it is no longer kept.
            return moved(self.advance(part, replay.rest(), epoch).await, Progress::Moved);
        }
        let moves = moves(begin, &events);
        if events.len() > 1 && fault_point::planted("cursor-past-gap") {
            events.pop();
        }
        let call = match self.breaker().ask(self.app.clock.now()) {
            Ok(call) => call,
            Err(wait) => return Ok(Progress::Held(wait)),
        };
        let mut spans = self.spans(&events);
        let carried = self.deliver(call, &events, part, moves, epoch).await;
        if matches!(carried, Err(Error::Fault(_))) {
            spans.iter_mut().for_each(Span::fail);
        }
        moved(carried, Progress::Carried(events.len()))
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers, then moves the place.
    async fn deliver(
        &self,
        call: Call,
        events: &[Event],
        part: AdvancePart,
        moves: Vec<(Shard, u64, u64)>,
        epoch: u32,
    ) -> Result<(), Error> {
        let delivered = self.sink.deliver(events).await;
        self.breaker().ended(call, delivered.is_ok(), self.app.clock.now());
        delivered.map_err(|fault| self.fault(&fault))?;
        fault_point::pass("follower.after_send");
        let advanced = self.advance(part, moves, epoch).await;
        fault_point::pass("follower.after_cursor");
        advanced
    }

    async fn advance(
        &self,
        part: AdvancePart,
        moves: Vec<(Shard, u64, u64)>,
        epoch: u32,
    ) -> Result<(), Error> {
        let (follower, now) = (self.name.clone(), self.app.clock.now());
        let advance = Advance { follower, part, epoch, moves, now };
        self.app.lanes.submit(Command::Advance(advance)).await.map(drop)
    }

    fn fault(&self, fault: &SinkFault) -> Fault {
        let why = format!("sink {}: {fault}", self.sink.kind());
        Fault::Unavailable { why, retry_after: self.policy.retry_min }
    }

    /// A span for each event whose trace is recorded, in that trace: whoever looks at an order finds where it went.
    fn spans(&self, events: &[Event]) -> Vec<Span> {
        let begin = |event: &Event| {
            let mut span = self.app.tracer.child(SpanName::Deliver, event.trace);
            span.recorded()?;
            span.say(|| Attribute::OrderId(event.order_id));
            span.say(|| Attribute::EventType(event.kind.as_str().to_owned()));
            span.say(|| Attribute::Follower(self.name.clone()));
            span.say(|| Attribute::Sink(self.sink.kind()));
            span.say(|| Attribute::BatchSize(events.len()));
            Some(span)
        };
        events.iter().filter_map(begin).collect()
    }

    /// Follows until `stop` says so.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut grew = self.app.wakes.journal.subscribe();
        let mut pause = self.policy.retry_min;
        while !*stop.borrow() {
            grew.mark_unchanged();
            let step = self.step().await;
            if matches!(step, Ok(Progress::Carried(_) | Progress::Moved | Progress::UpToDate)) {
                pause = self.policy.retry_min;
            }
            let wait = match step {
                Ok(Progress::Carried(_) | Progress::Moved) => continue,
                Ok(Progress::UpToDate) => {
                    tokio::select! {
                        _ = stop.wait_for(|stop| *stop) => return,
                        _ = grew.changed() => {}
                        () = tokio::time::sleep(self.policy.idle) => {}
                    }
                    continue;
                }
                // More events change nothing: look now and then whether it was resumed.
                Ok(Progress::Paused) => self.policy.idle,
                Ok(Progress::Held(wait)) => wait,
                Err(_) => {
                    let now = pause;
                    pause = (pause * 2).min(self.policy.retry_max);
                    now
                }
            };
            // Neither a pause nor a fault is mended by more events: wait for time alone.
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn recovered(&self) {
        if self.app.follower_faults.of(&self.name).is_some() {
            tracing::info!(follower = %self.name, "carries events on again");
            self.app.follower_faults.set(&self.name, None);
        }
    }

    fn failed(&self, error: &str) {
        if self.app.follower_faults.of(&self.name).is_none() {
            tracing::error!(follower = %self.name, error, "cannot carry events on; trying again");
        }
        self.app.follower_faults.set(&self.name, Some(error.to_owned()));
    }
}

/// What came of a step whose move ended so: a move that is refused found another place than was read.
fn moved(ended: Result<(), Error>, progress: Progress) -> Result<Progress, Error> {
    match ended {
        Ok(()) => Ok(progress),
        Err(Error::Rejection(_)) => Ok(Progress::Moved),
        Err(fault) => Err(fault),
    }
}

/// How far each shard moves from `begin` once `events` are safe.
fn moves(begin: &[u64], events: &[Event]) -> Vec<(Shard, u64, u64)> {
    let mut ends: BTreeMap<Shard, u64> = BTreeMap::new();
    for event in events {
        ends.insert(event.shard, event.position);
    }
    let from = |shard: &Shard| begin.get(usize::from(shard.0)).copied().unwrap_or(0);
    ends.into_iter().map(|(shard, to)| (shard, from(&shard), to)).collect()
}

/// How many events lie between a cursor and the heads.
pub fn lag(cursor: &Cursor, heads: &[Head]) -> u64 {
    cursor
        .positions
        .iter()
        .zip(heads)
        .map(|(position, head)| head.position.saturating_sub((*position).max(head.floor)))
        .sum()
}

/// The events behind `cursor` of all shards, at most `limit`, and the cursor behind them. Every shard gets its share,
/// so that a busy one cannot starve the rest; within the page events are in the order of their time, per shard in the
/// order of their positions.
///
/// # Errors
/// When the cursor is not valid, or storage fails.
pub async fn feed(app: &App, cursor: Cursor, limit: u32) -> Result<(Vec<Event>, Cursor), Error> {
    let heads = app.storage.heads().await?;
    cursor.check(app.storage.install().epoch, &heads)?;
    let mut next = cursor;
    let streams = read_fairly(app.storage.as_ref(), &heads, &mut next.positions, limit).await?;
    Ok((merged(streams), next))
}

/// Rows of the journal that are looked at for the newest events of a tenant, over all shards.
const NEWEST_ROWS_MAX: u64 = 5_000;

/// The newest events of `tenant`, at most `count`, in the order of [`feed`]; and the cursor behind the newest of all. Where
/// others' events lie between, fewer may be found: at most some 5 000 are looked at.
///
/// # Errors
/// When storage fails.
pub async fn newest(app: &App, tenant: &TenantId, count: u32) -> Result<(Vec<Event>, Cursor), Error> {
    let heads = app.storage.heads().await?;
    let rows_max = (NEWEST_ROWS_MAX / (heads.len() as u64).max(1)).max(u64::from(count));
    let mut newest = Vec::new();
    for head in &heads {
        let stream = newest_of(app.storage.as_ref(), head, tenant, (count, rows_max)).await?;
        // As many as are wanted are enough of all shards read so far: memory holds no more.
        newest = merged(vec![newest, stream]);
        newest.drain(..newest.len().saturating_sub(count as usize));
    }
    Ok((newest, Cursor::at_heads(app.storage.install().epoch, &heads)))
}

/// The newest events of `tenant` in one shard: `count`, or what the newest `rows_max` rows have.
async fn newest_of(
    storage: &dyn Storage,
    head: &Head,
    tenant: &TenantId,
    (count, rows_max): (u32, u64),
) -> Result<Vec<Event>, Fault> {
    let floor = head.floor.max(head.position.saturating_sub(rows_max));
    let (mut newest, mut end) = (Vec::new(), head.position);
    while end > floor && newest.len() < count as usize {
        let after = floor.max(end.saturating_sub(u64::from(count)));
        let share = u32::try_from(end - after).unwrap_or(count);
        let mut events = storage.journal(head.shard, after, share).await?;
        check_gapless(head.shard, after, &events)?;
        events.retain(|event| event.tenant == *tenant);
        events.append(&mut newest);
        newest = events;
        end = after;
    }
    Ok(newest)
}

/// At most `limit` events behind `positions` up to `heads`; the positions move along, several runs for a shard come in
/// order. Every shard that has some gets its share, so that a busy one cannot starve the rest.
pub(crate) async fn read_fairly(
    storage: &dyn Storage,
    heads: &[Head],
    positions: &mut [u64],
    limit: u32,
) -> Result<Vec<Vec<Event>>, Fault> {
    let mut streams: Vec<Vec<Event>> = Vec::new();
    let (mut room, mut bytes) = (limit, 0);
    while room > 0 && bytes < PAGE_BYTES_MAX {
        let behind: Vec<&Head> = heads
            .iter()
            .zip(&*positions)
            .filter(|(head, at)| head.position > (**at).max(head.floor))
            .map(|(head, _)| head)
            .collect();
        let Some(share) = room.checked_div(u32::try_from(behind.len()).unwrap_or(u32::MAX)) else { break };
        for head in behind {
            let position = &mut positions[usize::from(head.shard.0)];
            let after = (*position).max(head.floor);
            let behind = u32::try_from(head.position - after).unwrap_or(u32::MAX);
            let events = storage.journal(head.shard, after, share.max(1).min(room).min(behind)).await?;
            check_gapless(head.shard, after, &events)?;
            // The head says that there is something behind.
            let last = events.last().ok_or_else(|| gap(head.shard, after + 1, head.position))?;
            *position = last.position;
            room -= u32::try_from(events.len()).unwrap_or(room).min(room);
            bytes += events.iter().map(|event| event.data.len()).sum::<usize>();
            streams.push(events);
            if room == 0 || bytes >= PAGE_BYTES_MAX {
                break;
            }
        }
    }
    Ok(streams)
}

/// Positions have no gaps, so nobody may read past one: whatever belongs there would never be sent.
fn check_gapless(shard: Shard, after: u64, events: &[Event]) -> Result<(), Fault> {
    let found = events.iter().map(|event| event.position);
    match found.zip(after + 1..).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(gap(shard, expected, found - 1)),
        None => Ok(()),
    }
}

pub(crate) fn gap(shard: Shard, from: u64, to: u64) -> Fault {
    Fault::internal(format!(
        "shard {shard} of the journal has no positions {from} to {to}: run `wellorder audit`"
    ))
}

pub(crate) fn merged(streams: Vec<Vec<Event>>) -> Vec<Event> {
    let mut by_shard: BTreeMap<Shard, std::collections::VecDeque<Event>> = BTreeMap::new();
    for stream in streams {
        for event in stream {
            by_shard.entry(event.shard).or_default().push_back(event);
        }
    }
    let mut page = Vec::new();
    // At most as many queues as shards: a scan for the earliest front is cheap beside the read.
    while let Some(queue) = by_shard
        .values_mut()
        .filter(|queue| !queue.is_empty())
        .min_by_key(|queue| queue.front().map(|event| event.occurred_at))
    {
        page.extend(queue.pop_front());
    }
    page
}
