//! The courier: claims streams that are due, sends what is at the head of each, settles what came of it. Each node that carries
//! webhooks has one.
//!
//! What it holds is bounded, whatever receivers do: so many deliveries, so many of one endpoint and of one tenant (see
//! [`super::claims`]), so many bytes. A try is over
//! within its time limit, which is shorter than a lease; so leases are not extended.

use super::attempt::{Attempt, AttemptOutcome};
use super::command::{
    ClaimStreams, Settle, SettleAs, SettleStreams, StreamsClaimed, StreamsSettled, WebhookCommand,
    WebhookReply,
};
use super::endpoint::{DisabledFor, Endpoint, EndpointAction, has_failed_too_long};
use super::manage;
use super::parcel::{self, Parcel, Prepared};
use super::schedule;
use super::sending::{ANSWER_BYTES_MAX, Answered};
use crate::action_log::{self, Actor};
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Rejection};
use crate::fault_point;
use crate::ids::LeaseToken;
use crate::meter::Histogram;
use crate::ports::Deliverer;
use crate::trace::{Attribute, SpanName};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Longest text that is kept of why a try failed, in bytes.
const WHY_BYTES_MAX: usize = 300;
/// Between two tries to settle what cannot be settled.
const SETTLE_AGAIN: Duration = Duration::from_millis(500);
/// When what could not be prepared, for a fault of ours, is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// How a courier works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CourierPolicy {
    /// Deliveries of this node at once.
    pub in_flight_max: usize,
    /// Deliveries of one endpoint at once, on all nodes together.
    pub endpoint_in_flight_max: u32,
    /// The same of an endpoint that has taken nothing yet, or nothing since it failed.
    pub unproven_in_flight_max: u32,
    /// Bytes of bodies on their way, roughly, above which nothing more is claimed.
    pub bytes_max: usize,
    /// How long what it claims is its own.
    pub lease: Duration,
    /// How often to look for due streams when nothing wakes it.
    pub poll: Duration,
}

impl Default for CourierPolicy {
    fn default() -> Self {
        Self {
            in_flight_max: 256,
            endpoint_in_flight_max: 16,
            unproven_in_flight_max: 1,
            bytes_max: 16 << 20,
            lease: Duration::from_secs(30),
            poll: Duration::from_secs(1),
        }
    }
}

/// What the courier of a process has done since it started; read by metrics.
#[derive(Debug, Default)]
pub struct CourierStats {
    /// Tries that were taken.
    pub delivered: AtomicU64,
    /// Tries that failed and are repeated.
    pub retried: AtomicU64,
    /// Deliveries given up.
    pub failed: AtomicU64,
    /// Tries whose lease was lost meanwhile.
    pub lease_lost: AtomicU64,
    /// Endpoints it has disabled.
    pub disabled: AtomicU64,
    /// Deliveries on their way now.
    pub in_flight: AtomicU64,
    /// How long tries took.
    pub took: Histogram,
}

/// A try that has ended.
struct Ended {
    settle: Settle,
    /// Whom something was sent to.
    endpoint: Option<Arc<Endpoint>>,
    /// Whether it wants nothing any more.
    is_gone: bool,
    bytes: usize,
}

impl Ended {
    /// Before anything was sent.
    fn unsent(settle: Settle) -> Self {
        Self { settle, endpoint: None, is_gone: false, bytes: 0 }
    }
}

/// See the module.
pub struct Courier {
    app: Arc<App>,
    deliverer: Arc<dyn Deliverer>,
    policy: CourierPolicy,
}

/// What it holds on to.
#[derive(Default)]
struct Load {
    tries: JoinSet<Ended>,
    bytes: usize,
    /// What has ended and is not settled yet.
    ended: Vec<Ended>,
    /// Whether that failed when it was tried last.
    is_behind: bool,
    /// What is claimed, for whoever gives it back.
    held: BTreeMap<(i64, uuid::Uuid), Settle>,
}

impl Load {
    fn take(&mut self, ended: Ended) {
        self.bytes = self.bytes.saturating_sub(ended.bytes);
        self.held.remove(&(ended.settle.endpoint, ended.settle.subject.id));
        self.ended.push(ended);
    }
}

impl Courier {
    /// The courier of `app`.
    pub fn new(app: Arc<App>, deliverer: Arc<dyn Deliverer>, policy: CourierPolicy) -> Self {
        Self { app, deliverer, policy }
    }

