//! A breaker: keeps calls away from something that fails too often, and finds out now and then whether it works again.
//! It makes no calls and knows no time: it is asked before a call, and told how the call ended.

use crate::clock::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// When a breaker opens, and how it looks for the end of the trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// How many of the last calls are looked at; with fewer it stays closed. At least 1.
    pub calls: usize,
    /// It opens when so many in a hundred of them failed: 1 to 100.
    pub failures_percent: u32,
    /// While it is open, one call is let through each time so much has passed.
    pub probe_every: Duration,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { calls: 20, failures_percent: 50, probe_every: Duration::from_secs(5) }
    }
}

/// A call that may be made. Who never tells how it ended has made no call: it counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "the breaker must be told how the call ended"]
pub enum Call {
    /// One of many.
    Ordinary,
    /// The one that finds out whether an open breaker may close.
    Probe,
}

/// How the last calls to one thing went, and whether there may be more.
///
/// Closed, it lets every call through. A failure opens it when too many of the last calls failed. Open, it lets a probe
/// through now and then; one that succeeds closes it, and what was before is forgotten.
#[derive(Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    /// Whether each of the last calls succeeded, the oldest first.
    last: VecDeque<bool>,
    /// When it opened or was probed last; `None` while it is closed.
    open: Option<Timestamp>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(policy: BreakerPolicy) -> Self {
        Self { policy, last: VecDeque::new(), open: None }
    }

    /// Whether it keeps calls away.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Asks for a call at `now`.
    ///
    /// # Errors
    /// When none may be made: how long until the next probe, at most `probe_every`.
    pub fn ask(&mut self, now: Timestamp) -> Result<Call, Duration> {
        let Some(probed) = self.open else { return Ok(Call::Ordinary) };
        let wait = self.policy.probe_every.saturating_sub(now.since(probed));
        // A clock that was set back must not keep calls away for as long as that.
        if wait > Duration::ZERO && now >= probed {
            return Err(wait);
        }
        // Whoever asks next waits again, also when this probe is under way or never ends.
        self.open = Some(now);
        Ok(Call::Probe)
    }

    /// Tells how a call ended that was let through.
    pub fn ended(&mut self, call: Call, succeeded: bool, now: Timestamp) {
        match (self.open, call) {
            (None, Call::Ordinary | Call::Probe) => self.count(succeeded, now),
            (Some(_), Call::Probe) if succeeded => {
                self.open = None;
                self.last.clear();
            }
            (Some(_), Call::Probe) => self.open = Some(now),
            // It began before the breaker opened and says nothing about the time since.
            (Some(_), Call::Ordinary) => {}
        }
    }

    fn count(&mut self, succeeded: bool, now: Timestamp) {
        let calls = self.policy.calls.max(1);
        self.last.push_back(succeeded);
        while self.last.len() > calls {
            self.last.pop_front();
        }
        let failures = self.last.iter().filter(|succeeded| !**succeeded).count();
        let percent = usize::try_from(self.policy.failures_percent).unwrap_or(usize::MAX);
        if !succeeded
            && self.last.len() == calls
            && failures.saturating_mul(100) >= calls.saturating_mul(percent)
        {
            self.open = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const POLICY: BreakerPolicy =
        BreakerPolicy { calls: 4, failures_percent: 50, probe_every: Duration::from_secs(5) };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// A breaker that has made these calls at second 100: `+` succeeded, `-` failed.
    fn after(policy: BreakerPolicy, calls: &str) -> Breaker {
        let mut breaker = Breaker::new(policy);
        for end in calls.bytes() {
            let call = breaker.ask(at(100)).unwrap();
            breaker.ended(call, end == b'+', at(100));
        }
        breaker
    }

    #[test]
    fn it_opens_when_too_many_of_the_last_calls_failed() {
        for (calls, open) in [
            ("", false),
            ("---", false), // too few to judge by
            ("----", true),
            ("++++", false),
            ("+++-", false),
            ("+-+-", true),
            ("-+-+", false),      // a call that succeeds opens nothing
            ("--+++-", false),    // the oldest are forgotten
            ("-+-+-", true),      // half of the last four
            ("++++++++--", true), // however many went well before
            ("-+++-+++-+++-", false),
        ] {
            assert_eq!(after(POLICY, calls).is_open(), open, "{calls}");
        }
    }

    #[test]
    fn the_default_opens_at_half_of_twenty() {
        let calls = |good: usize, bad: usize| "+".repeat(good) + &"-".repeat(bad);
        for (good, bad, open) in
            [(0, 19, false), (0, 20, true), (11, 9, false), (10, 10, true), (100, 10, true)]
        {
            assert_eq!(after(BreakerPolicy::default(), &calls(good, bad)).is_open(), open, "{good} {bad}");
        }
        assert_eq!(BreakerPolicy::default().probe_every, Duration::from_secs(5));
    }

    #[test]
    fn an_open_breaker_lets_one_probe_through_each_time() {
        let mut breaker = after(POLICY, "----");
        for (second, answer) in [
            (100, Err(5)),
            (104, Err(1)),
            (105, Ok(Call::Probe)),
            (105, Err(5)), // the probe is under way
            (109, Err(1)),
            (110, Ok(Call::Probe)), // it never ended
            (111, Err(4)),
        ] {
            assert_eq!(breaker.ask(at(second)), answer.map_err(Duration::from_secs), "second {second}");
        }
        breaker.ended(Call::Probe, false, at(113));
        assert_eq!(
            breaker.ask(at(117)),
            Err(Duration::from_secs(1)),
            "counted from the end of a failed probe"
        );
    }

    #[test]
    fn a_probe_that_succeeds_closes_it_and_the_past_is_forgotten() {
        let mut breaker = after(POLICY, "----");
        let probe = breaker.ask(at(105)).unwrap();
        breaker.ended(probe, true, at(106));
        assert!(!breaker.is_open());
        for _ in 0..3 {
            let call = breaker.ask(at(106)).unwrap();
            assert_eq!(call, Call::Ordinary);
            breaker.ended(call, false, at(106));
        }
        assert!(!breaker.is_open(), "three calls are too few to judge by");
    }

    #[test]
    fn calls_from_before_it_opened_change_nothing() {
        let mut breaker = after(POLICY, "---");
        let (slow, last) = (breaker.ask(at(100)).unwrap(), breaker.ask(at(100)).unwrap());
        breaker.ended(last, false, at(101));
        breaker.ended(slow, true, at(104));
        assert_eq!(breaker.ask(at(104)), Err(Duration::from_secs(2)));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nothing_away() {
        let mut breaker = after(POLICY, "----");
        assert_eq!(breaker.ask(at(50)), Ok(Call::Probe));
        assert_eq!(breaker.ask(at(51)), Err(Duration::from_secs(4)));
    }
}
