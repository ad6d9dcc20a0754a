//! Stores, imports, runs, events and budgets as rows.

use crate::PostgresStorage;
use crate::connect::{Conn, Values};
use crate::error::Tried;
use crate::pipeline::{Pipeline, Value};
use crate::rows::{Moment, big, bytes32, maybe_text, maybe_time, moment, number, text, time, unreadable};
use async_trait::async_trait;
use order_core::budget::Budget;
use order_core::clock::Timestamp;
use order_core::ids::{EventId, LeaseToken, OrderId, StoreId, TenantId};
use order_core::marketplace::reads::{ImportQuery, StorePlace, StoreQuery};
use order_core::marketplace::rules::Newest;
use order_core::marketplace::{
    Import, ImportCounts, ImportResult, ImportState, ListPlace, Store, StoreEvent, SyncLease, SyncRun,
    TokenHash,
};
use order_core::{Fault, Money};

use order_core::ports::MarketStorage;
use order_core::sealing::Sealed;
use tokio_postgres::Row;
use uuid::Uuid;

/// The columns that [`read_store`] reads, with what comes after.
macro_rules! select_stores {
    ($tail:literal) => {
        concat!(
            "SELECT store_id, tenant, organization, marketplace, external_id, name, currency, access_token, token_hash, \
             created_at, updated_at, pending, success, failed, rate_limited, invalid, newest, last_sync_at, synced_at, \
             next_sync_at, lease_token, lease_until, run, version, lists, listed_since, list_page, list_began_at \
             FROM stores ",
            $tail
        )
    };
}
pub(crate) use select_stores;

/// The columns that [`read_import`] reads, with what comes after.
macro_rules! select_imports {
    ($tail:literal) => {
        concat!(
            "SELECT store_id, receipt, tenant, number, state, attempt, due_at, token, external_order_id, amount::text, \
             currency, imported_at, order_id, error, created_at, updated_at FROM imports ",
            $tail
        )
    };
}
pub(crate) use select_imports;

/// The columns that [`read_run`] reads, with what comes after.
macro_rules! select_runs {
    ($tail:literal) => {
        concat!(
            "SELECT store_id, run, started_at, ended_at, processed, success, failed, rate_limited, ending, detail \
             FROM sync_runs ",
            $tail
        )
    };
}
pub(crate) use select_runs;

const PUT_STORE: &str = "INSERT INTO stores (store_id, tenant, organization, marketplace, external_id, name, currency, \
     access_token, token_hash, created_at, updated_at, pending, success, failed, rate_limited, invalid, newest, \
     last_sync_at, synced_at, next_sync_at, lease_token, lease_until, run, version, lists, listed_since, list_page, \
     list_began_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, \
     $21, $22, $23, $24, $25, $26, $27, $28) ON CONFLICT (store_id) DO UPDATE SET name = excluded.name, \
     currency = excluded.currency, access_token = excluded.access_token, token_hash = excluded.token_hash, \
     updated_at = excluded.updated_at, pending = excluded.pending, success = excluded.success, failed = excluded.failed, \
     rate_limited = excluded.rate_limited, invalid = excluded.invalid, newest = excluded.newest, \
     last_sync_at = excluded.last_sync_at, synced_at = excluded.synced_at, next_sync_at = excluded.next_sync_at, \
     lease_token = excluded.lease_token, lease_until = excluded.lease_until, run = excluded.run, \
     version = excluded.version, lists = excluded.lists, listed_since = excluded.listed_since, \
     list_page = excluded.list_page, list_began_at = excluded.list_began_at";

const PUT_IMPORT: &str = "INSERT INTO imports (store_id, receipt, tenant, number, state, attempt, due_at, token, \
     external_order_id, amount, currency, imported_at, order_id, error, created_at, updated_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::text::numeric, $11, $12, $13, $14, $15, $16) \
     ON CONFLICT (store_id, receipt) DO UPDATE SET state = excluded.state, attempt = excluded.attempt, \
     due_at = excluded.due_at, token = excluded.token, external_order_id = excluded.external_order_id, \
     amount = excluded.amount, currency = excluded.currency, imported_at = excluded.imported_at, \
     order_id = excluded.order_id, error = excluded.error, updated_at = excluded.updated_at";

