//! Storage on SQLite: one file, one writer thread (group commit), a pool of readers.
//!
//! [`SqliteStorage::open`] opens or installs a database; the folder that holds it must be locked by the caller, for
//! the leases of whoever used it before are made due.

mod actions;
mod api_keys;
mod apply;
mod auditing;
mod backlog;
mod backup;
mod carry;
mod changes;
mod check;
mod checkpoint;
mod connect;
mod damage;
mod error;
mod external;
mod guard;
mod ids;
mod list;
mod markets;
mod meta;
mod migrate;
mod parked;
mod pepper;
mod read;
mod readers;
mod restore;
mod rows;
mod scrub;
mod search;
mod secrets;
mod span;
mod streams;
mod terms;
mod webhooks;
mod writer;

pub use carry::{CARRIED, Carried, Carrier, LEFT};
pub use meta::Seed;
pub use migrate::{MIGRATIONS, Migrated, Migration};
pub use pepper::note_pepper;
pub use restore::{Staged, Unrestored, put_in_place, stage, take_back};

use async_trait::async_trait;
use checkpoint::Checkpoints;
use error::{fault, is_of_the_disk, unavailable};
use guard::Guard;
use ids::OrderIds;
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
use order_core::journal::{Cursor, Event, Head, Mark};
use order_core::listing::{ChangesPage, Search, SearchPage};
use order_core::order::Order;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::ports::{Committed, MarketStorage, Storage};
use order_core::query::{
    Backlog, EventPage, FollowerRow, Install, OrderDossier, OrderPage, OrderQuery, Space, Tally,
};
use order_core::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use order_core::sealing::resealing::{RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use readers::{Opening, Readers};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use terms::Terms;
use writer::{Writer, WriterState};

/// How to open a database.
#[derive(Clone)]
pub struct Options {
    /// The file.
    pub path: PathBuf,
    /// How long to wait for whoever holds the write lock.
    pub busy_timeout: Duration,
    /// With less space free than this, nothing is written.
    pub free_bytes_min: u64,
    /// The desks at which workers outside work, who live on when this process ends: their leases are not made due.
    pub leases_outlive: Desks,
}

/// A database file.
pub struct SqliteStorage {
    path: PathBuf,
    install: Arc<Install>,
    guard: Arc<Guard>,
    ids: Arc<OrderIds>,
    terms: Arc<Terms>,
    readers: Readers,
    /// Pages of the log, as of the last commit; `None` when opened for reading alone.
    log_pages: Option<Arc<AtomicU32>>,
    /// `None` when opened for reading alone.
    writer: Option<Writer>,
}

/// What opening did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What became of the schema.
    pub migrated: Migrated,
    /// Leases of an earlier process that were made due.
    pub leases_expired: usize,
}

impl SqliteStorage {
    /// Opens a database for reading and writing; installs it when the file is new or empty, brings its schema up to
    /// date (after a copy), and makes the leases of an earlier process due.
    ///
    /// # Errors
    /// When the file cannot be used, belongs to a newer version, or has another number of shards.
    pub fn open(options: &Options, seed: &Seed, now: Timestamp) -> Result<(Self, Opened), Fault> {
        connect::create_if_missing(&options.path).map_err(fault)?;
        let mut conn = connect::writer(&options.path, options.busy_timeout).map_err(fault)?;
        let migrated = migrate::migrate(&mut conn, &options.path, now)?;
        if meta::load(&conn)?.is_none() {
            meta::install(&mut conn, seed).map_err(fault)?;
        }
        let install = meta::load(&conn)?.ok_or_else(|| Fault::internal("the install did not last"))?;
        meta::check_shards(&install, seed.shards)?;
        let expiring = options.leases_outlive.others();
        let leases_expired = apply::live_leases(&conn, expiring, now).map_err(fault)?;
        let install = Arc::new(install);
        let guard = Arc::new(Guard::new(&options.path, options.free_bytes_min));
        scrub::pay(&conn, &guard, u64::MAX);
        let ids = Arc::new(OrderIds::load(&conn).map_err(fault)?);
        let terms = Arc::new(Terms::load(&conn).map_err(fault)?);
        let checkpoints = Checkpoints::start(&options.path, &guard)
            .map_err(|error| unavailable(format!("cannot start the thread for checkpoints: {error}")))?;
        checkpoints.watch(&mut conn).map_err(fault)?;
        let log_pages = Some(checkpoints.pages());
        let writer = Writer::start(WriterState {
            conn,
            checkpoints,
            ids: Arc::clone(&ids),
            terms: Arc::clone(&terms),
            identity: guard.opened()?,
            guard: Arc::clone(&guard),
            install: Arc::clone(&install),
            path: options.path.clone(),
            busy_timeout: options.busy_timeout,
            suspect: false,
            dirty: true,
            // An earlier process may have ended before it emptied the log.
            blanked: Some(0),
            unscrubbed: false,
            failing: false,
            expire_leases: Some(now),
            leases_outlive: options.leases_outlive,
        })?;
        let opening = Opening::Beside(options.busy_timeout);
        let readers =
            Readers::new(options.path.clone(), opening, Arc::clone(&guard), install.installation_id);
        let writer = Some(writer);
        Ok((
            Self { path: options.path.clone(), install, guard, ids, terms, readers, log_pages, writer },
            Opened { migrated, leases_expired },
        ))
    }

