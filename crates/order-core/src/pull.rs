//! Work for workers outside: they lease it, extend their leases and end it, each call a command under the token. What a
//! try comes to is decided where the worker of this process has it decided ([`crate::process::outcome`]).

use crate::app::{App, unexpected};
use crate::clock::Timestamp;
use crate::command::{Claim, Claimed, Command, Heartbeat, Reply, Settle};
use crate::desk::Desks;
use crate::error::{Error, Rejection};
use crate::ids::{EventId, LeaseToken, OrderId, TenantId};
use crate::lease::{LeasePolicy, Leased, Outcome};
use crate::order::Order;
use crate::ports::Processed;
use crate::process::{WorkerStats, outcome, say};
use crate::trace::{self, Attribute, Begun, Span, SpanName};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// Orders that a claim parks at most which follows one that found nothing else.
const PARKS_AGAIN: usize = 100;
/// Between two looks while commits keep coming that bring other work.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A piece of work in the hands of a worker outside, as its token names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The order.
    pub order_id: OrderId,
    /// The fence value.
    pub token: LeaseToken,
    /// Which try it is, from 1.
    pub attempt: u32,
    /// The span of the try, which began with the claim; `None` when the work is of no trace.
    pub begun: Option<Begun>,
}

/// What such workers are called in traces.
const PROCESSOR: &str = "pull";

