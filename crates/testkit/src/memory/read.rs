//! What can be read.

use super::MemoryStorage;
use super::state::State;
use async_trait::async_trait;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::api_key::{ApiKey, ApiKeyId};
use order_core::audit::Finding;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Page, WorkFact};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::clock::Timestamp;
use order_core::command::Command;
use order_core::desk::Desks;
use order_core::error::Fault;
use order_core::external::ExternalId;
use order_core::ids::{OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::{Cursor, Event, Head, Mark};
use order_core::listing::{ChangesPage, Search, SearchPage};
use order_core::order::Order;
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::ports::{Committed, MarketStorage, Storage};
use order_core::query::{
    Backlog, DUE_COUNT_MAX, EventPage, FollowerRow, Install, OrderDossier, OrderPage, OrderQuery, PageWeight,
    SCAN_MAX, Space, Tally,
};
use order_core::redrive::{BoundedCount, Redrive, RedriveFilter, RedriveItem};
use order_core::sealing::resealing::{RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use order_core::state::Processing;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

#[async_trait]
impl Storage for MemoryStorage {
    fn install(&self) -> &Install {
        &self.install
    }

    fn lanes(&self) -> usize {
        self.lanes
    }

    async fn commit(&self, lane: usize, batch: Arc<[Command]>) -> Result<Committed, Fault> {
        self.apply(lane, &batch)
    }

    async fn order(&self, tenant: &TenantId, order_id: OrderId) -> Result<Option<Order>, Fault> {
        Ok(self.reading()?.order(order_id).filter(|order| order.tenant == *tenant))
    }

    async fn owner(&self, order_id: OrderId) -> Result<Option<TenantId>, Fault> {
        Ok(self.reading()?.order(order_id).map(|order| order.tenant))
    }

    async fn order_by_number(&self, tenant: &TenantId, number: i64) -> Result<Option<Order>, Fault> {
        let state = self.reading()?;
        let order = state.numbers.get(&number).and_then(|order_id| state.order(*order_id));
        Ok(order.filter(|order| order.tenant == *tenant))
    }

    async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Fault> {
        let state = self.reading()?;
        let newest_first = state.numbers.values().rev().filter_map(|order_id| state.order(*order_id));
        Ok(newest_first.into_iter().find(|order| external.names(order)))
    }

    async fn orders(&self, query: &OrderQuery) -> Result<OrderPage, Fault> {
        Ok(self.reading()?.page(query))
    }

    async fn search(&self, search: &Search) -> Result<SearchPage, Fault> {
        Ok(self.reading()?.search(search))
    }

    async fn changes(&self, query: &OrderQuery, after: &Cursor) -> Result<ChangesPage, Fault> {
        Ok(self.reading()?.changes(query, after))
    }

    async fn place_of(&self, moment: Timestamp) -> Result<Cursor, Fault> {
        Ok(self.reading()?.place_of(moment))
    }

    async fn next_due(&self, tenant: &TenantId, desks: Desks) -> Result<Option<Timestamp>, Fault> {
        let state = self.reading()?;
        let own = state.work.values().filter(|row| state.orders[&row.work.order_id].tenant == *tenant);
        Ok(own.filter(|row| desks.has(row.desk)).map(|row| row.work.due_at).min())
    }

    async fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> Result<BoundedCount, Fault> {
        Ok(self.reading()?.count_parked(tenant, filter))
    }

    async fn order_events(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        after: u64,
        limit: u32,
    ) -> Result<Option<EventPage>, Fault> {
        let state = self.reading()?;
        let order = state.orders.get(&order_id).filter(|order| order.tenant == *tenant);
        Ok(order.map(|order| {
            let (mut page, mut weight) = (EventPage::default(), PageWeight::default());
            for event in state.events_of(order.id).into_iter().filter(|event| event.version > after) {
                if page.events.len() == rows(limit) || weight.is_full() {
                    page.next = page.events.last().map(|last| last.version);
                    break;
                }
                weight.add_event(&event);
                page.events.push(event);
            }
            page
        }))
    }

    async fn dossier(
        &self,
        tenant: &TenantId,
        order_id: OrderId,
        events_max: u32,
    ) -> Result<Option<OrderDossier>, Fault> {
        let state = self.reading()?;
        let order = state.orders.get(&order_id).filter(|order| order.tenant == *tenant);
        Ok(order.map(|order| {
            let mut dossier = state.dossier(order.id);
            let older = dossier.events.len().saturating_sub(rows(events_max));
            dossier.events.drain(..older);
            dossier
        }))
    }

    async fn journal(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Event>, Fault> {
        let state = self.reading()?;
        let behind =
            state.journal.range((Bound::Excluded((shard, after)), Bound::Included((shard, u64::MAX))));
        Ok(behind.take(rows(limit)).map(|(_, event)| event.clone()).collect())
    }

    async fn marks(&self, shard: Shard, after: u64, limit: u32) -> Result<Vec<Mark>, Fault> {
        let events = self.journal(shard, after, limit).await?.into_iter();
        let mark =
            |event: Event| Mark { position: event.position, order_id: event.order_id, kind: event.kind };
        Ok(events.map(mark).collect())
    }

    async fn heads(&self) -> Result<Vec<Head>, Fault> {
        Ok(self.reading()?.heads())
    }

    async fn followers(&self) -> Result<Vec<FollowerRow>, Fault> {
        Ok(self.reading()?.followers.values().cloned().collect())
    }

    async fn follower(&self, name: &str) -> Result<Option<FollowerRow>, Fault> {
        Ok(self.reading()?.followers.get(name).cloned())
    }

    async fn parked_streams(&self, follower: &str, which: &WhichStreams) -> Result<Vec<ParkedStream>, Fault> {
        Ok(self.reading()?.parked_of(follower, which))
    }

    async fn tally(&self, tenant: &TenantId, source: &SourceId, now: Timestamp) -> Result<Tally, Fault> {
        let state = self.reading()?;
        let mut tally = Tally::default();
        for order_id in state.orders.keys() {
            let order = state.order(*order_id).expect("the key of an order");
            if order.tenant == *tenant && order.source == *source {
                tally.count(&order);
                tally.running += u64::from(order.processing_at(now) == Processing::Running);
            }
        }
        Ok(tally)
    }

    async fn backlog(&self, now: Timestamp) -> Result<Backlog, Fault> {
        let state = self.reading()?;
        let work = || state.work.values().map(|row| &row.work);
        let due = || work().filter(|work| work.due_at <= now);
        let parked = || state.orders.values().filter(|o| o.processing == Processing::Parked);
        let redrives = || state.redrives.values().filter(|job| !job.finished);
        let behind = |cursor: &Cursor| {
            let oldest = cursor.positions.iter().enumerate().filter_map(|(shard, position)| {
                let shard = Shard(u16::try_from(shard).expect("a shard"));
                let end = Bound::Included((shard, u64::MAX));
                state.journal.range((Bound::Excluded((shard, *position)), end)).next()
            });
            oldest.map(|(_, event)| event.occurred_at).min()
        };
        let count = |found: usize| u64::try_from(found).unwrap_or(u64::MAX);
        Ok(Backlog {
            open: count(work().count()),
            due: count(due().count()).min(DUE_COUNT_MAX),
            due_since: due().map(|work| work.due_at).min(),
            leased: count(work().filter(|work| work.token.is_some() && work.due_at > now).count()),
            parked: count(parked().count()),
            parked_since: parked().map(|order| order.updated_at).min(),
            redrives: count(redrives().count()),
            redrives_since: redrives().map(|job| job.created_at).min(),
            followers: state.followers.values().map(|row| (row.name.clone(), behind(&row.cursor))).collect(),
            log_pages: None,
        })
    }

    async fn tallies(&self, sources: &[SourceId], now: Timestamp) -> Result<Vec<Tally>, Fault> {
        let state = self.reading()?;
        let mut tallies = vec![Tally::default(); sources.len()];
        for order_id in state.orders.keys() {
            let order = state.order(*order_id).expect("the key of an order");
            for (tally, _) in tallies.iter_mut().zip(sources).filter(|(_, source)| order.source == **source) {
                tally.count(&order);
                tally.running += u64::from(order.processing_at(now) == Processing::Running);
            }
        }
        Ok(tallies)
    }

    async fn redrive(&self, tenant: &TenantId, redrive_id: RedriveId) -> Result<Option<Redrive>, Fault> {
        let job = self.reading()?.redrives.get(&redrive_id).cloned();
        Ok(job.filter(|job| job.tenant == *tenant))
    }

    async fn redrive_items(
        &self,
        redrive_id: RedriveId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<RedriveItem>, Fault> {
        let state = self.reading()?;
        let range = (Bound::Excluded((redrive_id, after)), Bound::Included((redrive_id, u64::MAX)));
        Ok(state.redrive_items.range(range).take(rows(limit)).map(|(_, item)| item.clone()).collect())
    }

    async fn open_redrives(&self) -> Result<Vec<RedriveId>, Fault> {
        let state = self.reading()?;
        Ok(state.redrives.values().filter(|job| !job.finished).map(|job| job.redrive_id).collect())
    }

    async fn api_key(&self, key_id: ApiKeyId) -> Result<Option<ApiKey>, Fault> {
        Ok(self.reading()?.api_keys.get(&key_id).cloned())
    }

    async fn api_keys(
        &self,
        tenant: &TenantId,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<ApiKey>, Fault> {
        let mut keys = self.reading()?.api_keys(tenant, before);
        keys.truncate(rows(limit));
        Ok(keys)
    }

    async fn live_api_keys(&self, now: Timestamp) -> Result<u64, Fault> {
        Ok(self.reading()?.live_api_keys(None, now))
    }

    async fn named_secret(&self, tenant: &TenantId, name: &str) -> Result<Option<Sealed>, Fault> {
        Ok(self.reading()?.named_secrets.get(&(tenant.clone(), name.to_owned())).cloned())
    }

    async fn sealed_counts(&self) -> Result<Vec<SealedCount>, Fault> {
        Ok(self.reading()?.sealed_counts())
    }

    async fn sealed_rows(
        &self,
        column: SealedColumn,
        besides: KeyId,
        after: &RowKey,
        limit: u32,
    ) -> Result<Vec<SealedRow>, Fault> {
        Ok(self.reading()?.sealed_rows(column, besides, after, rows(limit)))
    }

    async fn actions(
        &self,
        tenant: &TenantId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Action>, Fault> {
        Ok(self.reading()?.actions(tenant, before, limit))
    }

    async fn action_rows(&self, after: u64, limit: u32) -> Result<Vec<Action>, Fault> {
        Ok(self.reading()?.action_rows(after, limit))
    }

    async fn action_end(&self) -> Result<Link, Fault> {
        Ok(self.reading()?.action_end())
    }

    /// Writes what there is in words: enough to look on.
    async fn back_up(&self, path: &Path, progress: Arc<BackupProgress>) -> Result<BackupMade, Fault> {
        let state = self.reading()?;
        let text = format!("{state:?}");
        if path.exists() {
            return Err(Fault::internal("there is such a file"));
        }
        std::fs::write(path, &text).map_err(Fault::internal)?;
        let (bytes, orders) = (text.len() as u64, state.orders.len() as u64);
        progress.set(bytes, bytes);
        Ok(BackupMade { bytes, epoch: state.epoch, heads: state.heads(), orders })
    }

    async fn audit_beginning(&self) -> Result<Beginning, Fault> {
        Ok(self.reading()?.audit_beginning())
    }

    async fn audit_orders(&self, after: i64, limit: u32) -> Result<Page<AuditedOrder, i64>, Fault> {
        Ok(self.reading()?.audit_orders(after, rows(limit)))
    }

    async fn audit_journal(
        &self,
        shard: Shard,
        after: u64,
        limit: u32,
    ) -> Result<Page<JournalFact, u64>, Fault> {
        Ok(self.reading()?.audit_journal(shard, after, rows(limit)))
    }

    async fn audit_work(&self, after: i64, limit: u32) -> Result<Page<WorkFact, i64>, Fault> {
        Ok(self.reading()?.audit_work(after, rows(limit)))
    }

    async fn audit_strays(&self, max: usize) -> Result<Vec<Finding>, Fault> {
        Ok(self.reading()?.audit_strays(max))
    }

    fn markets(&self) -> &dyn MarketStorage {
        self
    }

    async fn space(&self) -> Option<Space> {
        self.switches().space
    }
}

pub(super) fn rows(limit: u32) -> usize {
    usize::try_from(limit).unwrap_or(usize::MAX)
}

impl State {
    pub(super) fn dossier(&self, order_id: OrderId) -> OrderDossier {
        let order = self.order(order_id).expect("the key of an order");
        let mut events = Vec::new();
        let mut position = order.last_position;
        // Along the chain, so that an audit checks the chain too.
        while let Some(event) = self.journal.get(&(order_id.shard(self.shards), position)) {
            events.push(event.clone());
            position = event.prev_position;
        }
        events.reverse();
        OrderDossier {
            order,
            events,
            work: self.work.get(&order_id).map(|row| row.work.clone()),
            found: true,
        }
    }

    fn page(&self, query: &OrderQuery) -> OrderPage {
        let (mut page, mut weight) = (OrderPage::default(), PageWeight::default());
        let mut scanned = 0;
        let newest_first = self.numbers.range(..query.before.unwrap_or(i64::MAX)).rev();
        let mut last = None;
        for (number, order_id) in newest_first {
            let order = self.order(*order_id).expect("a number has an order");
            if order.tenant != query.tenant {
                continue;
            }
            if page.orders.len() == rows(query.limit) || weight.is_full() || scanned == SCAN_MAX {
                page.next = last;
                break;
            }
            scanned += 1;
            last = Some(*number);
            if query.matches(&order) {
                weight.add(&order);
                page.orders.push(order);
            }
        }
        page
    }
}
