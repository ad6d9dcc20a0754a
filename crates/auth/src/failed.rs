//! Credentials that were not good, counted for the action log: by whose address they came from and why they were not
//! good. Whatever an attacker does, little is remembered, and few rows come of it.

use order_core::Timestamp;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Pairs of address and reason that are told apart until they are taken.
const APART_MAX: usize = 1_024;
/// Of those, the most frequent that are given out apart; the rest is one sum.
pub const FAILED_LOGINS_APART: usize = 16;

/// Credentials that were not good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedLogin {
    /// Where they came from: an address of IPv4, a network of 64 bits of IPv6; `None` for various ones, or when none is
    /// known.
    pub address: Option<IpAddr>,
    /// Why, in one word; `None` for various reasons.
    pub why: Option<&'static str>,
    /// How many.
    pub count: u64,
    /// When the first of them came.
    pub first_at: Timestamp,
    /// When the last of them came.
    pub last_at: Timestamp,
}

impl FailedLogin {
    fn add(&mut self, other: &Self) {
        self.count = self.count.saturating_add(other.count);
        self.first_at = self.first_at.min(other.first_at);
        self.last_at = self.last_at.max(other.last_at);
    }
}

/// By address and why; those that are too many to keep apart, under neither.
type Counts = HashMap<(Option<IpAddr>, Option<&'static str>), FailedLogin>;

/// Counts them, until somebody takes the counts.
#[derive(Debug, Default)]
pub struct FailedLogins(Mutex<Counts>);

impl FailedLogins {
    /// One came now.
    pub(crate) fn note(&self, address: Option<IpAddr>, why: &'static str, now: Timestamp) {
        self.add(FailedLogin { address, why: Some(why), count: 1, first_at: now, last_at: now });
    }

    /// Counts what was taken, but could not be kept, once more.
    pub fn add(&self, failed: FailedLogin) {
        let mut counts = self.counts();
        let known = (failed.address, failed.why);
        let key = if counts.contains_key(&known) || counts.len() < APART_MAX { known } else { (None, None) };
        let (address, why) = key;
        counts.entry(key).and_modify(|sum| sum.add(&failed)).or_insert(FailedLogin {
            address,
            why,
            ..failed
        });
    }

    /// What was counted since the last time: the most frequent first, at most [`FAILED_LOGINS_APART`] and one sum of the
    /// rest.
    pub fn take(&self) -> Vec<FailedLogin> {
        let counts = std::mem::take(&mut *self.counts());
        let (various, mut apart): (Vec<_>, Vec<_>) =
            counts.into_values().partition(|failed| (failed.address, failed.why) == (None, None));
        apart.sort_unstable_by_key(|failed| (std::cmp::Reverse(failed.count), failed.address, failed.why));
        let rest = apart.split_off(apart.len().min(FAILED_LOGINS_APART));
        let sum = various.into_iter().chain(rest).reduce(|mut sum, failed| {
            sum.add(&failed);
            sum
        });
        apart.extend(sum.map(|sum| FailedLogin { address: None, why: None, ..sum }));
        apart
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn address(number: u32) -> Option<IpAddr> {
        Some(Ipv4Addr::from_bits(number).into())
    }

    #[test]
    fn however_many_addresses_fail_few_rows_come_of_it_and_none_is_forgotten() {
        let failed = FailedLogins::default();
        for number in 0..5_000 {
            let now = Timestamp::from_micros(i64::from(number));
            failed.note(address(number), "api-key", now);
            if number < 20 {
                failed.note(address(number), "api-key", now);
            }
        }
        assert!(failed.counts().len() <= APART_MAX + 1);
        let taken = failed.take();
        assert_eq!(taken.len(), FAILED_LOGINS_APART + 1);
        assert!(taken[..FAILED_LOGINS_APART].iter().all(|row| row.count == 2 && row.address.is_some()));
        let rest = taken[FAILED_LOGINS_APART];
        assert_eq!((rest.address, rest.why), (None, None));
        assert_eq!(taken.iter().map(|row| row.count).sum::<u64>(), 5_020);
        assert_eq!(rest.last_at, Timestamp::from_micros(4_999));
        assert_eq!(failed.take(), [], "what was taken is not given out again");
    }

    #[test]
    fn addresses_and_reasons_are_told_apart_and_what_is_given_back_is_counted_on() {
        let failed = FailedLogins::default();
        let at = Timestamp::from_micros;
        failed.note(address(1), "expired", at(3));
        failed.note(address(1), "api-key", at(4));
        failed.note(None, "api-key", at(5));
        for taken in failed.take() {
            failed.add(taken);
        }
        failed.note(address(1), "api-key", at(9));
        let taken = failed.take();
        let brief: Vec<_> = taken.iter().map(|row| (row.address, row.why, row.count)).collect();
        let expected =
            [(address(1), Some("api-key"), 2), (None, Some("api-key"), 1), (address(1), Some("expired"), 1)];
        assert_eq!(brief, expected);
        assert_eq!((taken[0].first_at, taken[0].last_at), (at(4), at(9)));
    }
}
