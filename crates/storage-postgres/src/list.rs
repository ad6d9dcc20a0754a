//! Lists of orders, newest first: by number, scanning a bounded number of rows; and counts of parked ones.
//!
//! Numbers come from a sequence, so one that is lower may be seen a moment after one that is higher: a list shows what is
//! committed when it is read. Whoever must miss nothing follows what changes.

mod count;
mod customer;
mod window;

pub(crate) use count::count_parked;

use crate::connect::Conn;
use crate::error::{Tried, Trouble};
use crate::read::ended;
use crate::readers::Readers;
use crate::rows::{self, Moment, moment, number};
use crate::span;
use order_core::Fault;
use order_core::ids::check_text;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderPage, OrderQuery, PageWeight, SCAN_MAX};
use tokio_postgres::Row;
use window::{MANY_ENDS, MANY_ROWS, Window};

/// Orders that one page looks at where each is looked up by itself: that costs more than a row of a scan.
pub(crate) const LOOKUPS_MAX: u32 = 1_000;

/// A page of a list, in one snapshot: what is inserted meanwhile must not move the place where the next page begins.
pub(crate) async fn orders(readers: &Readers, shards: u16, query: &OrderQuery) -> Tried<OrderPage> {
    let conn = readers.snapshot().await?;
    let read = page(&conn, shards, query).await;
    ended(conn, read).await
}

async fn page(conn: &Conn, shards: u16, query: &OrderQuery) -> Tried<OrderPage> {
    let Some((lowest, before)) = span::numbers(conn, shards, query).await? else {
        return Ok(OrderPage::default());
    };
    if let Some(customer) = query.customer.as_ref().filter(|customer| check_text(customer).is_ok()) {
        return customer::orders(conn, shards, query, customer, (lowest, before)).await;
    }
    let owned = Owned::of(conn, query).await?;
    match Window::of(query, &owned) {
        Some(window) => along(conn, query, &window, lowest, before).await,
        None => over_sources(conn, query, &owned.sources, lowest, before).await,
    }
}

/// What is kept of a tenant's orders: of one source, when one is asked for.
#[derive(Debug)]
struct Owned {
    sources: Vec<String>,
    orders: i64,
    /// Of all sources.
    queued: i64,
}

impl Owned {
    async fn of(conn: &Conn, query: &OrderQuery) -> Tried<Self> {
        let source = query.source.as_ref().map(order_core::SourceId::as_str);
        let rows = conn
            .query(
                "SELECT source, sum(orders)::bigint, sum(queued)::bigint FROM tallies \
                 WHERE tenant = $1 GROUP BY source ORDER BY source",
                &[&query.tenant.as_str()],
            )
            .await?;
        let mut owned = Self { sources: Vec::new(), orders: 0, queued: 0 };
        for row in &rows {
            let from: String = row.try_get(0)?;
            owned.queued += row.try_get::<_, i64>(2)?;
            if source.is_none_or(|source| source == from) {
                owned.orders += row.try_get::<_, i64>(1)?;
                owned.sources.push(from);
            }
        }
        Ok(owned)
    }
}

/// Whether there is something to look at on each order: else every one that is scanned is on the page.
fn is_filtered(query: &OrderQuery) -> bool {
    query.processing.is_some()
        || query.fulfilment.is_some()
        || query.withdrawn.is_some()
        || query.customer.is_some()
        || query.accepted_from.is_some()
        || query.accepted_to.is_some()
        || query.error_contains.is_some()
}

/// A page along one window: rows in the order of an index.
async fn along(
    conn: &Conn,
    query: &OrderQuery,
    window: &Window<'_>,
    lowest: i64,
    before: i64,
) -> Tried<OrderPage> {
    let scan = i64::from(window.scan);
    let found = rows_of(conn, query, window.rows, before, (lowest, scan), &window.text).await?;
    let (read, full) = read(&found)?;
    if full || found.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX) {
        return Ok(read);
    }
    let end =
        conn.query_one(window.end, &[&query.tenant.as_str(), &before, &lowest, &scan, &window.text]).await?;
    let (end, scanned): (Option<i64>, i64) = (end.try_get(0)?, end.try_get(1)?);
    Ok(OrderPage { next: end.filter(|_| scanned >= scan), ..read })
}

/// A page over all sources of a tenant, each of which has its part of an index. As many rows of each are scanned, so the
/// page ends where the first of them was cut off.
async fn over_sources(
    conn: &Conn,
    query: &OrderQuery,
    sources: &[String],
    lowest: i64,
    before: i64,
) -> Tried<OrderPage> {
    let each = SCAN_MAX / u32::try_from(sources.len()).unwrap_or(u32::MAX).max(1);
    let each = if is_filtered(query) { each } else { each.min(query.limit) };
    let each = i64::from(each.max(1));
    let tenant = query.tenant.as_str();
    let end = conn.query_one(MANY_ENDS, &[&tenant, &before, &lowest, &each, &sources]).await?;
    let end: Option<i64> = end.try_get(0)?;
    let from = end.unwrap_or(lowest);
    let found = rows_of(conn, query, MANY_ROWS, before, (from, i64::MAX), &sources).await?;
    let (read, full) = read(&found)?;
    let full = full || found.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX);
    Ok(if full { read } else { OrderPage { next: end, ..read } })
}

/// The rows of one of the statements of [`window`]: numbers below `before`, from `lowest` on, scanning `scan`.
async fn rows_of(
    conn: &Conn,
    query: &OrderQuery,
    sql: &'static str,
    before: i64,
    (lowest, scan): (i64, i64),
    of: &(dyn tokio_postgres::types::ToSql + Sync),
) -> Tried<Vec<Row>> {
    conn.query(
        sql,
        &[
            &query.tenant.as_str(),
            &before,
            &lowest,
            &scan,
            of,
            &i64::from(query.limit),
            &query.source.as_ref().map(order_core::SourceId::as_str),
            &query.fulfilment.map(Fulfilment::word),
            &query.withdrawn,
            &query.customer,
            &query.processing.map(Processing::word),
            &Moment(query.now),
            &moment(query.accepted_from),
            &moment(query.accepted_to),
            &query.error_contains,
        ],
    )
    .await
}

/// The orders of rows, as far as a page holds them, and where the next page begins if there is one; whether it holds no
/// more.
fn read(found: &[Row]) -> Tried<(OrderPage, bool)> {
    let (mut page, mut weight) = (OrderPage::default(), PageWeight::default());
    for row in found {
        page.next = Some(row.try_get(0)?);
        if let Some((order, _)) = readable(row, rows::order(row))? {
            weight.add(&order);
            page.orders.push(order);
        }
        if weight.is_full() {
            break;
        }
    }
    Ok((page, weight.is_full()))
}

/// What was read, unless its row does not read: that must not hide its neighbours. Its number is in the first column.
pub(crate) fn readable<T>(row: &Row, read: Tried<T>) -> Tried<Option<T>> {
    match read {
        Err(Trouble::Fault(Fault::Internal { why })) => {
            let number = number::<i64, i64>(row, 0).ok();
            tracing::error!(number, why, "left an order out that does not read: run `wellorder audit`");
            Ok(None)
        }
        read => read.map(Some),
    }
}
