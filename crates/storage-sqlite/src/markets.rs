//! Stores, imports, runs, events and budgets as rows.

use crate::SqliteStorage;
use crate::rows::{self, blob, collect, maybe_text, maybe_uuid, micros, text, uuid};
use async_trait::async_trait;
use order_core::budget::Budget;
use order_core::clock::Timestamp;
use order_core::ids::{EventId, LeaseToken, OrderId, StoreId, TenantId};
use order_core::marketplace::reads::{ImportQuery, StorePlace, StoreQuery};
use order_core::marketplace::rules::Newest;
use order_core::marketplace::{
    Import, ImportCounts, ImportResult, ListPlace, Store, StoreEvent, SyncLease, SyncRun, TokenHash,
};
use order_core::ports::MarketStorage;
use order_core::sealing::Sealed;
use order_core::{Fault, Money};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::LazyLock;

const STORE: &str = "store_id, tenant, organization, marketplace, external_id, name, currency, access_token, token_hash, \
     created_at, updated_at, pending, success, failed, rate_limited, invalid, newest, last_sync_at, synced_at, \
     next_sync_at, lease_token, lease_until, run, version, lists, listed_since, list_page, list_began_at";

const IMPORT: &str = "store_id, receipt, tenant, number, state, attempt, due_at, token, external_order_id, amount, \
     currency, imported_at, order_id, error, created_at, updated_at";

const RUN: &str =
    "store_id, run, started_at, ended_at, processed, success, failed, rate_limited, ending, detail";

const EVENT: &str = "store_id, version, event_id, tenant, organization, type, occurred_at, data";

macro_rules! selects {
    ($($name:ident: $columns:ident $tail:literal;)+) => {
        $(static $name: LazyLock<String> = LazyLock::new(|| ["SELECT ", $columns, $tail].concat());)+
    };
}

selects! {
    STORE_BY_ID: STORE " FROM stores WHERE store_id = ?1";
    STORE_BY_TOKEN: STORE " FROM stores WHERE token_hash = ?1";
    STORES: STORE " FROM stores WHERE tenant = ?1 AND (created_at, store_id) > (?2, ?3) \
                   ORDER BY created_at, store_id LIMIT ?4";
    STORES_OF: STORE " FROM stores WHERE tenant = ?1 AND organization = ?5 AND (created_at, store_id) > (?2, ?3) \
                      ORDER BY created_at, store_id LIMIT ?4";
    IMPORT_BY_RECEIPT: IMPORT " FROM imports WHERE store_id = ?1 AND receipt = ?2";
    IMPORTS: IMPORT " FROM imports WHERE store_id = ?1 AND number < ?2 AND tenant = ?3 ORDER BY number DESC LIMIT ?4";
    IMPORTS_OPEN: IMPORT " FROM imports WHERE store_id = ?1 AND number < ?2 AND tenant = ?3 AND state = ?5 \
                          AND state <> 'success' ORDER BY number DESC LIMIT ?4";
    IMPORTS_DONE: IMPORT " FROM imports WHERE store_id = ?1 AND number < ?2 AND tenant = ?3 AND state = 'success' \
                          ORDER BY number DESC LIMIT ?4";
    IMPORTS_OF_RECEIPT: IMPORT " FROM imports WHERE tenant = ?1 AND receipt = ?2 ORDER BY store_id LIMIT ?3";
    IMPORTS_DUE: IMPORT " FROM imports WHERE store_id = ?1 AND due_at <= ?2 ORDER BY due_at, number LIMIT ?3";
    RUN_BY_NUMBER: RUN " FROM sync_runs WHERE store_id = ?1 AND run = ?2";
    RUNS: RUN " FROM sync_runs WHERE store_id = ?1 AND run < ?2 \
               AND EXISTS (SELECT 1 FROM stores s WHERE s.store_id = ?1 AND s.tenant = ?3) ORDER BY run DESC LIMIT ?4";
    EVENT_BY_VERSION: EVENT " FROM store_events WHERE store_id = ?1 AND version = ?2";
    EVENTS: EVENT " FROM store_events WHERE store_id = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
}