impl App {
    /// Leases due work, at most `count` pieces, for `lease`; of one tenant, or of any, and from some desks. What must be parked
    /// instead does not count, however much of it there is.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn claim(
        &self,
        tenant: Option<TenantId>,
        desks: Desks,
        count: usize,
        lease: Duration,
        lapses_max: u32,
    ) -> Result<Claimed, Error> {
        let mut parks = count;
        loop {
            let now = self.clock.now();
            let tokens = (0..count).map(|_| LeaseToken(self.ids.uuid_v4())).collect();
            let event_ids = (0..parks).map(|_| EventId(self.ids.uuid_v7(now))).collect();
            let tenant = tenant.clone();
            let claim = Claim { tenant, desks, tokens, event_ids, now, lease, lapses_max };
            let claimed = match self.lanes.submit(Command::Claim(claim)).await? {
                Reply::Claimed(claimed) => claimed,
                other => return Err(unexpected("claim", &other)),
            };
            self.worker_stats.lapsed.fetch_add(u64::from(claimed.lapsed), Ordering::Relaxed);
            self.worker_stats.parked.fetch_add(u64::from(claimed.parked), Ordering::Relaxed);
            let more = claimed.next_due.is_some_and(|due| due <= now);
            if !more || !claimed.leased.is_empty() || count == 0 {
                return Ok(claimed);
            }
            parks = parks.max(PARKS_AGAIN);
        }
    }

    /// What a worker outside holds that gets `leased`. Its try is a span of the work's trace, from now to its end.
    pub fn hold(&self, leased: &Leased) -> Held {
        let parent = leased.trace.map(|trace| trace.span_id());
        let begun = self.tracer.place(leased.trace).map(|context| Begun {
            context,
            parent,
            began_at: leased.began_at,
        });
        Held { order_id: leased.order.id, token: leased.token, attempt: leased.attempt, begun }
    }

    /// Waits until work of `tenant` at some desks is due, at most until `deadline` or the end of the process; returns whether
    /// some is, and time is left to claim it.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn work_is_due(
        &self,
        tenant: &TenantId,
        desks: Desks,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let mut grew = self.wakes.journal.subscribe();
        let mut stopping = self.stopping.subscribe();
        let mut woken = false;
        loop {
            grew.mark_unchanged();
            let next_due = self.storage.next_due(tenant, desks).await?;
            // Before all else: what is due may be taken by others, and come without end.
            if Instant::now() >= deadline || *stopping.borrow() {
                return Ok(false);
            }
            let wait = next_due.map(|due| due.since(self.clock.now()));
            if wait == Some(Duration::ZERO) {
                return Ok(true);
            }
            if woken {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            // Work becomes due by an event, or by time alone.
            let due = wait.map_or(deadline, |wait| (Instant::now() + wait).min(deadline));
            woken = tokio::select! {
                grown = grew.changed() => grown.is_ok(),
                _ = stopping.changed() => false,
                () = tokio::time::sleep_until(due) => false,
            };
        }
    }

    /// Extends leases until `lease` from now; returns until when, and the tokens that hold nothing any more.
    ///
    /// # Errors
    /// Faults of storage; the leases then run on as they were.
    pub async fn extend(
        &self,
        held: Vec<(OrderId, LeaseToken)>,
        lease: Duration,
    ) -> Result<(Timestamp, Vec<LeaseToken>), Error> {
        let now = self.clock.now();
        let until = now.plus(lease);
        let heartbeat = Heartbeat { held, now, until };
        match self.lanes.submit(Command::Heartbeat(heartbeat)).await? {
            Reply::Extended { lost } => Ok((until, lost)),
            other => Err(unexpected("heartbeat", &other)),
        }
    }

    /// As [`App::extend`], for a worker outside: that it lives is told in the traces of its work.
    ///
    /// # Errors
    /// Faults of storage; the leases then run on as they were.
    pub async fn keep(&self, held: &[Held], lease: Duration) -> Result<(Timestamp, Vec<LeaseToken>), Error> {
        let mut spans: Vec<_> = held.iter().map(|held| self.span(SpanName::Heartbeat, held)).collect();
        let extended =
            self.extend(held.iter().map(|held| (held.order_id, held.token)).collect(), lease).await;
        for (held, span) in held.iter().zip(&mut spans) {
            match &extended {
                Ok((_, lost)) if lost.contains(&held.token) => lose(span),
                Ok(_) => {}
                Err(_) => span.fail(),
            }
        }
        extended
    }

    /// A span in the trace of what is held, linked to the request that asks.
    fn span(&self, name: SpanName, held: &Held) -> Span {
        let mut span = match (name, &held.begun) {
            (SpanName::Process, Some(begun)) => self.tracer.resume(name, begun),
            (_, begun) => self.tracer.child(name, begun.map(|begun| begun.context)),
        };
        span.say(|| Attribute::OrderId(held.order_id));
        span.say(|| Attribute::Attempt(held.attempt));
        if let Some(asks) = trace::current() {
            span.link(asks);
        }
        span
    }

    /// Ends a try that a worker outside made; returns the order as it is now.
    ///
    /// # Errors
    /// [`Rejection::LeaseLost`]; faults of storage.
    pub async fn finish(
        &self,
        held: Held,
        processed: Processed,
        policy: &LeasePolicy,
    ) -> Result<Order, Error> {
        let now = self.clock.now();
        let outcome = outcome(processed, held.attempt, policy, now, self.ids.unit());
        let mut span = self.span(SpanName::Process, &held);
        span.say(|| Attribute::Processor(PROCESSOR));
        // The end is an event of the trace that the order came in with, whichever trace the worker is in.
        let settling = self.settle(held.order_id, held.token, outcome.clone(), now);
        let settled = trace::within(span.context().or_else(trace::current), settling).await;
        // The order of a token is there for ever; were it not, so would its lease not be.
        let settled = settled.map_err(|error| match error {
            Error::Rejection(Rejection::OrderUnknown) => Rejection::LeaseLost.into(),
            other => other,
        });
        match &settled {
            Ok(_) => {
                self.worker_stats.count(&outcome);
                say(held.order_id, held.attempt, &outcome, span.context().or_else(trace::current));
                tell(&outcome, &mut span);
            }
            Err(Error::Rejection(Rejection::LeaseLost)) => {
                self.worker_stats.lease_lost.fetch_add(1, Ordering::Relaxed);
                lose(&mut span);
            }
            // It has not ended: the result comes again.
            Err(_) => span.forget(),
        }
        settled
    }

    /// As [`App::finish`], for several at once, so that they share commits; what became of each, in their order.
    pub async fn finish_all(
        &self,
        results: &[(Held, Processed)],
        policy: &LeasePolicy,
    ) -> Vec<Result<Order, Error>> {
        let finish = |(held, processed): &(Held, Processed)| self.finish(*held, processed.clone(), policy);
        futures_util::future::join_all(results.iter().map(finish)).await
    }

    /// Ends a leased piece of work. `now` is what `outcome` was told too: the wait that it holds begins at the event.
    pub(crate) async fn settle(
        &self,
        order_id: OrderId,
        token: LeaseToken,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<Order, Error> {
        let event_id = EventId(self.ids.uuid_v7(now));
        let settle = Settle { order_id, token, outcome, event_id, now, trace: trace::current() };
        match self.lanes.submit(Command::Settle(Box::new(settle))).await? {
            Reply::Settled(order) => Ok(*order),
            other => Err(unexpected("settle", &other)),
        }
    }
}

/// Says in the span of a try how that ended.
pub(crate) fn tell(outcome: &Outcome, span: &mut Span) {
    let word = match outcome {
        Outcome::Done => "done",
        Outcome::Retry { .. } => "failed",
        Outcome::Park { .. } => "parked",
        Outcome::Release { .. } => return,
    };
    span.say(|| Attribute::Outcome(word));
    if *outcome != Outcome::Done {
        span.fail();
    }
}

/// Says in a span that somebody else has the work.
pub(crate) fn lose(span: &mut Span) {
    span.say(|| Attribute::Outcome("lease_lost"));
    span.fail();
}

impl WorkerStats {
    /// Counts a try that was settled.
    pub(crate) fn count(&self, outcome: &Outcome) {
        let counter = match outcome {
            Outcome::Done => &self.done,
            Outcome::Retry { .. } => &self.failed,
            Outcome::Park { .. } => &self.parked,
            Outcome::Release { .. } => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
