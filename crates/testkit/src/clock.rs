//! Time and chance that a test holds in its hands.

use order_core::clock::{Clock, Timestamp};
use order_core::ids::Ids;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// 2025-02-22T10:00:00Z: where a [`ManualClock`] starts.
pub const START_MICROS: i64 = 1_740_218_400_000_000;

/// A clock that stands still until it is told to move.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows [`START_MICROS`].
    pub fn new() -> Arc<Self> {
        Self::at(Timestamp::from_micros(START_MICROS))
    }

    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self(AtomicI64::new(now.micros())))
    }

    /// Shows `now` from here on; may go back.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::SeqCst);
    }

    /// Moves forward; returns the new time.
    pub fn advance(&self, span: Duration) -> Timestamp {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        let before = self.0.fetch_add(micros, Ordering::SeqCst);
        Timestamp::from_micros(before.saturating_add(micros))
    }

    /// Moves forward by one microsecond, so that no two moments of a test are equal; returns the new time.
    pub fn tick(&self) -> Timestamp {
        self.advance(Duration::from_micros(1))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Ids and chance that are the same in every run with the same seed. Two with different seeds never meet in practice.
#[derive(Debug)]
pub struct SeededIds {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededIds {
    /// Ids of this seed, from the first on.
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { seed, drawn: AtomicU64::new(0) })
    }

    fn draw(&self) -> (u64, u64, u64) {
        let count = self.drawn.fetch_add(1, Ordering::SeqCst);
        let first = mix(self.seed ^ mix(count));
        (count, first, mix(first))
    }
}

/// The finaliser of SplitMix64: every bit of the input changes about half of the output's.
fn mix(value: u64) -> u64 {
    let mut bits = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl Ids for SeededIds {
    /// Rises with the number of ids drawn, within one millisecond too.
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let (count, chance, _) = self.draw();
        let mut random = [0_u8; 10];
        // The version takes the upper half of byte 0, the variant the upper quarter of byte 2.
        let count = count.to_be_bytes();
        random[1] = count[4];
        random[3..6].copy_from_slice(&count[5..8]);
        random[6..10].copy_from_slice(&chance.to_be_bytes()[..4]);
        let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }

    fn uuid_v4(&self) -> Uuid {
        let (_, first, second) = self.draw();
        let mut random = [0_u8; 16];
        random[..8].copy_from_slice(&first.to_be_bytes());
        random[8..].copy_from_slice(&second.to_be_bytes());
        uuid::Builder::from_random_bytes(random).into_uuid()
    }

    fn unit(&self) -> f64 {
        let (_, chance, _) = self.draw();
        // 53 bits are what a double holds exactly.
        (chance >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_same_for_the_same_seed_and_of_their_version() {
        let (one, same, other) = (SeededIds::new(1), SeededIds::new(1), SeededIds::new(2));
        let now = Timestamp::from_micros(START_MICROS);
        let ids: Vec<Uuid> = (0..100).map(|_| one.uuid_v7(now)).collect();
        assert_eq!(ids, (0..100).map(|_| same.uuid_v7(now)).collect::<Vec<_>>());
        assert_ne!(ids[0], other.uuid_v7(now));
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "version 7 ids must rise");
        assert_eq!((ids[0].get_version_num(), one.uuid_v4().get_version_num()), (7, 4));
        assert!((0..100).all(|_| (0.0..1.0).contains(&one.unit())));
    }
}