/// A store, whoever owns it.
pub(crate) fn store(conn: &Connection, store_id: StoreId) -> rusqlite::Result<Option<Store>> {
    conn.prepare_cached(&STORE_BY_ID)?.query_row([blob(&store_id.0)], read_store).optional()
}

/// One import.
pub(crate) fn import(
    conn: &Connection,
    store_id: StoreId,
    receipt: &str,
) -> rusqlite::Result<Option<Import>> {
    let mut statement = conn.prepare_cached(&IMPORT_BY_RECEIPT)?;
    statement.query_row(params![blob(&store_id.0), receipt], read_import).optional()
}

/// Imports that are due, the longest due first.
pub(crate) fn due(
    conn: &Connection,
    store_id: StoreId,
    now: Timestamp,
    most: usize,
) -> rusqlite::Result<Vec<Import>> {
    let mut statement = conn.prepare_cached(&IMPORTS_DUE)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    collect(&mut statement, params![blob(&store_id.0), now.micros(), most], read_import)
}

/// A run of a store.
pub(crate) fn run(conn: &Connection, store_id: StoreId, run: u64) -> rusqlite::Result<Option<SyncRun>> {
    let mut statement = conn.prepare_cached(&RUN_BY_NUMBER)?;
    statement.query_row(params![blob(&store_id.0), run], read_run).optional()
}

/// An event of a store.
pub(crate) fn event(
    conn: &Connection,
    store_id: StoreId,
    version: u64,
) -> rusqlite::Result<Option<StoreEvent>> {
    let mut statement = conn.prepare_cached(&EVENT_BY_VERSION)?;
    statement.query_row(params![blob(&store_id.0), version], read_event).optional()
}

/// One budget.
pub(crate) fn budget(conn: &Connection, key: &str) -> rusqlite::Result<Option<Budget>> {
    let mut statement = conn.prepare_cached("SELECT state FROM budgets WHERE key = ?1")?;
    statement.query_row([key], |row| text(row, 0)).optional()
}

/// Adds a row, or writes over the one with its key: all of `columns`, which begin with the key.
fn upsert(table: &str, key: &str, columns: &str) -> String {
    let names: Vec<&str> = columns.split(',').map(str::trim).collect();
    let values: Vec<String> = (1..=names.len()).map(|place| ["?", &place.to_string()].concat()).collect();
    let set: Vec<String> = names.iter().map(|name| [name, " = excluded.", name].concat()).collect();
    let parts =
        [") VALUES (", &values.join(", "), ") ON CONFLICT (", key, ") DO UPDATE SET ", &set.join(", ")];
    [&["INSERT INTO ", table, " (", columns][..], &parts].concat().concat()
}

/// Writes a store whole.
pub(crate) fn put_store(conn: &Connection, store: &Store) -> rusqlite::Result<()> {
    static PUT: LazyLock<String> = LazyLock::new(|| upsert("stores", "store_id", STORE));
    let place = store.listing.as_ref();
    conn.prepare_cached(&PUT)?.execute(params![
        blob(&store.store_id.0),
        store.tenant.as_str(),
        store.organization,
        store.marketplace.word(),
        store.external_id,
        store.name,
        store.currency,
        store.access_token.as_bytes(),
        store.token_hash.0,
        store.created_at.micros(),
        store.updated_at.micros(),
        store.counts.pending,
        store.counts.success,
        store.counts.failed,
        store.counts.rate_limited,
        store.counts.invalid,
        store.newest.to_bytes(),
        micros(store.last_sync_at),
        micros(store.synced_at),
        micros(store.next_sync_at),
        store.lease.as_ref().map(|lease| blob(&lease.token.0)),
        store.lease.map(|lease| lease.until.micros()),
        store.run,
        store.version,
        place.is_some(),
        place.and_then(|place| micros(place.since)),
        place.and_then(|place| place.page.as_deref()),
        place.and_then(|place| micros(place.began_at)),
    ])?;
    Ok(())
}