const PUT_RUN: &str = "INSERT INTO sync_runs (store_id, run, started_at, ended_at, processed, success, failed, \
     rate_limited, ending, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
     ON CONFLICT (store_id, run) DO UPDATE SET ended_at = excluded.ended_at, processed = excluded.processed, \
     success = excluded.success, failed = excluded.failed, rate_limited = excluded.rate_limited, \
     ending = excluded.ending, detail = excluded.detail";

const ADD_EVENT: &str = "INSERT INTO store_events (store_id, version, event_id, tenant, organization, type, \
     occurred_at, data) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";

fn boxed<'a, T>(value: T) -> Value<'a>
where
    T: tokio_postgres::types::ToSql + Sync + Send + 'a,
{
    Box::new(value)
}

/// Adds a statement that writes a store whole.
pub(crate) async fn put_store<'p>(trip: &mut Pipeline<'p>, conn: &Conn, store: &'p Store) -> Tried<()> {
    let place = store.listing.as_ref();
    let values = vec![
        boxed(store.store_id.0),
        boxed(store.tenant.as_str()),
        boxed(&*store.organization),
        boxed(store.marketplace.word()),
        boxed(&*store.external_id),
        boxed(&*store.name),
        boxed(&*store.currency),
        boxed(store.access_token.as_bytes()),
        boxed(store.token_hash.0.as_slice()),
        boxed(Moment(store.created_at)),
        boxed(Moment(store.updated_at)),
        boxed(big(store.counts.pending)),
        boxed(big(store.counts.success)),
        boxed(big(store.counts.failed)),
        boxed(big(store.counts.rate_limited)),
        boxed(big(store.counts.invalid)),
        boxed(store.newest.to_bytes()),
        boxed(moment(store.last_sync_at)),
        boxed(moment(store.synced_at)),
        boxed(moment(store.next_sync_at)),
        boxed(store.lease.map(|lease| lease.token.0)),
        boxed(moment(store.lease.map(|lease| lease.until))),
        boxed(big(store.run)),
        boxed(big(store.version)),
        boxed(place.is_some()),
        boxed(moment(place.and_then(|place| place.since))),
        boxed(place.and_then(|place| place.page.as_deref())),
        boxed(moment(place.and_then(|place| place.began_at))),
    ];
    trip.add(conn, PUT_STORE, values).await.map(drop)
}

/// Adds a statement that writes an import whole.
pub(crate) async fn put_import<'p>(trip: &mut Pipeline<'p>, conn: &Conn, import: &'p Import) -> Tried<()> {
    let result = import.result.as_ref();
    let values = vec![
        boxed(import.store_id.0),
        boxed(import.receipt.as_str()),
        boxed(import.tenant.as_str()),
        boxed(big(import.number)),
        boxed(import.state.word()),
        boxed(i32::try_from(import.attempt).unwrap_or(i32::MAX)),
        boxed(moment(import.due_at)),
        boxed(import.token.map(|token| token.0)),
        boxed(result.map(|result| &*result.external_order_id)),
        boxed(result.map(|result| result.amount.to_string())),
        boxed(result.map(|result| &*result.currency)),
        boxed(moment(result.map(|result| result.imported_at))),
        boxed(result.map(|result| result.order_id.0)),
        boxed(import.error.as_deref()),
        boxed(Moment(import.created_at)),
        boxed(Moment(import.updated_at)),
    ];
    trip.add(conn, PUT_IMPORT, values).await.map(drop)
}

