//! What can be read of marketplaces.

use super::{Import, ImportState, Store, StoreEvent, SyncRun, TokenHash};
use crate::budget::Budget;
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::ids::{StoreId, TenantId};
use async_trait::async_trait;

/// A place in a list of stores: behind the one that was made then and has this id.
pub type StorePlace = (Timestamp, StoreId);

/// Some stores of a tenant, the oldest first.
#[derive(Debug, Clone)]
pub struct StoreQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Of this organization alone.
    pub organization: Option<String>,
    /// Behind this place.
    pub after: Option<StorePlace>,
    /// At most so many.
    pub limit: u32,
}

/// Some imports of a store, the newest first.
#[derive(Debug, Clone)]
pub struct ImportQuery {
    /// Whose.
    pub tenant: TenantId,
    /// Of which store.
    pub store_id: StoreId,
    /// In this state alone.
    pub state: Option<ImportState>,
    /// With numbers below.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: u32,
}

/// The part of [`crate::ports::Storage`] that reads what is kept of marketplaces.
#[async_trait]
pub trait MarketStorage: Send + Sync {
    /// A store, whoever owns it.
    async fn store(&self, store_id: StoreId) -> Result<Option<Store>, Fault>;

    /// The store of a sync token, whoever owns it: the token says who asks.
    async fn store_of_token(&self, hash: &TokenHash) -> Result<Option<Store>, Fault>;

    /// Some stores of a tenant.
    async fn stores(&self, query: &StoreQuery) -> Result<Vec<Store>, Fault>;

    /// Stores of all tenants that are to be synced at `now`, the oldest first, behind a place, at most `limit`.
    async fn due_stores(
        &self,
        now: Timestamp,
        after: Option<StorePlace>,
        limit: u32,
    ) -> Result<Vec<StorePlace>, Fault>;

    /// One import of a store.
    async fn import(&self, store_id: StoreId, receipt: &str) -> Result<Option<Import>, Fault>;

    /// Some imports of a store; none of another tenant's.
    async fn imports(&self, query: &ImportQuery) -> Result<Vec<Import>, Fault>;

    /// The imports of a receipt in all stores of a tenant, by store, at most `limit`.
    async fn imports_of_receipt(
        &self,
        tenant: &TenantId,
        receipt: &str,
        limit: u32,
    ) -> Result<Vec<Import>, Fault>;

    /// The runs of a store with numbers below `before`, the newest first, at most `limit`; none of another tenant's.
    async fn sync_runs(
        &self,
        tenant: &TenantId,
        store_id: StoreId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SyncRun>, Fault>;

    /// The events of a store with versions above `after`, the oldest first, at most `limit`.
    async fn store_events(&self, store_id: StoreId, after: u64, limit: u32)
    -> Result<Vec<StoreEvent>, Fault>;

    /// One budget.
    async fn budget(&self, key: &str) -> Result<Option<Budget>, Fault>;
}