/// Writes an import whole.
pub(crate) fn put_import(conn: &Connection, import: &Import) -> rusqlite::Result<()> {
    static PUT: LazyLock<String> = LazyLock::new(|| upsert("imports", "store_id, receipt", IMPORT));
    let result = import.result.as_ref();
    conn.prepare_cached(&PUT)?.execute(params![
        blob(&import.store_id.0),
        import.receipt.as_str(),
        import.tenant.as_str(),
        import.number,
        import.state.word(),
        import.attempt,
        micros(import.due_at),
        import.token.as_ref().map(|token| blob(&token.0)),
        result.map(|result| result.external_order_id.as_str()),
        result.map(|result| result.amount.to_string()),
        result.map(|result| result.currency.as_str()),
        result.map(|result| result.imported_at.micros()),
        result.map(|result| blob(&result.order_id.0)),
        import.error,
        import.created_at.micros(),
        import.updated_at.micros(),
    ])?;
    Ok(())
}

/// Writes a run whole.
pub(crate) fn put_run(conn: &Connection, run: &SyncRun) -> rusqlite::Result<()> {
    static PUT: LazyLock<String> = LazyLock::new(|| upsert("sync_runs", "store_id, run", RUN));
    conn.prepare_cached(&PUT)?.execute(params![
        blob(&run.store_id.0),
        run.run,
        run.started_at.micros(),
        micros(run.ended_at),
        run.processed,
        run.success,
        run.failed,
        run.rate_limited,
        run.end.map(|end| end.word()),
        run.detail,
    ])?;
    Ok(())
}

/// Adds an event.
pub(crate) fn add_event(conn: &Connection, event: &StoreEvent) -> rusqlite::Result<()> {
    static ADD: LazyLock<String> = LazyLock::new(|| {
        ["INSERT INTO store_events (", EVENT, ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8)"].concat()
    });
    conn.prepare_cached(&ADD)?.execute(params![
        blob(&event.store_id.0),
        event.version,
        blob(&event.event_id.0),
        event.tenant.as_str(),
        event.organization,
        event.kind.word(),
        event.occurred_at.micros(),
        event.data,
    ])?;
    Ok(())
}

/// Writes a budget whole.
pub(crate) fn put_budget(conn: &Connection, budget: &Budget) -> rusqlite::Result<()> {
    let state = budget.to_text().map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    let sql = "INSERT OR REPLACE INTO budgets (key, state) VALUES (?1, ?2)";
    conn.prepare_cached(sql)?.execute(params![budget.key, state])?;
    Ok(())
}

fn unreadable(index: usize, why: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, Type::Blob, why.into())
}

fn moment(row: &Row<'_>, index: usize) -> rusqlite::Result<Timestamp> {
    Ok(Timestamp::from_micros(row.get(index)?))
}

/// A store, from [`STORE`].
pub(crate) fn read_store(row: &Row<'_>) -> rusqlite::Result<Store> {
    let newest: Vec<u8> = row.get(16)?;
    let lease = match (maybe_uuid(row, 20)?, rows::time(row, 21)?) {
        (Some(token), Some(until)) => Some(SyncLease { token: LeaseToken(token), until }),
        _ => None,
    };
    let place = ListPlace { since: rows::time(row, 25)?, page: row.get(26)?, began_at: rows::time(row, 27)? };
    Ok(Store {
        store_id: StoreId(uuid(row, 0)?),
        tenant: text(row, 1)?,
        organization: row.get(2)?,
        marketplace: text(row, 3)?,
        external_id: row.get(4)?,
        name: row.get(5)?,
        currency: row.get(6)?,
        access_token: Sealed::from_bytes(row.get(7)?),
        token_hash: TokenHash(row.get(8)?),
        created_at: moment(row, 9)?,
        updated_at: moment(row, 10)?,
        counts: ImportCounts {
            pending: row.get(11)?,
            success: row.get(12)?,
            failed: row.get(13)?,
            rate_limited: row.get(14)?,
            invalid: row.get(15)?,
        },
        newest: Newest::from_bytes(&newest).ok_or_else(|| unreadable(16, "no list of the newest"))?,
        last_sync_at: rows::time(row, 17)?,
        synced_at: rows::time(row, 18)?,
        next_sync_at: rows::time(row, 19)?,
        lease,
        run: row.get(22)?,
        version: row.get(23)?,
        listing: row.get::<_, bool>(24)?.then_some(place),
    })
}

