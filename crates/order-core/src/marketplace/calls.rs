//! What is said to a marketplace, and what it answers.

use super::MarketplaceName;
use crate::budget::Allowance;
use crate::clock::Timestamp;
use crate::ids::{Reference, StoreId, TenantId};
use crate::order::money::Money;
use crate::sealing::Secret;
use serde_json::{Map, Value};
use std::time::Duration;

/// Longest page cursor that is kept, in bytes.
pub const PAGE_BYTES_MAX: usize = 2_048;
/// Most orders of one page.
pub const PAGE_RECEIPTS_MAX: usize = 250;

/// Which store is asked, and what opens it.
pub struct StoreAccess {
    /// Its id.
    pub store_id: StoreId,
    /// Whose.
    pub tenant: TenantId,
    /// Where it is.
    pub marketplace: MarketplaceName,
    /// What the marketplace calls it.
    pub external_id: String,
    /// What opens it there.
    pub access_token: Secret,
    /// The store's currency.
    pub currency: String,
}

/// What is asked of a marketplace: each has limits of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// One order, by its receipt.
    Fetch,
    /// What changed since.
    List,
}

impl Operation {
    /// Its name in keys and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fetch => "fetch",
            Self::List => "list",
        }
    }
}

/// An order that a marketplace gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// Its id there: 1 to 255 bytes.
    pub external_order_id: String,
    /// Whose it is, in the marketplace's words, if it says: 1 to 255 bytes.
    pub customer: Option<String>,
    /// Its sum.
    pub amount: Money,
    /// Its currency, three letters.
    pub currency: String,
    /// When it was fetched.
    pub imported_at: Timestamp,
    /// More about it, which becomes attributes of the order. What is another at each fetch has no place here: it would make
    /// another order of the same.
    pub payload: Map<String, Value>,
}

/// What came of asking for one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// There it is.
    Imported(Box<Imported>),
    /// There is no such order, and there never will be.
    Invalid,
    /// It cannot be read, or the marketplace says why not.
    Failed {
        /// Why, for people.
        why: String,
    },
    /// Too many calls.
    RateLimited {
        /// When another may be made, if the marketplace says so: then that is for all calls, else for this receipt alone.
        retry_after: Option<Duration>,
    },
    /// The marketplace does not let this store in.
    AccessRefused {
        /// Why, for people.
        why: String,
    },
    /// It cannot be reached, or has a fault of its own.
    Unavailable {
        /// Why, for people.
        why: String,
    },
}

/// What of a store's orders is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesAsked {
    /// Changed at this moment or later.
    pub since: Timestamp,
    /// The page, in the marketplace's words; the first when `None`.
    pub page: Option<String>,
}

/// An order on a page. Each reads, or does not, for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedOrder {
    /// What it is known by.
    pub receipt: Reference,
    /// What the page says of it.
    pub content: ListedContent,
}

/// What a page says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedContent {
    /// All of it.
    Whole(Box<Imported>),
    /// Only that it is there: it is fetched by itself.
    Named,
    /// What does not read.
    Poisoned {
        /// Why, for people.
        why: String,
    },
}

/// What came of asking what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A page.
    Page {
        /// At most [`PAGE_RECEIPTS_MAX`].
        orders: Vec<ListedOrder>,
        /// Where the next page is; `None` at the end. At most [`PAGE_BYTES_MAX`] bytes.
        next: Option<String>,
    },
    /// Too many calls.
    RateLimited {
        /// When another may be made, if the marketplace says so.
        retry_after: Option<Duration>,
    },
    /// The page that was asked for is there no more: to be begun anew.
    PageGone,
    /// The marketplace does not let this store in.
    AccessRefused {
        /// Why, for people.
        why: String,
    },
    /// It cannot be reached, or what it says cannot be read.
    Unavailable {
        /// Why, for people.
        why: String,
    },
}

/// What somebody tells us of a store who says that they are its marketplace, unasked.
#[derive(Debug, Clone, Copy)]
pub struct Notification<'n> {
    /// The headers, by their names in lower case.
    pub headers: &'n [(&'n str, &'n str)],
    /// The very bytes that are signed.
    pub body: &'n [u8],
}

impl<'n> Notification<'n> {
    /// The value of a header; `None` where there is none, or more than one.
    pub fn header(&self, name: &str) -> Option<&'n str> {
        let mut values = self.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| *value);
        values.next().filter(|_| values.next().is_none())
    }
}

/// What is heard in a notification. Nothing of it is believed but that there is something to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It does not come from the marketplace, or is not about this store.
    Stranger,
    /// Something happened to an order.
    Order(Reference),
    /// Something else happened.
    Other,
}

/// What a marketplace's answer tells of its limits, for the operation that was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetHint {
    /// No calls for so long (`Retry-After`).
    NotBefore(Duration),
    /// How full the bucket is, in units, and how it fills (Shopify: `extensions.cost.throttleStatus`).
    Bucket {
        /// Units that are left.
        available: u64,
        /// Units that it holds.
        capacity: u64,
        /// Units a second.
        per_second: u64,
    },
    /// What the call cost in the end, in units (Shopify: `actualQueryCost`), where it was asked for as more.
    Cost(u64),
    /// Millionths of a call that are allowed each second (Amazon: `x-amzn-RateLimit-Limit`).
    RateMicro(u64),
    /// Calls that are left of a day's (Etsy: `x-remaining-today`).
    LeftToday(u64),
}

/// What an answer holds besides what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// What was asked for.
    pub of: T,
    /// What it tells of limits.
    pub hints: Vec<BudgetHint>,
}

impl<T> Answer<T> {
    /// One that tells nothing of limits.
    pub fn bare(of: T) -> Self {
        Self { of, hints: Vec::new() }
    }
}

/// What a call may use, and how much of it: all of these must allow it.
pub type Allowances = Vec<Allowance>;
