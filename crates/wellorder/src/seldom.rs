//! Saying once what happens every second.

use std::time::Duration;
use tokio::time::Instant;

/// Lets something be said at once, then at most once in a while.
#[derive(Debug)]
pub(crate) struct Seldom {
    every: Duration,
    last: Option<Instant>,
}

impl Seldom {
    /// With at least `every` between two times.
    pub(crate) fn every(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Whether it is to be said now; then it counts as said.
    pub(crate) fn due(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.every);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_every_second_is_said_at_once_and_then_each_minute() {
        let (begin, mut said) = (Instant::now(), Seldom::every(Duration::from_secs(60)));
        let seconds = (0..200).filter(|second| said.due(begin + Duration::from_secs(*second)));
        assert_eq!(seconds.collect::<Vec<_>>(), [0, 60, 120, 180]);
    }
}