/// An import, from [`IMPORT`].
pub(crate) fn read_import(row: &Row<'_>) -> rusqlite::Result<Import> {
    let result = match maybe_uuid(row, 12)? {
        Some(order_id) => Some(ImportResult {
            external_order_id: row.get(8)?,
            amount: text::<Money>(row, 9)?,
            currency: row.get(10)?,
            imported_at: moment(row, 11)?,
            order_id: OrderId(order_id),
        }),
        None => None,
    };
    Ok(Import {
        store_id: StoreId(uuid(row, 0)?),
        receipt: text(row, 1)?,
        tenant: text(row, 2)?,
        number: row.get(3)?,
        state: text(row, 4)?,
        attempt: row.get(5)?,
        due_at: rows::time(row, 6)?,
        token: maybe_uuid(row, 7)?.map(LeaseToken),
        result,
        error: row.get(13)?,
        created_at: moment(row, 14)?,
        updated_at: moment(row, 15)?,
    })
}

/// A run, from [`RUN`].
pub(crate) fn read_run(row: &Row<'_>) -> rusqlite::Result<SyncRun> {
    Ok(SyncRun {
        store_id: StoreId(uuid(row, 0)?),
        run: row.get(1)?,
        started_at: moment(row, 2)?,
        ended_at: rows::time(row, 3)?,
        processed: row.get(4)?,
        success: row.get(5)?,
        failed: row.get(6)?,
        rate_limited: row.get(7)?,
        end: maybe_text(row, 8)?,
        detail: row.get(9)?,
    })
}

/// An event, from [`EVENT`].
pub(crate) fn read_event(row: &Row<'_>) -> rusqlite::Result<StoreEvent> {
    Ok(StoreEvent {
        store_id: StoreId(uuid(row, 0)?),
        version: row.get(1)?,
        event_id: EventId(uuid(row, 2)?),
        tenant: text(row, 3)?,
        organization: row.get(4)?,
        kind: text(row, 5)?,
        occurred_at: moment(row, 6)?,
        data: row.get(7)?,
    })
}

/// A place in a list of stores as its two values; the beginning of all when `None`.
fn place(after: Option<StorePlace>) -> (i64, Vec<u8>) {
    after.map_or((-1, Vec::new()), |(at, store_id)| (at.micros(), blob(&store_id.0).to_vec()))
}

fn stores(conn: &Connection, query: &StoreQuery) -> rusqlite::Result<Vec<Store>> {
    let (at, id) = place(query.after);
    let tenant = query.tenant.as_str();
    match &query.organization {
        Some(organization) => {
            let mut statement = conn.prepare_cached(&STORES_OF)?;
            collect(&mut statement, params![tenant, at, id, query.limit, organization], read_store)
        }
        None => {
            let mut statement = conn.prepare_cached(&STORES)?;
            collect(&mut statement, params![tenant, at, id, query.limit], read_store)
        }
    }
}

fn imports(conn: &Connection, query: &ImportQuery) -> rusqlite::Result<Vec<Import>> {
    use order_core::marketplace::ImportState::Success;
    let (id, tenant) = (blob(&query.store_id.0), query.tenant.as_str());
    let before = query.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    let own = params![id, before, tenant, query.limit];
    match query.state {
        None => collect(&mut *conn.prepare_cached(&IMPORTS)?, own, read_import),
        Some(Success) => collect(&mut *conn.prepare_cached(&IMPORTS_DONE)?, own, read_import),
        Some(state) => {
            let values = params![id, before, tenant, query.limit, state.word()];
            collect(&mut *conn.prepare_cached(&IMPORTS_OPEN)?, values, read_import)
        }
    }
}