    /// Opens a database for reading alone, beside whoever writes it. Every commit is refused.
    ///
    /// # Errors
    /// When the file is missing, no database of ours, or of another schema.
    pub fn open_read_only(options: &Options) -> Result<Self, Fault> {
        Self::open_to_read(options, Opening::Beside(options.busy_timeout))
    }

    /// The same, also where nothing can be written: on a full disk, or one that is mounted for reading alone. The folder
    /// must be locked by the caller: a database that somebody writes meanwhile would be read wrong.
    ///
    /// # Errors
    /// As [`Self::open_read_only`]; and when another program holds the file.
    pub fn open_at_rest(options: &Options) -> Result<Self, Fault> {
        // SQLite tells by itself whether it gets along; what it fails at may come with the first read.
        let beside = Opening::Beside(options.busy_timeout);
        let read = |conn: Connection| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
        let opening = match beside.open(&options.path).and_then(read) {
            Err(error) if is_of_the_disk(&error) => Opening::AtRest,
            _ => beside,
        };
        Self::open_to_read(options, opening)
    }

    fn open_to_read(options: &Options, opening: Opening) -> Result<Self, Fault> {
        let guard = Arc::new(Guard::new(&options.path, 0));
        guard.identity()?;
        let conn = opening.open(&options.path).map_err(fault)?;
        let install = meta::load(&conn)?;
        let install = install.ok_or_else(|| Fault::internal("the file is no database of wellorder"))?;
        let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
        if install.schema_version != newest {
            return Err(Fault::internal(format!(
                "the database has schema {}, this program reads {newest}: run `wellorder migrate`",
                install.schema_version
            )));
        }
        let ids = Arc::new(OrderIds::following(&conn).map_err(fault)?);
        let readers =
            Readers::new(options.path.clone(), opening, Arc::clone(&guard), install.installation_id);
        let terms = Arc::new(Terms::following());
        let (path, install) = (options.path.clone(), Arc::new(install));
        Ok(Self { path, install, guard, ids, terms, readers, log_pages: None, writer: None })
    }
}

/// The version of the schema of a database file; 0 when nothing has been installed in it.
///
/// # Errors
/// When the file cannot be read.
pub fn schema_version(options: &Options) -> Result<u32, Fault> {
    let conn = connect::read_only(&options.path, options.busy_timeout).map_err(fault)?;
    migrate::version(&conn)
}

#[async_trait]
impl Storage for SqliteStorage {
    fn install(&self) -> &Install {
        &self.install
    }

    fn lanes(&self) -> usize {
        1
    }

    async fn commit(&self, _lane: usize, batch: Arc<[Command]>) -> Result<Committed, Fault> {
        match &self.writer {
            Some(writer) => writer.commit(batch).await,
            None => Err(unavailable("opened for reading alone")),
        }
    }

    async fn order(&self, tenant: &TenantId, order_id: OrderId) -> Result<Option<Order>, Fault> {
        let ids = Arc::clone(&self.ids);
        let found = self.readers.with(move |conn| apply::load(conn, &ids, order_id)).await?;
        Ok(found.map(|(order, _)| order).filter(|order| order.tenant == *tenant))
    }

    async fn owner(&self, order_id: OrderId) -> Result<Option<TenantId>, Fault> {
        let ids = Arc::clone(&self.ids);
        let found = self.readers.with(move |conn| apply::load(conn, &ids, order_id)).await?;
        Ok(found.map(|(order, _)| order.tenant))
    }

