//! Stores, and the orders that are imported from them. A store is a shop at a marketplace; an import fetches one of its orders,
//! which is known there by its receipt, and each that succeeds is an order of the core too: its source is the store, its
//! reference the receipt.
//!
//! * [`calls`] is what is said to a marketplace, through the port [`crate::ports::Marketplace`].
//! * [`decide`] is what a command means for a store and its imports: pure, shared by every storage.
//! * [`rules`] holds the rules of a store's status, and when it is synced again.
//! * [`Market`] holds the use cases: stores are registered, receipts imported, stores synced.
//! * [`crate::budget`] keeps the calls within what the marketplace allows.

mod calling;
pub mod calls;
pub mod command;
pub mod decide;
mod importing;
pub mod reads;
pub mod rules;
mod sweep;
mod sync;
pub mod token;

pub use command::{MarketCommand, MarketReply, StoreAction, StoreCommand, SweepStores, SweptStores};
pub use importing::{Connectors, Market, MarketPolicy, MarketStats, NewStore};
pub use sync::{FAILURES_MAX, Round, SyncFailure, Synced};
pub use token::{SyncToken, TokenHash, TokenKey};

use crate::clock::Timestamp;
use crate::ids::{EventId, LeaseToken, OrderId, Reference, SourceId, StoreId, TenantId};
use crate::order::money::Money;
use crate::sealing::Sealed;
use rules::Newest;
use serde_json::{Value, json};

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$of:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$of])* $variant,)+
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word in rows and on the wire.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }

            /// The one of that word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.word() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// The marketplaces that are known.
    MarketplaceName {
        /// Etsy.
        Etsy = "etsy",
        /// Shopify.
        Shopify = "shopify",
        /// Amazon's Selling Partner API.
        Amazon = "amazon",
        /// One that stands in for others.
        Mock = "mock",
    }
}

words! {
    /// How far an import is.
    ImportState {
        /// Not asked for yet, or just now.
        Pending = "pending",
        /// It is an order.
        Success = "success",
        /// It failed; it is tried again.
        Failed = "failed",
        /// The marketplace allowed no more calls; it is tried again.
        RateLimited = "rate_limited",
        /// The marketplace knows no such order. Nobody asks again unless an operator wants it.
        Invalid = "invalid",
    }
}

words! {
    /// How a store is doing.
    SyncStatus {
        /// Nothing was imported yet.
        Pending = "pending",
        /// All that was done last went well.
        Success = "success",
        /// Some did, some did not, or is still to be done.
        Partial = "partial",
        /// Nothing of what was done last went well.
        Failed = "failed",
    }
}

words! {
    /// Why a sync came to its end.
    SyncEnd {
        /// Nothing was left to do.
        Done = "done",
        /// It had done as much as one may.
        Full = "full",
        /// The marketplace allows no more calls for now.
        Budget = "budget",
        /// The process was stopped.
        Stopped = "stopped",
        /// The marketplace could not be reached.
        Unavailable = "unavailable",
        /// The marketplace refuses the store's access token.
        AccessRefused = "access_refused",
    }
}

impl SyncEnd {
    /// Whether that is a failure.
    pub fn is_failure(self) -> bool {
        matches!(self, Self::Unavailable | Self::AccessRefused)
    }
}

words! {
    /// What is told of a store.
    StoreEventType {
        /// A sync began.
        Started = "sync.started",
        /// It came to its end.
        Completed = "sync.completed",
        /// It could not go on.
        Failed = "sync.failed",
    }
}

/// How many imports there are, by their state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportCounts {
    /// See [`ImportState::Pending`].
    pub pending: u64,
    /// See [`ImportState::Success`].
    pub success: u64,
    /// See [`ImportState::Failed`].
    pub failed: u64,
    /// See [`ImportState::RateLimited`].
    pub rate_limited: u64,
    /// See [`ImportState::Invalid`].
    pub invalid: u64,
}

impl ImportCounts {
    /// How many there are of one state.
    pub fn of(&self, state: ImportState) -> u64 {
        match state {
            ImportState::Pending => self.pending,
            ImportState::Success => self.success,
            ImportState::Failed => self.failed,
            ImportState::RateLimited => self.rate_limited,
            ImportState::Invalid => self.invalid,
        }
    }

    fn of_mut(&mut self, state: ImportState) -> &mut u64 {
        match state {
            ImportState::Pending => &mut self.pending,
            ImportState::Success => &mut self.success,
            ImportState::Failed => &mut self.failed,
            ImportState::RateLimited => &mut self.rate_limited,
            ImportState::Invalid => &mut self.invalid,
        }
    }

    /// How many there are.
    pub fn all(&self) -> u64 {
        ImportState::ALL.iter().map(|state| self.of(*state)).sum()
    }
}

/// How far a store's orders are listed, at marketplaces that tell what changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListPlace {
    /// All that changed before this moment was listed; `None` before the first listing ended.
    pub since: Option<Timestamp>,
    /// The page at which the listing that is under way goes on, in the marketplace's words.
    pub page: Option<String>,
    /// When that listing began: `since` once it has ended.
    pub began_at: Option<Timestamp>,
}

/// The right to sync a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncLease {
    /// The fence value.
    pub token: LeaseToken,
    /// When it runs out.
    pub until: Timestamp,
}

