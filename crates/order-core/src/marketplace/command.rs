//! What can be asked of storage for stores and imports.

use super::{Import, ImportResult, ListPlace, Registration, Store, SyncEnd, SyncRun};
use crate::budget::{BudgetCommand, Verdict};
use crate::clock::Timestamp;
use crate::ids::{EventId, LeaseToken, Reference, StoreId};
use std::time::Duration;

/// See [`crate::command::Command::Market`].
#[derive(Debug, Clone)]
pub enum MarketCommand {
    /// Something about one store.
    Store(StoreCommand),
    /// Use some of budgets, or learn of them.
    Budget(BudgetCommand),
    /// Forget what is old of the history of some stores.
    Sweep(SweepStores),
}

/// See [`MarketCommand::Sweep`]. The newest run and the newest event of a store stay, however old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweepStores {
    /// Behind this store, by id; from the first when `None`.
    pub after: Option<StoreId>,
    /// Of at most so many stores.
    pub stores: u32,
    /// Runs that began, and events that happened, before this moment go, with all of their store before them.
    pub before: Timestamp,
    /// At most so many runs of each store, and as many events.
    pub limit: u32,
}

/// What went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SweptStores {
    /// Runs and events.
    pub rows: u64,
    /// The last store that was looked at, if there may be more behind it.
    pub next: Option<StoreId>,
}

/// Something about one store.
#[derive(Debug, Clone)]
pub struct StoreCommand {
    /// Which.
    pub store_id: StoreId,
    /// When.
    pub now: Timestamp,
    /// How long after a sync the store is synced again, if there is something to do.
    pub again: Duration,
    /// What.
    pub action: StoreAction,
}

/// What to do with a store.
#[derive(Debug, Clone)]
pub enum StoreAction {
    /// Make it, or change what is said of it.
    Register(Box<Registration>),
    /// Begin to import a receipt, unless it has a result, or somebody is at it.
    Begin {
        /// Which.
        receipt: Reference,
        /// Who begins.
        token: LeaseToken,
        /// When that lease ends.
        until: Timestamp,
    },
    /// End a try of an import.
    Settle(Box<SettleImport>),
    /// Have a receipt tried again, by a sync that is due at once: an operator wants it. Until then what came of it stands; one that is
    /// invalid has failed from here on, and its tries begin anew. One that succeeded stays as it is.
    Retry {
        /// Which.
        receipt: Reference,
    },
    /// Sync it soon, for its marketplace says that something happened; and import this receipt, unless it was.
    Hear {
        /// Which, if an order is what it is about.
        receipt: Option<Reference>,
    },
    /// Begin to sync it, unless somebody does.
    ClaimSync {
        /// Who begins.
        token: LeaseToken,
        /// When that lease ends.
        until: Timestamp,
    },
    /// Go on syncing it.
    ExtendSync {
        /// Who does.
        token: LeaseToken,
        /// When the lease ends, and those of the imports.
        until: Timestamp,
        /// The imports that it is at.
        held: Vec<(Reference, LeaseToken)>,
    },
    /// Note the orders of a page: those that are new, and those that are not orders here yet. What the page itself makes an
    /// order of, or shows to be unreadable, begins the sync's run.
    Note {
        /// Who syncs.
        token: LeaseToken,
        /// At most [`super::calls::PAGE_RECEIPTS_MAX`], each receipt once.
        seen: Vec<Seen>,
        /// For the event of a run that begins.
        event_id: EventId,
    },
    /// Remember how far the store's orders are listed.
    KeepPlace {
        /// Who syncs.
        token: LeaseToken,
        /// Where.
        place: ListPlace,
    },
    /// Lease imports that are due. The first of them begin the sync's run, as does the first sync of all.
    ClaimDue {
        /// Who syncs.
        token: LeaseToken,
        /// One fresh token for each import that is wanted.
        tokens: Vec<LeaseToken>,
        /// When their leases end.
        until: Timestamp,
        /// For the event of a run that begins.
        event_id: EventId,
    },
    /// End the sync, and its run if one is open. A failure makes one to tell of it, but once: not while the run before ended
    /// likewise.
    EndSync {
        /// Who syncs.
        token: LeaseToken,
        /// Why.
        end: SyncEnd,
        /// More about that, for people.
        detail: Option<String>,
        /// Not to be synced again before this moment.
        not_before: Option<Timestamp>,
        /// For the event of the run that ends; and, where a failure is to be told of and none was open, of its beginning before.
        event_ids: [EventId; 2],
    },
}

/// See [`StoreAction::Settle`].
#[derive(Debug, Clone)]
pub struct SettleImport {
    /// Which receipt.
    pub receipt: Reference,
    /// Who is at it.
    pub token: LeaseToken,
    /// What came of it.
    pub outcome: ImportOutcome,
    /// Whether a sync did it: then it counts in that sync's run.
    pub of_sync: bool,
}

/// What came of a try of an import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportOutcome {
    /// It is an order.
    Imported(ImportResult),
    /// The marketplace knows no such order.
    Invalid,
    /// It failed; it is tried again later.
    Failed {
        /// Why, for people and clients.
        why: String,
    },
    /// The marketplace allows no more calls; it is tried again later.
    RateLimited {
        /// Not sooner than so long after.
        retry_after: Option<Duration>,
    },
    /// The marketplace could not be reached; it is tried again later.
    Unavailable,
    /// It was not tried after all; uses up nothing.
    Released {
        /// When it may be taken up again.
        at: Timestamp,
    },
}

/// An order on a page of what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What it is known by.
    pub receipt: Reference,
    /// What came of it, where the page tells; to be fetched by itself when `None`.
    pub outcome: Option<ImportOutcome>,
}

/// What a command came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarketReply {
    /// To [`StoreAction::Register`], and to those that change nothing but the store.
    Store(Box<Store>),
    /// To [`StoreAction::Begin`].
    Begun(Begun),
    /// To [`StoreAction::Settle`] and [`StoreAction::Retry`]: the import as it is now.
    Import(Box<Import>),
    /// To [`StoreAction::ClaimSync`]: the store, if it is ours now; else until when it is somebody's.
    Claimed(Result<Box<Store>, Timestamp>),
    /// To [`StoreAction::ClaimDue`].
    Due(Vec<Import>),
    /// To [`StoreAction::Note`]: how many of them were news.
    Noted(u64),
    /// To [`StoreAction::EndSync`]: the run that ended, if one was open.
    Ended(Option<Box<SyncRun>>),
    /// To [`MarketCommand::Budget`].
    Budget(Verdict),
    /// To [`MarketCommand::Sweep`].
    Swept(SweptStores),
}

/// How the beginning of an import went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// It is the asker's.
    Yours(Box<Import>),
    /// It has a result.
    Stored(Box<Import>),
    /// Somebody is at it, until then or sooner.
    InFlight {
        /// When that lease ends.
        until: Timestamp,
    },
}
