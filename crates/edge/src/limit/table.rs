//! What is remembered of many, each on their own, in bounded memory.

use super::rate::{Paid, Rate};
use super::share::{Mac, ShareKey};
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
    names: Names,
    inner: Mutex<Inner>,
}

/// Keyed, by chance or by a secret, so that nobody can choose to be somebody else.
enum Names {
    Own(RandomState),
    /// The same on every node.
    Shared(Mac),
}

#[derive(Default)]
struct Inner {
    /// By the hash of whom it is about: the names of callers would take unbounded memory. Two in a hundred thousand meet
    /// once in a billion tables; then they share a bucket.
    buckets: HashMap<u64, Bucket>,
    /// Of everybody who found no room; never shared.
    crowd: Paid,
    /// Whose buckets were drawn on since [`Table::spent`], where that is told to others.
    drawn: Vec<u64>,
    sweep_at: Option<Timestamp>,
}

#[derive(Clone, Copy)]
struct Bucket {
    paid: Paid,
    /// How many were admitted since [`Table::spent`], where that is told to others, and when the first of them was.
    spent: u32,
    since: Timestamp,
}

impl Table {
    pub(super) fn new(rate: Rate, tracked_max: usize) -> Self {
        let (names, inner) = (Names::Own(RandomState::new()), Mutex::default());
        Self { rate, tracked_max: tracked_max.max(1), names, inner }
    }

    /// The same, with buckets that other nodes with this key draw on too; `limit` keeps it apart from their other tables.
    pub(super) fn shared(self, key: &ShareKey, limit: &str) -> Self {
        Self { rate: self.rate.shared(), names: Names::Shared(key.names(limit)), ..self }
    }

    pub(super) fn rate(&self) -> Rate {
        self.rate
    }

    /// Admits one of `who`, or says how long they have to wait.
    pub(super) fn take(&self, who: &impl Hash, now: Timestamp) -> Result<(), Duration> {
        let name = match &self.names {
            Names::Own(hasher) => hasher.hash_one(who),
            Names::Shared(mac) => mac.name_of(who),
        };
        let mut inner = self.inner();
        if !inner.has_room(name, now, self.tracked_max) {
            inner.crowd = self.rate.admit(inner.crowd, now)?;
            return Ok(());
        }
        let bucket = inner.buckets.entry(name).or_insert(Bucket::full(now));
        bucket.paid = self.rate.admit(bucket.paid, now)?;
        if matches!(self.names, Names::Shared(_)) {
            bucket.spent = bucket.spent.saturating_add(1);
            if bucket.spent == 1 {
                bucket.since = now;
                inner.drawn.push(name);
            }
        }
        Ok(())
    }

    /// How many were admitted of whom since the last call, and how long ago the first; of at most `max`, the others come with
    /// the next.
    pub(super) fn spent(&self, max: usize, now: Timestamp) -> Vec<(u64, u32, Duration)> {
        let mut inner = self.inner();
        let rest = inner.drawn.len().saturating_sub(max);
        let drawn = inner.drawn.split_off(rest);
        let buckets = &mut inner.buckets;
        // Who was forgotten meanwhile has a full bucket.
        let take = |name| {
            let bucket: &mut Bucket = buckets.get_mut(&name)?;
            Some((name, std::mem::take(&mut bucket.spent), now.since(bucket.since)))
        };
        drawn.into_iter().filter_map(take).collect()
    }

    /// Takes up what `name` owes, as all nodes together know it.
    pub(super) fn owes(&self, name: u64, owed: Duration, now: Timestamp) {
        if let Some(bucket) = self.inner().buckets.get_mut(&name) {
            // What was admitted since is not in it yet.
            let owed = owed.saturating_add(self.rate.cost().saturating_mul(bucket.spent));
            bucket.paid = Rate::owing(bucket.paid, owed, now);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn tracked(&self) -> usize {
        self.inner().buckets.len()
    }
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { paid: Paid::default(), spent: 0, since: now }
    }
}

impl Inner {
    /// Whether `name` is known or may become so. Everybody is looked at now and then only: a crowd of newcomers must not
    /// make each of them cost as much as all that are known.
    fn has_room(&mut self, name: u64, now: Timestamp, tracked_max: usize) -> bool {
        if self.buckets.len() < tracked_max || self.buckets.contains_key(&name) {
            return true;
        }
        if self.sweep_at.is_some_and(|at| now < at) {
            return false;
        }
        self.sweep_at = Some(now.plus(SWEEP_EVERY));
        self.buckets.retain(|_, bucket| !Rate::is_forgotten(bucket.paid, now));
        self.buckets.len() < tracked_max
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
    fn nodes_draw_on_the_same_buckets() {
        let (key, clock) = (ShareKey::new([7; 32]), ManualClock::new());
        let [one, other] = [(); 2].map(|()| table(10).shared(&key, "key"));
        one.take(&"a", clock.now()).unwrap();
        one.take(&"a", clock.now()).unwrap();
        one.take(&"b", clock.now()).unwrap();
        clock.advance(Duration::from_millis(100));
        let mut spent = one.spent(10, clock.now());
        spent.sort_by_key(|(_, count, _)| *count);
        let ago = Duration::from_millis(100);
        let counts: Vec<_> = spent.iter().map(|(_, count, ago)| (*count, *ago)).collect();
        assert_eq!(counts, [(1, ago), (2, ago)]);
        let (b, a) = (spent[0].0, spent[1].0);
        assert!(one.spent(10, clock.now()).is_empty(), "told once");
        other.owes(a, Duration::from_secs(2), clock.now());
        assert!(other.take(&"a", clock.now()).is_ok(), "nobody is remembered who never came");
        other.owes(a, Duration::from_secs(2), clock.now());
        assert!(other.take(&"a", clock.now()).is_err(), "two of the other node and one of this");
        other.owes(b, Duration::from_secs(1), clock.now());
        assert!(other.take(&"b", clock.now()).is_ok());
        one.owes(a, Duration::ZERO, clock.now());
        assert!(one.take(&"a", clock.now()).is_err(), "what was flushed elsewhere is not forgotten here");
        let stranger = table(10).shared(&ShareKey::new([8; 32]), "key");
        stranger.take(&"a", clock.now()).unwrap();
        assert_ne!(
            stranger.spent(10, clock.now())[0].0,
            a,
            "the name of somebody is known to those who have the key"
        );
    }

    #[test]
    fn what_is_told_comes_in_parts() {
        let (table, clock) = (table(10).shared(&ShareKey::new([7; 32]), "key"), ManualClock::new());
        for who in 0..5 {
            table.take(&who, clock.now()).unwrap();
        }
        assert_eq!([(); 3].map(|()| table.spent(3, clock.now()).len()), [3, 2, 0]);
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
