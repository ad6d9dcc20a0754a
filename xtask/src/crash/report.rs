//! What a run found, and how it is told.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

/// How many violations are told in full, and how many of a kind.
const TOLD_MAX: usize = 40;
const TOLD_OF_A_KIND: usize = 6;

/// The kinds of what must not be; the names are part of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// An acknowledged order is not there.
    Lost,
    /// One reference led to two orders, or was new twice.
    Double,
    /// Processed more than once.
    DoubleProcessed,
    /// Not processed in time, or parked.
    Unprocessed,
    /// An order is not what was sent.
    Content,
    /// An order that nobody sent.
    Stranger,
    /// The id is not the one that the reference derives, or not in its shard.
    Identity,
    /// A position of a shard is missing or given twice.
    PositionGap,
    /// The feed breaks off: what is behind that place cannot be read.
    Feed,
    /// A version of an order is missing, given twice or out of order.
    VersionGap,
    /// The order as shown and its events disagree.
    State,
    /// The effect of an order is missing, too frequent, or under a wrong key.
    Effect,
    /// The sink lacks a version, or has it too early.
    SinkGap,
    /// The sink and the feed disagree, or the file is damaged.
    Sink,
    /// A follower is behind or failing.
    Follower,
    /// An order was not taken in at once, while nothing was away that intake needs.
    Intake,
    /// What came back did not recover in time.
    Recovery,
    /// A message of another program was lost, counted twice, or is parked without a reason.
    Message,
    /// A receipt was left between its beginning and its end, or failed without a reason.
    Import,
    /// A marketplace was asked more often than it had to be, or before it wanted to be.
    Calls,
    /// An answer that no client may get.
    Refused,
    /// `wellorder audit` found something or did not run.
    Audit,
    /// The process did not start, or ended by itself.
    Process,
    /// It did not stop as asked.
    Stop,
    /// A kill point that was never passed.
    PointNotReached,
}

impl Kind {
    /// As it is told.
    fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Violation {
    pub(crate) kind: Kind,
    /// The order, shard, file or point that it is about.
    pub(crate) subject: String,
    pub(crate) detail: String,
}

/// Collects violations from every thread.
#[derive(Default)]
pub(crate) struct Violations(Mutex<Vec<Violation>>);

impl Violations {
    pub(crate) fn add(&self, kind: Kind, subject: impl Into<String>, detail: impl Into<String>) {
        self.lock().push(Violation { kind, subject: subject.into(), detail: detail.into() });
    }

    pub(crate) fn all(&self) -> Vec<Violation> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one sink was sent.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Carried {
    pub(crate) lines: usize,
    pub(crate) repeated: usize,
}

/// A server that was away, other than the database.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outage {
    pub(crate) server: String,
    /// From its end until it took connections again.
    pub(crate) away_seconds: f64,
    /// Orders that were acknowledged meanwhile.
    pub(crate) acknowledged: usize,
    /// From then until everything that needs it went on by itself.
    pub(crate) resumed_seconds: f64,
    /// From then until what had piled up was carried on.
    pub(crate) recovered_seconds: f64,
}

/// The figures of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Summary {
    pub(crate) seed: u64,
    pub(crate) plant: Option<String>,
    pub(crate) kills: usize,
    pub(crate) kills_at_random: usize,
    /// How often each kill point killed.
    pub(crate) kills_at_points: BTreeMap<String, usize>,
    /// How often the process was stopped for longer than its leases, and continued.
    pub(crate) pauses: usize,
    pub(crate) acknowledged: usize,
    /// Of these, under an `Idempotency-Key` without a reference.
    pub(crate) acknowledged_by_key: usize,
    /// Of these, as a line of a bulk request.
    pub(crate) acknowledged_in_bulk: usize,
    pub(crate) requests_repeated: usize,
    pub(crate) effects: usize,
    pub(crate) effects_repeated: usize,
    pub(crate) events: usize,
    pub(crate) sinks: BTreeMap<String, Carried>,
    pub(crate) sink_files: usize,
    /// Of nodes with one role each.
    pub(crate) kills_by_role: BTreeMap<String, usize>,
    /// How often each server was killed.
    pub(crate) crashes: BTreeMap<String, usize>,
    pub(crate) outages: Vec<Outage>,
    /// Work that a dead worker had in hand, and the longest that it took until another one came with it.
    pub(crate) taken_over: usize,
    pub(crate) taken_over_seconds: f64,
    pub(crate) parked: usize,
    /// Of `orderstream`, told by other programs over Kafka: orders, their events, their acknowledgements, and what was parked.
    pub(crate) streamed: Option<[usize; 4]>,
    /// Receipts that programs imported, orders that they became, calls of marketplaces, and times that a shop wanted to be left alone.
    pub(crate) imported: Option<[usize; 4]>,
    /// Events of stores that a receiver of webhooks took, and orders of which those were told that take nothing.
    pub(crate) hooked: Option<[usize; 2]>,
    pub(crate) seconds: f64,
    pub(crate) violations: BTreeMap<Kind, usize>,
    /// The first ones, in full.
    pub(crate) told: Vec<Violation>,
}