/// Adds a statement that writes a run whole.
pub(crate) async fn put_run<'p>(trip: &mut Pipeline<'p>, conn: &Conn, run: &'p SyncRun) -> Tried<()> {
    let values = vec![
        boxed(run.store_id.0),
        boxed(big(run.run)),
        boxed(Moment(run.started_at)),
        boxed(moment(run.ended_at)),
        boxed(big(run.processed)),
        boxed(big(run.success)),
        boxed(big(run.failed)),
        boxed(big(run.rate_limited)),
        boxed(run.end.map(|end| end.word())),
        boxed(run.detail.as_deref()),
    ];
    trip.add(conn, PUT_RUN, values).await.map(drop)
}

/// Adds a statement that adds an event.
pub(crate) async fn add_event<'p>(trip: &mut Pipeline<'p>, conn: &Conn, event: &'p StoreEvent) -> Tried<()> {
    let values = vec![
        boxed(event.store_id.0),
        boxed(big(event.version)),
        boxed(event.event_id.0),
        boxed(event.tenant.as_str()),
        boxed(&*event.organization),
        boxed(event.kind.word()),
        boxed(Moment(event.occurred_at)),
        boxed(&*event.data),
    ];
    trip.add(conn, ADD_EVENT, values).await.map(drop)
}

/// A store, from [`select_stores!`].
pub(crate) fn read_store(row: &Row) -> Tried<Store> {
    let lease = match (row.try_get::<_, Option<Uuid>>(20)?, maybe_time(row, 21)?) {
        (Some(token), Some(until)) => Some(SyncLease { token: LeaseToken(token), until }),
        _ => None,
    };
    let place =
        ListPlace { since: maybe_time(row, 25)?, page: row.try_get(26)?, began_at: maybe_time(row, 27)? };
    let count = |index| number::<u64, i64>(row, index);
    Ok(Store {
        store_id: StoreId(row.try_get(0)?),
        tenant: text(row, 1)?,
        organization: row.try_get(2)?,
        marketplace: text(row, 3)?,
        external_id: row.try_get(4)?,
        name: row.try_get(5)?,
        currency: row.try_get(6)?,
        access_token: Sealed::from_bytes(row.try_get(7)?),
        token_hash: TokenHash(bytes32(row, 8)?),
        created_at: time(row, 9)?,
        updated_at: time(row, 10)?,
        counts: ImportCounts {
            pending: count(11)?,
            success: count(12)?,
            failed: count(13)?,
            rate_limited: count(14)?,
            invalid: count(15)?,
        },
        newest: Newest::from_bytes(row.try_get(16)?).ok_or_else(|| unreadable("newest", "no list"))?,
        last_sync_at: maybe_time(row, 17)?,
        synced_at: maybe_time(row, 18)?,
        next_sync_at: maybe_time(row, 19)?,
        lease,
        run: count(22)?,
        version: count(23)?,
        listing: row.try_get::<_, bool>(24)?.then_some(place),
    })
}

/// An import, from [`select_imports!`].
pub(crate) fn read_import(row: &Row) -> Tried<Import> {
    let result = match row.try_get::<_, Option<Uuid>>(12)? {
        Some(order_id) => Some(ImportResult {
            external_order_id: row.try_get(8)?,
            amount: text::<Money>(row, 9)?,
            currency: row.try_get(10)?,
            imported_at: time(row, 11)?,
            order_id: OrderId(order_id),
        }),
        None => None,
    };
    Ok(Import {
        store_id: StoreId(row.try_get(0)?),
        receipt: text(row, 1)?,
        tenant: text(row, 2)?,
        number: number::<_, i64>(row, 3)?,
        state: text(row, 4)?,
        attempt: number::<_, i32>(row, 5)?,
        due_at: maybe_time(row, 6)?,
        token: row.try_get::<_, Option<Uuid>>(7)?.map(LeaseToken),
        result,
        error: row.try_get(13)?,
        created_at: time(row, 14)?,
        updated_at: time(row, 15)?,
    })
}

/// A run, from [`select_runs!`].
pub(crate) fn read_run(row: &Row) -> Tried<SyncRun> {
    let count = |index| number::<u64, i64>(row, index);
    Ok(SyncRun {
        store_id: StoreId(row.try_get(0)?),
        run: count(1)?,
        started_at: time(row, 2)?,
        ended_at: maybe_time(row, 3)?,
        processed: count(4)?,
        success: count(5)?,
        failed: count(6)?,
        rate_limited: count(7)?,
        end: maybe_text(row, 8)?,
        detail: row.try_get(9)?,
    })
}

