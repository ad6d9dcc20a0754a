//! The traits that adapters implement. A trait exists only where two real adapters exist.

use crate::action_log::Action;
use crate::action_log::chain::Link;
use crate::api_key::{ApiKey, ApiKeyId};
use crate::audit::Finding;
use crate::audit::rows::{AuditedOrder, Beginning, JournalFact, Page, WorkFact};
use crate::backup::{BackupMade, BackupProgress};
use crate::command::{Command, Reply};
use crate::desk::Desks;
use crate::error::{Fault, Rejection};
use crate::external::ExternalId;
use crate::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use crate::journal::{Cursor, Event, Head, Mark, Passage, Slice};
use crate::lease::Leased;
use crate::listing::{ChangesPage, Search, SearchPage};
use crate::marketplace::calls::{
    Allowances, Answer, ChangesAsked, Fetched, Heard, Listed, Notification, Operation, StoreAccess,
};
pub use crate::marketplace::reads::MarketStorage;
use crate::order::Order;
use crate::parking::{ParkedStream, RefusedFor, WhichStreams};
use crate::query::{
    Backlog, EventPage, FollowerRow, Install, OrderDossier, OrderPage, OrderQuery, PageWeight, Parts, Server,
    Space, Tally,
};
use crate::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use crate::sealing::resealing::{RowKey, SealedCount, SealedRow};
use crate::sealing::{KeyId, Sealed, SealedColumn};
use crate::webhook::reads::WebhookReads;
use crate::webhook::sending::{Answered, Sending, UrlRefused};
use async_trait::async_trait;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a committed batch came to.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// One for each command, in order. A rejected command wrote nothing; its neighbours did.
    pub replies: Vec<Result<Reply, Rejection>>,
    /// Whether events were appended.
    pub journal_grew: bool,
    /// Whether work became due.
    pub work_due: bool,
}

/// Where orders, journal and work lie. One call of [`Storage::commit`] is one transaction; no transaction leaves it.
///
/// Every adapter passes the conformance suite of the crate `testkit`. What commands mean is in [`crate::decide`]; besides:
///
/// * Work that is due at the same moment is claimed in the order of the orders' numbers; work that is parked instead,
///   because its leases kept running out, uses up one of the tokens too.
/// * Work lies at the desk of its order's source ([`crate::desk::Desk::of`]). What a claim costs does not grow with what lies at
///   other desks than it takes from, nor does [`Storage::next_due`].
/// * A heartbeat revives a lease that ran out, as long as nobody has claimed the work since.
/// * A cursor only moves forward by an advance, also while its follower is paused; a replay keeps the pause.
/// * A page of orders, and what one claim leases, ends with the order that makes it full ([`PageWeight`]):
///   fewer than `limit`, but one at least. The next page goes on behind it; what is left of a claim stays due.
/// * A replay of a range leaves the cursor where it is ([`crate::replay::Replay`] says what is kept of it, beside the cursor,
///   and when it is over); an advance moves one of the two.
/// * An advance moves shards that its token holds, else it is [`Rejection::LeaseLost`], and extends the lease of its relay;
///   who holds what after a share is what [`crate::share::Share::changes`] says. Relays whose leases have run out go then.
/// * What an advance has sent again of parked orders is moved before what it parks; an order that is parked already is parked
///   from the lower version on, with what was said last of that. A redrive of a follower takes those that are not
///   redriving yet.
/// * Of orders that a redrive names, another tenant's or source's is `unknown`, one that does not meet the rest of its filter
///   `not_parked`.
#[async_trait]
pub trait Storage: WebhookReads + Send + Sync {
    /// What the database says of itself.
    fn install(&self) -> &Install;

    /// How many lanes may commit at once; each serves the shards `shard % lanes`.
    fn lanes(&self) -> usize;

    /// Whether commands about webhooks have a lane beside those of the shards, whose number is [`Storage::lanes`]. They touch
    /// neither orders nor events, so none of them waits for a commit that does, nor the other way round. Each is a batch
    /// by itself there.
    fn has_lane_beside(&self) -> bool {
        false
    }

    /// Applies a batch as one transaction: all of it is durable when this returns `Ok`, none of it after `Err`
    /// (but for [`Fault::OutcomeUnknown`]).
    ///
    /// # Errors
    /// [`Fault::Data`] when the database refuses the values of some command: the caller halves the batch.
    async fn commit(&self, lane: usize, batch: Arc<[Command]>) -> Result<Committed, Fault>;

    /// One order, with its lease.
    async fn order(&self, tenant: &TenantId, order_id: OrderId) -> Result<Option<Order>, Fault>;

