//! A storage around a storage, for faults that a real one shows too rarely.

mod webhooks;

use crate::MemoryStorage;
use async_trait::async_trait;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::api_key::{ApiKey, ApiKeyId};
use order_core::audit::Finding;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Page, WorkFact};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::clock::Timestamp;
use order_core::command::{Accept, Command, Reply};
use order_core::desk::Desks;
use order_core::error::Fault;
use order_core::external::ExternalId;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::intake;
use order_core::journal::{Cursor, Event, Head, Mark, Passage, Slice};
use order_core::listing::{ChangesPage, Search, SearchPage};
use order_core::order::{Order, event};
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::ports::{Committed, MarketStorage, Storage};
use order_core::query::{
    Backlog, EventPage, FollowerRow, Install, OrderDossier, OrderPage, OrderQuery, Parts, Server, Space,
    Tally,
};
use order_core::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use order_core::sealing::resealing::{RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::Semaphore;

/// Looks at a batch and may fail it.
pub type Check = Box<dyn Fn(&[Command]) -> Option<Fault> + Send + Sync>;

/// Makes another command of one.
pub type Rewrite = Box<dyn Fn(Command) -> Command + Send + Sync>;

/// Reads go straight through; commits may be rewritten, failed before they begin, or after they took place.
pub struct Wrapped {
    inner: Arc<dyn Storage>,
    rewrite: Rewrite,
    before: Check,
    after: Check,
    /// What answers a commit instead of the storage.
    instead: Option<Instead>,
    /// What audits are given for the beginning.
    beginning: Option<Beginning>,
    /// A commit begins with a permit of it.
    gate: Option<Arc<Semaphore>>,
}

/// Answers a batch without a storage.
type Instead = Box<dyn Fn(&[Command]) -> Committed + Send + Sync>;

impl Wrapped {
    /// `before` may fail a commit, which then does not take place; `after` may fail one that did.
    pub fn failing(inner: Arc<dyn Storage>, before: Check, after: Check) -> Arc<dyn Storage> {
        Arc::new(Self {
            inner,
            rewrite: Box::new(|command| command),
            before,
            after,
            instead: None,
            beginning: None,
            gate: None,
        })
    }

    /// Every command is rewritten on its way: a planted defect, to see that tests find it.
    pub fn rewriting(inner: Arc<dyn Storage>, rewrite: Rewrite) -> Arc<dyn Storage> {
        let (before, after): (Check, Check) = (Box::new(|_| None), Box::new(|_| None));
        Arc::new(Self { inner, rewrite, before, after, instead: None, beginning: None, gate: None })
    }

    /// Every commit waits for a permit of `gate` and uses it up: a storage that hangs until a test lets it go on.
    pub fn gated(inner: Arc<dyn Storage>, gate: Arc<Semaphore>) -> Arc<dyn Storage> {
        let (before, after): (Check, Check) = (Box::new(|_| None), Box::new(|_| None));
        let rewrite: Rewrite = Box::new(|command| command);
        Arc::new(Self { inner, rewrite, before, after, instead: None, beginning: None, gate: Some(gate) })
    }

    /// Audits begin with `beginning`: what happened since happens during the audit.
    pub fn beginning(inner: Arc<dyn Storage>, beginning: Beginning) -> Arc<dyn Storage> {
        let (before, after): (Check, Check) = (Box::new(|_| None), Box::new(|_| None));
        let rewrite: Rewrite = Box::new(|command| command);
        Arc::new(Self {
            inner,
            rewrite,
            before,
            after,
            instead: None,
            beginning: Some(beginning),
            gate: None,
        })
    }

    /// Stores nothing: every accept is answered as new, at no cost. What is left is the cost of everything else.
    pub fn noop() -> Arc<dyn Storage> {
        let inner = MemoryStorage::new().port();
        let numbers = AtomicI64::new(0);
        let reply = move |command: &Command| match command {
            Command::Accept(accept) => {
                let number = numbers.fetch_add(1, Ordering::Relaxed) + 1;
                Reply::Accepted(intake::Accepted::New(Box::new(as_new(accept, number))))
            }
            _ => Reply::Done,
        };
        let instead = move |batch: &[Command]| Committed {
            replies: batch.iter().map(|command| Ok(reply(command))).collect(),
            ..Committed::default()
        };
        let (before, after): (Check, Check) = (Box::new(|_| None), Box::new(|_| None));
        let rewrite: Rewrite = Box::new(|command| command);
        Arc::new(Self {
            inner,
            rewrite,
            before,
            after,
            instead: Some(Box::new(instead)),
            beginning: None,
            gate: None,
        })
    }

    /// Batches with an accept of this reference are refused as data.
    pub fn refusing(inner: Arc<dyn Storage>, reference: &'static str) -> Arc<dyn Storage> {
        let before = move |batch: &[Command]| {
            let refused = |command: &Command| match command {
                Command::Accept(accept) => {
                    accept.intake.reference.as_ref().is_some_and(|it| it.as_str() == reference)
                }
                _ => false,
            };
            batch.iter().any(refused).then(|| Fault::Data { why: format!("{reference} is refused") })
        };
        Self::failing(inner, Box::new(before), Box::new(|_| None))
    }
}

fn as_new(accept: &Accept, number: i64) -> Order {
    let intake = &accept.intake;
    let accepted = event::Accepted {
        order_id: accept.order_id,
        number,
        source: intake.source.clone(),
        reference: intake.reference.clone(),
        content: intake.content.clone(),
        by: None,
    };
    let place = event::Place { event_id: accept.event_id, position: 1, occurred_at: accept.now };
    Order::accepted(intake.tenant.clone(), accepted, accept.digest, place)
}

#[async_trait]
impl Storage for Wrapped {
    fn install(&self) -> &Install {
        self.inner.install()
    }

    fn lanes(&self) -> usize {
        self.inner.lanes()
    }

    fn has_lane_beside(&self) -> bool {
        self.inner.has_lane_beside()
    }

    async fn commit(&self, lane: usize, batch: Arc<[Command]>) -> Result<Committed, Fault> {
        if let Some(gate) = &self.gate {
            gate.acquire().await.map_err(Fault::internal)?.forget();
        }
        if let Some(fault) = (self.before)(&batch) {
            return Err(fault);
        }
        if let Some(instead) = &self.instead {
            return Ok(instead(&batch));
        }
        let batch: Arc<[Command]> = batch.iter().cloned().map(&self.rewrite).collect();
        let committed = self.inner.commit(lane, Arc::clone(&batch)).await?;
        (self.after)(&batch).map_or(Ok(committed), Err)
    }

    async fn order(&self, tenant: &TenantId, order_id: OrderId) -> Result<Option<Order>, Fault> {
        self.inner.order(tenant, order_id).await
    }

    async fn owner(&self, order_id: OrderId) -> Result<Option<TenantId>, Fault> {
        self.inner.owner(order_id).await
    }

    async fn order_by_number(&self, tenant: &TenantId, number: i64) -> Result<Option<Order>, Fault> {
        self.inner.order_by_number(tenant, number).await
    }

    async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Fault> {
        self.inner.order_by_external(external).await
    }

    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Fault> {
        self.inner.orders(query).await
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, Fault> {
        self.inner.search(search).await
    }

    async fn changes(&self, query: &OrderQuery, after: &Cursor) -> Result<ChangesPage, Fault> {
        self.inner.changes(query, after).await
    }

    async fn place_of(&self, moment: Timestamp) -> Result<Cursor, Fault> {
        self.inner.place_of(moment).await
    }

    async fn next_due(&self, tenant: &TenantId, desks: Desks) -> Result<Option<Timestamp>, Fault> {
        self.inner.next_due(tenant, desks).await
    }

    async fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> Result<BoundedCount, Fault> {
        self.inner.count_parked(tenant, filter).await
    }

    async fn order_events(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        after: u64,
        limit: u32,
    ) -> Result<Option<EventPage>, Fault> {
        self.inner.order_events(tenant, order_id, after, limit).await
    }

    async fn dossier(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        events_max: u32,
    ) -> Result<Option<OrderDossier>, Fault> {
        self.inner.dossier(tenant, order_id, events_max).await
    }

    async fn journal(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
        self.inner.journal(shard, after, limit).await
    }

    async fn slices(&self, slices: &[Slice]) -> Result<Vec<Vec<Event>>, Fault> {
        self.inner.slices(slices).await
    }

    async fn events_at(&self, places: &[(Shard, u64)]) -> Result<Vec<Option<Event>>, Fault> {
        self.inner.events_at(places).await
    }

    async fn passages(&self, slices: &[Slice], sources: &[SourceId]) -> Result<Vec<Passage>, Fault> {
        self.inner.passages(slices, sources).await
    }

    async fn marks(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Mark>, Fault> {
        self.inner.marks(shard, after, limit).await
    }

    async fn heads(&self) -> Result<Vec<Head>, Fault> {
        self.inner.heads().await
    }

    async fn followers(&self) -> Result<Vec<FollowerRow>, Fault> {
        self.inner.followers().await
    }

    async fn follower(&self, name: &str) -> Result<Option<FollowerRow>, Fault> {
        self.inner.follower(name).await
    }

    async fn parked_streams(&self, follower: &str, which: &WhichStreams) -> Result<Vec<ParkedStream>, Fault> {
        self.inner.parked_streams(follower, which).await
    }

    async fn tally(&self, tenant: &TenantId, source: &SourceId, now: Timestamp) -> Result<Tally, Fault> {
        self.inner.tally(tenant, source, now).await
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        self.inner.backlog(now).await
    }

    async fn tallies(&self, sources: &[SourceId], now: Timestamp) -> Result<Vec<Tally>, Fault> {
        self.inner.tallies(sources, now).await
    }

    async fn redrive(&self, tenant: &TenantId, redrive_id: RedriveId) -> Result<Option<Redrive>, Fault> {
        self.inner.redrive(tenant, redrive_id).await
    }

    async fn redrive_items(
        &self,
        redrive_id: RedriveId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RedriveItem>, Fault> {
        self.inner.redrive_items(redrive_id, after, limit).await
    }

    async fn open_redrives(&self) -> Result<Vec<RedriveId>, Fault> {
        self.inner.open_redrives().await
    }

    async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKey>, Fault> {
        self.inner.api_key(key_id).await
    }

    async fn api_keys(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Fault> {
        self.inner.api_keys(tenant, before, limit).await
    }

    async fn live_api_keys(&self, now: Timestamp) -> Result<u64, Fault> {
        self.inner.live_api_keys(now).await
    }

    async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Option<Sealed>, Fault> {
        self.inner.named_secret(tenant, name).await
    }

    async fn sealed_counts(&self) -> Result<Vec<SealedCount>, Fault> {
        self.inner.sealed_counts().await
    }

    async fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: u32,
    ) -> Result<Vec<SealedRow>, Fault> {
        self.inner.sealed_rows(column, besides, after, limit).await
    }

    async fn actions(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Action>, Fault> {
        self.inner.actions(tenant, before, limit).await
    }

    async fn action_rows(&self, after: u64, limit: u32) -> Result<Vec<Action>, Fault> {
        self.inner.action_rows(after, limit).await
    }

    async fn action_end(&self) -> Result<Link, Fault> {
        self.inner.action_end().await
    }

    async fn back_up(&self, path: &Path, progress: Arc<BackupProgress>) -> Result<BackupMade, Fault> {
        self.inner.back_up(path, progress).await
    }

    async fn audit_beginning(&self) -> Result<Beginning, Fault> {
        match &self.beginning {
            Some(beginning) => Ok(beginning.clone()),
            None => self.inner.audit_beginning().await,
        }
    }

    async fn audit_orders(&self, after: i64, limit: u32) -> Result<Page<AuditedOrder, i64>, Fault> {
        self.inner.audit_orders(after, limit).await
    }

    async fn audit_journal(
        &self,
        shard: Shard,
        after: u64,
        limit: u32,
    ) -> Result<Page<JournalFact, u64>, Fault> {
        self.inner.audit_journal(shard, after, limit).await
    }

    async fn audit_work(&self, after: i64, limit: u32) -> Result<Page<WorkFact, i64>, Fault> {
        self.inner.audit_work(after, limit).await
    }

    async fn audit_strays(&self, max: usize) -> Result<Vec<Finding>, Fault> {
        self.inner.audit_strays(max).await
    }

    fn markets(&self) -> &dyn MarketStorage {
        self.inner.markets()
    }

    async fn space(&self) -> Option<Space> {
        self.inner.space().await
    }

    async fn parts(&self) -> Result<Option<Parts>, Fault> {
        self.inner.parts().await
    }

    async fn server(&self) -> Result<Option<Server>, Fault> {
        self.inner.server().await
    }
}
