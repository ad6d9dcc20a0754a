//! How a node's sink is doing, and whether the node leaves the follower to others because of it. A sink that has taken nothing
//! for a while may be out of reach from here alone: then another node, whose own takes, carries all of it. This one goes on
//! trying to open its sink, and comes back once that succeeds. Where it can be opened and takes nothing all the same, it stays
//! away longer each time, so that shards do not wander to and fro.

use crate::clock::Timestamp;
use std::time::Duration;

/// Longest that a node stays away whose sink can be opened.
const AWAY_MAX: Duration = Duration::from_secs(600);

#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Since when the sink takes nothing.
    failing: Option<Timestamp>,
    /// From when on it may come back, while it is away.
    back_from: Option<Timestamp>,
    /// How long it was away last, if the sink has taken nothing since.
    away: Option<Duration>,
}

impl Standing {
    /// The sink could not be opened, or took nothing.
    pub(super) fn failed(&mut self, now: Timestamp) {
        self.failing.get_or_insert(now);
    }

    /// The sink took something.
    pub(super) fn took(&mut self) {
        *self = Self::default();
    }

    /// Whether others are to carry the follower, if some can: the sink has failed for so long, or again after it was thought to
    /// work.
    pub(super) fn is_back(&self, now: Timestamp, patience: Duration) -> bool {
        self.failing.is_some_and(|since| self.away.is_some() || now.since(since) >= patience)
    }

    /// Notes that others carry it now; whether that is new.
    pub(super) fn steps_back(&mut self, now: Timestamp, at_least: Duration) -> bool {
        if self.back_from.is_some() {
            return false;
        }
        let away = self.away.map_or(at_least, |last| (last * 2).min(AWAY_MAX).max(at_least));
        (self.away, self.back_from) = (Some(away), Some(now.plus(away)));
        true
    }

    /// Whether it has been away for long enough; if so it is as if the sink had not failed yet.
    pub(super) fn may_come_back(&mut self, now: Timestamp) -> bool {
        let may = self.back_from.is_none_or(|from| now >= from);
        if may {
            (self.failing, self.back_from) = (None, None);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);
    const LEASE: Duration = Duration::from_secs(30);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn one_failure_is_borne_and_a_delivery_makes_up_for_all() {
        let mut standing = Standing::default();
        assert!(!standing.is_back(at(100), PATIENCE));
        standing.failed(at(100));
        standing.failed(at(105));
        assert!(!standing.is_back(at(109), PATIENCE));
        assert!(standing.is_back(at(110), PATIENCE), "counted from the first");
        standing.took();
        assert!(!standing.is_back(at(200), PATIENCE));
    }

    #[test]
    fn each_time_it_stays_away_longer_until_the_sink_takes_something() {
        let mut standing = Standing::default();
        let mut now = 0;
        for away in [30, 60, 120, 240, 480, 600, 600] {
            standing.failed(at(now));
            assert_eq!(standing.is_back(at(now), PATIENCE), now > 0, "borne the first time alone");
            assert!(standing.steps_back(at(now), LEASE));
            assert!(!standing.steps_back(at(now + 1), LEASE), "it is away");
            assert!(!standing.may_come_back(at(now + away - 1)), "{away}");
            now += away;
            assert!(standing.may_come_back(at(now)), "{away}");
            assert!(!standing.is_back(at(now), PATIENCE));
        }
        standing.took();
        standing.failed(at(now));
        assert!(standing.steps_back(at(now), LEASE));
        assert!(standing.may_come_back(at(now + 30)));
    }
}
