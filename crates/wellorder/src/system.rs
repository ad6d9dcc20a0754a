//! The machine's clock and randomness: the one place where the ambient ones are read.

use order_core::{Clock, Ids, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};
use uuid::{NoContext, Uuid};

/// The machine's clock. Never goes back within a process, whatever is done to the machine's time.
#[derive(Debug, Default)]
pub(crate) struct SystemClock {
    newest: AtomicI64,
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        let newest = self.newest.fetch_max(micros, Ordering::Relaxed);
        Timestamp::from_micros(micros.max(newest))
    }
}

/// Ids from the operating system's randomness, through a generator that is fit for secrets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SystemIds;

impl Ids for SystemIds {
    fn uuid_v7(&self, now: Timestamp) -> Uuid {
        let micros = u64::try_from(now.micros()).unwrap_or(0);
        let nanos = u32::try_from(micros % 1_000_000).unwrap_or(0) * 1_000;
        Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, micros / 1_000_000, nanos))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that makes random ids")]
    fn uuid_v4(&self) -> Uuid {
        Uuid::new_v4()
    }

    fn unit(&self) -> f64 {
        // The top 53 bits of a double's worth of chance; the version and variant bits of a UUID lie elsewhere.
        let bits = u32::try_from(self.uuid_v4().as_u128() >> 96).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back() {
        let clock = SystemClock::default();
        let later = clock.now().micros() + 60_000_000;
        clock.newest.store(later, Ordering::Relaxed);
        assert_eq!(clock.now().micros(), later);
    }

    #[test]
    fn ids_carry_their_time_and_chance_lies_between_zero_and_one() {
        let now = Timestamp::from_micros(1_700_000_000_123_456);
        let id = SystemIds.uuid_v7(now);
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.as_u128() >> 80, 1_700_000_000_123);
        assert!((0..1_000).all(|_| (0.0..1.0).contains(&SystemIds.unit())));
    }
}
