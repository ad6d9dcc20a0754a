//! A follower on its way: one step after the other.

use super::{FollowerPolicy, Progress, place, read_fairly};
use crate::app::App;
use crate::breaker::{Breaker, Call};
use crate::command::{Advance, AdvancePart, Command};
use crate::error::{Error, Fault, Rejection};
use crate::fault_point;
use crate::ids::Shard;
use crate::journal::Event;
use crate::parking::{ParkedStream, Resent};
use crate::ports::{Sink, SinkFault};
use crate::query::FollowerRow;
use crate::replay::Replay;
use crate::trace::{Attribute, Span, SpanName};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How a step moves the follower.
#[derive(Default)]
pub(super) struct Move {
    pub(super) part: AdvancePart,
    pub(super) moves: Vec<(Shard, u64, u64)>,
    pub(super) resent: Vec<Resent>,
    pub(super) parked: Vec<ParkedStream>,
}

impl Move {
    /// Takes in what the sink refused of what was sent: of what was parked before, no more than lies before it was sent.
    fn park(&mut self, parked: Vec<ParkedStream>) {
        for stream in &parked {
            let again = self.resent.iter_mut().find(|resent| resent.order_id == stream.order_id);
            if let Some(again) = again {
                again.next = Some(stream.from_version);
            }
        }
        self.parked = parked;
    }
}

