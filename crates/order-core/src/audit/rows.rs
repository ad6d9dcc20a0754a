//! What a storage gives an audit to look at. Damage to one row must not hide the others, so rows that do not read are
//! given too, by their names.

use crate::ids::{OrderId, Shard};
use crate::journal::Head;
use crate::lease::Work;
use crate::order::event::EventType;
use crate::query::{OrderDossier, Tally};

/// A row that does not read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unreadable {
    /// What kind of row.
    pub table: &'static str,
    /// Which one: its key, for people.
    pub row: String,
    /// Why it does not read.
    pub why: String,
}

/// Rows that one short read gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K> {
    /// Those that read.
    pub rows: Vec<T>,
    /// Those that do not.
    pub unreadable: Vec<Unreadable>,
    /// Behind which key to go on; `None` when nothing came.
    pub last: Option<K>,
}

impl<T, K> Default for Page<T, K> {
    fn default() -> Self {
        Self { rows: Vec::new(), unreadable: Vec::new(), last: None }
    }
}

/// What an audit begins with, in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beginning {
    /// The head of every shard, by shard.
    pub heads: Vec<Head>,
    /// What is kept of the orders of a tenant and a source (`running` is 0).
    pub tallies: Vec<(String, String, Tally)>,
    /// Rows of either that do not read.
    pub unreadable: Vec<Unreadable>,
}

/// An order with all that belongs to it, in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedOrder {
    /// The order, its work and those of its events that read.
    pub dossier: OrderDossier,
    /// In which shard its row says that it lies.
    pub shard: Shard,
    /// Where those of its events lie that do not read.
    pub unread: Vec<u64>,
}

/// A row of the journal beside the version of the order that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalFact {
    /// The place.
    pub position: u64,
    /// What it says; `None` when that does not read.
    pub named: Option<Named>,
}

/// Which order's history a row of the journal is of, and what kind of event it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The order that it names.
    pub order_id: OrderId,
    /// The version that it gives.
    pub version: u64,
    /// The version of that order's row; `None` when there is no such order.
    pub order_version: Option<u64>,
    /// Which history of the database it says that it belongs to.
    pub epoch: u32,
    /// What happened.
    pub kind: EventType,
    /// The form of its data.
    pub data_version: u16,
}

/// A work row beside the state of its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkFact {
    /// The work row.
    pub work: Work,
    /// What its order says: whether it must have work; `None` when there is no such order.
    pub wanted: Option<bool>,
    /// The tenant that the row names, when it is not its order's.
    pub other_tenant: Option<String>,
    /// The number of the desk that the row names, when it is not its order's.
    pub other_desk: Option<i64>,
}
