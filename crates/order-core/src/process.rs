//! The processing worker: claims due work, runs the processor on it, settles under the token.

use crate::app::App;
use crate::clock::Timestamp;
use crate::command::Claimed;
use crate::desk::{Desk, Desks};
use crate::error::{Error, Rejection};
use crate::fault_point;
use crate::ids::{LeaseToken, OrderId};
use crate::lease::{LeasePolicy, Leased, Outcome};
use crate::ports::{Processed, Processor};
use crate::pull;
use crate::trace::{self, Attribute, Span, SpanName, TraceContext};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval};

/// Longest error text that is kept of a failed try, in bytes.
pub const ERROR_BYTES_MAX: usize = 1_000;

/// First and longest wait before a result that could not be settled is settled again.
const SETTLE_AGAIN_MIN: Duration = Duration::from_millis(50);
const SETTLE_AGAIN_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the work that is given back at the end.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// How a worker works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerPolicy {
    /// Leases, attempts, backoff.
    pub lease: LeasePolicy,
    /// Orders in work at once.
    pub batch_size: usize,
    /// How often to look for due work when nothing wakes it.
    pub poll: Duration,
}

impl Default for WorkerPolicy {
    fn default() -> Self {
        Self { lease: LeasePolicy::default(), batch_size: 100, poll: Duration::from_secs(1) }
    }
}

/// What a worker has done since it started; read by metrics.
#[derive(Debug, Default)]
pub struct WorkerStats {
    /// Tries that succeeded.
    pub done: AtomicU64,
    /// Tries that failed and are repeated.
    pub failed: AtomicU64,
    /// Orders parked.
    pub parked: AtomicU64,
    /// Leases that were lost while the work ran: its result was refused.
    pub lease_lost: AtomicU64,
    /// Leases that ran out before they were claimed again.
    pub lapsed: AtomicU64,
    /// Orders in work now.
    pub running: AtomicU64,
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Step {
    /// Orders claimed.
    pub claimed: usize,
    /// When the next work is due, if the claim saw any.
    pub next_due: Option<Timestamp>,
}

type Held = Mutex<HashMap<LeaseToken, (OrderId, Arc<Notify>)>>;

/// Who works at which desk. What lies at others is left alone.
pub type Processors = BTreeMap<Desk, Arc<dyn Processor>>;

/// Processes orders. Clones share everything.
#[derive(Clone)]
pub struct Worker {
    app: Arc<App>,
    processors: Arc<Processors>,
    policy: WorkerPolicy,
    held: Arc<Held>,
    stats: Arc<WorkerStats>,
}

impl Worker {
    /// A worker of `app` that runs `processor` at every desk.
    pub fn new(app: Arc<App>, processor: Arc<dyn Processor>, policy: WorkerPolicy) -> Self {
        let processors = Desks::ALL.iter().map(|desk| (desk, Arc::clone(&processor))).collect();
        Self::at_desks(app, processors, policy)
    }

    /// A worker of `app` that runs the processor of each desk, and claims from these alone.
    pub fn at_desks(app: Arc<App>, processors: Processors, policy: WorkerPolicy) -> Self {
        let stats = Arc::clone(&app.worker_stats);
        Self { app, processors: Arc::new(processors), policy, held: Arc::default(), stats }
    }

    /// Claims what is due, works on it to the end and settles it. What `run` does all the time; for tests, once.
    ///
    /// # Errors
    /// When the claim fails; failures of single orders are their outcomes.
    pub async fn step(&self) -> Result<Step, Error> {
        let claimed = self.claim(self.policy.batch_size).await?;
        let step = Step { claimed: claimed.leased.len(), next_due: claimed.next_due };
        let mut tries = JoinSet::new();
        for leased in claimed.leased {
            let worker = self.clone();
            tries.spawn(async move { worker.attempt(leased).await });
        }
        while tries.join_next().await.is_some() {}
        Ok(step)
    }