/// Carries the journal to one sink.
pub struct Follower {
    pub(super) app: Arc<App>,
    pub(super) name: String,
    sink: Arc<dyn Sink>,
    pub(super) policy: FollowerPolicy,
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
    /// [`super::FollowerFaults`] what ails it.
    ///
    /// # Errors
    /// When storage or the sink fails; the place then stays, and the same events come again.
    pub async fn step(&self) -> Result<Progress, Error> {
        let progress = self.carry().await;
        match &progress {
            Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost | Progress::UpToDate) => {
                self.recovered()
            }
            Ok(Progress::Paused) => {}
            // What the sink said last is told already, unless there was nothing to carry for a while.
            Ok(Progress::Held(_)) if self.app.follower_faults.of(&self.name).is_some() => {}
            Ok(Progress::Held(_)) => self.failed("the sink failed too often and is left alone for a while"),
            Err(error) => self.failed(&error.to_string()),
        }
        progress
    }

    async fn carry(&self) -> Result<Progress, Error> {
        let Some(row) = self.held().await? else { return Ok(Progress::Paused) };
        if !self.open.load(Ordering::Relaxed) {
            self.sink.open().await.map_err(|fault| self.fault(&fault))?;
            self.open.store(true, Ordering::Relaxed);
        }
        let held = self.shards(&row);
        let heads = self.app.storage.heads().await?;
        row.cursor.check(self.app.storage.install().epoch, &heads)?;
        if row.parked > 0
            && let Some(progress) = self.redrive(&row, &held).await?
        {
            return Ok(progress);
        }
        let limit = u32::try_from(self.policy.batch_size).unwrap_or(u32::MAX);
        let (part, heads, begin) = place::next(&row, &held, &heads);
        let streams = read_fairly(self.app.storage.as_ref(), &heads, &mut begin.to_vec(), limit).await?;
        let events: Vec<Event> = streams.into_iter().flatten().collect();
        if events.is_empty() {
            let rest = row.replay.as_ref().map(Replay::rest).filter(|_| part == AdvancePart::Replay);
            let Some(mut moves) = rest else { return Ok(Progress::UpToDate) };
            // What was left of it is no longer kept.
            moves.retain(|(shard, _, _)| held.contains(shard));
            return self.send(&row, events, Move { part, moves, ..Move::default() }).await;
        }
        let moves = moves(begin, &events);
        let mut events = self.unparked(&row, events).await?;
        if events.len() > 1 && fault_point::planted("cursor-past-gap") {
            events.pop();
        }
        self.send(&row, events, Move { part, moves, ..Move::default() }).await
    }

    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Delivers `events`, if there are any, then moves.
    pub(super) async fn send(
        &self,
        row: &FollowerRow,
        events: Vec<Event>,
        mut go: Move,
    ) -> Result<Progress, Error> {
        if events.is_empty() {
            return self.moved(self.advance(row, go).await, Progress::Moved);
        }
        let call = match self.breaker().ask(self.app.clock.now()) {
            Ok(call) => call,
            Err(wait) => return Ok(Progress::Held(wait)),
        };
        let mut spans = self.spans(&events);
        let carried = match self.deliver(call, row, &events).await {
            Ok(parked) => {
                fault_point::pass("follower.after_send");
                go.park(parked);
                let advanced = self.advance(row, go).await;
                fault_point::pass("follower.after_cursor");
                advanced
            }
            Err(fault) => Err(fault.into()),
        };
        if matches!(carried, Err(Error::Fault(_))) {
            spans.iter_mut().for_each(Span::fail);
        }
        self.moved(carried, Progress::Carried(events.len()))
    }

    /// Delivers; returns what the sink has refused for good.
    async fn deliver(
        &self,
        call: Call,
        row: &FollowerRow,
        events: &[Event],
    ) -> Result<Vec<ParkedStream>, Fault> {
        let taken = match self.holding(self.sink.deliver(events)).await {
            Ok(()) => Ok(Vec::new()),
            // A sink that refuses something has answered, unless it refuses too much.
            Err(SinkFault::Refused(refused)) => self.refused(row, events, &refused).await?,
            Err(fault @ SinkFault::Transient(_)) => Err(self.fault(&fault)),
        };
        self.breaker().ended(call, taken.is_ok(), self.app.clock.now());
        taken
    }

    async fn advance(&self, row: &FollowerRow, go: Move) -> Result<(), Error> {
        let now = self.app.clock.now();
        let advance = Advance {
            follower: self.name.clone(),
            part: go.part,
            epoch: row.cursor.epoch,
            moves: go.moves,
            token: self.app.node(),
            until: now.plus(self.policy.lease),
            resent: go.resent,
            parked: go.parked,
            now,
        };
        self.app.lanes.submit(Command::Advance(advance)).await.map(drop)
    }

    /// What came of a step whose move ended so: a move that is refused found another place than was read.
    fn moved(&self, ended: Result<(), Error>, progress: Progress) -> Result<Progress, Error> {
        match ended {
            Ok(()) => Ok(progress),
            Err(Error::Rejection(Rejection::LeaseLost)) => {
                tracing::warn!(follower = %self.name, "lost the lease; another node goes on, what was sent may come twice");
                self.app.follower_faults.lost(&self.name);
                Ok(Progress::LeaseLost)
            }
            Err(Error::Rejection(_)) => Ok(Progress::Moved),
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn fault(&self, fault: &SinkFault) -> Fault {
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

    /// Follows until `stop` says so, then leaves its shards to other nodes.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        self.follow(stop).await;
        if let Err(error) = self.release().await {
            tracing::warn!(follower = %self.name, %error, "cannot leave it to other nodes; its lease runs out");
        }
    }

    async fn follow(&self, mut stop: watch::Receiver<bool>) {
        let mut grew = self.app.wakes.journal.subscribe();
        let mut pause = self.policy.retry_min;
        while !*stop.borrow() {
            grew.mark_unchanged();
            let step = self.step().await;
            if matches!(
                step,
                Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost | Progress::UpToDate)
            ) {
                pause = self.policy.retry_min;
            }
            let wait = match step {
                Ok(Progress::Carried(_) | Progress::Moved | Progress::LeaseLost) => continue,
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

/// How far each shard moves from `begin` once `events` are safe.
fn moves(begin: &[u64], events: &[Event]) -> Vec<(Shard, u64, u64)> {
    let mut ends: BTreeMap<Shard, u64> = BTreeMap::new();
    for event in events {
        ends.insert(event.shard, event.position);
    }
    let from = |shard: &Shard| begin.get(usize::from(shard.0)).copied().unwrap_or(0);
    ends.into_iter().map(|(shard, to)| (shard, from(&shard), to)).collect()
}