    /// Claims what is due, sends it and settles it. What `run` does all the time; for tests, once. Tells how many streams it
    /// claimed, and when the next is due.
    ///
    /// # Errors
    /// When the claim fails, or the settling.
    pub async fn step(&self) -> Result<(usize, Option<Timestamp>), Error> {
        let mut load = Load::default();
        let claimed = self.claimed(self.room(&load), &load).await?;
        let (claimed, next_due) = self.take_on(&mut load, claimed).await;
        while let Some(ended) = load.tries.join_next().await {
            if let Ok(ended) = ended {
                load.take(ended);
            }
        }
        let settled = self.settled(&load.ended).await;
        self.note(&mut load, settled).await?;
        Ok((claimed, next_due))
    }

    /// Delivers until `stop` says so; what is on its way then is waited for, for at most `drain`, and given back.
    pub async fn run(self, mut stop: watch::Receiver<bool>, drain: Duration) {
        let mut load = Load::default();
        let mut look_at = Instant::now();
        while !*stop.borrow() {
            let full = self.room(&load) == 0;
            // What it gives holds a lock, which may not be held while others are awaited.
            let stopped = async { drop(stop.wait_for(|stop| *stop).await) };
            tokio::select! {
                biased;
                () = stopped => break,
                Some(ended) = load.tries.join_next(), if !load.tries.is_empty() => {
                    self.took(&mut load, ended);
                    // What was sent together ends together, nearly.
                    tokio::task::yield_now().await;
                    while let Some(ended) = load.tries.try_join_next() {
                        self.took(&mut load, ended);
                    }
                    look_at = Instant::now();
                }
                () = self.app.wakes.deliveries.notified() => look_at = Instant::now(),
                () = tokio::time::sleep_until(look_at), if !full || !load.ended.is_empty() => {
                    look_at = Instant::now() + self.turn(&mut load).await;
                }
            }
        }
        self.drain(load, drain).await;
    }

    fn took(&self, load: &mut Load, ended: Result<Ended, tokio::task::JoinError>) {
        match ended {
            Ok(ended) => load.take(ended),
            // Its lease runs out by itself.
            Err(error) => tracing::error!(%error, "a delivery ended without a result"),
        }
    }

    /// Settles what has ended and claims what is due, in one commit most often; returns how long to wait before looking again.
    async fn turn(&self, load: &mut Load) -> Duration {
        let claiming = async {
            match self.room(load) {
                0 => Ok(StreamsClaimed::default()),
                room => self.claimed(room, load).await,
            }
        };
        let (settled, claimed) = tokio::join!(self.settled(&load.ended), claiming);
        if let Err(error) = self.note(load, settled).await {
            tracing::warn!(%error, waiting = load.ended.len(), "cannot settle deliveries; trying again");
            self.take_on(load, claimed.unwrap_or_default()).await;
            return SETTLE_AGAIN;
        }
        match claimed {
            Ok(claimed) => {
                let (_, next_due) = self.take_on(load, claimed).await;
                let next = next_due.map(|due| due.since(self.app.clock.now()));
                let wait = next.map_or(self.policy.poll, |wait| wait.min(self.policy.poll));
                // What is settled already goes into the next turn at once.
                if load.ended.is_empty() { wait } else { Duration::ZERO }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot claim deliveries");
                self.policy.poll
            }
        }
    }

    /// How many more may be claimed. What has ended is settled meanwhile; if it could not be, it takes room like the rest.
    fn room(&self, load: &Load) -> usize {
        if load.bytes >= self.policy.bytes_max {
            return 0;
        }
        let unsettled = if load.is_behind { load.ended.len() } else { 0 };
        self.policy.in_flight_max.saturating_sub(load.tries.len() + unsettled)
    }

    async fn claimed(&self, room: usize, load: &Load) -> Result<StreamsClaimed, Error> {
        let token = LeaseToken(self.app.ids.uuid_v4());
        let mut held = BTreeMap::new();
        for (endpoint, _) in load.held.keys() {
            *held.entry(*endpoint).or_default() += 1;
        }
        let claim = ClaimStreams {
            token,
            room,
            pool: self.policy.in_flight_max,
            held,
            turn: token.0.as_u64_pair().1,
            in_flight_max: self.policy.endpoint_in_flight_max,
            unproven_max: self.policy.unproven_in_flight_max,
            now: self.app.clock.now(),
            lease: self.policy.lease,
        };
        match self.app.webhook(WebhookCommand::Claim(claim)).await? {
            WebhookReply::Claimed(claimed) => Ok(claimed),
            other => Err(manage::unexpected("a claim of streams", other)),
        }
    }

