//! A lease is a due time: the time-boxed right to a piece of work, fenced by a token.

use crate::clock::Timestamp;
use crate::ids::{EventId, LeaseToken, OrderId, Shard};
use crate::order::Order;
use crate::trace::TraceContext;
use std::time::Duration;

/// More leases in a row than may run out before an order is parked, whatever the settings say.
pub const LAPSES_MAX: u32 = 1_000;
/// The longest lease, and an hour for clocks that differ.
pub const LEASED_FOR_MAX: Duration = Duration::from_secs(2 * 3_600);
/// The longest wait that a retry may ask for, and an hour for clocks that differ.
pub const PUT_OFF_FOR_MAX: Duration = Duration::from_secs(25 * 3_600);

/// A claimable row: someone must do this once `due_at` has come. Claiming moves `due_at` to the end of the lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The order that it is for.
    pub order_id: OrderId,
    /// When it may be claimed (again).
    pub due_at: Timestamp,
    /// Attempts used up so far.
    pub attempt: u32,
    /// Leases in a row that ran out.
    pub lapses: u32,
    /// Who holds it; `None` when nobody does.
    pub token: Option<LeaseToken>,
    /// When the lease began.
    pub claimed_at: Option<Timestamp>,
    /// Where in a trace the work was made.
    pub trace: Option<TraceContext>,
}

/// A piece of work in the hands of a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leased {
    /// The order as it was when claimed.
    pub order: Order,
    /// Its shard.
    pub shard: Shard,
    /// The fence value: finishing is refused without it.
    pub token: LeaseToken,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// Leases in a row that ran out before this one.
    pub lapses: u32,
    /// When the lease began.
    pub began_at: Timestamp,
    /// When it runs out, unless extended.
    pub until: Timestamp,
    /// The idempotency key of the outside effect: stable over retries, lapses and redrives.
    pub effect_key: EventId,
    /// Where in a trace the work was made.
    pub trace: Option<TraceContext>,
}

/// How a piece of work ended; decided in one function for each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Try again at `at`; uses up an attempt.
    Retry {
        /// When.
        at: Timestamp,
        /// Why, for people.
        why: String,
    },
    /// It waits for an operator.
    Park {
        /// Why, for people.
        why: String,
    },
    /// Given back untouched, due at `at`; uses up nothing. For shutdown, and for faults of our own.
    Release {
        /// When it may be claimed again.
        at: Timestamp,
    },
}

/// Exponential backoff with equal jitter: half of the span is certain, half is chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Span after the first failed attempt.
    pub base: Duration,
    /// Longest span.
    pub cap: Duration,
}

impl Backoff {
    /// How long to wait after failed attempt number `attempt` (from 1); `chance` is in `0.0..1.0`.
    pub fn delay(self, attempt: u32, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let span = self.base.saturating_mul(1_u32 << doublings).min(self.cap);
        span / 2 + (span / 2).mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// How work of one kind is leased and retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeasePolicy {
    /// How long a lease lasts.
    pub lease: Duration,
    /// How often it is extended while work goes on.
    pub heartbeat: Duration,
    /// Attempts before parking, at least 1.
    pub attempts_max: u32,
    /// Lapses in a row before parking, at least 1.
    pub lapses_max: u32,
    /// Between attempts.
    pub backoff: Backoff,
}

impl Default for LeasePolicy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            attempts_max: 20,
            lapses_max: 10,
            backoff: Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(900) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { base: Duration::from_secs(1), cap: Duration::from_secs(900) };

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let ends: Vec<u64> =
            [1, 2, 3, 10, 11, 12, 500].iter().map(|&n| BACKOFF.delay(n, 1.0).as_secs()).collect();
        assert_eq!(ends, [1, 2, 4, 512, 900, 900, 900]);
    }

    #[test]
    fn at_least_half_of_the_span_is_certain() {
        for attempt in 1..40 {
            let (least, most) = (BACKOFF.delay(attempt, 0.0), BACKOFF.delay(attempt, 1.0));
            assert_eq!(least * 2, most);
            assert!(BACKOFF.delay(attempt, 0.3) >= least && BACKOFF.delay(attempt, 0.3) <= most);
        }
    }
}