fn due_stores(
    conn: &Connection,
    now: Timestamp,
    after: Option<StorePlace>,
    limit: u32,
) -> rusqlite::Result<Vec<StorePlace>> {
    let (at, id) = place(after);
    let mut statement = conn.prepare_cached(
        "SELECT created_at, store_id FROM stores WHERE next_sync_at IS NOT NULL AND next_sync_at <= ?1 \
         AND (created_at, store_id) > (?2, ?3) ORDER BY created_at, store_id LIMIT ?4",
    )?;
    let read = |row: &Row<'_>| Ok((moment(row, 0)?, StoreId(uuid(row, 1)?)));
    collect(&mut statement, params![now.micros(), at, id, limit], read)
}

#[async_trait]
impl MarketStorage for SqliteStorage {
    async fn store(&self, store_id: StoreId) -> Result<Option<Store>, Fault> {
        self.readers.with(move |conn| store(conn, store_id)).await
    }

    async fn store_of_token(&self, hash: &TokenHash) -> Result<Option<Store>, Fault> {
        let hash = hash.0;
        let find = move |conn: &Connection| {
            conn.prepare_cached(&STORE_BY_TOKEN)?.query_row([hash], read_store).optional()
        };
        self.readers.with(find).await
    }

    async fn stores(&self, query: &StoreQuery) -> Result<Vec<Store>, Fault> {
        let query = query.clone();
        self.readers.with(move |conn| stores(conn, &query)).await
    }

    async fn due_stores(
        &self,
        now: Timestamp,
        after: Option<StorePlace>,
        limit: u32,
    ) -> Result<Vec<StorePlace>, Fault> {
        self.readers.with(move |conn| due_stores(conn, now, after, limit)).await
    }

    async fn import(&self, store_id: StoreId, receipt: &str) -> Result<Option<Import>, Fault> {
        let receipt = receipt.to_owned();
        self.readers.with(move |conn| import(conn, store_id, &receipt)).await
    }

    async fn imports(&self, query: &ImportQuery) -> Result<Vec<Import>, Fault> {
        let query = query.clone();
        self.readers.with(move |conn| imports(conn, &query)).await
    }

    async fn imports_of_receipt(
        &self,
        tenant: &TenantId,
        receipt: &str,
        limit: u32,
    ) -> Result<Vec<Import>, Fault> {
        let (tenant, receipt) = (tenant.clone(), receipt.to_owned());
        let read = move |conn: &Connection| {
            let mut statement = conn.prepare_cached(&IMPORTS_OF_RECEIPT)?;
            collect(&mut statement, params![tenant.as_str(), receipt, limit], read_import)
        };
        self.readers.with(read).await
    }

    async fn sync_runs(
        &self,
        tenant: &TenantId,
        store_id: StoreId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SyncRun>, Fault> {
        let tenant = tenant.clone();
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let read = move |conn: &Connection| {
            let mut statement = conn.prepare_cached(&RUNS)?;
            collect(&mut statement, params![blob(&store_id.0), before, tenant.as_str(), limit], read_run)
        };
        self.readers.with(read).await
    }

    async fn store_events(
        &self,
        store_id: StoreId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoreEvent>, Fault> {
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let read = move |conn: &Connection| {
            let mut statement = conn.prepare_cached(&EVENTS)?;
            collect(&mut statement, params![blob(&store_id.0), after, limit], read_event)
        };
        self.readers.with(read).await
    }

    async fn budget(&self, key: &str) -> Result<Option<Budget>, Fault> {
        let key = key.to_owned();
        self.readers.with(move |conn| budget(conn, &key)).await
    }
}