    /// Begins with what was claimed; tells how many streams that were, and when the next is due.
    async fn take_on(&self, load: &mut Load, claimed: StreamsClaimed) -> (usize, Option<Timestamp>) {
        let StreamsClaimed { streams, endpoints, next_due } = claimed;
        let count = streams.len();
        if count == 0 {
            return (0, next_due);
        }
        // A fault here is not the receivers': nothing is used up.
        match parcel::prepare(&self.app, streams.clone(), endpoints).await {
            Ok(prepared) => prepared.into_iter().for_each(|one| self.begin(load, one)),
            Err(error) => {
                tracing::warn!(%error, "cannot read what is to be delivered");
                let at = self.app.clock.now().plus(self.policy.poll);
                for stream in &streams {
                    let (Some(head), Some(token)) = (stream.head(), stream.token) else { continue };
                    let settle = parcel::settle(stream, head, token, 0, SettleAs::Release { at });
                    load.ended.push(Ended::unsent(settle));
                }
            }
        }
        (count, next_due)
    }

    fn begin(&self, load: &mut Load, prepared: Prepared) {
        let parcel = match prepared {
            Prepared::Send(parcel) => *parcel,
            Prepared::Settle(settle) => return load.ended.push(Ended::unsent(settle)),
        };
        let now = self.app.clock.now();
        let sending = match parcel::sending(&self.app, &parcel.endpoint, &parcel.told, now) {
            Ok(sending) => sending,
            Err(error) => {
                tracing::error!(%error, endpoint_id = %parcel.endpoint.endpoint_id, "cannot sign what it is to be sent");
                let settle = parcel.settle(SettleAs::Release { at: now.plus(LOOK_AGAIN) });
                return load.ended.push(Ended::unsent(settle));
            }
        };
        let bytes = sending.body.len();
        load.bytes += bytes;
        let back = parcel.settle(SettleAs::Release { at: now });
        load.held.insert((back.endpoint, back.subject.id), back);
        self.app.courier_stats.in_flight.fetch_add(1, Ordering::Relaxed);
        let (app, deliverer) = (Arc::clone(&self.app), Arc::clone(&self.deliverer));
        load.tries.spawn(async move {
            let mut span = app.tracer.child(SpanName::Deliver, parcel.trace());
            span.say(|| Attribute::EventType(parcel.told.kind().to_owned()));
            span.say(|| Attribute::Sink("webhook"));
            span.say(|| Attribute::Attempt(parcel.stream.attempt + 1));
            let answered = deliverer.deliver(sending).await;
            if answered.is_taken() {
                fault_point::pass("webhook.after_2xx");
            } else {
                span.fail();
            }
            drop(span);
            app.courier_stats.in_flight.fetch_sub(1, Ordering::Relaxed);
            app.courier_stats.took.record(answered.took);
            let (endpoint, is_gone) = (Some(Arc::clone(&parcel.endpoint)), answered.is_gone());
            Ended { settle: ended(&app, &parcel, answered, now), endpoint, is_gone, bytes }
        });
    }

    /// Settles what has ended.
    async fn settled(&self, ended: &[Ended]) -> Result<StreamsSettled, Error> {
        if ended.is_empty() {
            return Ok(StreamsSettled::default());
        }
        let settles: Vec<Settle> = ended.iter().map(|ended| ended.settle.clone()).collect();
        let command = SettleStreams { settles, now: self.app.clock.now() };
        match self.app.webhook(WebhookCommand::Settle(command)).await? {
            WebhookReply::Settled(settled) => Ok(settled),
            other => Err(manage::unexpected("settling streams", other)),
        }
    }

    /// Notes what was settled: all that has ended. What could not be is kept.
    async fn note(&self, load: &mut Load, settled: Result<StreamsSettled, Error>) -> Result<(), Error> {
        load.is_behind = settled.is_err();
        let settled = settled?;
        let ended = std::mem::take(&mut load.ended);
        self.count(&ended, &settled);
        self.disable(&ended, &settled).await;
        Ok(())
    }

