//! Lists of orders: newest first, by number, scanning a bounded number of rows.

use crate::apply::load_number;
use crate::ids::OrderIds;
use crate::rows::{self, ORDER_COLUMNS};
use crate::span;
use crate::terms::entry::{self, Field};
use crate::terms::{Terms, Walk};
use order_core::ids::TenantId;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderPage, OrderQuery, SCAN_MAX};
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use rusqlite::{Connection, params};
use std::collections::{BTreeSet, BinaryHeap};
use std::ops::RangeInclusive;

/// Parked orders that one count looks at.
const COUNT_SCAN_MAX: u64 = 5 * COUNT_MAX;
/// Orders that one page looks at where each is looked up by itself: that costs more than a row of a scan.
pub(crate) const LOOKUPS_MAX: u32 = 1_000;
/// A tenant is small when fewer than one of so many orders are its own.
const SMALL: i64 = 20;
/// Sources of a small tenant that are looked up side by side.
const SOURCES_MAX: usize = 16;

/// What is scanned, newest first: a table, or a small index that holds all that is asked for.
struct Window {
    /// `o` with its work `w`, in the order of `key`.
    from: &'static str,
    /// What the index is made of.
    only: &'static str,
    key: &'static str,
    /// The [`LOOKUPS_MAX`]th key below `?1`, from `?2` on, if there are so many. An index is small, so this is cheap; for
    /// the whole table it follows from the numbers.
    end: Option<&'static str>,
}

macro_rules! index {
    ($from:literal, $only:literal, $key:literal, $table:literal) => {
        Window {
            from: $from,
            only: $only,
            key: $key,
            end: Some(concat!(
                "SELECT min(number), count(*) FROM (SELECT number FROM ",
                $table,
                " WHERE ",
                $only,
                " AND number < ?1 AND number >= ?2 ORDER BY number DESC LIMIT ?3)"
            )),
        }
    };
}

static ALL: Window =
    Window { from: "orders o LEFT JOIN work w USING (number)", only: "true", key: "o.number", end: None };
static PARKED: Window = index!(
    "orders o INDEXED BY orders_parked LEFT JOIN work w USING (number)",
    "processing = 'parked'",
    "o.number",
    "orders INDEXED BY orders_parked"
);
static WITHDRAWN: Window = index!(
    "orders o INDEXED BY orders_withdrawn LEFT JOIN work w USING (number)",
    "withdrawn = 1",
    "o.number",
    "orders INDEXED BY orders_withdrawn"
);
static SHIPPED: Window = index!(
    "orders o INDEXED BY orders_shipped LEFT JOIN work w USING (number)",
    "fulfilment = 'shipped'",
    "o.number",
    "orders INDEXED BY orders_shipped"
);
static DELIVERED: Window = index!(
    "orders o INDEXED BY orders_delivered LEFT JOIN work w USING (number)",
    "fulfilment = 'delivered'",
    "o.number",
    "orders INDEXED BY orders_delivered"
);
static QUEUED: Window = index!("work w CROSS JOIN orders o USING (number)", "true", "w.number", "work");
static RUNNING: Window = index!(
    "work w INDEXED BY work_leased CROSS JOIN orders o USING (number)",
    "token IS NOT NULL",
    "w.number",
    "work INDEXED BY work_leased"
);

