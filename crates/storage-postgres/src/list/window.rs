//! What a list scans, newest first.

use super::{LOOKUPS_MAX, Owned, is_filtered};
use crate::rows::select_orders;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::{OrderQuery, SCAN_MAX};

/// Rows in the order of an index, newest first: what is asked for is among them.
///
/// Its statements take: `$1` the tenant, `$2` numbers below, `$3` and from, `$4` how many are scanned, `$5` what the
/// index is made of; the rows besides what [`looked_at!`] takes.
pub(super) struct Window<'q> {
    pub(super) rows: &'static str,
    /// The lowest number that was scanned, and how many were.
    pub(super) end: &'static str,
    pub(super) text: &'q str,
    pub(super) scan: u32,
}

/// The work of an order; looked up for each, so that orders stay in their order and no more are read than are asked for.
macro_rules! with_work {
    () => {
        "LEFT JOIN LATERAL (SELECT * FROM work w WHERE w.number = o.number AND w.shard = o.shard LIMIT 1) w ON true "
    };
}

/// The order that a row of something else, `k`, leads to.
macro_rules! of_key {
    () => {
        "k CROSS JOIN LATERAL (SELECT * FROM orders o WHERE o.shard = k.shard AND o.order_id = k.order_id LIMIT 1) o "
    };
}

/// What is looked at on each order.
macro_rules! looked_at {
    () => {
        "WHERE o.tenant = $1 AND ($7::text IS NULL OR o.source = $7) AND ($8::text IS NULL OR o.fulfilment = $8) \
         AND ($9::boolean IS NULL OR o.withdrawn = $9) AND ($10::text IS NULL OR o.customer = $10) \
         AND ($11::text IS NULL OR o.processing = CASE $11 WHEN 'running' THEN 'queued' ELSE $11 END) \
         AND ($11::text IS NULL OR $11 = CASE WHEN w.token IS NOT NULL AND w.due_at > $12::timestamptz THEN 'running' \
           ELSE o.processing END) \
         AND ($13::timestamptz IS NULL OR o.accepted_at >= $13) AND ($14::timestamptz IS NULL OR o.accepted_at < $14) \
         AND ($15::text IS NULL OR strpos(o.last_error, $15) > 0) "
    };
}

/// Statements of a window whose rows are orders.
macro_rules! of_orders {
    ($from:literal) => {
        (
            concat!(
                select_orders!("FROM (SELECT o.* FROM "),
                $from,
                " AND o.number < $2 AND o.number >= $3 ORDER BY o.number DESC LIMIT $4) o ",
                with_work!(),
                looked_at!(),
                "ORDER BY o.number DESC LIMIT $6"
            ),
            concat!(
                "SELECT min(number), count(*) FROM (SELECT o.number FROM ",
                $from,
                " AND o.number < $2 AND o.number >= $3 ORDER BY o.number DESC LIMIT $4) o"
            ),
        )
    };
}

/// Statements of a window whose rows, `o`, lead to orders.
macro_rules! of_keys {
    ($from:literal) => {
        (
            concat!(
                select_orders!("FROM (SELECT o.number, o.shard, o.order_id FROM "),
                $from,
                " AND o.number < $2 AND o.number >= $3 ORDER BY o.number DESC LIMIT $4) ",
                of_key!(),
                with_work!(),
                looked_at!(),
                // In the order of the index: no more are read than are asked for.
                "ORDER BY k.number DESC LIMIT $6"
            ),
            concat!(
                "SELECT min(number), count(*) FROM (SELECT o.number FROM ",
                $from,
                " AND o.number < $2 AND o.number >= $3 ORDER BY o.number DESC LIMIT $4) o"
            ),
        )
    };
}

type Statements = (&'static str, &'static str);

const OF_SOURCE: Statements = of_orders!("orders o WHERE o.tenant = $1 AND o.source = $5");
const STANDING: Statements = of_keys!("standings o WHERE o.tenant = $1 AND o.standing = $5");
/// `$5` is not looked at.
const LEASED: Statements =
    of_keys!("work o WHERE o.tenant = $1 AND o.token IS NOT NULL AND $5::text IS NOT NULL");
/// All open work of a tenant that has little of it. `$5` is not looked at.
const OPEN: Statements = of_keys!(
    "(WITH open AS MATERIALIZED (SELECT number, shard, order_id FROM work WHERE tenant = $1) SELECT * FROM open) o \
     WHERE $5::text IS NOT NULL"
);

/// `$5` are sources: the lowest number down to which each of them was scanned, `$4` orders of each; none when that is all.
pub(super) const MANY_ENDS: &str = "SELECT max(o.lowest) FROM unnest($5::text[]) AS s (source) CROSS JOIN LATERAL ( \
       SELECT min(number) AS lowest, count(*) AS scanned FROM ( \
         SELECT o.number FROM orders o WHERE o.tenant = $1 AND o.source = s.source AND o.number < $2 \
         AND o.number >= $3 ORDER BY o.number DESC LIMIT $4) o) o WHERE o.scanned = $4";

/// All orders of the sources `$5` between two numbers.
pub(super) const MANY_ROWS: &str = concat!(
    select_orders!(
        "FROM unnest($5::text[]) AS s (source) CROSS JOIN LATERAL (SELECT o.* FROM orders o \
           WHERE o.tenant = $1 AND o.source = s.source AND o.number < $2 AND o.number >= $3 \
           ORDER BY o.number DESC LIMIT $4) o "
    ),
    with_work!(),
    looked_at!(),
    "ORDER BY o.number DESC LIMIT $6"
);

impl<'q> Window<'q> {
    fn new((rows, end): Statements, text: &'q str, scan: u32) -> Self {
        Self { rows, end, text, scan }
    }

    /// The one that holds what is asked for and little else; none when that is to be had from the tenant's sources alone.
    pub(super) fn of(query: &'q OrderQuery, owned: &'q Owned) -> Option<Self> {
        let source = match owned.sources.as_slice() {
            [source] => Some(source),
            [] | [_, _, ..] => None,
        };
        let of_source = source.map(|source| {
            let scan = if is_filtered(query) { SCAN_MAX } else { query.limit };
            Self::new(OF_SOURCE, source, scan)
        });
        // All of it is looked at on one page.
        if query.source.is_some() && owned.orders <= i64::from(LOOKUPS_MAX) {
            return of_source;
        }
        let standing = |standing| Some(Self::new(STANDING, standing, LOOKUPS_MAX));
        match (query.processing, query.fulfilment, query.withdrawn) {
            (Some(Processing::Parked), _, _) => standing("parked"),
            (Some(Processing::Running), _, _) => Some(Self::new(LEASED, "", LOOKUPS_MAX)),
            (Some(Processing::Queued), _, _) if owned.queued <= i64::from(LOOKUPS_MAX) => {
                Some(Self::new(OPEN, "", LOOKUPS_MAX))
            }
            (_, _, Some(true)) => standing("withdrawn"),
            (_, Some(Fulfilment::Shipped), _) => standing("shipped"),
            (_, Some(Fulfilment::Delivered), _) => standing("delivered"),
            (Some(Processing::Queued | Processing::Done) | None, _, _) => of_source,
        }
    }
}
