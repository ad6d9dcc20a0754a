//! Lists of orders: newest first, by number, scanning a bounded number of rows.

use crate::apply::load_number;
use crate::rows::{self, ORDER_COLUMNS};
use crate::span;
use crate::terms::Terms;
use crate::terms::entry::{self, Field};
use order_core::ids::TenantId;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderPage, OrderQuery, PageWeight, SCAN_MAX};
use rusqlite::{Connection, params};
use std::ops::RangeInclusive;

/// Orders that one page looks at where each is looked up by itself: that costs more than a row of a scan.
pub(crate) const LOOKUPS_MAX: u32 = 1_000;
/// A tenant is small when fewer than one of so many orders are its own.
const SMALL: i64 = 4;
/// Sources of a tenant that are counted to see whether it is small.
const SOURCES_MAX: u32 = 256;

/// What is scanned, newest first: a table, or a small index that holds all that is asked for.
struct Window {
    /// `o` with its work `w`, in the order of `key`.
    from: &'static str,
    /// What the index is made of; the tenant, where the index begins with it, is `?3`.
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
                " AND number < ?1 AND number >= ?2 ORDER BY number DESC LIMIT ?4)"
            )),
        }
    };
}

static ALL: Window =
    Window { from: "orders o LEFT JOIN work w USING (number)", only: "true", key: "o.number", end: None };
static PARKED: Window = index!(
    "orders o INDEXED BY orders_parked LEFT JOIN work w USING (number)",
    "processing = 'parked' AND o.tenant = ?3",
    "o.number",
    "orders o INDEXED BY orders_parked"
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
    "token IS NOT NULL AND w.tenant = ?3",
    "w.number",
    "work w INDEXED BY work_leased"
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
    fn end(
        &self,
        conn: &Connection,
        query: &OrderQuery,
        before: i64,
        start: i64,
    ) -> rusqlite::Result<(Option<i64>, bool)> {
        let Some(sql) = self.end else {
            let newest: Option<i64> =
                conn.prepare_cached("SELECT max(number) FROM orders")?.query_row([], |row| row.get(0))?;
            let end = newest.map(|newest| before.min(newest + 1) - i64::from(SCAN_MAX));
            return Ok((end.map(|end| end.max(start)), end.is_some_and(|end| end > start.max(1))));
        };
        conn.prepare_cached(sql)?
            .query_row(params![before, start, query.tenant.as_str(), LOOKUPS_MAX], |row| {
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
    if let Some((field, text)) = looked_up(conn, query)? {
        return by_text(conn, terms, query, (field, &text));
    }
    // One snapshot: what is inserted meanwhile must not move the place where the next page begins.
    let conn = conn.unchecked_transaction()?;
    match span::numbers(&conn, query)? {
        Some(numbers) => by_number(&conn, query, &numbers),
        None => Ok(OrderPage::default()),
    }
}

/// The text by which the orders that are asked for are looked up, if that is better than to scan.
fn looked_up(conn: &Connection, query: &OrderQuery) -> rusqlite::Result<Option<(Field, String)>> {
    let customer = query.customer.clone().map(|customer| (Field::Customer, customer));
    // Of these there are indexes by tenant. What is parked or in work now is less than what a source has sent.
    let few = matches!(query.processing, Some(Processing::Parked | Processing::Running));
    let source = query.source.as_ref().filter(|_| !few);
    let source = source.map(|source| (Field::Source, source.as_str().to_owned()));
    match customer.or(source).filter(|(_, text)| entry::can_be_found(text)) {
        Some(text) => Ok(Some(text)),
        None if few || !is_small(conn, &query.tenant)? => Ok(None),
        None => Ok(Some((Field::Tenant, String::new()))),
    }
}

/// Whether a tenant's orders are a small part of all: its lists are then not to be had by scanning, for most of what is
/// scanned is others'.
fn is_small(conn: &Connection, tenant: &TenantId) -> rusqlite::Result<bool> {
    let all: i64 = conn
        .prepare_cached("SELECT coalesce(max(number), 0) FROM orders")?
        .query_row([], |row| row.get(0))?;
    // Of one with more sources too little is counted; to look its orders up is never wrong.
    let own: i64 = conn
        .prepare_cached(
            "SELECT coalesce(sum(orders), 0) FROM (SELECT orders FROM tallies WHERE tenant = ?1 LIMIT ?2)",
        )?
        .query_row(params![tenant.as_str(), SOURCES_MAX], |row| row.get(0))?;
    Ok(own.saturating_mul(SMALL) < all)
}

/// Looks orders up by a text of theirs.
fn by_text(
    conn: &Connection,
    terms: &Terms,
    query: &OrderQuery,
    (field, text): (Field, &str),
) -> rusqlite::Result<OrderPage> {
    // Blocks are only ever added: what the span leaves out, it leaves out later too.
    let Some(numbers) = span::numbers(conn, query)? else { return Ok(OrderPage::default()) };
    let newest = query.before.map_or(i64::MAX, |before| before - 1).min(*numbers.end());
    let whole = entry::whole(&query.tenant, field, text);
    let mut from = whole.clone();
    entry::push_number(&mut from, newest);
    let waiting = terms.begin(conn, whole, from, usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX))?;
    let conn = conn.unchecked_transaction()?;
    let mut walk = waiting.walk(&conn)?;
    let mut page = OrderPage::default();
    let (mut last, mut weight) = (None, PageWeight::default());
    while let Some(number) = walk.next()?.and_then(entry::number).filter(|number| number >= numbers.start()) {
        if weight.is_full() || page.orders.len() >= usize::try_from(query.limit).unwrap_or(usize::MAX) {
            page.next = last;
            return Ok(page);
        }
        let order = load_number(&conn, number).map(|found| found.map(|(order, _)| order));
        let order = readable(number, order).flatten().filter(|order| query.matches(order));
        if let Some(order) = order {
            weight.add(&order);
            page.orders.push(order);
        }
        last = Some(number);
    }
    page.next = last.filter(|_| walk.is_cut());
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
    let (end, more) = window.end(conn, query, before, *numbers.start())?;
    let Some(end) = end else { return Ok(OrderPage::default()) };
    let mut statement = conn.prepare_cached(&window.sql())?;
    let mut rows = statement.query(params![
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
    ])?;
    let (mut orders, mut weight) = (Vec::new(), PageWeight::default());
    let (mut read, mut last) = (0, None);
    while !weight.is_full()
        && let Some(row) = rows.next()?
    {
        let number = row.get(0)?;
        (read, last) = (read + 1, Some(number));
        if let Some((order, _)) = readable(number, rows::order(row)) {
            weight.add(&order);
            orders.push(order);
        }
    }
    let full = weight.is_full() || read >= query.limit;
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
