//! Stores and imports on the wire.

#![allow(unused_qualifications, reason = "the derive writes paths out")]

use utoipa::ToSchema;

/// A store to be registered. The same organization, marketplace and external id are the same store, for ever.
#[derive(ToSchema)]
pub struct NewStore {
    /// Which organization of the tenant's it belongs to.
    #[schema(min_length = 1, max_length = 255, example = "org-1")]
    pub organization: String,
    /// Where it is.
    pub marketplace: Marketplace,
    /// What the marketplace calls it; at Shopify the name before `.myshopify.com`.
    #[schema(min_length = 1, max_length = 255, example = "ext-100")]
    pub external_id: String,
    /// What people call it.
    #[schema(min_length = 1, max_length = 255, example = "My Etsy Store")]
    pub name: String,
    /// Its currency.
    #[schema(pattern = "^[A-Z]{3}$", example = "USD")]
    pub currency: String,
    /// What opens it at the marketplace. Kept sealed, and never shown.
    #[schema(min_length = 1, max_length = 4096)]
    pub access_token: String,
}

/// Where a store is.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Marketplace {
    /// Etsy.
    Etsy,
    /// Shopify.
    Shopify,
    /// Amazon.
    Amazon,
}

/// A store.
#[derive(ToSchema)]
pub struct Store {
    /// Its id, made of what identifies it.
    #[schema(format = "uuid")]
    pub store_id: String,
    /// The source of its orders.
    #[schema(example = "store-0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11")]
    pub source: String,
    /// Which organization it belongs to.
    pub organization: String,
    /// Where it is.
    pub marketplace: Marketplace,
    /// What the marketplace calls it.
    pub external_id: String,
    /// What people call it.
    pub name: String,
    /// Its currency.
    pub currency: String,
    /// How what was done last went.
    pub status: StoreStatus,
    /// Its imports by state.
    pub imports: ImportCounts,
    /// When something was imported or synced last.
    #[schema(required, format = "date-time")]
    pub last_sync_at: Option<String>,
    /// When it is to be synced next, if at all.
    #[schema(required, format = "date-time")]
    pub next_sync_at: Option<String>,
    /// When it was registered first.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it was registered last.
    #[schema(format = "date-time")]
    pub updated_at: String,
    /// What clients of the contract `marketplace` name it by. Only in the reply that registers it.
    #[schema(format = "uuid")]
    pub sync_token: Option<String>,
}

/// How a store is doing.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum StoreStatus {
    /// Nothing was imported yet.
    Pending,
    /// All that was done last went well.
    Success,
    /// Some did, some did not, or is still to be done.
    Partial,
    /// Nothing of what was done last went well.
    Failed,
}

/// Imports by state.
#[derive(ToSchema)]
pub struct ImportCounts {
    /// Not asked for yet, or just now.
    pub pending: u64,
    /// They are orders.
    pub success: u64,
    /// They failed, and are tried again.
    pub failed: u64,
    /// The marketplace allowed no more calls; they are tried again.
    pub rate_limited: u64,
    /// The marketplace knows no such orders.
    pub invalid: u64,
}

/// A page of stores.
#[derive(ToSchema)]
pub struct StoreList {
    /// The stores, the oldest first.
    pub stores: Vec<Store>,
    /// Give it as `after_store_id` to get the next page; `null` when this was the last.
    #[schema(required, format = "uuid")]
    pub next: Option<String>,
}

/// What a sync of a store did.
#[derive(ToSchema)]
pub struct SyncRun {
    /// 1, 2, 3 … in its store.
    pub run: u64,
    /// When it began.
    #[schema(format = "date-time")]
    pub started_at: String,
    /// When it ended.
    #[schema(required, format = "date-time")]
    pub ended_at: Option<String>,
    /// Imports that were tried.
    pub processed: u64,
    /// Those that are orders now.
    pub success: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that were not allowed.
    pub rate_limited: u64,
    /// Why it ended: `done`, `full`, `budget`, `stopped`, `unavailable`, `access_refused`.
    #[schema(required)]
    pub end: Option<String>,
    /// More about that, for people.
    #[schema(required)]
    pub detail: Option<String>,
}

/// A page of runs.
#[derive(ToSchema)]
pub struct SyncRunList {
    /// The runs, the newest first.
    pub runs: Vec<SyncRun>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// A receipt to be imported.
#[derive(ToSchema)]
pub struct NewImport {
    /// Of which store.
    #[schema(format = "uuid")]
    pub store_id: String,
    /// What the order is known by there.
    #[schema(min_length = 1, max_length = 255, example = "order-101")]
    pub receipt: String,
}

/// How to have a receipt imported again.
#[derive(ToSchema)]
pub struct ImportRetry {
    /// Also where it would be tried again by itself, and is not due yet; `false` unless said.
    pub now: Option<bool>,
}

/// One order that is, or is to be, fetched from a store.
#[derive(ToSchema)]
pub struct Import {
    /// From which store.
    #[schema(format = "uuid")]
    pub store_id: String,
    /// What the order is known by there.
    pub receipt: String,
    /// How far it is.
    pub state: ImportState,
    /// How many tries there were.
    pub attempt: u32,
    /// When it is tried next; `null` once nobody shall.
    #[schema(required, format = "date-time")]
    pub due_at: Option<String>,
    /// The order that it is here.
    #[schema(required, format = "uuid")]
    pub order_id: Option<String>,
    /// The order's id at the marketplace.
    #[schema(required)]
    pub external_order_id: Option<String>,
    /// Its sum.
    #[schema(required, example = "19.90")]
    pub amount: Option<String>,
    /// Its currency.
    #[schema(required)]
    pub currency: Option<String>,
    /// When it was fetched.
    #[schema(required, format = "date-time")]
    pub imported_at: Option<String>,
    /// Why it is no order, if it failed last.
    #[schema(required)]
    pub error: Option<String>,
    /// When it was asked for first.
    #[schema(format = "date-time")]
    pub created_at: String,
    /// When it changed last.
    #[schema(format = "date-time")]
    pub updated_at: String,
}

/// How far an import is.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum ImportState {
    /// Not asked for yet, or just now.
    Pending,
    /// It is an order.
    Success,
    /// It failed; it is tried again.
    Failed,
    /// The marketplace allowed no more calls; it is tried again.
    RateLimited,
    /// The marketplace knows no such order. Nobody asks again unless an operator wants it.
    Invalid,
}

/// A page of imports.
#[derive(ToSchema)]
pub struct ImportList {
    /// The imports, the newest first.
    pub imports: Vec<Import>,
    /// Give it as `after` to get the next page; `null` when this was the last.
    #[schema(required)]
    pub next: Option<String>,
}

/// What a round over the stores did.
#[derive(ToSchema)]
pub struct SyncRound {
    /// Whether it has ended; the counts are zero where it goes on.
    pub ended: bool,
    /// Stores that were due.
    pub found: u64,
    /// Stores that were synced.
    pub synced: u64,
    /// Stores whose sync failed: here, or because the marketplace cannot be reached or lets nobody in.
    pub faults: u64,
    /// Why, of at most 20 of those.
    pub failures: Vec<SyncFailure>,
}

/// Why a store could not be synced.
#[derive(ToSchema)]
pub struct SyncFailure {
    /// The store's id.
    #[schema(format = "uuid")]
    pub store_id: String,
    /// A type of problem; `about:blank` where it lies with the marketplace.
    #[schema(format = "uri")]
    pub r#type: String,
    /// What is wrong, for people.
    pub detail: String,
}
