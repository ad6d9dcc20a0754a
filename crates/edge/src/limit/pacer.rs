//! Paces those who are refused and ask again at once. A refusal costs little, and a flood of them everything: what is spent on
//! them is missing where requests are served.

use super::rate::{Paid, Rate};
use order_core::Timestamp;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Refusals a second that cost nobody a pause.
const PER_SECOND: u32 = 2_000;
/// As many at once as come in this time.
const BURST: Duration = Duration::from_secs(1);
/// Longest pause: what `Retry-After` says at least, so that who obeys it notices nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Says how long a connection is left alone on which a request was refused.
pub(crate) struct Pacer {
    rate: Rate,
    paid: Mutex<Paid>,
}

impl Pacer {
    pub(crate) fn new() -> Self {
        Self { rate: Rate::per_second(PER_SECOND, BURST), paid: Mutex::default() }
    }

    /// One more was refused: how long nothing is read from its connection.
    pub(crate) fn pause(&self, now: Timestamp) -> Duration {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, wait) = self.rate.queue(*paid, now, PAUSE_MAX);
        *paid = next;
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use order_core::Clock;
    use testkit::ManualClock;

    #[test]
    fn a_few_refusals_cost_no_pause_and_a_flood_is_paced() {
        let (pacer, clock) = (Pacer::new(), ManualClock::new());
        for _ in 0..PER_SECOND {
            assert_eq!(pacer.pause(clock.now()), Duration::ZERO);
        }
        assert_eq!(pacer.pause(clock.now()), Duration::from_micros(500));
        assert_eq!(pacer.pause(clock.now()), Duration::from_micros(1_000));
        for _ in 0..1_000_000 {
            assert!(pacer.pause(clock.now()) <= PAUSE_MAX);
        }
        clock.advance(Duration::from_secs(3));
        assert_eq!(pacer.pause(clock.now()), Duration::ZERO, "when it is over, it is over");
    }
}