    /// Extends every lease that is held; work whose lease is lost is stopped.
    ///
    /// # Errors
    /// When storage cannot be written; the leases then run on as they were.
    pub async fn beat(&self) -> Result<(), Error> {
        let held: Vec<_> = self.held().iter().map(|(token, (order_id, _))| (*order_id, *token)).collect();
        if held.is_empty() {
            return Ok(());
        }
        let (_, lost) = self.app.extend(held, self.policy.lease.lease).await?;
        let held = self.held();
        for token in lost {
            if let Some((_, stop)) = held.get(&token) {
                stop.notify_one();
            }
        }
        Ok(())
    }

    /// Works until `stop` says so, then lets what runs come to its end for at most `drain`; what is still running then
    /// is given back untouched and uses up no attempt.
    pub async fn run(self, mut stop: watch::Receiver<bool>, drain: Duration) {
        let mut tries = JoinSet::new();
        let mut beat = tokio::time::interval(self.policy.lease.heartbeat);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut look_at = Instant::now();
        while !*stop.borrow() {
            let full = tries.len() >= self.policy.batch_size;
            tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                _ = beat.tick() => self.beat_quietly(),
                Some(_) = tries.join_next(), if !tries.is_empty() => {
                    // What was committed together ends together.
                    while tries.try_join_next().is_some() {}
                    if full {
                        look_at = Instant::now();
                    }
                }
                () = self.app.wakes.work.notified() => look_at = Instant::now(),
                () = tokio::time::sleep_until(look_at), if !full => {
                    look_at = Instant::now() + self.claim_into(&mut tries, &mut beat).await;
                }
            }
        }
        self.drain(tries, drain).await;
    }

