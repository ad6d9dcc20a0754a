//! When an event is sent again that a receiver did not take.

use super::endpoint::Dialect;
use super::sending::{RETRY_AFTER_MAX, RETRY_AFTER_MIN};
use std::time::Duration;

/// How long an endpoint may fail, without one success, before it is disabled.
pub const FAILING_MAX: Duration = Duration::from_secs(5 * 24 * 3_600);

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

/// Waits after the first failure, the second … of our own dialect (Standard Webhooks, §"Deliverability and reliability").
const NATIVE: [u64; 9] =
    [5 * SECOND, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
/// Those of the contract `marketplace`: three attempts in all.
const MARKETPLACE: [u64; 2] = [MINUTE, 5 * MINUTE];

/// How much the waits of our own dialect are spread, so that what failed together does not come back together.
const JITTER: f64 = 0.1;

/// The wait after failed attempt number `attempt` (from 1); `None` when that was the last. `asked` is what the receiver asked
/// for, which can only make it longer; `chance` is in `0.0..1.0`.
pub fn wait(dialect: Dialect, attempt: u32, asked: Option<Duration>, chance: f64) -> Option<Duration> {
    let index = usize::try_from(attempt.max(1) - 1).unwrap_or(usize::MAX);
    let wait = match dialect {
        Dialect::V1 => {
            let spread = 1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0);
            Duration::from_secs(*NATIVE.get(index)?).mul_f64(spread)
        }
        Dialect::Marketplace => Duration::from_secs(*MARKETPLACE.get(index)?),
    };
    let asked = asked.map_or(Duration::ZERO, |asked| asked.clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    Some(wait.max(asked))
}

/// Attempts before a delivery is given up.
pub fn attempts_max(dialect: Dialect) -> u32 {
    let waits = match dialect {
        Dialect::V1 => NATIVE.len(),
        Dialect::Marketplace => MARKETPLACE.len(),
    };
    u32::try_from(waits).unwrap_or(u32::MAX) + 1
}

/// Longest that one POST may take.
pub fn timeout(dialect: Dialect) -> Duration {
    match dialect {
        Dialect::V1 => Duration::from_secs(15),
        Dialect::Marketplace => Duration::from_secs(5),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn seconds(dialect: Dialect, attempt: u32, chance: f64) -> Option<u64> {
        wait(dialect, attempt, None, chance).map(|wait| wait.as_secs())
    }

    #[test]
    fn ten_attempts_are_spread_over_days_and_then_it_is_given_up() {
        let waits: Vec<u64> = (1..10).map(|attempt| seconds(Dialect::V1, attempt, 0.5).unwrap()).collect();
        assert_eq!(waits, [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400]);
        assert_eq!((seconds(Dialect::V1, 10, 0.5), attempts_max(Dialect::V1)), (None, 10));
        assert_eq!(
            (seconds(Dialect::V1, 9, 0.0), seconds(Dialect::V1, 9, 1.0)),
            (Some(77_760), Some(95_040))
        );
    }

    #[test]
    fn the_contract_has_three_attempts_to_the_second() {
        for chance in [0.0, 0.7] {
            let waits = [1, 2, 3].map(|attempt| seconds(Dialect::Marketplace, attempt, chance));
            assert_eq!(waits, [Some(60), Some(300), None]);
        }
        assert_eq!(attempts_max(Dialect::Marketplace), 3);
    }

    #[test]
    fn what_a_receiver_asks_for_only_makes_it_longer_and_has_its_bounds() {
        let asked = |attempt, seconds| {
            wait(Dialect::V1, attempt, Some(Duration::from_secs(seconds)), 0.5).unwrap().as_secs()
        };
        assert_eq!(asked(1, 0), 5, "clamped to a second, which is less");
        assert_eq!(asked(1, 60), 60);
        assert_eq!(asked(3, 60), 1_800);
        assert_eq!(asked(1, 10_000_000), 86_400);
    }
}
