//! Stores, imports and budgets.

use super::MemoryStorage;
use super::read::rows;
use super::state::State;
use async_trait::async_trait;
use order_core::budget::{self, Budget, BudgetCommand};
use order_core::clock::Timestamp;
use order_core::error::{Fault, Rejection};
use order_core::ids::{StoreId, TenantId};
use order_core::marketplace::decide::{self, Found, Wants};
use order_core::marketplace::reads::{ImportQuery, StorePlace, StoreQuery};
use order_core::marketplace::{
    Import, MarketCommand, MarketReply, Store, StoreCommand, StoreEvent, SweepStores, SweptStores, SyncRun,
    TokenHash,
};
use order_core::ports::MarketStorage;
use std::ops::Bound;

impl State {
    pub(super) fn market(&mut self, command: &MarketCommand) -> Result<MarketReply, Rejection> {
        match command {
            MarketCommand::Store(command) => self.change_store(command),
            MarketCommand::Budget(command) => Ok(self.use_budgets(command)),
            MarketCommand::Sweep(sweep) => Ok(self.sweep_stores(*sweep)),
        }
    }

    fn change_store(&mut self, command: &StoreCommand) -> Result<MarketReply, Rejection> {
        let store_id = command.store_id;
        let store = self.stores.get(&store_id).cloned();
        let run = store.as_ref().and_then(|store| self.sync_runs.get(&(store_id, store.run)).cloned());
        let imports = match decide::wants(command) {
            Wants::Nothing => Vec::new(),
            Wants::Receipts(receipts) => {
                let one = |receipt: &str| self.imports.get(&(store_id, receipt.to_owned())).cloned();
                receipts.into_iter().filter_map(one).collect()
            }
            Wants::Due(most) => {
                let mut due: Vec<Import> = self.imports_of(store_id).cloned().collect();
                due.retain(|import| import.due_at.is_some_and(|at| at <= command.now));
                due.sort_by_key(|import| (import.due_at, import.number));
                due.truncate(most);
                due
            }
        };
        let decided = decide::decide(Found { store, run, imports }, command)?;
        self.stores.extend(decided.store.map(|store| (store_id, store)));
        self.sync_runs.extend(decided.run.map(|run| ((store_id, run.run), run)));
        let imports = decided.imports.into_iter();
        self.imports.extend(imports.map(|import| ((store_id, import.receipt.as_str().to_owned()), import)));
        for event in decided.events {
            self.raise_of_store(&event);
            let before = self.store_events.insert((store_id, event.version), event);
            assert!(before.is_none(), "an event is written once");
        }
        Ok(decided.reply)
    }

    fn sweep_stores(&mut self, sweep: SweepStores) -> MarketReply {
        let behind = sweep.after.map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<Store> = self
            .stores
            .range((behind, Bound::Unbounded))
            .take(rows(sweep.stores))
            .map(|(_, one)| one.clone())
            .collect();
        let mut gone = 0;
        for store in &page {
            let id = store.store_id;
            let upto = |old: Vec<(u64, Timestamp)>| {
                old.iter()
                    .take(rows(sweep.limit))
                    .filter(|(_, at)| *at < sweep.before)
                    .map(|(number, _)| *number)
                    .max()
            };
            let runs = self.sync_runs.range((id, 0)..(id, store.run));
            let old_run = upto(runs.map(|((_, number), run)| (*number, run.started_at)).collect());
            let events = self.store_events.range((id, 0)..(id, store.version));
            let old_event = upto(events.map(|((_, number), event)| (*number, event.occurred_at)).collect());
            let before = self.sync_runs.len() + self.store_events.len();
            let stays =
                |of: StoreId, number: u64, old: Option<u64>| of != id || old.is_none_or(|old| number > old);
            self.sync_runs.retain(|(of, number), _| stays(*of, *number, old_run));
            self.store_events.retain(|(of, number), _| stays(*of, *number, old_event));
            gone += (before - self.sync_runs.len() - self.store_events.len()) as u64;
        }
        let next = page.last().filter(|_| page.len() == rows(sweep.stores)).map(|store| store.store_id);
        MarketReply::Swept(SweptStores { rows: gone, next })
    }

    fn use_budgets(&mut self, command: &BudgetCommand) -> MarketReply {
        let found = command.keys().map(|key| self.budgets.get(key).cloned()).collect();
        let (budgets, verdict) = budget::decide(found, command);
        self.budgets.extend(budgets.into_iter().map(|budget| (budget.key.clone(), budget)));
        MarketReply::Budget(verdict)
    }

