//! Budgets: how many calls a marketplace allows, counted by ourselves so that it never has to say no, and kept in storage, so
//! that all nodes share them and a restart forgets nothing.
//!
//! One budget is a bucket of units: full at first, it fills at a rate, and each call takes some out. All the shapes that
//! marketplaces publish are such buckets:
//!
//! | what they say | here |
//! |---|---|
//! | so many calls a second, and a burst (Amazon's Selling Partner API, by operation) | a bucket of the burst, learned from `x-amzn-RateLimit-Limit` |
//! | points that leak away, and a cost for each query (Shopify's GraphQL) | a bucket of points, learned from `throttleStatus` |
//! | so many in any 24 hours (Etsy) | a bucket of a tenth of them that fills with the other nine in a day: whichever 24 hours one looks at, it gives no more |
//!
//! `Retry-After` closes a budget until then.
//!
//! Calls are of three classes, so that what is new does not wait for what is old: each class is entitled to a share of what
//! flows in, takes what the others leave, and the two that can wait leave part of a bucket alone for the first. Within a class the
//! stores that wait for the same budget come in turn, each with one call: whoever was just served is behind all others, and whoever
//! comes late still has its turn.

mod decide;

pub use decide::decide;

use crate::clock::Timestamp;
use crate::ids::StoreId;
use crate::marketplace::calls::BudgetHint;
use crate::marketplace::words;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// Millionths: budgets count in these.
pub const MICRO: u64 = 1_000_000;
/// Most that a budget holds, in units: what a marketplace tells beyond is taken for this.
pub const CAPACITY_MAX: u64 = 1_000_000;
/// Most stores that wait for one budget in turn; more come again by themselves.
pub const WAITING_MAX: usize = 256;
/// Whoever does not come so long after the time that was told does not want it any more, as far as others are concerned.
pub const GRACE: Duration = Duration::from_secs(90);
/// So long after that time the turn is kept for whoever comes after all: looks may be further apart than [`GRACE`], and who is first in
/// each of them must not always be first here.
pub const KEPT: Duration = Duration::from_secs(3600);
/// Most budgets of one call.
pub const ALLOWANCES_MAX: usize = 4;

const DAY_SECONDS: u64 = 24 * 3600;

words! {
    /// What calls are for.
    Class {
        /// Somebody waits for it, or it is new.
        Live = "live",
        /// It failed before.
        Repair = "repair",
        /// It is old.
        Backfill = "backfill",
    }
}

impl Class {
    /// Its share of what flows in while others want some too.
    fn weight(self) -> u64 {
        match self {
            Self::Live => 6,
            Self::Repair | Self::Backfill => 2,
        }
    }

    /// What it leaves of a full bucket to others, in tenths.
    fn leaves_tenths(self) -> u64 {
        match self {
            Self::Live => 0,
            Self::Repair => 2,
            Self::Backfill => 5,
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Live => 0,
            Self::Repair => 1,
            Self::Backfill => 2,
        }
    }
}

/// How large a bucket is, and how it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// Units that it holds, at least 1.
    pub capacity: u64,
    /// Millionths of a unit that flow in each second.
    pub micro_per_second: u64,
}

impl Limit {
    /// So many units at once, and so many a second.
    pub fn per_second(capacity: u64, units: u64) -> Self {
        Self::micro(capacity, units.saturating_mul(MICRO))
    }

    /// So many units at once, and so many millionths a second.
    pub fn micro(capacity: u64, micro_per_second: u64) -> Self {
        let most = CAPACITY_MAX * MICRO;
        Self { capacity: capacity.clamp(1, CAPACITY_MAX), micro_per_second: micro_per_second.min(most) }
    }

    /// At most so many units in any 24 hours: a tenth at once, the rest over the day.
    pub fn per_day(units: u64) -> Self {
        let units = units.clamp(2, CAPACITY_MAX * 10);
        let capacity = (units / 10).max(1);
        Self::micro(capacity, (units - capacity) * MICRO / DAY_SECONDS)
    }
}

/// What a call uses of one budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    /// Which budget.
    pub key: String,
    /// How many units it may cost at most, at least 1.
    pub units: u64,
    /// What the budget holds as far as is known beforehand.
    pub limit: Limit,
}

/// The key of a budget: of a marketplace, of one of our apps there; of one store, or shared by all; of one operation, or all.
pub fn key(marketplace: &str, app: &str, store: Option<StoreId>, operation: Option<&str>) -> String {
    let store = store.map_or_else(|| "*".to_owned(), |store| store.to_string());
    format!("{marketplace}/{app}/{store}/{}", operation.unwrap_or("*"))
}

/// A budget as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Which: see [`key`].
    pub key: String,
    /// What was said of it beforehand.
    pub said: Limit,
    /// What it is, as far as was learned since.
    pub limit: Limit,
    /// Millionths of units in it, at `as_of`; below zero for what was taken ahead.
    pub level: i64,
    /// When.
    #[serde(with = "micros")]
    pub as_of: Timestamp,
    /// Closed until then.
    #[serde(with = "micros")]
    pub not_before: Timestamp,
    /// What each class got so far, divided by its weight.
    pub served: [u64; 3],
    /// The same of whoever was served last, when it was.
    pub turn_of: u64,
    /// The next number in turn.
    pub next_turn: u64,
    /// Who waits.
    pub waiting: Vec<Waiter>,
}

/// Somebody who waits for a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiter {
    /// Which store.
    pub store: Uuid,
    /// Its class, as its place among all of [`Class`].
    pub class: usize,
    /// How many units it wants.
    pub units: u64,
    /// Its number in turn.
    pub turn: u64,
    /// When it was told to come again.
    #[serde(with = "micros")]
    pub told: Timestamp,
}

mod micros {
    use crate::clock::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(moment: &Timestamp, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_i64(moment.micros())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        i64::deserialize(from).map(Timestamp::from_micros)
    }
}

impl Budget {
    /// One that nobody has used yet.
    pub fn full(key: &str, limit: Limit, now: Timestamp) -> Self {
        Self {
            key: key.to_owned(),
            said: limit,
            limit,
            level: micro(limit.capacity),
            as_of: now,
            not_before: Timestamp::from_micros(0),
            served: [0; 3],
            turn_of: 0,
            next_turn: 0,
            waiting: Vec::new(),
        }
    }

    /// As it is kept: a JSON object.
    ///
    /// # Errors
    /// Never: it holds nothing that JSON does not.
    pub fn to_text(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// As it was kept; `None` for what [`Budget::to_text`] does not make.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// Use some of budgets, or say what was learned of them.
#[derive(Debug, Clone)]
pub struct BudgetCommand {
    /// When.
    pub now: Timestamp,
    /// For which store's calls.
    pub store_id: StoreId,
    /// What a call uses: at most [`ALLOWANCES_MAX`], each budget once.
    pub allowances: Vec<Allowance>,
    /// What.
    pub action: BudgetAction,
}

impl BudgetCommand {
    /// The keys of its budgets.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.allowances.iter().map(|allowance| allowance.key.as_str())
    }
}

/// What to do with budgets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BudgetAction {
    /// Take what a call uses out of all of them, or out of none.
    Take(Class),
    /// Note what the answer to such a call told.
    Learn(Vec<BudgetHint>),
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call may be made.
    Granted,
    /// Not now: come again then.
    Wait {
        /// When.
        until: Timestamp,
    },
}

fn micro(units: u64) -> i64 {
    i64::try_from(units.saturating_mul(MICRO)).unwrap_or(i64::MAX)
}