    fn count(&self, ended: &[Ended], settled: &StreamsSettled) {
        let stats = &self.app.courier_stats;
        for attempt in super::command::kept_attempts(ended.iter().map(|one| &one.settle), &settled.lost) {
            let counter = match attempt.outcome {
                AttemptOutcome::Delivered => &stats.delivered,
                AttemptOutcome::Retry => &stats.retried,
                AttemptOutcome::Failed => &stats.failed,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if !settled.lost.is_empty() {
            stats.lease_lost.fetch_add(settled.lost.len() as u64, Ordering::Relaxed);
            tracing::warn!(count = settled.lost.len(), "lost leases of deliveries; they may come twice");
        }
    }

    /// Disables endpoints that said that they are gone, and those that have failed for too long.
    async fn disable(&self, ended: &[Ended], settled: &StreamsSettled) {
        let now = self.app.clock.now();
        let mut ends: BTreeMap<i64, (Arc<Endpoint>, DisabledFor)> = BTreeMap::new();
        for one in ended {
            let Some(endpoint) = &one.endpoint else { continue };
            let since = settled.failing.iter().find(|(number, _)| *number == endpoint.number);
            if one.is_gone {
                ends.insert(endpoint.number, (Arc::clone(endpoint), DisabledFor::Gone));
            } else if has_failed_too_long(since.map(|(_, since)| *since), now) {
                ends.entry(endpoint.number).or_insert((Arc::clone(endpoint), DisabledFor::Failing));
            }
        }
        for (endpoint, why) in ends.into_values() {
            self.disable_one(&endpoint, why).await;
        }
    }

    async fn disable_one(&self, endpoint: &Endpoint, why: DisabledFor) {
        let (tenant, endpoint_id) = (endpoint.tenant.clone(), endpoint.endpoint_id);
        let actor = Actor { tenant: tenant.clone(), by: "courier".into(), address: None, request_id: None };
        let disabling = self.app.change_endpoint(&tenant, endpoint_id, EndpointAction::Disable(why));
        match action_log::within(Some(Arc::new(actor)), disabling).await {
            Ok(_) => {
                self.app.courier_stats.disabled.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%endpoint_id, why = why.word(), "an endpoint is disabled: nothing more is sent to it");
            }
            // Somebody was faster, or it is not so any more.
            Err(Error::Rejection(Rejection::EndpointChanged | Rejection::EndpointUnknown)) => {}
            Err(error) => tracing::warn!(%endpoint_id, %error, "cannot disable an endpoint"),
        }
    }

    async fn drain(&self, mut load: Load, drain: Duration) {
        let deadline = tokio::time::sleep(drain);
        tokio::pin!(deadline);
        while !load.tries.is_empty() {
            tokio::select! {
                Some(ended) = load.tries.join_next() => self.took(&mut load, ended),
                () = &mut deadline => {
                    load.tries.shutdown().await;
                    let held = std::mem::take(&mut load.held).into_values();
                    load.ended.extend(held.map(Ended::unsent));
                }
            }
        }
        let settled = self.settled(&load.ended).await;
        if let Err(error) = self.note(&mut load, settled).await {
            tracing::warn!(%error, "cannot settle deliveries at the end; their leases run out by themselves");
        }
    }
}

/// What came of a try.
fn ended(app: &App, parcel: &Parcel, answered: Answered, began_at: Timestamp) -> Settle {
    let (now, attempt) = (app.clock.now(), parcel.stream.attempt + 1);
    let wait = schedule::wait(parcel.endpoint.dialect, attempt, answered.retry_after, app.ids.unit());
    let wait = wait.filter(|_| !fault_point::planted("webhook-skip"));
    let (outcome, how) = match wait {
        _ if answered.is_taken() => (AttemptOutcome::Delivered, SettleAs::Passed { at: now }),
        Some(wait) => (AttemptOutcome::Retry, SettleAs::Retry { at: now.plus(wait) }),
        None => (AttemptOutcome::Failed, SettleAs::Passed { at: now }),
    };
    let why = match answered.status {
        _ if answered.is_taken() => None,
        Some(status) => Some(format!("the receiver answered {status}")),
        None => {
            Some(answered.why.as_deref().unwrap_or("no answer").chars().take(WHY_BYTES_MAX / 4).collect())
        }
    };
    let mut answer = answered.body;
    answer.truncate(ANSWER_BYTES_MAX);
    let mut settle = parcel.settle(how);
    settle.attempt = Some(Box::new(Attempt {
        attempt_id: app.ids.uuid_v7(began_at),
        endpoint: parcel.stream.endpoint,
        tenant: parcel.stream.tenant.clone(),
        subject: parcel.stream.subject,
        version: parcel.told.version(),
        event_id: parcel.told.event_id(),
        kind: parcel.told.kind().to_owned(),
        attempt,
        at: began_at,
        url: parcel.endpoint.url.clone(),
        took: answered.took,
        outcome,
        status: answered.status,
        why,
        answer,
        retry_at: match how {
            SettleAs::Retry { at } => Some(at),
            SettleAs::Passed { .. } | SettleAs::Release { .. } => None,
        },
    }));
    settle
}