    /// Whose an order is, for who knows its id alone: what others send names no tenant.
    async fn owner(&self, order_id: OrderId) -> Result<Option<TenantId>, Fault>;

    /// One order by its number.
    async fn order_by_number(&self, tenant: &TenantId, number: i64) -> Result<Option<Order>, Fault>;

    /// The newest order that bears an external id now.
    async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Fault>;

    /// A page of orders, newest first; scans at most [`crate::query::SCAN_MAX`] rows.
    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Fault>;

    /// A page of the orders that a text leads to; scans at most [`crate::query::SCAN_MAX`] rows.
    async fn search(&self, search: &Search) -> Result<SearchPage, Fault>;

    /// Orders that events behind `after` name, each once, as they are now; reads at most [`crate::query::SCAN_MAX`]
    /// events. `query.before` is not looked at.
    async fn changes(&self, query: &OrderQuery, after: &Cursor) -> Result<ChangesPage, Fault>;

    /// The place behind which the first event of each shard lies that happened at `moment` or later; before it, none did.
    async fn place_of(&self, moment: crate::Timestamp) -> Result<Cursor, Fault>;

    /// When the next work of a tenant at some desks is due, leased or not.
    async fn next_due(&self, tenant: &TenantId, desks: Desks) -> Result<Option<crate::Timestamp>, Fault>;

    /// How many parked orders a filter matches, counted up to [`crate::redrive::COUNT_MAX`].
    async fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> Result<BoundedCount, Fault>;

    /// A page of the events of one order with versions above `after`, oldest first: at most `limit`, and none behind the
    /// one that makes it full ([`PageWeight`]); `None` when there is no such order.
    async fn order_events(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        after: u64,
        limit: u32,
    ) -> Result<Option<EventPage>, Fault>;

    /// One order with its work and its newest events, in one snapshot: at most `events_max` events, and perhaps
    /// fewer where they are larger than about 4 MiB, but one at least.
    async fn dossier(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        events_max: u32,
    ) -> Result<Option<OrderDossier>, Fault>;