    fn imports_of(&self, store_id: StoreId) -> impl Iterator<Item = &Import> {
        self.imports.values().filter(move |import| import.store_id == store_id)
    }

    fn owns(&self, tenant: &TenantId, store_id: StoreId) -> bool {
        self.stores.get(&store_id).is_some_and(|store| store.tenant == *tenant)
    }

    /// All stores, the oldest first.
    fn oldest_first(&self) -> Vec<&Store> {
        let mut stores: Vec<&Store> = self.stores.values().collect();
        stores.sort_by_key(|store| place(store));
        stores
    }
}

fn place(store: &Store) -> StorePlace {
    (store.created_at, store.store_id)
}

#[async_trait]
impl MarketStorage for MemoryStorage {
    async fn store(&self, store_id: StoreId) -> Result<Option<Store>, Fault> {
        Ok(self.reading()?.stores.get(&store_id).cloned())
    }

    async fn store_of_token(&self, hash: &TokenHash) -> Result<Option<Store>, Fault> {
        Ok(self.reading()?.stores.values().find(|store| store.token_hash == *hash).cloned())
    }

    async fn stores(&self, query: &StoreQuery) -> Result<Vec<Store>, Fault> {
        let state = self.reading()?;
        let wanted = |store: &&&Store| {
            store.tenant == query.tenant
                && query.organization.as_ref().is_none_or(|wanted| *wanted == store.organization)
                && query.after.is_none_or(|after| place(store) > after)
        };
        Ok(state.oldest_first().iter().filter(wanted).take(rows(query.limit)).copied().cloned().collect())
    }

    async fn due_stores(
        &self,
        now: Timestamp,
        after: Option<StorePlace>,
        limit: u32,
    ) -> Result<Vec<StorePlace>, Fault> {
        let state = self.reading()?;
        let due = |store: &&&Store| {
            store.next_sync_at.is_some_and(|at| at <= now) && after.is_none_or(|after| place(store) > after)
        };
        Ok(state.oldest_first().iter().filter(due).take(rows(limit)).map(|store| place(store)).collect())
    }

    async fn import(&self, store_id: StoreId, receipt: &str) -> Result<Option<Import>, Fault> {
        Ok(self.reading()?.imports.get(&(store_id, receipt.to_owned())).cloned())
    }

    async fn imports(&self, query: &ImportQuery) -> Result<Vec<Import>, Fault> {
        let state = self.reading()?;
        let wanted = |import: &&Import| {
            import.tenant == query.tenant
                && query.state.is_none_or(|state| import.state == state)
                && query.before.is_none_or(|before| import.number < before)
        };
        let mut found: Vec<Import> = state.imports_of(query.store_id).filter(wanted).cloned().collect();
        found.sort_by_key(|import| std::cmp::Reverse(import.number));
        found.truncate(rows(query.limit));
        Ok(found)
    }

    async fn imports_of_receipt(
        &self,
        tenant: &TenantId,
        receipt: &str,
        limit: u32,
    ) -> Result<Vec<Import>, Fault> {
        let state = self.reading()?;
        let of = |import: &&Import| import.tenant == *tenant && import.receipt.as_str() == receipt;
        Ok(state.imports.values().filter(of).take(rows(limit)).cloned().collect())
    }

    async fn sync_runs(
        &self,
        tenant: &TenantId,
        store_id: StoreId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SyncRun>, Fault> {
        let state = self.reading()?;
        let own = state.owns(tenant, store_id);
        let runs = state.sync_runs.range((store_id, 0)..(store_id, before.unwrap_or(u64::MAX))).rev();
        Ok(runs.filter(|_| own).take(rows(limit)).map(|(_, run)| run.clone()).collect())
    }

    async fn store_events(
        &self,
        store_id: StoreId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoreEvent>, Fault> {
        let state = self.reading()?;
        let behind = (Bound::Excluded((store_id, after)), Bound::Included((store_id, u64::MAX)));
        Ok(state.store_events.range(behind).take(rows(limit)).map(|(_, event)| event.clone()).collect())
    }

    async fn budget(&self, key: &str) -> Result<Option<Budget>, Fault> {
        Ok(self.reading()?.budgets.get(key).cloned())
    }
}
