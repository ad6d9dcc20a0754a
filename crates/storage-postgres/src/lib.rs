//! Storage on PostgreSQL: a few lanes that commit batches, a pool of connections that read, any number of nodes on one
//! database.
//!
//! A commit is two trips to the server. The first locks the heads of the shards that the batch touches and reads what it is
//! about; then the core decides in memory, as it does for every storage; the second writes many rows with each statement,
//! and commits. Nothing that another node can change is kept in memory from one batch to the next.

mod actions;
mod address;
mod api_keys;
mod apply;
mod auditing;
mod backlog;
mod carry;
mod chain;
mod changes;
mod clock;
mod connect;
mod epoch;
mod error;
mod facts;
mod list;
mod markets;
mod meta;
mod migrate;
mod open;
mod parts;
mod pepper;
mod pipeline;
mod read;
mod readers;
mod records;
mod refusal;
mod rows;
mod search;
mod secrets;
mod span;
mod streams;
mod terms;
mod tips;
mod wake;
mod webhooks;
mod writer;

pub use carry::{Cargo, CarriedIn, MADE, NotCarried, TAKEN, carry_in, occupants};
pub use clock::DatabaseClock;
pub use connect::TimeLimits;
pub use epoch::{NotRaised, Raised, raise_epoch};
pub use meta::Seed;
pub use migrate::{MIGRATIONS, Migrated, Migration};
pub use open::{Looked, Options, check_url, look, name};
pub use parts::{PartPolicy, PartsKept};
pub use refusal::Unopened;
pub use wake::SharedWakes;

/// Statements whose plans tests look at.
#[doc(hidden)]
pub mod plans {
    pub use crate::apply::market::{SWEEP_EVENTS, SWEEP_RUNS};
    pub use crate::apply::webhooks::{CANDIDATES, CLAIM};
}