    /// The events of one shard behind position `after`, at most `limit`, in order.
    async fn journal(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Event>, Fault>;

    /// The events of several slices, each as [`Storage::journal`] has them, in one go. Slices behind those that make a page
    /// full ([`PageWeight`]) are left out: then there are fewer answers than slices. A slice that is answered has an event
    /// if there is one.
    async fn slices(&self, slices: &[Slice]) -> Result<Vec<Vec<Event>>, Fault> {
        let (mut read, mut weight) = (Vec::with_capacity(slices.len()), PageWeight::default());
        for slice in slices {
            if weight.is_full() {
                break;
            }
            let events = self.journal(slice.shard, slice.after, slice.limit).await?;
            events.iter().for_each(|event| weight.add_event(event));
            read.push(events);
        }
        Ok(read)
    }

    /// The events at these places, which are in order and each there once; `None` where there is none, or none any more. Those behind what makes a page full
    /// ([`PageWeight`]) are left out: then there are fewer answers than places.
    async fn events_at(&self, places: &[(Shard, u64)]) -> Result<Vec<Option<Event>>, Fault> {
        let (mut read, mut weight) = (Vec::with_capacity(places.len()), PageWeight::default());
        for (shard, position) in places {
            if weight.is_full() {
                break;
            }
            let events = self.journal(*shard, position.saturating_sub(1), 1).await?;
            let event = events.into_iter().find(|event| event.position == *position);
            event.iter().for_each(|event| weight.add_event(event));
            read.push(event);
        }
        Ok(read)
    }

    /// The same as [`Storage::slices`] for who wants events of `sources` alone: a slice without any may be told of without them,
    /// and is then passed over at little cost. Slices that are left out have no answer.
    async fn passages(&self, slices: &[Slice], _sources: &[SourceId]) -> Result<Vec<Passage>, Fault> {
        let read = self.slices(slices).await?;
        let passage = |(slice, events): (&Slice, Vec<Event>)| Passage {
            shard: slice.shard,
            to: events.last().map_or(slice.after, |event| event.position),
            count: events.len() as u64,
            events,
        };
        Ok(slices.iter().zip(read).map(passage).collect())
    }

    /// The same as [`Storage::journal`], but only what tells that something happened to an order: reads far less.
    async fn marks(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Mark>, Fault>;

    /// The head of every shard, by shard.
    async fn heads(&self) -> Result<Vec<Head>, Fault>;

    /// All followers, by name.
    async fn followers(&self) -> Result<Vec<FollowerRow>, Fault>;

    /// One follower.
    async fn follower(&self, name: &str) -> Result<Option<FollowerRow>, Fault>;

    /// Counts of one tenant's orders of one source, in one snapshot, at a cost that does not grow with their number.
    async fn tally(
        &self,
        tenant: &TenantId,
        source: &SourceId,
        now: crate::Timestamp,
    ) -> Result<Tally, Fault>;

    /// Some of the orders that are parked for a follower ([`crate::parking`]), by shard and id.
    async fn parked_streams(&self, follower: &str, which: &WhichStreams) -> Result<Vec<ParkedStream>, Fault>;

    /// How much waits, and since when.
    async fn backlog(&self, now: crate::Timestamp) -> Result<Backlog, Fault>;

    /// Counts of all tenants' orders, one for each of `sources`, in one snapshot.
    async fn tallies(&self, sources: &[SourceId], now: crate::Timestamp) -> Result<Vec<Tally>, Fault>;

    /// A redrive job.
    async fn redrive(&self, tenant: &TenantId, redrive_id: RedriveId) -> Result<Option<Redrive>, Fault>;

    /// The results of a redrive job, in order, behind result number `after`, at most `limit`.
    async fn redrive_items(
        &self,
        redrive_id: RedriveId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RedriveItem>, Fault>;

    /// The redrive jobs that are not finished.
    async fn open_redrives(&self) -> Result<Vec<RedriveId>, Fault>;

    /// One API key, whoever owns it: a login does not know the tenant yet.
    async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKey>, Fault>;

    /// The API keys of a tenant with numbers below `before`, the newest first, at most `limit`.
    async fn api_keys(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Fault>;

    /// How many API keys of all tenants are neither revoked nor expired.
    async fn live_api_keys(&self, now: crate::Timestamp) -> Result<u64, Fault>;

    /// A secret that the installation made for itself.
    async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Option<Sealed>, Fault>;

    /// How many secrets of all tenants lie under which key, by column and key; of each column at most
    /// [`crate::sealing::resealing::COUNT_MAX`] are counted. Columns without any are left out.
    async fn sealed_counts(&self) -> Result<Vec<SealedCount>, Fault>;

    /// The secrets of one column, of all tenants, that lie under another key than `besides`: those behind a row, in the order of
    /// tenant and row by bytes, at most `limit`.
    async fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: u32,
    ) -> Result<Vec<SealedRow>, Fault>;

    /// The rows of the action log of a tenant with numbers below `before`, the newest first, at most `limit`.
    async fn actions(&self, tenant: &TenantId, before: Option<u64>, limit: u32)
    -> Result<Vec<Action>, Fault>;

    /// For audits: the rows of the action log of all tenants behind number `after`, in order, at most `limit`.
    async fn action_rows(&self, after: u64, limit: u32) -> Result<Vec<Action>, Fault>;

    /// The end of the chain through the action log, as it is kept apart from the rows.
    async fn action_end(&self) -> Result<Link, Fault>;

    /// Writes a whole copy of the storage, as it is at one moment, to the file `path`, which must not be there yet, and
    /// checks it. Intake goes on meanwhile. There is no file of that name before the copy is whole and safe on disk.
    ///
    /// # Errors
    /// When it cannot be written, does not check, or was called off; [`Fault::Unavailable`] when there is no room.
    async fn back_up(&self, path: &Path, progress: Arc<BackupProgress>) -> Result<BackupMade, Fault>;

    /// What an audit begins with.
    async fn audit_beginning(&self) -> Result<Beginning, Fault>;

    /// For audits: orders behind number `after` in the order of their numbers, at most `limit`.
    async fn audit_orders(&self, after: i64, limit: u32) -> Result<Page<AuditedOrder, i64>, Fault>;

    /// For audits: rows of the journal of one shard behind position `after`, in order, at most `limit`: those that do not
    /// read too.
    async fn audit_journal(
        &self,
        shard: Shard,
        after: u64,
        limit: u32,
    ) -> Result<Page<JournalFact, u64>, Fault>;

    /// For audits: work rows behind a key, in the order of their keys, at most `limit`.
    async fn audit_work(&self, after: i64, limit: u32) -> Result<Page<WorkFact, i64>, Fault>;

    /// For audits: at most `max` findings in what is kept besides orders, their events, work and tallies: rows that do not
    /// read, that name what is not there, or that [`crate::audit::kept`] says are wrong. Takes many short reads.
    async fn audit_strays(&self, max: usize) -> Result<Vec<Finding>, Fault>;

    /// What is kept of marketplaces.
    fn markets(&self) -> &dyn MarketStorage;

    /// The room where the data lies, when the storage knows.
    async fn space(&self) -> Option<Space>;

    /// The parts that it keeps the journal in; `None` where that is in one piece.
    async fn parts(&self) -> Result<Option<Parts>, Fault> {
        Ok(None)
    }

    /// The server that keeps it, as it is now; `None` where the storage is within this process.
    async fn server(&self) -> Result<Option<Server>, Fault> {
        Ok(None)
    }
}

/// How a try ended, in the processor's words; [`crate::process`] makes an outcome of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// It is done.
    Done,
    /// It may succeed later; not before `retry_after`, when given.
    Failed {
        /// Why, for people.
        why: String,
        /// What the other side asked for.
        retry_after: Option<Duration>,
    },
    /// It cannot succeed: an operator must look.
    Hopeless {
        /// Why, for people.
        why: String,
    },
}

/// Does the work of an order. May be called again for the same work: `effect_key` tells the outside so.
#[async_trait]
pub trait Processor: Send + Sync {
    /// A name for logs and metrics.
    fn name(&self) -> &'static str;

    /// One try.
    async fn process(&self, work: &Leased) -> Processed;
}

/// Why a sink did not take all that it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkFault {
    /// It may take it later: nothing counts as taken, the same events come again.
    #[error("{0}")]
    Transient(String),
    /// It will never take these events as they are, and has all others safely; but perhaps not the later ones of the same
    /// orders, which wait with those that are named. None is named that may be taken later.
    #[error("refuses {} events for good", .0.len())]
    Refused(Vec<RefusedEvent>),
}

impl SinkFault {
    /// One that time mends.
    pub fn transient(why: impl Into<String>) -> Self {
        Self::Transient(why.into())
    }
}

/// An event that a sink refuses for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedEvent {
    /// Which of those that were given.
    pub index: usize,
    /// Why.
    pub reason: RefusedFor,
    /// More about it, for operators; nothing of what is in the event.
    pub why: String,
}

