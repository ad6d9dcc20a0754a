//! What can be asked without changing anything.

use crate::api_key::Pepper;
use crate::clock::Timestamp;
use crate::ids::{LeaseToken, Shard, SourceId, TenantId};
use crate::journal::{Cursor, Event};
use crate::lease::Work;
use crate::order::Order;
use crate::order::state::{Fulfilment, Processing};
use crate::replay::Replay;
use crate::share::Relay;
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// Most rows that one page scans; a page may therefore be empty and still have a next one.
pub const SCAN_MAX: u32 = 5_000;

/// Bytes of orders, or of events, after which a page is full ([`PageWeight`]); one more may be in it. However large what is
/// asked for is, one answer holds no more than that in memory.
pub const PAGE_BYTES_MAX: usize = 4 << 20;

/// How much a page holds by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageWeight(usize);

impl PageWeight {
    /// An order is in it too.
    pub fn add(&mut self, order: &Order) {
        self.0 = self.0.saturating_add(order.footprint());
    }

    /// An event is in it too.
    pub fn add_event(&mut self, event: &Event) {
        self.0 = self.0.saturating_add(event.data.len());
    }

    /// Whether nothing more belongs into it.
    pub fn is_full(self) -> bool {
        self.0 >= PAGE_BYTES_MAX
    }
}

/// What a database says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Install {
    /// Made at install; tells databases apart.
    pub installation_id: Uuid,
    /// How many shards there are; fixed at install.
    pub shards: u16,
    /// Which history this is; raised by a restore.
    pub epoch: u32,
    /// The key that signs cursors.
    pub cursor_key: [u8; 32],
    /// What API keys are hashed with, unless the settings say otherwise.
    pub key_pepper: Pepper,
    /// The newest migration that was applied.
    pub schema_version: u32,
}

/// A list of orders, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Only from this source.
    pub source: Option<SourceId>,
    /// Only in this processing state.
    pub processing: Option<Processing>,
    /// Only in this fulfilment state.
    pub fulfilment: Option<Fulfilment>,
    /// Only withdrawn, or only not withdrawn, ones.
    pub withdrawn: Option<bool>,
    /// Only of this customer.
    pub customer: Option<String>,
    /// Only accepted at this moment or later.
    pub accepted_from: Option<Timestamp>,
    /// Only accepted before this moment.
    pub accepted_to: Option<Timestamp>,
    /// Only orders whose last error contains this text.
    pub error_contains: Option<String>,
    /// Only orders with a lower number: where the page before ended.
    pub before: Option<i64>,
    /// At most so many, 1 to 200.
    pub limit: u32,
    /// The time now, which decides what is running.
    pub now: Timestamp,
}

impl OrderQuery {
    /// All orders of a tenant.
    pub fn all(tenant: TenantId, limit: u32, now: Timestamp) -> Self {
        Self {
            tenant,
            source: None,
            processing: None,
            fulfilment: None,
            withdrawn: None,
            customer: None,
            accepted_from: None,
            accepted_to: None,
            error_contains: None,
            before: None,
            limit,
            now,
        }
    }

    /// Whether `order` is asked for.
    pub fn matches(&self, order: &Order) -> bool {
        order.tenant == self.tenant
            && self.source.as_ref().is_none_or(|source| *source == order.source)
            && self.processing.is_none_or(|processing| processing == order.processing_at(self.now))
            && self.fulfilment.is_none_or(|fulfilment| fulfilment == order.fulfilment)
            && self.withdrawn.is_none_or(|withdrawn| withdrawn == order.withdrawn)
            && self.customer.as_ref().is_none_or(|customer| Some(customer) == order.content.customer.as_ref())
            && self.accepted_from.is_none_or(|from| order.accepted_at >= from)
            && self.accepted_to.is_none_or(|to| order.accepted_at < to)
            && self.error_contains.as_ref().is_none_or(|text| {
                order.last_error.as_ref().is_some_and(|error| error.contains(text.as_str()))
            })
            && self.before.is_none_or(|before| order.number < before)
    }
}

/// Room where the data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free.
    pub free: u64,
    /// Bytes that must stay free: with less, nothing is written.
    pub least: u64,
}

impl Space {
    /// Whether anything may be written.
    pub fn is_enough(self) -> bool {
        self.free > 0 && self.free >= self.least
    }
}

/// The server of a database, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its address and the name of the database, without what opens it.
    pub name: String,
    /// What it is, and which version.
    pub version: String,
    /// How long it took to answer one question.
    pub latency: Duration,
    /// What it does so that nothing it acknowledged is lost.
    pub durability: Durability,
}

/// What a database server does so that nothing that it acknowledged is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// Settings that must be changed, as they are: `fsync = off`.
    pub unsafe_settings: Vec<String>,
    /// Whether a commit is acknowledged only when another server has it too: then it survives the loss of this one.
    pub has_synchronous_standby: bool,
}

/// The parts that a journal is kept in. The next one of each shard is made ahead; without it events are kept all the same, but
/// together with all that come later.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Parts {
    /// How many there are, over all shards.
    pub count: u64,
    /// Shards whose newest part is more than half full, and has none behind it.
    pub missing: Vec<Shard>,
    /// How many events fit into what is made, of the shard with least.
    pub room: u64,
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, missing, room } = self;
        write!(f, "{count} parts; each shard has room for {room} events or more")?;
        if !missing.is_empty() {
            let missing: Vec<String> = missing.iter().map(Shard::to_string).collect();
            write!(f, "; the next part is missing in shard {}", missing.join(", "))?;
        }
        Ok(())
    }
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page begins (`before`); `None` when this was the last.
    pub next: Option<i64>,
}

