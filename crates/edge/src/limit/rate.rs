//! How often something may happen: the generic cell rate algorithm (ITU-T I.371 §A.1), which is a bucket of tokens kept
//! as one moment. Pure: it is told the time, and it is given back what it is to remember.

use order_core::Timestamp;
use std::time::Duration;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// So many in a time, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Nanoseconds for one; at least 1.
    interval: u64,
    /// How far ahead of its time one may come, in nanoseconds.
    tolerance: u64,
    /// How much more than a whole bucket may be owed, in nanoseconds; 0 where nobody draws but here.
    overdraft: u64,
}

/// What is remembered of somebody: when everything that was admitted is paid for, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Paid(u64);

impl Rate {
    /// `count` in each `span`, and at most `burst` at once. All are raised to the least that makes sense: one in a span,
    /// a nanosecond for one.
    pub fn new(count: u32, span: Duration, burst: u32) -> Self {
        let span = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let interval = (span / u64::from(count.max(1))).max(1);
        Self { interval, tolerance: interval.saturating_mul(u64::from(burst.max(1)) - 1), overdraft: 0 }
    }

    /// The same, drawn on elsewhere too: what all admit together before they hear of each other is owed, up to one bucket more
    /// and what comes in a second.
    #[must_use]
    pub fn shared(self) -> Self {
        let bucket = self.tolerance.saturating_add(self.interval);
        Self { overdraft: bucket.saturating_add(NANOS_PER_SECOND), ..self }
    }

    /// The time that one of these costs.
    pub fn cost(&self) -> Duration {
        Duration::from_nanos(self.interval)
    }

    /// The most that is owed at once; what comes beyond is forgiven.
    pub fn owed_max(&self) -> Duration {
        Duration::from_nanos(self.latest(0))
    }

    /// What is to be remembered of somebody who owes so much, as is known from elsewhere: never less than before.
    pub fn owing(paid: Paid, owed: Duration, now: Timestamp) -> Paid {
        let owed = u64::try_from(owed.as_nanos()).unwrap_or(u64::MAX);
        paid.max(Paid(nanos(now).saturating_add(owed)))
    }

    /// `count` a second, and at most as many at once as come in `burst`.
    pub fn per_second(count: u32, burst: Duration) -> Self {
        let at_once = u64::from(count).saturating_mul(burst.as_secs());
        Self::new(count, Duration::from_secs(1), u32::try_from(at_once).unwrap_or(u32::MAX))
    }

    /// Admits one: what is to be remembered from now on.
    ///
    /// # Errors
    /// There is no room; how long until there is. Then nothing changes.
    pub fn admit(&self, paid: Paid, now: Timestamp) -> Result<Paid, Duration> {
        let now = nanos(now);
        // A clock that was set back must not keep anybody out for as long as it was set back.
        let due = paid.0.max(now).min(self.latest(now));
        match due.checked_sub(now.saturating_add(self.tolerance)) {
            None | Some(0) => Ok(Paid(due.saturating_add(self.interval))),
            Some(early) => Err(Duration::from_nanos(early)),
        }
    }

    /// Admits one in its turn: what is to be remembered, and how long until then. Beyond `wait_max` nobody queues up: the turn
    /// is then, and takes nobody else's.
    pub fn queue(&self, paid: Paid, now: Timestamp, wait_max: Duration) -> (Paid, Duration) {
        let now = nanos(now);
        let wait_max = u64::try_from(wait_max.as_nanos()).unwrap_or(u64::MAX);
        let last = now.saturating_add(self.tolerance).saturating_add(wait_max);
        // A clock that was set back must not make everybody wait for as long as it was set back.
        let due = paid.0.max(now).min(last.saturating_add(self.interval));
        let wait = due.min(last).saturating_sub(now.saturating_add(self.tolerance));
        let next = if due < last { due.saturating_add(self.interval) } else { due };
        (Paid(next), Duration::from_nanos(wait))
    }

    /// Whether one would be admitted.
    ///
    /// # Errors
    /// As [`Rate::admit`].
    pub fn look(&self, paid: Paid, now: Timestamp) -> Result<(), Duration> {
        self.admit(paid, now).map(drop)
    }

    /// Whether there is nothing to remember any more: the bucket is full again.
    pub fn is_forgotten(paid: Paid, now: Timestamp) -> bool {
        paid.0 <= nanos(now)
    }

    /// The latest that anything admitted by now can be paid for.
    fn latest(&self, now: u64) -> u64 {
        now.saturating_add(self.tolerance).saturating_add(self.interval).saturating_add(self.overdraft)
    }
}

