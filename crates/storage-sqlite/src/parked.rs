//! Which parked orders a redrive is about.

use crate::ids::OrderIds;
use crate::rows::{blob, micros};
use crate::search::id_range;
use order_core::ids::TenantId;
use order_core::order::state::Fulfilment;
use order_core::query::SCAN_MAX;
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use rusqlite::types::Value;
use rusqlite::{Connection, Params, params, params_from_iter};
use std::collections::BTreeSet;

/// The conditions of a filter on a row of `orders`, for a statement with four parameters of its own before theirs.
macro_rules! meets {
    () => {
        "(?5 IS NULL OR source = ?5) AND (?6 IS NULL OR instr(last_error, ?6) > 0) \
         AND (?7 IS NULL OR fulfilment = ?7) AND (?8 IS NULL OR withdrawn = ?8) AND (?9 IS NULL OR customer = ?9) \
         AND (?10 IS NULL OR accepted_at >= ?10) AND (?11 IS NULL OR accepted_at < ?11) \
         AND (?12 IS NULL OR order_id BETWEEN ?13 AND ?14 OR substr(reference, 1, length(?12)) = ?12 \
              OR substr(customer, 1, length(?12)) = ?12)"
    };
}

/// Parked orders of a tenant (`?1`) by number, `?2` to `?3`, at most `?4`: number, id and whether they meet a filter.
pub(crate) const SCAN: &str = concat!(
    "SELECT number, order_id, ",
    meets!(),
    " FROM orders INDEXED BY orders_parked \
     WHERE processing = 'parked' AND tenant = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number LIMIT ?4"
);

/// Whether the order with a number (`?1`) is a parked one of a tenant (`?2`) that meets a filter.
const NAMED: &str = concat!(
    "SELECT count(*) FROM orders WHERE number = ?1 AND tenant = ?2 AND processing = 'parked' AND ",
    meets!()
);

/// How many of a tenant's (`?1`) parked orders behind a number (`?2`), of at most so many (`?3`), meet a filter; how many
/// that were, and the number of the last.
const COUNT: &str = concat!(
    "SELECT coalesce(sum(",
    meets!(),
    "), 0), count(*), max(number) FROM (SELECT number, order_id, source, last_error, fulfilment, withdrawn, \
     customer, accepted_at, reference FROM orders INDEXED BY orders_parked \
     WHERE processing = 'parked' AND tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3)"
);

/// The parameters of such a statement: its own, then those of the filter's conditions.
pub(crate) fn parameters(own: [Value; 4], filter: &RedriveFilter) -> impl Params {
    let text = |text: Option<&str>| Value::from(text.map(str::to_owned));
    let ids = filter.text.as_deref().and_then(id_range);
    let id = |id: order_core::OrderId| blob(&id.0).to_vec();
    let conditions = [
        text(filter.source.as_ref().map(order_core::SourceId::as_str)),
        text(filter.error_contains.as_deref()),
        text(filter.fulfilment.map(Fulfilment::word)),
        Value::from(filter.withdrawn),
        text(filter.customer.as_deref()),
        Value::from(micros(filter.accepted_from)),
        Value::from(micros(filter.accepted_to)),
        text(filter.text.as_deref()),
        Value::from(ids.map(|(lowest, _)| id(lowest))),
        Value::from(ids.map(|(_, highest)| id(highest))),
    ];
    params_from_iter(own.into_iter().chain(conditions))
}

/// How many parked orders a filter matches: exact, up to [`COUNT_MAX`].
pub(crate) fn count(
    conn: &Connection,
    ids: &OrderIds,
    tenant: &TenantId,
    filter: &RedriveFilter,
) -> rusqlite::Result<BoundedCount> {
    let whose = || Value::from(tenant.as_str().to_owned());
    if let Some(order_ids) = &filter.order_ids {
        let mut statement = conn.prepare_cached(NAMED)?;
        let mut count = 0;
        let named: BTreeSet<_> = order_ids.iter().collect();
        for order_id in named {
            let own = [Value::from(ids.number(conn, *order_id)?), whose(), Value::Null, Value::Null];
            count += statement.query_row(parameters(own, filter), |row| row.get::<_, u64>(0))?;
        }
        return Ok(BoundedCount { count, more: false });
    }
    if !filter.asks_what_is_in_it() {
        // Of each commit's orders it is kept how many are parked.
        let source = filter.source.as_ref().map(order_core::SourceId::as_str);
        let parked: u64 = conn
            .prepare_cached(
                "SELECT coalesce(sum(parked), 0) FROM tallies WHERE tenant = ?1 AND (?2 IS NULL OR source = ?2)",
            )?
            .query_row(params![tenant.as_str(), source], |row| row.get(0))?;
        return Ok(bounded(parked));
    }
    // Each step is a read of its own, so that no snapshot is held for as long as all of them take.
    let mut step = conn.prepare_cached(COUNT)?;
    let (mut found, mut after) = (0, i64::MIN);
    loop {
        let own = [whose(), Value::from(after), Value::from(SCAN_MAX), Value::Null];
        let (fit, scanned, last): (u64, u32, Option<i64>) =
            step.query_row(parameters(own, filter), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
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
                source: source.map(|source| order_core::SourceId::new(source).unwrap()),
                error_contains: text.map(str::to_owned),
                ..RedriveFilter::default()
            };
            let tenant = TenantId::new(tenant).unwrap();
            let found = count(&conn, &OrderIds::default(), &tenant, &filter).unwrap();
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
