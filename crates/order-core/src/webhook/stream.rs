//! A stream: what is left to send to one endpoint of one subject. It has a row as long as something is.
//!
//! Fan-out raises `upto`, settling raises `next`; both hold the row meanwhile. Between the two lie events that the endpoint may
//! not listen to: who reads them passes over those. Besides, versions can be put *again* in front: they go first, one by one
//! and in order, and then the stream goes on where it was.

use super::command::{Settle, SettleAs};
use super::endpoint::words;
use crate::clock::Timestamp;
use crate::ids::{LeaseToken, OrderId, TenantId};
use std::fmt;
use uuid::Uuid;

/// Most versions of one stream that wait to be sent again.
pub const AGAIN_MAX: usize = 1_000;

words! {
    /// What kind of thing events are about.
    SubjectKind {
        /// An order.
        Order = "order",
        /// A store.
        Store = "store",
    }
}

/// What a stream's events are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its id.
    pub id: Uuid,
}

impl Subject {
    /// An order.
    pub fn order(order_id: OrderId) -> Self {
        Self { kind: SubjectKind::Order, id: order_id.0 }
    }

    /// A store.
    pub fn store(id: Uuid) -> Self {
        Self { kind: SubjectKind::Store, id }
    }

    /// The order, if it is one.
    pub fn order_id(self) -> Option<OrderId> {
        (self.kind == SubjectKind::Order).then_some(OrderId(self.id))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.hyphenated().fmt(f)
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// The number of the endpoint.
    pub endpoint: i64,
    /// What its events are about.
    pub subject: Subject,
    /// Whose.
    pub tenant: TenantId,
    /// The first version that was not sent; above [`Stream::upto`] when there is none.
    pub next: u64,
    /// Where the event of that version lies in the journal of its order's shard, if that is known.
    pub place: Option<u64>,
    /// The last version that is to be sent.
    pub upto: u64,
    /// Versions to be sent again before that, in order.
    pub again: Vec<u64>,
    /// Tries at what is at the head that have failed.
    pub attempt: u32,
    /// When it may be claimed; the end of the lease while somebody holds it.
    pub due_at: Timestamp,
    /// Who holds it.
    pub token: Option<LeaseToken>,
}

/// What is at the head of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// This very version, once more.
    Again(u64),
    /// The first event that the endpoint listens to, from this version on.
    Next(u64),
}

impl Stream {
    /// What is sent next; `None` when nothing is left, and the row goes.
    pub fn head(&self) -> Option<Head> {
        match self.again.first() {
            Some(version) => Some(Head::Again(*version)),
            None => (self.next <= self.upto).then_some(Head::Next(self.next)),
        }
    }

    /// One of which nothing is left yet.
    pub fn empty(endpoint: i64, subject: Subject, tenant: TenantId, now: Timestamp) -> Self {
        Self {
            endpoint,
            subject,
            tenant,
            next: 1,
            place: None,
            upto: 0,
            again: Vec::new(),
            attempt: 0,
            due_at: now,
            token: None,
        }
    }

    /// An event came that the endpoint listens to; what came before it is there already, or was settled.
    pub fn raise(&mut self, raise: &Raise) {
        if raise.upto <= self.upto {
            return;
        }
        if self.next > self.upto {
            (self.next, self.place) = (raise.next, raise.place);
        }
        self.upto = raise.upto;
    }

    /// A try at its head ended, under its token.
    pub fn settle(&mut self, settle: &Settle) {
        self.token = None;
        match settle.how {
            SettleAs::Passed { at } => {
                match settle.head {
                    Head::Again(version) => self.again.retain(|again| *again != version),
                    Head::Next(_) => (self.next, self.place) = (settle.version + 1, None),
                }
                (self.attempt, self.due_at) = (0, at);
            }
            SettleAs::Retry { at } => (self.attempt, self.due_at) = (self.attempt + 1, at),
            SettleAs::Release { at } => self.due_at = at,
        }
    }

    /// Puts versions in front that were sent before. What is still to come comes anyway: that only makes it due. Tells how many
    /// are sent that would not have been.
    pub fn put_again(&mut self, versions: &[u64], now: Timestamp) -> u64 {
        let mut added = 0;
        for version in versions {
            let comes = (self.next..=self.upto).contains(version) || self.again.contains(version);
            if !comes && self.again.len() < AGAIN_MAX {
                self.again.push(*version);
                added += 1;
            }
        }
        self.again.sort_unstable();
        // Whoever holds it goes on; else it is tried at once, with a fresh budget.
        if self.token.is_none() {
            (self.attempt, self.due_at) = (0, self.due_at.min(now));
        }
        added
    }
}