impl Window {
    fn of(query: &OrderQuery) -> &'static Self {
        match (query.processing, query.fulfilment, query.withdrawn) {
            (Some(Processing::Parked), _, _) => &PARKED,
            (Some(Processing::Running), _, _) => &RUNNING,
            (Some(Processing::Queued), _, _) => &QUEUED,
            (_, _, Some(true)) => &WITHDRAWN,
            (_, Some(Fulfilment::Shipped), _) => &SHIPPED,
            (_, Some(Fulfilment::Delivered), _) => &DELIVERED,
            (Some(Processing::Done) | None, Some(Fulfilment::Unshipped) | None, Some(false) | None) => &ALL,
        }
    }

    /// Where a page ends that finds nothing, below `before` and from `start` on (`None`: there is nothing to look at), and
    /// whether something may lie behind.
    fn end(&self, conn: &Connection, before: i64, start: i64) -> rusqlite::Result<(Option<i64>, bool)> {
        let Some(sql) = self.end else {
            let newest: Option<i64> =
                conn.prepare_cached("SELECT max(number) FROM orders")?.query_row([], |row| row.get(0))?;
            let end = newest.map(|newest| before.min(newest + 1) - i64::from(SCAN_MAX));
            return Ok((end.map(|end| end.max(start)), end.is_some_and(|end| end > start.max(1))));
        };
        conn.prepare_cached(sql)?.query_row(params![before, start, LOOKUPS_MAX], |row| {
            Ok((row.get(0)?, row.get::<_, u32>(1)? == LOOKUPS_MAX))
        })
    }

    fn sql(&self) -> String {
        [
            "SELECT ",
            ORDER_COLUMNS,
            " FROM ",
            self.from,
            " WHERE ",
            self.only,
            " AND ",
            self.key,
            " < ?1 AND ",
            self.key,
            " >= ?2 AND o.tenant = ?3 AND (?4 IS NULL OR o.source = ?4) AND (?5 IS NULL OR o.fulfilment = ?5) \
             AND (?6 IS NULL OR o.withdrawn = ?6) AND (?7 IS NULL OR o.customer = ?7) \
             AND (?8 IS NULL OR ?8 = CASE WHEN w.token IS NOT NULL AND w.due_at > ?9 THEN 'running' ELSE o.processing END) \
             AND (?11 IS NULL OR o.accepted_at >= ?11) AND (?12 IS NULL OR o.accepted_at < ?12) \
             AND (?13 IS NULL OR instr(o.last_error, ?13) > 0) ORDER BY ",
            self.key,
            " DESC LIMIT ?10",
        ]
        .concat()
    }
}

/// A page of a list.
pub(crate) fn orders(conn: &Connection, terms: &Terms, query: &OrderQuery) -> rusqlite::Result<OrderPage> {
    let texts = looked_up(conn, query)?;
    if !texts.is_empty() {
        return by_texts(conn, terms, query, &texts);
    }
    // One snapshot: what is inserted meanwhile must not move the place where the next page begins.
    let conn = conn.unchecked_transaction()?;
    match span::numbers(&conn, query)? {
        Some(numbers) => by_number(&conn, query, &numbers),
        None => Ok(OrderPage::default()),
    }
}

/// The texts by which the orders that are asked for are looked up, if that is better than to scan.
fn looked_up(conn: &Connection, query: &OrderQuery) -> rusqlite::Result<Vec<(Field, String)>> {
    let customer = query.customer.clone().map(|customer| (Field::Customer, customer));
    // What is parked or in work now is less than what a source has sent.
    let few = matches!(query.processing, Some(Processing::Parked | Processing::Running));
    let source = query.source.as_ref().filter(|_| !few);
    let source = source.map(|source| (Field::Source, source.as_str().to_owned()));
    match customer.or(source).filter(|(_, text)| entry::can_be_found(text)) {
        Some(text) => Ok(vec![text]),
        None => sources_of_a_small_tenant(conn, query),
    }
}

/// All sources of a tenant whose orders are a small part of all, and which has not many; its list is then not to be had by
/// scanning other tenants' orders.
fn sources_of_a_small_tenant(
    conn: &Connection,
    query: &OrderQuery,
) -> rusqlite::Result<Vec<(Field, String)>> {
    let all: i64 = conn
        .prepare_cached("SELECT coalesce(max(number), 0) FROM orders")?
        .query_row([], |row| row.get(0))?;
    let mut statement =
        conn.prepare_cached("SELECT source, orders FROM tallies WHERE tenant = ?1 ORDER BY source LIMIT ?2")?;
    let parameters = params![query.tenant.as_str(), SOURCES_MAX + 1];
    let sources: Vec<(String, i64)> =
        rows::collect(&mut statement, parameters, |row| Ok((row.get(0)?, row.get(1)?)))?;
    let own: i64 = sources.iter().map(|(_, orders)| orders).sum();
    let asked = |source: &str| query.source.as_ref().is_none_or(|asked| asked.as_str() == source);
    let small = sources.len() <= SOURCES_MAX && own.saturating_mul(SMALL) < all;
    let sources = sources.into_iter().filter(|(source, _)| small && asked(source));
    Ok(sources.map(|(source, _)| (Field::Source, source)).collect())
}