/// An event.
pub(crate) fn read_event(row: &Row) -> Tried<StoreEvent> {
    Ok(StoreEvent {
        store_id: StoreId(row.try_get(0)?),
        version: number::<_, i64>(row, 1)?,
        event_id: EventId(row.try_get(2)?),
        tenant: text(row, 3)?,
        organization: row.try_get(4)?,
        kind: text(row, 5)?,
        occurred_at: time(row, 6)?,
        data: row.try_get(7)?,
    })
}

/// A place in a list of stores as its two values; before all of them when `None`.
fn place(after: Option<StorePlace>) -> (Moment, Uuid) {
    after.map_or((Moment(Timestamp::from_micros(0)), Uuid::nil()), |(at, store_id)| (Moment(at), store_id.0))
}

fn below(before: Option<u64>) -> i64 {
    before.map_or(i64::MAX, big)
}

impl PostgresStorage {
    async fn tried_stores(&self, query: &StoreQuery) -> Tried<Vec<Store>> {
        let conn = self.guarded.of(&query.tenant).get().await?;
        let (at, id) = place(query.after);
        let (tenant, limit) = (query.tenant.as_str(), i64::from(query.limit));
        let rows = match &query.organization {
            Some(organization) => {
                let sql = select_stores!(
                    "WHERE tenant = $1 AND organization = $5 AND (created_at, store_id) > ($2, $3) \
                     ORDER BY created_at, store_id LIMIT $4"
                );
                conn.query(sql, &[&tenant, &at, &id, &limit, organization]).await?
            }
            None => {
                let sql = select_stores!(
                    "WHERE tenant = $1 AND (created_at, store_id) > ($2, $3) ORDER BY created_at, store_id LIMIT $4"
                );
                conn.query(sql, &[&tenant, &at, &id, &limit]).await?
            }
        };
        rows.iter().map(read_store).collect()
    }

    async fn tried_imports(&self, query: &ImportQuery) -> Tried<Vec<Import>> {
        let conn = self.guarded.of(&query.tenant).get().await?;
        let (tenant, limit, before) = (query.tenant.as_str(), i64::from(query.limit), below(query.before));
        let own: Values<'_> = &[&query.store_id.0, &before, &tenant, &limit];
        let rows = match query.state {
            None => {
                let sql = select_imports!(
                    "WHERE store_id = $1 AND number < $2 AND tenant = $3 ORDER BY number DESC LIMIT $4"
                );
                conn.query(sql, own).await?
            }
            Some(ImportState::Success) => {
                let sql = select_imports!(
                    "WHERE store_id = $1 AND number < $2 AND tenant = $3 AND state = 'success' \
                     ORDER BY number DESC LIMIT $4"
                );
                conn.query(sql, own).await?
            }
            Some(state) => {
                let sql = select_imports!(
                    "WHERE store_id = $1 AND number < $2 AND tenant = $3 AND state = $5 AND state <> 'success' \
                     ORDER BY number DESC LIMIT $4"
                );
                conn.query(sql, &[&query.store_id.0, &before, &tenant, &limit, &state.word()]).await?
            }
        };
        rows.iter().map(read_import).collect()
    }

    async fn tried_due_stores(
        &self,
        now: Timestamp,
        after: Option<StorePlace>,
        limit: u32,
    ) -> Tried<Vec<StorePlace>> {
        let conn = self.readers.get().await?;
        let (at, id) = place(after);
        let sql = "SELECT created_at, store_id FROM stores WHERE next_sync_at IS NOT NULL AND next_sync_at <= $1 \
                   AND (created_at, store_id) > ($2, $3) ORDER BY created_at, store_id LIMIT $4";
        let rows = conn.query(sql, &[&Moment(now), &at, &id, &i64::from(limit)]).await?;
        rows.iter().map(|row| Ok((time(row, 0)?, StoreId(row.try_get(1)?)))).collect()
    }