    async fn order_by_number(&self, tenant: &TenantId, number: i64) -> Result<Option<Order>, Fault> {
        let found = self.readers.with(move |conn| apply::load_number(conn, number)).await?;
        Ok(found.map(|(order, _)| order).filter(|order| order.tenant == *tenant))
    }

    async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Fault> {
        let external = external.clone();
        self.readers.with(move |conn| external::find(conn, &external)).await
    }

    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Fault> {
        let (query, terms) = (query.clone(), Arc::clone(&self.terms));
        self.readers.with(move |conn| list::orders(conn, &terms, &query)).await
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, Fault> {
        let (search, terms) = (search.clone(), Arc::clone(&self.terms));
        self.readers.with(move |conn| search::search(conn, &terms, &search)).await
    }

    async fn changes(&self, query: &OrderQuery, after: &Cursor) -> Result<ChangesPage, Fault> {
        let (query, after, shards) = (query.clone(), after.clone(), self.install.shards);
        self.readers.with(move |conn| changes::changes(conn, shards, &query, &after)).await
    }

    async fn place_of(&self, moment: Timestamp) -> Result<Cursor, Fault> {
        let (shards, epoch) = (self.install.shards, self.install.epoch);
        self.readers.with(move |conn| changes::place_of(conn, shards, epoch, moment)).await
    }

    async fn next_due(&self, tenant: &TenantId, desks: Desks) -> Result<Option<Timestamp>, Fault> {
        let tenant = tenant.clone();
        self.readers.with(move |conn| read::next_due(conn, &tenant, desks)).await
    }

    async fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> Result<BoundedCount, Fault> {
        let (tenant, filter, ids) = (tenant.clone(), filter.clone(), Arc::clone(&self.ids));
        self.readers.with(move |conn| parked::count(conn, &ids, &tenant, &filter)).await
    }

    async fn order_events(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        after: u64,
        limit: u32,
    ) -> Result<Option<EventPage>, Fault> {
        let (tenant, shard) = (tenant.clone(), order_id.shard(self.install.shards));
        let ids = Arc::clone(&self.ids);
        let read = move |conn: &Connection| {
            read::order_events(conn, &ids, shard, (&tenant, order_id), (after, limit))
        };
        self.readers.with(read).await
    }

    async fn dossier(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        events_max: u32,
    ) -> Result<Option<OrderDossier>, Fault> {
        let (ids, shards) = (Arc::clone(&self.ids), self.install.shards);
        let read = move |conn: &Connection| read::dossier(conn, &ids, shards, order_id, events_max);
        Ok(self.readers.with(read).await?.filter(|dossier| dossier.order.tenant == *tenant))
    }

    async fn journal(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
        self.readers.with(move |conn| read::journal(conn, shard, after, limit)).await
    }

    async fn events_at(&self, places: &[(Shard, u64)]) -> Result<Vec<Option<Event>>, Fault> {
        let places = places.to_vec();
        self.readers.with(move |conn| read::events_at(conn, &places)).await
    }

    async fn marks(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Mark>, Fault> {
        self.readers.with(move |conn| read::marks(conn, shard, after, limit)).await
    }

    async fn heads(&self) -> Result<Vec<Head>, Fault> {
        let shards = self.install.shards;
        self.readers.with(move |conn| read::heads(conn, shards)).await
    }

    async fn followers(&self) -> Result<Vec<FollowerRow>, Fault> {
        let shards = self.install.shards;
        self.readers.with(move |conn| read::followers(conn, shards)).await
    }

    async fn follower(&self, name: &str) -> Result<Option<FollowerRow>, Fault> {
        let (name, shards) = (name.to_owned(), self.install.shards);
        self.readers.with(move |conn| read::follower(conn, &name, shards)).await
    }

    async fn parked_streams(&self, follower: &str, which: &WhichStreams) -> Result<Vec<ParkedStream>, Fault> {
        let (follower, which, shards) = (follower.to_owned(), which.clone(), self.install.shards);
        self.readers.with(move |conn| streams::parked(conn, &follower, &which, shards)).await
    }

    async fn tally(&self, tenant: &TenantId, source: &SourceId, now: Timestamp) -> Result<Tally, Fault> {
        let (tenant, source) = (tenant.clone(), source.clone());
        self.readers.with(move |conn| read::tally(conn, &tenant, &source, now)).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        let shards = self.install.shards;
        let read = self.readers.with(move |conn| backlog::backlog(conn, shards, now)).await?;
        let pages = self.log_pages.as_ref().map(|pages| u64::from(pages.load(Ordering::Relaxed)));
        Ok(Backlog { log_pages: pages, ..read })
    }

    async fn tallies(&self, sources: &[SourceId], now: Timestamp) -> Result<Vec<Tally>, Fault> {
        let sources = sources.to_vec();
        self.readers.with(move |conn| read::tallies(conn, &sources, now)).await
    }

    async fn redrive(&self, tenant: &TenantId, redrive_id: RedriveId) -> Result<Option<Redrive>, Fault> {
        let found = self.readers.with(move |conn| read::redrive(conn, redrive_id)).await?;
        Ok(found.filter(|redrive| redrive.tenant == *tenant))
    }

    async fn redrive_items(
        &self,
        redrive_id: RedriveId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RedriveItem>, Fault> {
        self.readers.with(move |conn| read::redrive_items(conn, redrive_id, after, limit)).await
    }

    async fn open_redrives(&self) -> Result<Vec<RedriveId>, Fault> {
        self.readers.with(read::open_redrives).await
    }

    async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKey>, Fault> {
        self.readers.with(move |conn| api_keys::by_id(conn, key_id)).await
    }

    async fn api_keys(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Fault> {
        let tenant = tenant.clone();
        self.readers.with(move |conn| api_keys::of_tenant(conn, &tenant, before, limit)).await
    }

    async fn live_api_keys(&self, now: Timestamp) -> Result<u64, Fault> {
        self.readers.with(move |conn| api_keys::live(conn, None, now)).await
    }

    async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Option<Sealed>, Fault> {
        let (tenant, name) = (tenant.clone(), name.to_owned());
        self.readers.with(move |conn| secrets::named(conn, &tenant, &name)).await
    }

    async fn sealed_counts(&self) -> Result<Vec<SealedCount>, Fault> {
        self.readers.with(secrets::counts).await
    }

    async fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: u32,
    ) -> Result<Vec<SealedRow>, Fault> {
        let after = after.clone();
        self.readers.with(move |conn| secrets::page(conn, column, besides, &after, limit)).await
    }

    async fn actions(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Action>, Fault> {
        let tenant = tenant.clone();
        self.readers.with(move |conn| actions::of_tenant(conn, &tenant, before, limit)).await
    }

    async fn action_rows(&self, after: u64, limit: u32) -> Result<Vec<Action>, Fault> {
        self.readers.with(move |conn| actions::behind(conn, after, limit)).await
    }

    async fn action_end(&self) -> Result<Link, Fault> {
        let installation_id = self.install.installation_id;
        self.readers.with(move |conn| actions::end(conn, installation_id)).await
    }

    async fn back_up(&self, path: &Path, progress: Arc<BackupProgress>) -> Result<BackupMade, Fault> {
        let (from, target) = (self.path.clone(), path.to_owned());
        let (guard, install) = (Arc::clone(&self.guard), Arc::clone(&self.install));
        let copying =
            tokio::task::spawn_blocking(move || backup::back_up(&from, &guard, &install, &target, &progress));
        copying.await.map_err(Fault::internal)?
    }

    async fn audit_beginning(&self) -> Result<Beginning, Fault> {
        let shards = self.install.shards;
        self.readers.with(move |conn| auditing::beginning(conn, shards)).await
    }

    async fn audit_orders(&self, after: i64, limit: u32) -> Result<Page<AuditedOrder, i64>, Fault> {
        let (ids, terms, shards) = (Arc::clone(&self.ids), Arc::clone(&self.terms), self.install.shards);
        self.readers.with(move |conn| auditing::orders(conn, &ids, &terms, shards, after, limit)).await
    }

    async fn audit_journal(
        &self,
        shard: Shard,
        after: u64,
        limit: u32,
    ) -> Result<Page<JournalFact, u64>, Fault> {
        self.readers.with(move |conn| auditing::journal(conn, shard, after, limit)).await
    }

    async fn audit_work(&self, after: i64, limit: u32) -> Result<Page<WorkFact, i64>, Fault> {
        self.readers.with(move |conn| auditing::work(conn, after, limit)).await
    }

    async fn audit_strays(&self, max: usize) -> Result<Vec<Finding>, Fault> {
        auditing::strays(&self.readers, &self.ids, &self.install, max).await
    }

    fn markets(&self) -> &dyn MarketStorage {
        self
    }

    async fn space(&self) -> Option<Space> {
        self.guard.space()
    }
}