/// A shop at a marketplace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Store {
    /// Its id.
    pub store_id: StoreId,
    /// Whose.
    pub tenant: TenantId,
    /// Which organization of the tenant's it belongs to.
    pub organization: String,
    /// Where it is.
    pub marketplace: MarketplaceName,
    /// What the marketplace calls it.
    pub external_id: String,
    /// What people call it.
    pub name: String,
    /// Its currency, three letters.
    pub currency: String,
    /// What opens it at the marketplace.
    pub access_token: Sealed,
    /// Of its sync token.
    pub token_hash: TokenHash,
    /// When it was registered first.
    pub created_at: Timestamp,
    /// When it was registered last.
    pub updated_at: Timestamp,
    /// How many imports it has.
    pub counts: ImportCounts,
    /// What became of the imports that were worked on last.
    pub newest: Newest,
    /// When something was imported or synced last.
    pub last_sync_at: Option<Timestamp>,
    /// When it was synced last.
    pub synced_at: Option<Timestamp>,
    /// When it is to be synced next, if at all.
    pub next_sync_at: Option<Timestamp>,
    /// Who syncs it.
    pub lease: Option<SyncLease>,
    /// The number of its newest sync run; 0 before the first.
    pub run: u64,
    /// The version of its newest event; 0 before the first.
    pub version: u64,
    /// How far its orders are listed; `None` where the marketplace tells not what changed.
    pub listing: Option<ListPlace>,
}

impl Store {
    /// The source of its orders.
    ///
    /// # Errors
    /// Never: a UUID is a source's text.
    pub fn source(&self) -> Result<SourceId, crate::ids::InvalidText> {
        source_of(self.store_id)
    }

    /// How it is doing.
    pub fn status(&self) -> SyncStatus {
        rules::status(self)
    }

    /// Whether somebody syncs it now.
    pub fn live_lease(&self, now: Timestamp) -> Option<&SyncLease> {
        self.lease.as_ref().filter(|lease| lease.until > now)
    }
}

/// The source of a store's orders: `store-` and its id.
///
/// # Errors
/// Never: a UUID is a source's text.
pub fn source_of(store_id: StoreId) -> Result<SourceId, crate::ids::InvalidText> {
    SourceId::new(&format!("store-{store_id}"))
}

/// What the maker of a store says.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Whose.
    pub tenant: TenantId,
    /// Which organization of the tenant's: 1 to 255 bytes.
    pub organization: String,
    /// Where.
    pub marketplace: MarketplaceName,
    /// What the marketplace calls it: 1 to 255 bytes.
    pub external_id: String,
    /// What people call it: 1 to 255 bytes.
    pub name: String,
    /// Three letters.
    pub currency: String,
    /// What opens it at the marketplace.
    pub access_token: Sealed,
    /// Of its sync token.
    pub token_hash: TokenHash,
    /// Whether the marketplace tells what changed.
    pub lists: bool,
}

/// An order as the marketplace gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportResult {
    /// Its id there.
    pub external_order_id: String,
    /// Its sum.
    pub amount: Money,
    /// Its currency.
    pub currency: String,
    /// When it was fetched, as the marketplace or whoever asks it says.
    pub imported_at: Timestamp,
    /// The order that it is here.
    pub order_id: OrderId,
}

impl ImportResult {
    /// Whether `other` says the same of the same order, whenever it was fetched.
    pub fn says_as(&self, other: &Self) -> bool {
        let said = |one: &Self| (one.external_order_id.clone(), one.amount, one.currency.clone());
        said(self) == said(other)
    }
}

/// One order that is, or is to be, fetched from a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import {
    /// From which store.
    pub store_id: StoreId,
    /// Whose.
    pub tenant: TenantId,
    /// What the order is known by there.
    pub receipt: Reference,
    /// 1, 2, 3 … in its store.
    pub number: u64,
    /// How far it is.
    pub state: ImportState,
    /// How many tries there were.
    pub attempt: u32,
    /// When somebody may take it up: the end of the lease while `token` is set. `None` once nobody shall.
    pub due_at: Option<Timestamp>,
    /// Who is at it.
    pub token: Option<LeaseToken>,
    /// What came of it, once it succeeded.
    pub result: Option<ImportResult>,
    /// Why it did not, if it failed last.
    pub error: Option<String>,
    /// When it was asked for first.
    pub created_at: Timestamp,
    /// When it changed last.
    pub updated_at: Timestamp,
}

impl Import {
    /// Whether somebody is at it now.
    pub fn is_in_flight(&self, now: Timestamp) -> bool {
        self.token.is_some() && self.due_at.is_some_and(|until| until > now)
    }
}

/// What a sync of a store did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRun {
    /// Of which store.
    pub store_id: StoreId,
    /// 1, 2, 3 … in its store.
    pub run: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Imports that were tried.
    pub processed: u64,
    /// Those that are orders now.
    pub success: u64,
    /// Those that failed, invalid ones included.
    pub failed: u64,
    /// Those that were not allowed.
    pub rate_limited: u64,
    /// Why it ended.
    pub end: Option<SyncEnd>,
    /// More about that, for people.
    pub detail: Option<String>,
}

impl SyncRun {
    /// Its counts, as the events of its store tell them.
    pub fn told(&self) -> Value {
        json!({
            "storeId": self.store_id.to_string(),
            "processedCount": self.processed,
            "successCount": self.success,
            "failedCount": self.failed,
            "rateLimitedCount": self.rate_limited,
        })
    }
}

/// Something that happened to a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreEvent {
    /// To which.
    pub store_id: StoreId,
    /// 1, 2, 3 … in its store, without gaps.
    pub version: u64,
    /// Its id.
    pub event_id: EventId,
    /// Whose store it is.
    pub tenant: TenantId,
    /// The organization that the store belongs to.
    pub organization: String,
    /// What happened.
    pub kind: StoreEventType,
    /// When.
    pub occurred_at: Timestamp,
    /// More about it: a JSON object.
    pub data: String,
}
