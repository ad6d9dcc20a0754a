//! Lists of orders: newest first, by number, scanning a bounded number of rows.

use crate::ids::OrderIds;
use crate::rows::{self, ORDER_COLUMNS};
use order_core::ids::TenantId;
use order_core::lease::Work;
use order_core::order::Order;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderPage, OrderQuery, SCAN_MAX};
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// Parked orders that one count looks at.
const COUNT_SCAN_MAX: u64 = 5 * COUNT_MAX;

/// The newest [`SCAN_MAX`] numbers below `?1`; parked orders have an index of their own.
fn window(query: &OrderQuery) -> &'static str {
    if query.processing == Some(Processing::Parked) {
        "SELECT number FROM orders WHERE processing = 'parked' AND number < ?1 ORDER BY number DESC LIMIT ?2"
    } else {
        "SELECT number FROM orders WHERE number < ?1 ORDER BY number DESC LIMIT ?2"
    }
}

/// A page of a list.
pub(crate) fn orders(conn: &Connection, query: &OrderQuery) -> rusqlite::Result<OrderPage> {
    // One snapshot: what is inserted meanwhile must not move the place where the next page begins.
    let conn = conn.unchecked_transaction()?;
    let window = window(query);
    let before = query.before.unwrap_or(i64::MAX);
    let sql = [
        "SELECT ",
        ORDER_COLUMNS,
        " FROM (",
        window,
        ") s CROSS JOIN orders o USING (number) LEFT JOIN work w USING (number) \
         WHERE o.tenant = ?3 AND (?4 IS NULL OR o.source = ?4) AND (?5 IS NULL OR o.fulfilment = ?5) \
         AND (?6 IS NULL OR o.withdrawn = ?6) AND (?7 IS NULL OR o.customer = ?7) \
         AND (?8 IS NULL OR ?8 = CASE WHEN w.token IS NOT NULL AND w.due_at > ?9 THEN 'running' ELSE o.processing END) \
         ORDER BY o.number DESC LIMIT ?10",
    ]
    .concat();
    let mut statement = conn.prepare_cached(&sql)?;
    let rows = statement.query_map(
        params![
            before,
            SCAN_MAX,
            query.tenant.as_str(),
            query.source.as_ref().map(order_core::SourceId::as_str),
            query.fulfilment.map(Fulfilment::word),
            query.withdrawn,
            query.customer,
            query.processing.map(Processing::word),
            query.now.micros(),
            query.limit,
        ],
        |row| Ok((row.get::<_, i64>(0)?, rows::order(row))),
    )?;
    let read = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let full = read.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX);
    let last = read.last().map(|(number, _)| *number);
    let orders = read.into_iter().filter_map(|(number, order)| readable(number, order)).collect();
    let next = if full { last } else { scanned_to(&conn, window, before)? };
    Ok(OrderPage { orders, next })
}

/// The order, unless its row does not read: that must not hide its neighbours.
fn readable(number: i64, order: rusqlite::Result<(Order, Option<Work>)>) -> Option<Order> {
    match order {
        Ok((order, _)) => Some(order),
        Err(error) => {
            tracing::error!(number, %error, "left an order out that does not read: run `wellorder audit`");
            None
        }
    }
}

/// Where a scan ended that found less than a page; `None` when it came to the end.
fn scanned_to(conn: &Connection, window: &str, before: i64) -> rusqlite::Result<Option<i64>> {
    let sql = ["SELECT min(number), count(*) FROM (", window, ")"].concat();
    conn.prepare_cached(&sql)?.query_row(params![before, SCAN_MAX], |row| {
        let scanned: u32 = row.get(1)?;
        if scanned < SCAN_MAX { Ok(None) } else { row.get(0) }
    })
}

/// How many parked orders a filter matches, as far as it is counted.
pub(crate) fn count_parked(
    conn: &Connection,
    ids: &OrderIds,
    tenant: &TenantId,
    filter: &RedriveFilter,
) -> rusqlite::Result<BoundedCount> {
    let source = filter.source.as_ref().map(order_core::SourceId::as_str);
    if let Some(order_ids) = &filter.order_ids {
        let mut statement = conn.prepare_cached(
            "SELECT count(*) FROM orders WHERE number = ?1 AND tenant = ?2 AND processing = 'parked' \
             AND (?3 IS NULL OR source = ?3) AND (?4 IS NULL OR instr(last_error, ?4) > 0)",
        )?;
        let mut count = 0;
        let named: BTreeSet<_> = order_ids.iter().collect();
        for order_id in named {
            let number = ids.number(conn, *order_id)?;
            count += statement
                .query_row(params![number, tenant.as_str(), source, filter.error_contains], |row| {
                    row.get::<_, u64>(0)
                })?;
        }
        return Ok(BoundedCount { count, more: false });
    }
    let (count, scanned): (u64, u64) = conn
        .prepare_cached(
            "SELECT coalesce(sum(tenant = ?1 AND (?2 IS NULL OR source = ?2) \
             AND (?3 IS NULL OR instr(last_error, ?3) > 0)), 0), count(*) \
             FROM (SELECT tenant, source, last_error FROM orders WHERE processing = 'parked' ORDER BY number LIMIT ?4)",
        )?
        .query_row(params![tenant.as_str(), source, filter.error_contains, COUNT_SCAN_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    Ok(BoundedCount { count: count.min(COUNT_MAX), more: count > COUNT_MAX || scanned >= COUNT_SCAN_MAX })
}