/// Looks orders up by texts of theirs, of which each has one.
fn by_texts(
    conn: &Connection,
    terms: &Terms,
    query: &OrderQuery,
    texts: &[(Field, String)],
) -> rusqlite::Result<OrderPage> {
    // Blocks are only ever added: what the span leaves out, it leaves out later too.
    let Some(numbers) = span::numbers(conn, query)? else { return Ok(OrderPage::default()) };
    let newest = query.before.map_or(i64::MAX, |before| before - 1).min(*numbers.end());
    let lookups_max = usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX);
    let mut waiting = Vec::with_capacity(texts.len());
    for (field, text) in texts {
        let whole = entry::whole(&query.tenant, *field, text);
        let mut from = whole.clone();
        entry::push_number(&mut from, newest);
        waiting.push(terms.begin(conn, whole, from, lookups_max)?);
    }
    let conn = conn.unchecked_transaction()?;
    let mut walks =
        waiting.into_iter().map(|waiting| waiting.walk(&conn)).collect::<rusqlite::Result<Vec<_>>>()?;
    let mut heads = BinaryHeap::new();
    for (index, walk) in walks.iter_mut().enumerate() {
        heads.extend(walk.next()?.and_then(entry::number).map(|number| (number, index)));
    }
    let mut page = OrderPage::default();
    let (mut last, mut looked_at) = (None, 0);
    while let Some((number, index)) = heads.pop().filter(|(number, _)| number >= numbers.start()) {
        if looked_at == LOOKUPS_MAX || page.orders.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX)
        {
            page.next = last;
            return Ok(page);
        }
        looked_at += 1;
        heads.extend(walks[index].next()?.and_then(entry::number).map(|number| (number, index)));
        let order = load_number(&conn, number).map(|found| found.map(|(order, _)| order));
        let order = readable(number, order).flatten().filter(|order| query.matches(order));
        page.orders.extend(order);
        last = Some(number);
    }
    page.next = last.filter(|_| walks.iter().any(Walk::is_cut));
    Ok(page)
}

/// Scans orders by number.
fn by_number(
    conn: &Connection,
    query: &OrderQuery,
    numbers: &RangeInclusive<i64>,
) -> rusqlite::Result<OrderPage> {
    let window = Window::of(query);
    let before = query.before.unwrap_or(i64::MAX).min(numbers.end().saturating_add(1));
    let (end, more) = window.end(conn, before, *numbers.start())?;
    let Some(end) = end else { return Ok(OrderPage::default()) };
    let mut statement = conn.prepare_cached(&window.sql())?;
    let rows = statement.query_map(
        params![
            before,
            end,
            query.tenant.as_str(),
            query.source.as_ref().map(order_core::SourceId::as_str),
            query.fulfilment.map(Fulfilment::word),
            query.withdrawn,
            query.customer,
            query.processing.map(Processing::word),
            query.now.micros(),
            query.limit,
            rows::micros(query.accepted_from),
            rows::micros(query.accepted_to),
            query.error_contains,
        ],
        |row| Ok((row.get::<_, i64>(0)?, rows::order(row))),
    )?;
    let read = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let full = read.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX);
    let last = read.last().map(|(number, _)| *number);
    let orders = read
        .into_iter()
        .filter_map(|(number, order)| readable(number, order.map(|(order, _)| order)))
        .collect();
    let next = if full { last } else { Some(end).filter(|_| more) };
    Ok(OrderPage { orders, next })
}

/// What was read, unless its row does not read: that must not hide its neighbours.
pub(crate) fn readable<T>(number: i64, read: rusqlite::Result<T>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            tracing::error!(number, %error, "left an order out that does not read: run `wellorder audit`");
            None
        }
    }
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