impl Summary {
    pub(crate) fn take(&mut self, violations: &[Violation]) {
        for violation in violations {
            *self.violations.entry(violation.kind).or_default() += 1;
        }
        let mut told: BTreeMap<Kind, usize> = BTreeMap::new();
        let few = |violation: &&Violation| {
            let times = told.entry(violation.kind).or_default();
            *times += 1;
            *times <= TOLD_OF_A_KIND
        };
        self.told = violations.iter().filter(few).take(TOLD_MAX).cloned().collect();
    }

    fn count(&self, kinds: &[Kind]) -> usize {
        kinds.iter().filter_map(|kind| self.violations.get(kind)).sum()
    }

    pub(crate) fn clean(&self) -> bool {
        self.violations.is_empty()
    }

    pub(crate) fn found(&self, kinds: &[Kind]) -> bool {
        self.count(kinds) > 0
    }

    /// The result in a line or two, then the first violations.
    pub(crate) fn print(&self) {
        let all: usize = self.violations.values().sum();
        let (lost, double) = (self.count(&[Kind::Lost]), self.count(&[Kind::Double, Kind::DoubleProcessed]));
        let unprocessed = self.count(&[Kind::Unprocessed]);
        println!(
            "kills {} ({} at random, {} at points), pauses {}, acknowledged {} ({} by key, {} in bulk), lost {lost}, \
             double {double}, unprocessed {unprocessed}, other violations {}",
            self.kills,
            self.kills_at_random,
            self.kills_at_points.values().sum::<usize>(),
            self.pauses,
            self.acknowledged,
            self.acknowledged_by_key,
            self.acknowledged_in_bulk,
            all - lost - double - unprocessed,
        );
        let sinks: Vec<_> = self
            .sinks
            .iter()
            .map(|(name, sink)| format!("in {name} {} ({} repeated)", sink.lines, sink.repeated))
            .collect();
        println!(
            "effects {} ({} repeated), events {}, {}, requests repeated {}, {:.0} s, seed {}",
            self.effects,
            self.effects_repeated,
            self.events,
            sinks.join(", "),
            self.requests_repeated,
            self.seconds,
            self.seed
        );
        if !self.kills_at_points.is_empty() {
            let points: Vec<_> =
                self.kills_at_points.iter().map(|(point, n)| format!("{point} {n}")).collect();
            println!("points: {}", points.join(", "));
        }
        if let Some([receipts, orders, calls, refusals]) = self.imported {
            println!(
                "imports: {receipts} receipts became {orders} orders by {calls} calls; shops wanted to be left alone {refusals} times"
            );
        }
        if let Some([stores, refused]) = self.hooked {
            println!(
                "webhooks besides: {stores} events of stores; {refused} orders were told to who takes nothing"
            );
        }
        self.print_servers();
        for (kind, n) in &self.violations {
            println!("VIOLATION {}: {n}", kind.name());
        }
        for violation in &self.told {
            println!("  {} {}: {}", violation.kind.name(), violation.subject, violation.detail);
        }
    }

    /// What there is to tell where several servers took part.
    fn print_servers(&self) {
        if self.kills_by_role.is_empty() {
            return;
        }
        let told = |counts: &BTreeMap<String, usize>| {
            counts.iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>().join(", ")
        };
        println!("nodes killed: {}; servers killed: {}", told(&self.kills_by_role), told(&self.crashes));
        for outage in &self.outages {
            println!(
                "{} away for {:.1} s: {} orders acknowledged meanwhile; resumed {:.1} s after its return, all as before \
                 after {:.1} s",
                outage.server,
                outage.away_seconds,
                outage.acknowledged,
                outage.resumed_seconds,
                outage.recovered_seconds
            );
        }
        println!(
            "{} effects of dead workers were taken over, after {:.1} s at most; parked messages {}",
            self.taken_over, self.taken_over_seconds, self.parked
        );
        if let Some([orders, events, acks, parked]) = self.streamed {
            println!(
                "orderstream: {orders} orders of others in {events} events, {acks} acknowledgements, {parked} parked"
            );
        }
    }
}
