//! Lists of orders: newest first, by number, scanning a bounded number of rows.

use crate::apply::load_number;
use crate::ids::OrderIds;
use crate::rows::{self, ORDER_COLUMNS};
use crate::span;
use crate::terms::Terms;
use crate::terms::entry::{self, Field};
use order_core::ids::TenantId;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderPage, OrderQuery, PageWeight, SCAN_MAX};
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
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

/// How many parked orders a filter matches: exact, up to [`COUNT_MAX`].
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
    match &filter.error_contains {
        // Of each commit's orders it is kept how many are parked.
        None => {
            let parked: u64 = conn
                .prepare_cached(
                    "SELECT coalesce(sum(parked), 0) FROM tallies WHERE tenant = ?1 AND (?2 IS NULL OR source = ?2)",
                )?
                .query_row(params![tenant.as_str(), source], |row| row.get(0))?;
            Ok(bounded(parked))
        }
        Some(text) => count_errors(conn, tenant, source, text),
    }
}

/// How many of a tenant's parked orders have an error that contains a text. Each step is a read of its own, so that no
/// snapshot is held for as long as all of them take.
fn count_errors(
    conn: &Connection,
    tenant: &TenantId,
    source: Option<&str>,
    text: &str,
) -> rusqlite::Result<BoundedCount> {
    let mut step = conn.prepare_cached(
        "SELECT coalesce(sum((?2 IS NULL OR source = ?2) AND instr(last_error, ?3) > 0), 0), count(*), max(number) \
         FROM (SELECT source, last_error, number FROM orders INDEXED BY orders_parked \
               WHERE processing = 'parked' AND tenant = ?1 AND number > ?4 ORDER BY number LIMIT ?5)",
    )?;
    let (mut found, mut after) = (0, i64::MIN);
    loop {
        let parameters = params![tenant.as_str(), source, text, after, SCAN_MAX];
        let (fit, scanned, last): (u64, u32, Option<i64>) =
            step.query_row(parameters, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        found += fit;
        match last {
            Some(last) if scanned == SCAN_MAX && found <= COUNT_MAX => after = last,
            _ => return Ok(bounded(found)),
        }
    }
}

fn bounded(count: u64) -> BoundedCount {
    BoundedCount { count: count.min(COUNT_MAX), more: count > COUNT_MAX }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// Parked orders of a tenant, behind those that are there, of which one of `every` has the error `rare`.
    fn park(conn: &Connection, tenant: &str, orders: u32, every: u32) {
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) \
             INSERT INTO orders (shard, order_id, tenant, source, digest, lines, total, attributes, version, processing, \
             fulfilment, withdrawn, attempt, last_error, accepted_at, updated_at, cause, last_position) \
             SELECT 0, x'', ?1, 'api', x'', '[]', '1', '{}', 1, 'parked', 'unshipped', 0, 1, \
             CASE WHEN i % ?3 = 0 THEN 'a rare error' ELSE 'usual' END, 0, 0, x'', 1 FROM n",
            params![tenant, orders, every],
        )
        .unwrap();
        conn.execute(
            "INSERT INTO tallies VALUES (?1, 'api', ?2, 0, 0, ?2, 0) \
             ON CONFLICT DO UPDATE SET parked = parked + ?2, orders = orders + ?2",
            params![tenant, orders],
        )
        .unwrap();
    }

    #[test]
    fn a_count_is_exact_however_many_are_parked_before() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(include_str!("../migrations/0001_init.sql")).unwrap();
        let count = |tenant: &str, source: Option<&str>, text: Option<&str>| {
            let filter = RedriveFilter {
                order_ids: None,
                source: source.map(|source| order_core::SourceId::new(source).unwrap()),
                error_contains: text.map(str::to_owned),
            };
            let tenant = TenantId::new(tenant).unwrap();
            let found = count_parked(&conn, &OrderIds::default(), &tenant, &filter).unwrap();
            (found.count, found.more)
        };
        park(&conn, "theirs", 60_000, 4);
        park(&conn, "ours", 3, 2);
        assert_eq!(count("ours", None, None), (3, false), "others' are parked before");
        assert_eq!(count("ours", None, Some("rare")), (2, false));
        assert_eq!(count("ours", Some("shop"), None), (0, false));
        assert_eq!(count("nobody", None, Some("rare")), (0, false));
        assert_eq!(count("theirs", None, Some("none such")), (0, false), "none of 60,000");
        assert_eq!(count("theirs", Some("shop"), Some("rare")), (0, false));
        assert_eq!(count("theirs", None, None), (COUNT_MAX, true));
        assert_eq!(count("theirs", None, Some("rare")), (COUNT_MAX, true), "more than are counted");
        park(&conn, "exact", 40_000, 4);
        assert_eq!(count("exact", None, Some("rare")), (COUNT_MAX, false), "as many as are counted");
    }
}
