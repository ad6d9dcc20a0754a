//! Work for workers outside: they lease it, extend their leases and end it, each call a command under the token. What a
//! try comes to is decided where the worker of this process has it decided ([`crate::process::outcome`]).

use crate::app::{App, unexpected};
use crate::clock::Timestamp;
use crate::command::{Claim, Claimed, Command, Heartbeat, Reply, Settle};
use crate::error::{Error, Rejection};
use crate::ids::{EventId, LeaseToken, OrderId, TenantId};
use crate::lease::{LeasePolicy, Outcome};
use crate::order::Order;
use crate::ports::Processed;
use crate::process::{WorkerStats, outcome};
use crate::trace;
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
}

impl App {
    /// Leases due work, at most `count` pieces, for `lease`; of one tenant, or of any. Nothing is leased only when nothing
    /// is due: what must be parked instead does not count, however much of it there is.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn claim(
        &self,
        tenant: Option<TenantId>,
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
            let claim = Claim { tenant, tokens, event_ids, now, lease, lapses_max };
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

    /// Waits until work of `tenant` is due, at most until `deadline` or the end of the process; returns whether
    /// some is.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn work_is_due(&self, tenant: &TenantId, deadline: Instant) -> Result<bool, Error> {
        let mut grew = self.wakes.journal.subscribe();
        let mut stopping = self.stopping.subscribe();
        let mut woken = false;
        loop {
            grew.mark_unchanged();
            let next_due = self.storage.next_due(tenant).await?;
            let wait = next_due.map(|due| due.since(self.clock.now()));
            if wait == Some(Duration::ZERO) {
                return Ok(true);
            }
            if woken {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            if Instant::now() >= deadline || *stopping.borrow() {
                return Ok(false);
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
        let settled = self.settle(held.order_id, held.token, outcome.clone(), now).await;
        // The order of a token is there for ever; were it not, so would its lease not be.
        let settled = settled.map_err(|error| match error {
            Error::Rejection(Rejection::OrderUnknown) => Rejection::LeaseLost.into(),
            other => other,
        });
        match &settled {
            Ok(_) => self.worker_stats.count(&outcome),
            Err(Error::Rejection(Rejection::LeaseLost)) => {
                self.worker_stats.lease_lost.fetch_add(1, Ordering::Relaxed);
            }
            Err(_) => {}
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