fn nanos(moment: Timestamp) -> u64 {
    u64::try_from(moment.micros()).unwrap_or(0).saturating_mul(NANOS_PER_SECOND / 1_000_000)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    const START: i64 = 1_740_218_400_000_000;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_micros(START + i64::try_from(micros).unwrap())
    }

    fn rates() -> impl Strategy<Value = (u32, u32)> {
        (1_u32..2_000, 1_u32..200)
    }

    proptest! {
        /// Whatever the arrivals: in no window are more admitted than the burst and what the rate gives meanwhile.
        #[test]
        fn no_window_holds_more_than_the_burst_and_the_rate(
            (count, burst) in rates(), gaps in prop::collection::vec(0_u64..5_000, 1..400)
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let (mut paid, mut now, mut admitted) = (Paid::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                if let Ok(next) = rate.admit(paid, at(now)) {
                    paid = next;
                    admitted.push(now);
                }
            }
            for (first, from) in admitted.iter().enumerate() {
                for (last, to) in admitted.iter().enumerate().skip(first) {
                    let given = u128::from(to - from) * 1_000 / u128::from(rate.interval);
                    prop_assert!((last - first + 1) as u128 <= u128::from(burst) + given);
                }
            }
        }

        /// Who waits as long as told is admitted, and not a microsecond earlier.
        #[test]
        fn who_waits_as_told_is_admitted(
            (count, burst) in rates(), gaps in prop::collection::vec(0_u64..2_000, 1..300)
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let (mut paid, mut now) = (Paid::default(), 0);
            for gap in gaps {
                now += gap;
                match rate.admit(paid, at(now)) {
                    Ok(next) => paid = next,
                    Err(wait) => {
                        let micros = u64::try_from(wait.as_nanos().div_ceil(1_000)).unwrap();
                        prop_assert!(micros > 0 && rate.look(paid, at(now + micros)).is_ok());
                        prop_assert!(rate.look(paid, at(now + micros - 1)).is_err());
                    }
                }
            }
        }

        /// Who keeps to the rate is never refused, and who was away long enough has the whole burst again.
        #[test]
        fn who_keeps_to_the_rate_is_never_refused((count, burst) in rates(), away in 0_u64..10_000_000) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let step = rate.interval.div_ceil(1_000);
            let mut paid = Paid::default();
            for turn in 0..200 {
                paid = rate.admit(paid, at(turn * step)).unwrap();
            }
            let back = 200 * step + away;
            prop_assert!(Rate::is_forgotten(paid, at(back)));
            for _ in 0..burst {
                paid = rate.admit(paid, at(back)).unwrap();
            }
            prop_assert!(rate.admit(paid, at(back)).is_err());
        }

        /// Turns are as far apart as the rate says, behind the burst, and nobody waits longer than may be.
        #[test]
        fn turns_are_apart((count, burst) in rates(), gaps in prop::collection::vec(0_u64..3_000, 1..400)) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let wait_max = Duration::from_secs(1);
            let (mut paid, mut now, mut turns) = (Paid::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                let (next, wait) = rate.queue(paid, at(now), wait_max);
                paid = next;
                prop_assert!(wait <= wait_max);
                if wait < wait_max {
                    turns.push(u128::from(now) * 1_000 + wait.as_nanos());
                }
            }
            for (first, from) in turns.iter().enumerate() {
                for (last, to) in turns.iter().enumerate().skip(first) {
                    let given = (to - from) / u128::from(rate.interval);
                    prop_assert!((last - first + 1) as u128 <= u128::from(burst) + given + 1);
                }
            }
        }

        /// Whatever becomes of the clock, nobody waits longer than for one, or is remembered longer than for the burst.
        #[test]
        fn a_clock_that_is_set_back_keeps_nobody_out(
            (count, burst) in rates(), moments in prop::collection::vec(0_u64..10_000_000_000, 1..200)
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst);
            let mut paid = Paid::default();
            for moment in moments {
                match rate.admit(paid, at(moment)) {
                    Ok(next) => paid = next,
                    Err(wait) => prop_assert!(wait <= Duration::from_nanos(rate.interval)),
                }
            }
        }
    }

    proptest! {
        /// Two that tell each other now and then admit no more than one would, but for what they admit in between, and that is
        /// paid back.
        #[test]
        fn two_that_share_admit_what_one_would(
            (count, burst) in (20_u32..2_000, 1_u32..50), exchange in 1_000_u64..50_000
        ) {
            let rate = Rate::new(count, Duration::from_secs(1), burst).shared();
            let (mut nodes, mut spent, mut shared) = ([Paid::default(); 2], [(0_u64, 0); 2], Paid::default());
            let (mut admitted, span, mut told) = (0_u64, 5_000_000, 0);
            // Both are asked eight times as often as they may.
            let gap = (rate.interval / 1_000 / 8).max(1);
            for now in (0..span).step_by(usize::try_from(gap).unwrap()) {
                for (paid, spent) in nodes.iter_mut().zip(&mut spent) {
                    if let Ok(next) = rate.admit(*paid, at(now)) {
                        *paid = next;
                        spent.1 = if spent.0 == 0 { now } else { spent.1 };
                        spent.0 += rate.interval;
                        admitted += 1;
                    }
                }
                if now - told >= exchange {
                    told = now;
                    let base = nanos(at(now));
                    for (cost, since) in std::mem::take(&mut spent) {
                        let due = shared.0.max(nanos(at(since)));
                        shared = Paid((due + cost).min(rate.latest(base)).max(base));
                    }
                    nodes = nodes.map(|paid| Rate::owing(paid, Duration::from_nanos(shared.0 - base), at(now)));
                }
            }
            let fair = u64::from(burst) + span * 1_000 / rate.interval;
            let between = 2 + 2 * exchange * 1_000 / rate.interval + u64::from(burst);
            prop_assert!(admitted <= fair + between, "{admitted} of {fair} and {between}");
            // Who is refused asks again an eighth of a turn later at the latest.
            prop_assert!(admitted * 8 / 7 + between >= fair, "{admitted} of {fair}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_raised_to_the_least_that_does() {
        let rate = Rate::new(0, Duration::ZERO, 0);
        assert_eq!((rate.interval, rate.tolerance), (1, 0));
        let rate = Rate::per_second(10, Duration::from_secs(5));
        assert_eq!((rate.interval, rate.tolerance), (100_000_000, 4_900_000_000));
    }
}
