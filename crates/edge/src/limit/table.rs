//! What is remembered of many, each on their own, in bounded memory.

use super::rate::{Paid, Rate};
use order_core::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between two looks for who can be forgotten, while there is no room.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// One rate for each of many.
///
/// Nobody is forgotten before their bucket is full again, so nobody gets rid of a limit by making others known. When as
/// many are remembered as may be, newcomers share one bucket until somebody can be forgotten.
pub(super) struct Table {
    rate: Rate,
    tracked_max: usize,
    /// Keyed by chance, so that nobody can choose to be somebody else.
    hasher: RandomState,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// By the hash of whom it is about: the names of callers would take unbounded memory. Two in a hundred thousand meet
    /// once in a billion tables; then they share a bucket.
    paid: HashMap<u64, Paid>,
    /// Of everybody who found no room.
    crowd: Paid,
    sweep_at: Option<Timestamp>,
}

impl Table {
    pub(super) fn new(rate: Rate, tracked_max: usize) -> Self {
        let inner = Mutex::new(Inner::default());
        Self { rate, tracked_max: tracked_max.max(1), hasher: RandomState::new(), inner }
    }

    /// Admits one of `who`, or says how long they have to wait.
    pub(super) fn take(&self, who: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        let hash = self.hasher.hash_one(who);
        let mut inner = self.inner();
        let room = inner.has_room(hash, now, self.tracked_max);
        let paid = if room { inner.paid.entry(hash).or_default() } else { &mut inner.crowd };
        *paid = self.rate.admit(*paid, now)?;
        Ok(())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn tracked(&self) -> usize {
        self.inner().paid.len()
    }
}

impl Inner {
    /// Whether `hash` is known or may become so. Everybody is looked at now and then only: a crowd of newcomers must not
    /// make each of them cost as much as all that are known.
    fn has_room(&mut self, hash: u64, now: Timestamp, tracked_max: usize) -> bool {
        if self.paid.len() < tracked_max || self.paid.contains_key(&hash) {
            return true;
        }
        if self.sweep_at.is_some_and(|at| now < at) {
            return false;
        }
        self.sweep_at = Some(now.plus(SWEEP_EVERY));
        self.paid.retain(|_, paid| !Rate::is_forgotten(*paid, now));
        self.paid.len() < tracked_max
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use order_core::Clock;
    use testkit::ManualClock;

    /// Two at once, then one a second.
    fn table(tracked_max: usize) -> Table {
        Table::new(Rate::new(1, Duration::from_secs(1), 2), tracked_max)
    }

    #[test]
    fn each_has_a_bucket_of_their_own() {
        let (table, clock) = (table(10), ManualClock::new());
        for who in ["a", "b"] {
            assert!(table.take(&who, clock.now()).is_ok());
            assert!(table.take(&who, clock.now()).is_ok());
            assert_eq!(table.take(&who, clock.now()), Err(Duration::from_secs(1)));
        }
        clock.advance(Duration::from_secs(1));
        assert!(table.take(&"a", clock.now()).is_ok() && table.take(&"a", clock.now()).is_err());
    }

    #[test]
    fn nobody_gets_rid_of_a_limit_by_making_others_known() {
        let (table, clock) = (table(100), ManualClock::new());
        table.take(&0, clock.now()).unwrap();
        table.take(&0, clock.now()).unwrap();
        for other in 1..10_000 {
            let _ = table.take(&other, clock.now());
        }
        assert_eq!(table.tracked(), 100, "memory is bounded");
        assert!(table.take(&0, clock.now()).is_err(), "still out");
        assert!(table.take(&50, clock.now()).is_ok(), "and who is known keeps their own bucket");
    }

    #[test]
    fn newcomers_share_a_bucket_until_somebody_is_forgotten() {
        let (table, clock) = (table(2), ManualClock::new());
        for known in ["a", "b"] {
            table.take(&known, clock.now()).unwrap();
            table.take(&known, clock.now()).unwrap();
        }
        assert!(table.take(&"c", clock.now()).is_ok() && table.take(&"d", clock.now()).is_ok());
        assert!(table.take(&"e", clock.now()).is_err(), "the bucket of the crowd is empty");
        assert!(table.take(&"f", clock.now()).is_err());
        clock.advance(Duration::from_secs(2));
        assert!(table.take(&"e", clock.now()).is_ok() && table.take(&"e", clock.now()).is_ok());
        assert_eq!(table.tracked(), 1, "both of the others had nothing left to remember");
    }
}