/// A page of the events of one order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EventPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The version behind which the next page begins; `None` when this was the last.
    pub next: Option<u64>,
}

/// Counts of one tenant's orders of one source, exact at the moment of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All of them.
    pub orders: u64,
    /// Waiting for a worker or in the hands of one.
    pub queued: u64,
    /// In the hands of a worker under a live lease; counted in `queued` too.
    pub running: u64,
    /// Processed to the end.
    pub processed: u64,
    /// Waiting for an operator.
    pub parked: u64,
    /// Sum of the time from the start of the successful attempt to its end, in microseconds.
    pub processing_micros: u64,
}

impl Tally {
    /// Counts an order in, as its row says that it is: what is running is queued.
    pub fn count(&mut self, order: &Order) {
        self.orders += 1;
        match order.processing {
            Processing::Queued | Processing::Running => self.queued += 1,
            Processing::Parked => self.parked += 1,
            Processing::Done => {
                if let Some(micros) = processing_micros(order) {
                    self.processed += 1;
                    self.processing_micros = self.processing_micros.saturating_add(micros.unsigned_abs());
                }
            }
        }
    }
}

/// What a batch adds to the counts of a tenant's orders of one source; less than nothing where orders left a state.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct TallyChange {
    /// To all of them.
    pub orders: i64,
    /// To [`Tally::queued`].
    pub queued: i64,
    /// To [`Tally::processed`].
    pub processed: i64,
    /// To [`Tally::parked`].
    pub parked: i64,
    /// To [`Tally::processing_micros`].
    pub processing_micros: i64,
}

impl TallyChange {
    /// Counts an order in (`sign` 1) or out (-1), as its row says that it is.
    pub fn add(&mut self, order: &Order, sign: i64) {
        self.orders += sign;
        match order.processing {
            Processing::Queued | Processing::Running => self.queued += sign,
            Processing::Parked => self.parked += sign,
            Processing::Done => {
                if let Some(micros) = processing_micros(order) {
                    self.processed += sign;
                    self.processing_micros =
                        self.processing_micros.saturating_add(micros.saturating_mul(sign));
                }
            }
        }
    }
}

/// From the start of the attempt that did it to its end; `None` when the order does not say.
fn processing_micros(order: &Order) -> Option<i64> {
    let span = order.processed_at?.since(order.started_at?);
    Some(i64::try_from(span.as_micros()).unwrap_or(i64::MAX))
}

/// A follower as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FollowerRow {
    /// Its name.
    pub name: String,
    /// What kind of sink it feeds.
    pub sink: String,
    /// Whether it carries nothing on.
    pub paused: bool,
    /// How far it is.
    pub cursor: Cursor,
    /// What it carries on once more before it goes on.
    pub replay: Option<Replay>,
    /// By shard, the node that holds it, if any; see [`FollowerRow::holder`].
    pub holders: Vec<Option<LeaseToken>>,
    /// The nodes that carry it, by token; the leases of some may have run out.
    pub relays: Vec<Relay>,
    /// Orders that are parked for it ([`crate::parking`]).
    pub parked: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
}

/// Open redrives that are looked at for the oldest, those asked for first.
pub const REDRIVES_LOOKED_AT: u64 = 1_000;

/// Parked orders that are looked at for the oldest where their times are in no index: of each tenant those taken in first.
pub const PARKED_LOOKED_AT: u64 = 1_000;

/// Due work that is counted at most.
pub const DUE_COUNT_MAX: u64 = 10_000;

/// How much waits, and since when; for metrics. Read in one snapshot, at a cost that does not grow with the number of
/// orders.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Work that is not finished: due, due later, or leased.
    pub open: u64,
    /// Work that is due, whoever is to do it, counted up to [`DUE_COUNT_MAX`].
    pub due: u64,
    /// Since when the oldest of it is due.
    pub due_since: Option<Timestamp>,
    /// Work in the hands of a worker under a live lease.
    pub leased: u64,
    /// Orders that wait for an operator.
    pub parked: u64,
    /// Since when nothing has happened to that of them which waits longest; of at least [`PARKED_LOOKED_AT`].
    pub parked_since: Option<Timestamp>,
    /// Redrive jobs that are not finished.
    pub redrives: u64,
    /// When the oldest of them was asked for; of at most [`REDRIVES_LOOKED_AT`].
    pub redrives_since: Option<Timestamp>,
    /// By follower: when the oldest event happened that lies behind its cursor; `None` when none does.
    pub followers: Vec<(String, Option<Timestamp>)>,
    /// Pages in the log of the database, where it has one.
    pub log_pages: Option<u64>,
}

/// One order with all that belongs to it, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderDossier {
    /// The row.
    pub order: Order,
    /// Its events as the journal chains them, oldest first; where not all are asked for, the newest of them.
    pub events: Vec<Event>,
    /// Its work row.
    pub work: Option<Work>,
    /// Whether look-ups by its id, its reference, its customer and its source lead to it.
    pub found: bool,
}