/// Where a follower carries events.
#[async_trait]
pub trait Sink: Send + Sync {
    /// What kind of sink it is, for people.
    fn kind(&self) -> &'static str;

    /// Of whose orders it takes events, by their sources; of all when it does not say. What is of others may come all the same.
    fn sources(&self) -> Option<Vec<SourceId>> {
        None
    }

    /// Makes ready for the first delivery: called until it succeeds, also when there is nothing to deliver, so that what is
    /// wrong with a sink is known before there is.
    async fn open(&self) -> Result<(), SinkFault> {
        Ok(())
    }

    /// Carries all of `events`, per order in the order given, and returns once they are safe there. After a transient fault
    /// the same events come again: the sink may have taken some of them. What can be seen to be refused for good is found
    /// before anything is sent, so that no later event of that order overtakes it.
    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault>;
}

/// Carries what an endpoint is sent to its receiver.
#[async_trait]
pub trait Deliverer: Send + Sync {
    /// Posts once, and never again by itself. It follows no redirect, keeps no cookie, and is over when
    /// [`Sending::timeout`] is. The address is vetted each time.
    async fn deliver(&self, sending: Sending) -> Answered;

    /// Whether a URL may be registered, as far as its text tells: names are resolved, and vetted, with each delivery.
    ///
    /// # Errors
    /// The rule that it breaks.
    fn check(&self, url: &str) -> Result<(), UrlRefused>;

    /// Whether whoever is at a URL has to say that they want to be called before they are (see
    /// [`challenge`](crate::webhook::challenge)).
    fn challenges(&self) -> bool {
        false
    }
}

/// A marketplace, or what stands in for one. Calls are made within its allowances alone, which is for the caller to see to.
#[async_trait]
pub trait Marketplace: Send + Sync {
    /// Whether it tells what changed since a moment.
    fn lists(&self) -> bool;

    /// What a call of this operation for a store uses.
    fn allowances(&self, access: &StoreAccess, operation: Operation) -> Allowances;

    /// One order of a store. Ends by itself, in 15 s or so.
    async fn fetch(&self, access: &StoreAccess, receipt: &crate::Reference) -> Answer<Fetched>;

    /// What a notification about the store of this name there is worth; only what comes from the marketplace is anything.
    fn hear(&self, external_id: &str, told: &Notification<'_>) -> Heard {
        let _ = (external_id, told);
        Heard::Stranger
    }

    /// A page of what changed in a store, oldest change first; asked only where [`Marketplace::lists`].
    async fn changed_since(&self, access: &StoreAccess, asked: &ChangesAsked) -> Answer<Listed>;
}
