//! The machine's clock and randomness: the one place where the ambient ones are read.

use order_core::{Clock, Ids, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use uuid::{NoContext, Uuid};

/// The machine's clock. Never goes back within a process: when the machine's time is set back, this runs on at its own
/// pace, ahead, and follows again once it is overtaken.
#[derive(Debug)]
pub(crate) struct SystemClock {
    began: Instant,
    /// Microseconds from the epoch to `began`; only ever raised.
    offset: AtomicI64,
}

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    fn default() -> Self {
        Self { began: Instant::now(), offset: AtomicI64::new(0) }
    }
}

impl SystemClock {
    /// The time, when the machine says `wall` and `elapsed` microseconds have gone since `began`.
    fn at(&self, wall: i64, elapsed: i64) -> Timestamp {
        let offset = wall - elapsed;
        let highest = self.offset.fetch_max(offset, Ordering::Relaxed).max(offset);
        Timestamp::from_micros(highest + elapsed)
    }
}

impl SystemClock {
    /// Microseconds: what the machine says, and how many have gone since `began`.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clocks")]
    fn read(&self) -> (i64, i64) {
        let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        // In this order: the wall clock read second can only make the offset larger by what lies between.
        let elapsed = micros(self.began.elapsed());
        (micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()), elapsed)
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let (wall, elapsed) = self.read();
        self.at(wall, elapsed)
    }

    fn ahead(&self) -> Duration {
        let (wall, elapsed) = self.read();
        self.at(wall, elapsed).since(Timestamp::from_micros(wall))
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
        // 32 bits of chance; the version and variant bits of a UUID lie elsewhere.
        let bits = u32::try_from(self.uuid_v4().as_u128() >> 96).unwrap_or(0);
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_never_goes_back_and_never_stands_still() {
        let clock = SystemClock::default();
        let second = 1_000_000;
        assert_eq!(clock.at(100 * second, 0).micros(), 100 * second);
        assert_eq!(clock.at(101 * second, second).micros(), 101 * second);
        assert_eq!(clock.at(40 * second, 2 * second).micros(), 102 * second, "set back: it runs on");
        assert_eq!(clock.at(41 * second, 3 * second).micros(), 103 * second);
        assert_eq!(clock.at(200 * second, 4 * second).micros(), 200 * second, "overtaken: it follows");
        assert!(SystemClock::default().now().micros() > 1_700_000_000_000_000);
    }

    #[test]
    fn how_far_it_runs_ahead_is_told() {
        let clock = SystemClock::default();
        assert_eq!(clock.ahead().as_secs(), 0);
        let (wall, elapsed) = clock.read();
        clock.at(wall + 3_600_000_000, elapsed);
        let ahead = clock.ahead();
        assert!(ahead.as_secs().abs_diff(3_600) <= 1, "{ahead:?}");
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