use async_trait::async_trait;
use connect::Target;
use error::unavailable;
use order_core::Fault;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::api_key::{ApiKey, ApiKeyId};
use order_core::audit::Finding;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Page, WorkFact};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::clock::Timestamp;
use order_core::command::Command;
use order_core::desk::Desks;
use order_core::external::ExternalId;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::{Cursor, Event, Head, Mark, Passage, Slice};
use order_core::lane::Wakes;
use order_core::listing::{ChangesPage, Search, SearchPage};
use order_core::order::Order;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::ports::{Committed, MarketStorage, Storage};
use order_core::query::{
    Backlog, EventPage, FollowerRow, Install, OrderDossier, OrderPage, OrderQuery, Parts, Server, Space,
    Tally,
};
use order_core::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use order_core::sealing::resealing::{RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use parts::Keeper;
use read::EventSizes;
use readers::Readers;
use std::path::Path;
use std::sync::Arc;
use terms::Packer;
use tips::Tips;
use wake::News;
use writer::Writers;

/// A database.
pub struct PostgresStorage {
    install: Arc<Install>,
    clock: Arc<DatabaseClock>,
    readers: Readers,
    /// For what is read for a tenant.
    guarded: Readers,
    writers: Writers,
    tips: Arc<Tips>,
    parts: Keeper,
    /// `None` when it was opened as it is.
    packer: Option<Packer>,
    news: Arc<News>,
    event_sizes: EventSizes,
    target: Target,
}

impl PostgresStorage {
    /// Tells other nodes when work became due or the journal grew, and wakes `wakes` when they do so: for as long as the
    /// answer is kept. To be called once.
    pub fn share_wakes(&self, wakes: Wakes) -> SharedWakes {
        SharedWakes::start(self.target.clone(), Arc::clone(&self.news), wakes)
    }

    /// Makes the parts of the journal that events will need, drops those that were kept long enough, and raises floors: what any
    /// node does now and then, whatever the others do meanwhile. What somebody is in the way of is left for the next time.
    ///
    /// # Errors
    /// When the database cannot be had, or refuses it.
    pub async fn keep_parts(&self, now: Timestamp) -> Result<PartsKept, Fault> {
        Ok(self.parts.round(now).await?)
    }

    /// The time of the database's server.
    pub fn clock(&self) -> Arc<DatabaseClock> {
        Arc::clone(&self.clock)
    }
}

#[async_trait]
impl Storage for PostgresStorage {
    fn install(&self) -> &Install {
        &self.install
    }

    fn lanes(&self) -> usize {
        self.writers.lanes()
    }

    fn has_lane_beside(&self) -> bool {
        true
    }

    async fn commit(&self, lane: usize, batch: Arc<[Command]>) -> Result<Committed, Fault> {
        let committed = self.writers.commit(lane, &batch).await?;
        if let Some(packer) = self.packer.as_ref().filter(|_| committed.journal_grew) {
            packer.wake();
        }
        self.news.note(&committed);
        Ok(committed)
    }

    async fn order(&self, tenant: &TenantId, order_id: OrderId) -> Result<Option<Order>, Fault> {
        Ok(read::order(&self.guarded.of(tenant), self.install.shards, tenant, order_id).await?)
    }

    async fn owner(&self, order_id: OrderId) -> Result<Option<TenantId>, Fault> {
        Ok(read::owner(&self.readers, self.install.shards, order_id).await?)
    }

    async fn order_by_number(&self, tenant: &TenantId, number: i64) -> Result<Option<Order>, Fault> {
        Ok(read::order_by_number(&self.guarded.of(tenant), tenant, number).await?)
    }

    async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Fault> {
        Ok(read::order_by_external(&self.guarded.of(&external.tenant), external).await?)
    }

    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Fault> {
        Ok(list::orders(&self.guarded.of(&query.tenant), self.install.shards, query).await?)
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, Fault> {
        Ok(search::search(&self.guarded.of(&search.query.tenant), self.install.shards, search).await?)
    }

    async fn changes(&self, query: &OrderQuery, after: &Cursor) -> Result<ChangesPage, Fault> {
        Ok(changes::changes(&self.guarded.of(&query.tenant), self.install.shards, query, after).await?)
    }

    async fn place_of(&self, moment: Timestamp) -> Result<Cursor, Fault> {
        Ok(changes::place_of(&self.readers, self.install.shards, self.install.epoch, &self.tips, moment)
            .await?)
    }

    async fn next_due(&self, tenant: &TenantId, desks: Desks) -> Result<Option<Timestamp>, Fault> {
        Ok(read::next_due(&self.guarded.of(tenant), tenant, desks).await?)
    }

    async fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> Result<BoundedCount, Fault> {
        Ok(list::count_parked(&self.guarded.of(tenant), self.install.shards, tenant, filter).await?)
    }

    async fn order_events(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        after: u64,
        limit: u32,
    ) -> Result<Option<EventPage>, Fault> {
        let (readers, of) = (self.guarded.of(tenant), (tenant, order_id));
        Ok(read::order_events(&readers, self.install.shards, of, after, limit).await?)
    }

    async fn dossier(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        events_max: u32,
    ) -> Result<Option<OrderDossier>, Fault> {
        Ok(read::dossier(&self.guarded.of(tenant), self.install.shards, tenant, order_id, events_max).await?)
    }

    async fn journal(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
        Ok(read::journal(&self.readers, shard, after, limit).await?)
    }

    async fn slices(&self, slices: &[Slice]) -> Result<Vec<Vec<Event>>, Fault> {
        Ok(read::slices(&self.readers, slices, &self.event_sizes).await?)
    }

    async fn events_at(&self, places: &[(Shard, u64)]) -> Result<Vec<Option<Event>>, Fault> {
        Ok(read::events_at(&self.readers, places, &self.event_sizes).await?)
    }

    async fn passages(&self, slices: &[Slice], sources: &[SourceId]) -> Result<Vec<Passage>, Fault> {
        Ok(read::passages(&self.readers, slices, sources, &self.event_sizes).await?)
    }

    async fn marks(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Mark>, Fault> {
        Ok(read::marks(&self.readers, shard, after, limit).await?)
    }

    async fn heads(&self) -> Result<Vec<Head>, Fault> {
        let conn = self.readers.get().await?;
        Ok(self.tips.heads(&conn, false).await?)
    }

    async fn followers(&self) -> Result<Vec<FollowerRow>, Fault> {
        Ok(read::followers(&self.readers, self.install.shards).await?)
    }

    async fn follower(&self, name: &str) -> Result<Option<FollowerRow>, Fault> {
        Ok(read::follower(&self.readers, self.install.shards, name).await?)
    }

    async fn parked_streams(&self, follower: &str, which: &WhichStreams) -> Result<Vec<ParkedStream>, Fault> {
        Ok(streams::parked(&self.readers, follower, which, self.install.shards).await?)
    }

    async fn tally(&self, tenant: &TenantId, source: &SourceId, now: Timestamp) -> Result<Tally, Fault> {
        Ok(read::tally(&self.guarded.of(tenant), tenant, source, now).await?)
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        Ok(backlog::backlog(&self.readers, self.install.shards, now).await?)
    }

    async fn tallies(&self, sources: &[SourceId], now: Timestamp) -> Result<Vec<Tally>, Fault> {
        Ok(read::tallies(&self.readers, sources, now).await?)
    }

    async fn redrive(&self, tenant: &TenantId, redrive_id: RedriveId) -> Result<Option<Redrive>, Fault> {
        Ok(read::redrive(&self.guarded.of(tenant), tenant, redrive_id).await?)
    }

    async fn redrive_items(
        &self,
        redrive_id: RedriveId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RedriveItem>, Fault> {
        Ok(read::redrive_items(&self.readers, redrive_id, after, limit).await?)
    }

    async fn open_redrives(&self) -> Result<Vec<RedriveId>, Fault> {
        Ok(read::open_redrives(&self.readers).await?)
    }

    async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKey>, Fault> {
        Ok(api_keys::by_id(&self.readers, key_id).await?)
    }

    async fn api_keys(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Fault> {
        Ok(api_keys::of_tenant(&self.guarded.of(tenant), tenant, before, limit).await?)
    }

    async fn live_api_keys(&self, now: Timestamp) -> Result<u64, Fault> {
        Ok(api_keys::live(&self.readers, now).await?)
    }

    async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Option<Sealed>, Fault> {
        let conn = self.guarded.of(tenant).get().await.map_err(Fault::from)?;
        Ok(secrets::named(&conn, tenant, name).await?)
    }

    async fn sealed_counts(&self) -> Result<Vec<SealedCount>, Fault> {
        Ok(secrets::counts(&self.readers).await?)
    }

    async fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: u32,
    ) -> Result<Vec<SealedRow>, Fault> {
        Ok(secrets::page(&self.readers, column, besides, after, limit).await?)
    }

    async fn actions(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Action>, Fault> {
        Ok(actions::of_tenant(&self.guarded.of(tenant), tenant, before, limit).await?)
    }

    async fn action_rows(&self, after: u64, limit: u32) -> Result<Vec<Action>, Fault> {
        Ok(actions::behind(&self.readers, after, limit).await?)
    }

    async fn action_end(&self) -> Result<Link, Fault> {
        Ok(actions::end(&self.readers, self.install.installation_id).await?)
    }

    async fn back_up(&self, _path: &Path, _progress: Arc<BackupProgress>) -> Result<BackupMade, Fault> {
        Err(unavailable("a PostgreSQL database is copied with its own tools: pg_basebackup or pg_dump"))
    }

    async fn audit_beginning(&self) -> Result<Beginning, Fault> {
        Ok(auditing::beginning(&self.readers, self.install.shards).await?)
    }

    async fn audit_orders(&self, after: i64, limit: u32) -> Result<Page<AuditedOrder, i64>, Fault> {
        Ok(auditing::orders(&self.readers, self.install.shards, after, limit).await?)
    }

    async fn audit_journal(
        &self,
        shard: Shard,
        after: u64,
        limit: u32,
    ) -> Result<Page<JournalFact, u64>, Fault> {
        Ok(auditing::journal(&self.readers, shard, after, limit).await?)
    }

    async fn audit_work(&self, after: i64, limit: u32) -> Result<Page<WorkFact, i64>, Fault> {
        Ok(auditing::work(&self.readers, after, limit).await?)
    }

    async fn audit_strays(&self, max: usize) -> Result<Vec<Finding>, Fault> {
        Ok(auditing::strays(&self.readers, self.install.shards, &self.tips, max).await?)
    }

    fn markets(&self) -> &dyn MarketStorage {
        self
    }

    async fn space(&self) -> Option<Space> {
        // Its room is the server's own affair.
        None
    }

    async fn parts(&self) -> Result<Option<Parts>, Fault> {
        Ok(Some(self.parts.look().await?))
    }

    async fn server(&self) -> Result<Option<Server>, Fault> {
        let name = self.target.name();
        let asked = facts::ask(&self.readers, name).await;
        Ok(Some(asked.map_err(|trouble| match Fault::from(trouble) {
            // Who looks why it does not answer wants to know which one.
            Fault::Unavailable { why, retry_after } => {
                Fault::Unavailable { why: format!("{name}: {why}"), retry_after }
            }
            other => other,
        })?))
    }
}