    /// Claims as much as there is room for and starts it; returns how long to wait before looking again. However long that
    /// takes, the leases that are held are extended meanwhile.
    async fn claim_into(&self, tries: &mut JoinSet<()>, beat: &mut Interval) -> Duration {
        let room = self.policy.batch_size - tries.len();
        let claiming = self.claim(room);
        tokio::pin!(claiming);
        let claimed = loop {
            tokio::select! {
                biased;
                claimed = &mut claiming => break claimed,
                _ = beat.tick() => self.beat_quietly(),
            }
        };
        match claimed {
            Ok(claimed) => {
                let full = claimed.leased.len() == room;
                for leased in claimed.leased {
                    let worker = self.clone();
                    tries.spawn(async move { worker.attempt(leased).await });
                }
                let due = claimed.next_due.map(|due| due.since(self.app.clock.now()));
                if full {
                    self.policy.poll
                } else {
                    due.map_or(self.policy.poll, |due| due.min(self.policy.poll))
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot claim work");
                self.policy.poll
            }
        }
    }

    fn beat_quietly(&self) {
        let worker = self.clone();
        tokio::spawn(async move {
            if let Err(error) = worker.beat().await {
                tracing::warn!(%error, "cannot extend leases");
            }
        });
    }

    async fn drain(&self, mut tries: JoinSet<()>, drain: Duration) {
        let deadline = tokio::time::sleep(drain);
        tokio::pin!(deadline);
        let mut beat = tokio::time::interval(self.policy.lease.heartbeat);
        while !tries.is_empty() {
            tokio::select! {
                _ = tries.join_next() => {}
                _ = beat.tick() => self.beat_quietly(),
                () = &mut deadline => {
                    tries.shutdown().await;
                }
            }
        }
        let left: Vec<_> = self
            .held()
            .drain()
            .map(|(token, (order_id, _))| self.clone().give_back(order_id, token))
            .collect();
        // All at once, so that they share a commit; a storage that is away gets its leases run out instead.
        let given = futures_util::future::join_all(left);
        if tokio::time::timeout(GIVE_BACK, given).await.is_err() {
            tracing::warn!("could not give all work back; its leases run out by themselves");
        }
    }

    async fn give_back(self, order_id: OrderId, token: LeaseToken) {
        let now = self.app.clock.now();
        if let Err(error) = self.app.settle(order_id, token, Outcome::Release { at: now }, now).await {
            tracing::warn!(%order_id, %error, "cannot give work back; its lease runs out by itself");
        }
    }

    async fn claim(&self, room: usize) -> Result<Claimed, Error> {
        let policy = self.policy.lease;
        let desks = self.processors.keys().copied().collect();
        self.app.claim(None, desks, room, policy.lease, policy.lapses_max).await
    }

    /// One try, from the processor to its settlement, in the trace that its work was made in.
    async fn attempt(&self, leased: Leased) {
        let mut span = self.app.tracer.begin(SpanName::Process, leased.trace);
        span.say(|| Attribute::OrderId(leased.order.id));
        span.say(|| Attribute::Attempt(leased.attempt));
        // What was not asked for is not leased: storage sets it aside.
        let Some(processor) = self.processors.get(&Desk::of(&leased.order.source)) else {
            tracing::error!(order_id = %leased.order.id, "leased what lies at another desk; its lease runs out by itself");
            return span.forget();
        };
        span.say(|| Attribute::Processor(processor.name()));
        trace::within(span.context(), self.try_once(processor, leased, &mut span)).await;
    }

    async fn try_once(&self, processor: &Arc<dyn Processor>, leased: Leased, span: &mut Span) {
        let (token, order_id) = (leased.token, leased.order.id);
        let stop = Arc::new(Notify::new());
        self.held().insert(token, (order_id, Arc::clone(&stop)));
        self.stats.running.fetch_add(1, Ordering::Relaxed);
        fault_point::pass("worker.mid_effect");
        let processed = tokio::select! {
            processed = isolated(processor, &leased) => Some(processed),
            () = stop.notified() => None,
        };
        match processed {
            Some(processed) => {
                fault_point::pass("worker.after_effect");
                self.settle(&leased, processed, span).await;
            }
            None => self.lost(order_id, span),
        }
        self.held().remove(&token);
        self.stats.running.fetch_sub(1, Ordering::Relaxed);
    }

    async fn settle(&self, leased: &Leased, processed: Processed, span: &mut Span) {
        let mut pause = SETTLE_AGAIN_MIN;
        loop {
            let now = self.app.clock.now();
            let outcome =
                outcome(processed.clone(), leased.attempt, &self.policy.lease, now, self.app.ids.unit());
            match self.app.settle(leased.order.id, leased.token, outcome.clone(), now).await {
                Ok(_) => {
                    say(leased.order.id, leased.attempt, &outcome, span.context());
                    return self.count(&outcome, span);
                }
                Err(Error::Rejection(Rejection::LeaseLost | Rejection::OrderUnknown)) => {
                    return self.lost(leased.order.id, span);
                }
                // Storage is away: the result is worth keeping, and the token fences it however late it comes.
                Err(error) => {
                    if pause == SETTLE_AGAIN_MIN {
                        let order_id = leased.order.id;
                        let trace_id = span.context().map(|at| tracing::field::display(at.trace_id_hex()));
                        tracing::warn!(%order_id, trace_id, %error, "cannot settle yet; trying again");
                    }
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(SETTLE_AGAIN_MAX);
                }
            }
        }
    }

    fn count(&self, outcome: &Outcome, span: &mut Span) {
        self.stats.count(outcome);
        pull::tell(outcome, span);
    }

    fn lost(&self, order_id: OrderId, span: &mut Span) {
        self.stats.lease_lost.fetch_add(1, Ordering::Relaxed);
        pull::lose(span);
        let trace_id = span.context().map(|context| tracing::field::display(context.trace_id_hex()));
        tracing::warn!(%order_id, trace_id, "lost the lease; the result of this try is dropped");
    }

    fn held(&self) -> MutexGuard<'_, HashMap<LeaseToken, (OrderId, Arc<Notify>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a processor in a task of its own, so that its panic is a failed try and nothing more.
async fn isolated(processor: &Arc<dyn Processor>, leased: &Leased) -> Processed {
    let (processor, leased) = (Arc::clone(processor), leased.clone());
    let mut task = JoinSet::new();
    task.spawn(trace::within(trace::current(), async move { processor.process(&leased).await }));
    match task.join_next().await {
        Some(Ok(processed)) => processed,
        Some(Err(_)) | None => {
            Processed::Failed { why: "the processor panicked".to_owned(), retry_after: None }
        }
    }
}

/// One line for each try that ended, whoever made it. Errors are not in it: they may hold personal data, and the order has
/// them.
pub(crate) fn say(order_id: OrderId, attempt: u32, outcome: &Outcome, at: Option<TraceContext>) {
    let trace_id = at.map(|at| tracing::field::display(at.trace_id_hex()));
    match outcome {
        Outcome::Done => tracing::debug!(%order_id, attempt, trace_id, "processed"),
        Outcome::Retry { at, .. } => {
            tracing::info!(%order_id, attempt, trace_id, %at, "failed; to be tried again");
        }
        Outcome::Park { .. } => {
            tracing::warn!(%order_id, attempt, trace_id, "parked: somebody should look at it");
        }
        Outcome::Release { .. } => {
            tracing::debug!(%order_id, attempt, trace_id, "given back");
        }
    }
}

/// Waits until `stop` says so, or nobody is left to say it.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// What a try comes to: the one place where retries and parking are decided.
pub fn outcome(
    processed: Processed,
    attempt: u32,
    policy: &LeasePolicy,
    now: Timestamp,
    chance: f64,
) -> Outcome {
    match processed {
        Processed::Done => Outcome::Done,
        Processed::Hopeless { why } => Outcome::Park { why: shortened(why) },
        Processed::Failed { why, .. } if attempt >= policy.attempts_max => {
            Outcome::Park { why: shortened(why) }
        }
        Processed::Failed { why, retry_after } => {
            let backoff = policy.backoff.delay(attempt, chance);
            let delay = retry_after.map_or(backoff, |asked| asked.max(backoff));
            Outcome::Retry { at: now.plus(delay), why: shortened(why) }
        }
    }
}

fn shortened(mut why: String) -> String {
    if why.len() > ERROR_BYTES_MAX {
        let mut end = ERROR_BYTES_MAX;
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        why.truncate(end);
        why.push('…');
    }
    // It is shown on terminals and stored in databases that refuse U+0000.
    if why.contains('\0') { why.replace('\0', "\u{fffd}") } else { why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::Backoff;

    fn failed(retry_after: Option<u64>) -> Processed {
        Processed::Failed { why: "no".to_owned(), retry_after: retry_after.map(Duration::from_secs) }
    }

    #[test]
    fn the_last_attempt_parks_and_earlier_ones_retry_later() {
        let policy = LeasePolicy { attempts_max: 3, ..LeasePolicy::default() };
        let now = Timestamp::from_micros(0);
        let at = |span| now.plus(Duration::from_secs(span));
        let why = || "no".to_owned();
        assert_eq!(outcome(failed(None), 1, &policy, now, 1.0), Outcome::Retry { at: at(1), why: why() });
        assert_eq!(outcome(failed(None), 2, &policy, now, 1.0), Outcome::Retry { at: at(2), why: why() });
        assert_eq!(outcome(failed(None), 3, &policy, now, 1.0), Outcome::Park { why: why() });
        assert_eq!(
            outcome(Processed::Hopeless { why: why() }, 1, &policy, now, 0.0),
            Outcome::Park { why: why() }
        );
        assert_eq!(outcome(Processed::Done, 9, &policy, now, 0.0), Outcome::Done);
    }

    #[test]
    fn what_the_other_side_asks_for_is_honoured_and_never_shortens_the_backoff() {
        let backoff = Backoff { base: Duration::from_secs(10), cap: Duration::from_secs(10) };
        let policy = LeasePolicy { backoff, ..LeasePolicy::default() };
        let now = Timestamp::from_micros(0);
        let at = |outcome| match outcome {
            Outcome::Retry { at, .. } => at.micros() / 1_000_000,
            _ => -1,
        };
        assert_eq!(at(outcome(failed(Some(60)), 1, &policy, now, 1.0)), 60);
        assert_eq!(at(outcome(failed(Some(1)), 1, &policy, now, 1.0)), 10);
    }

    #[test]
    fn long_errors_are_cut_at_a_character() {
        let cut = shortened("é".repeat(2_000));
        assert!(cut.len() <= ERROR_BYTES_MAX + "…".len() && cut.ends_with('…'));
        assert_eq!(shortened("a\0b".to_owned()), "a\u{fffd}b");
    }
}