/// Up to which version a stream is to be raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raise {
    /// The number of the endpoint.
    pub endpoint: i64,
    /// What its events are about.
    pub subject: Subject,
    /// Whose.
    pub tenant: TenantId,
    /// The first version of those that made it.
    pub next: u64,
    /// Where that lies: see [`Stream::place`].
    pub place: Option<u64>,
    /// The last one.
    pub upto: u64,
}

/// Numbers as a storage keeps them: apart by spaces.
pub fn numbers_text(numbers: &[u64]) -> String {
    numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(" ")
}

/// Reads [`numbers_text`]; `None` when it is something else.
pub fn numbers_from_text(text: &str) -> Option<Vec<u64>> {
    text.split_ascii_whitespace().map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        at(0)
    }

    fn raise(next: u64, upto: u64) -> Raise {
        let subject = Subject::store(Uuid::nil());
        Raise { endpoint: 1, subject, tenant: TenantId::default_tenant(), next, place: Some(next * 10), upto }
    }

    fn stream(next: u64, upto: u64) -> Stream {
        let empty = Stream::empty(1, Subject::store(Uuid::nil()), TenantId::default_tenant(), now());
        Stream { next, upto, ..empty }
    }

    fn settled(stream: &Stream, version: u64, how: SettleAs) -> Stream {
        let mut stream = stream.clone();
        let head = stream.head().unwrap_or(Head::Next(0));
        let token = LeaseToken(Uuid::nil());
        let settle =
            Settle { endpoint: 1, subject: stream.subject, token, head, version, how, attempt: None };
        stream.settle(&settle);
        stream
    }

    #[test]
    fn raising_is_idempotent_and_an_empty_stream_begins_with_what_came() {
        let mut empty = stream(1, 0);
        empty.raise(&raise(5, 7));
        assert_eq!((empty.next, empty.place, empty.upto), (5, Some(50), 7));
        let before = empty.clone();
        for (next, upto) in [(5, 7), (3, 4), (6, 6)] {
            empty.raise(&raise(next, upto));
            assert_eq!(empty, before, "{next} to {upto}");
        }
        empty.raise(&raise(9, 9));
        assert_eq!((empty.next, empty.place, empty.upto), (5, Some(50), 9));
    }

    #[test]
    fn what_passed_goes_on_and_what_failed_waits() {
        let at = now().plus(std::time::Duration::from_secs(5));
        let open = Stream { attempt: 2, place: Some(4), ..stream(5, 9) };
        let passed = settled(&open, 7, SettleAs::Passed { at });
        assert_eq!((passed.next, passed.place, passed.attempt, passed.due_at), (8, None, 0, at));
        let failed = settled(&open, 7, SettleAs::Retry { at });
        assert_eq!((failed.next, failed.place, failed.attempt, failed.due_at), (5, Some(4), 3, at));
        let released = settled(&open, 7, SettleAs::Release { at });
        assert_eq!((released.next, released.attempt), (5, 2));
        assert_eq!(settled(&open, 9, SettleAs::Passed { at }).head(), None);
    }

    #[test]
    fn what_is_put_again_goes_first_in_order_and_once() {
        let mut open = Stream { attempt: 3, due_at: Timestamp::from_micros(99), ..stream(5, 6) };
        let now = Timestamp::from_micros(7);
        assert_eq!(open.put_again(&[4, 2, 5, 2], now), 2, "5 is still to come");
        assert_eq!((open.again.as_slice(), open.attempt, open.due_at), ([2, 4].as_slice(), 0, now));
        assert_eq!(open.head(), Some(Head::Again(2)));
        let open = settled(&open, 2, SettleAs::Passed { at: now });
        assert_eq!((open.head(), open.next), (Some(Head::Again(4)), 5));
        let open = settled(&open, 4, SettleAs::Passed { at: now });
        assert_eq!(open.head(), Some(Head::Next(5)));
        let mut held = Stream { token: Some(LeaseToken(Uuid::nil())), due_at: at(99), ..stream(5, 5) };
        assert_eq!((held.put_again(&[1], now), held.due_at), (1, at(99)), "the lease stays");
        assert_eq!(held.put_again(&(1..5_000).collect::<Vec<_>>(), now), AGAIN_MAX as u64 - 1);
    }

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_micros(micros)
    }

    #[test]
    fn numbers_read_back() {
        for numbers in [vec![], vec![7], vec![1, 20, u64::MAX]] {
            assert_eq!(numbers_from_text(&numbers_text(&numbers)), Some(numbers));
        }
        assert_eq!(numbers_from_text("1 x"), None);
    }
}