    async fn one<T>(
        &self,
        sql: &'static str,
        values: Values<'_>,
        read: fn(&Row) -> Tried<T>,
    ) -> Tried<Option<T>> {
        let conn = self.readers.get().await?;
        conn.query_opt(sql, values).await?.as_ref().map(read).transpose()
    }
}

#[async_trait]
impl MarketStorage for PostgresStorage {
    async fn store(&self, store_id: StoreId) -> Result<Option<Store>, Fault> {
        Ok(self.one(select_stores!("WHERE store_id = $1"), &[&store_id.0], read_store).await?)
    }

    async fn store_of_token(&self, hash: &TokenHash) -> Result<Option<Store>, Fault> {
        Ok(self.one(select_stores!("WHERE token_hash = $1"), &[&hash.0.as_slice()], read_store).await?)
    }

    async fn stores(&self, query: &StoreQuery) -> Result<Vec<Store>, Fault> {
        Ok(self.tried_stores(query).await?)
    }

    async fn due_stores(
        &self,
        now: Timestamp,
        after: Option<StorePlace>,
        limit: u32,
    ) -> Result<Vec<StorePlace>, Fault> {
        Ok(self.tried_due_stores(now, after, limit).await?)
    }

    async fn import(&self, store_id: StoreId, receipt: &str) -> Result<Option<Import>, Fault> {
        let sql = select_imports!("WHERE store_id = $1 AND receipt = $2");
        Ok(self.one(sql, &[&store_id.0, &receipt], read_import).await?)
    }

    async fn imports(&self, query: &ImportQuery) -> Result<Vec<Import>, Fault> {
        Ok(self.tried_imports(query).await?)
    }

    async fn imports_of_receipt(
        &self,
        tenant: &TenantId,
        receipt: &str,
        limit: u32,
    ) -> Result<Vec<Import>, Fault> {
        let read = async {
            let conn = self.guarded.of(tenant).get().await?;
            let sql = select_imports!("WHERE tenant = $1 AND receipt = $2 ORDER BY store_id LIMIT $3");
            let rows = conn.query(sql, &[&tenant.as_str(), &receipt, &i64::from(limit)]).await?;
            rows.iter().map(read_import).collect::<Tried<Vec<_>>>()
        };
        Ok(read.await?)
    }

    async fn sync_runs(
        &self,
        tenant: &TenantId,
        store_id: StoreId,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<SyncRun>, Fault> {
        let read = async {
            let conn = self.readers.get().await?;
            let sql = select_runs!(
                "WHERE store_id = $1 AND run < $2 \
                 AND EXISTS (SELECT FROM stores s WHERE s.store_id = $1 AND s.tenant = $3) ORDER BY run DESC LIMIT $4"
            );
            let values: Values<'_> = &[&store_id.0, &below(before), &tenant.as_str(), &i64::from(limit)];
            conn.query(sql, values).await?.iter().map(read_run).collect::<Tried<Vec<_>>>()
        };
        Ok(read.await?)
    }

    async fn store_events(
        &self,
        store_id: StoreId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<StoreEvent>, Fault> {
        let read = async {
            let conn = self.readers.get().await?;
            let sql = "SELECT store_id, version, event_id, tenant, organization, type, occurred_at, data \
                       FROM store_events WHERE store_id = $1 AND version > $2 ORDER BY version LIMIT $3";
            let rows = conn.query(sql, &[&store_id.0, &big(after), &i64::from(limit)]).await?;
            rows.iter().map(read_event).collect::<Tried<Vec<_>>>()
        };
        Ok(read.await?)
    }

    async fn budget(&self, key: &str) -> Result<Option<Budget>, Fault> {
        let sql = "SELECT state FROM budgets WHERE key = $1 AND state IS NOT NULL";
        Ok(self.one(sql, &[&key], |row| text(row, 0)).await?)
    }
}
