//! When a lane has too much to do: what it takes on no more, and how often it said so. A refusal is cheap and at once; a
//! queue that nobody can wait for helps nobody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// The newest commit counts for one part in so many.
const WEIGHT: u64 = 4;

/// How long the commits of a lane take.
#[derive(Debug)]
pub(crate) struct Pace {
    origin: Instant,
    /// Microseconds that a commit takes, on a moving average.
    commit: AtomicU64,
    /// When the commit that runs began, in microseconds since `origin`; 0 while none does.
    began: AtomicU64,
    /// When what it carries out was queued, the first of it; as `began`.
    queued: AtomicU64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
            commit: AtomicU64::new(0),
            began: AtomicU64::new(0),
            queued: AtomicU64::new(0),
        }
    }

    /// Microseconds since `origin`, from 1 on.
    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// A commit begins; the first of what it carries out has waited so long.
    pub(crate) fn begin(&self, waited: Duration) {
        let now = self.now();
        let waited = u64::try_from(waited.as_micros()).unwrap_or(u64::MAX);
        self.queued.store(now.saturating_sub(waited).max(1), Ordering::Relaxed);
        self.began.store(now, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn end(&self) {
        self.queued.store(0, Ordering::Relaxed);
        let took = self.now().saturating_sub(self.began.swap(0, Ordering::Relaxed));
        let average = self.commit.load(Ordering::Relaxed);
        // Only the lane itself writes here.
        let next = if average == 0 { took } else { average - average / WEIGHT + took / WEIGHT };
        self.commit.store(next, Ordering::Relaxed);
    }

    /// How long a command would wait that has so many commits before it, the one that runs aside.
    pub(crate) fn wait(&self, commits: usize) -> Duration {
        let commits = u64::try_from(commits).unwrap_or(u64::MAX);
        Duration::from_micros(self.commit.load(Ordering::Relaxed).saturating_mul(commits))
    }

    /// How long the commit that runs has been running.
    pub(crate) fn running(&self) -> Duration {
        self.since(&self.began)
    }

    /// How long ago the first of what the commit that runs carries out was queued: what waits behind it is younger.
    pub(crate) fn oldest(&self) -> Duration {
        self.since(&self.queued)
    }

    fn since(&self, moment: &AtomicU64) -> Duration {
        match moment.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            moment => Duration::from_micros(self.now().saturating_sub(moment)),
        }
    }
}

/// Why a command is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// As many wait as may.
    Number,
    /// Those that wait hold as much memory as they may.
    Bytes,
    /// It would wait too long, as fast as commits are now.
    Delay,
    /// It has waited too long, and nothing was done for it.
    Deadline,
}

impl Shed {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Number, Self::Bytes, Self::Delay, Self::Deadline];

    /// One word for it, for a label.
    pub fn word(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Bytes => "bytes",
            Self::Delay => "delay",
            Self::Deadline => "deadline",
        }
    }
}

/// How many commands were not taken, by why.
#[derive(Debug, Default)]
pub struct Sheds([AtomicU64; Shed::ALL.len()]);

impl Sheds {
    pub(crate) fn count(&self, why: Shed) {
        self.0[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many.
    pub fn of(&self, why: Shed) -> u64 {
        self.0[why as usize].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wait_is_judged_by_the_commits_of_late() {
        let pace = Pace::new();
        assert_eq!(pace.wait(100), Duration::ZERO, "nothing is known yet");
        let commit = async |millis| {
            pace.begin(Duration::ZERO);
            tokio::time::advance(Duration::from_millis(millis)).await;
            pace.end();
        };
        commit(20).await;
        assert_eq!((pace.wait(0), pace.wait(5)), (Duration::ZERO, Duration::from_millis(100)));
        commit(60).await;
        assert_eq!(pace.wait(1), Duration::from_millis(30), "one slow commit is not the rule");
        for _ in 0..50 {
            commit(60).await;
        }
        assert!(pace.wait(10) > Duration::from_millis(590), "{:?}", pace.wait(10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_hangs_is_seen_while_it_does() {
        let pace = Pace::new();
        assert_eq!(pace.running(), Duration::ZERO);
        tokio::time::advance(Duration::from_secs(2)).await;
        pace.begin(Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!((pace.running(), pace.oldest()), (Duration::from_secs(3), Duration::from_secs(4)));
        pace.end();
        assert_eq!((pace.running(), pace.oldest()), (Duration::ZERO, Duration::ZERO));
    }
}
