//! Moments and places. Numbers and positions rise nearly, but not surely, in the order of their times: clocks are set, and
//! commands wait before they are committed. So of each block of events it is kept from when to when it is, and a search by
//! time looks at the blocks that may hold what is asked for, and at the events behind the last full one.
//!
//! In one shard numbers do rise with positions: whoever takes numbers for it holds its head.

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{Moment, number};
use order_core::clock::Timestamp;
use order_core::query::OrderQuery;
use tokio_postgres::Row;

/// Events of a block.
pub(crate) const BLOCK: u64 = 1_024;

/// Keeps the times of all blocks of the shards `$1` that are full with the positions `$2`. For whoever holds their heads.
pub(crate) const KEEP: &str = "INSERT INTO spans (shard, block, latest, accepted_from, accepted_to, lowest, highest) \
     SELECT k.shard, b.block, greatest(k.latest, max(b.latest) OVER (PARTITION BY k.shard ORDER BY b.block)), \
       b.accepted_from, b.accepted_to, \
       (SELECT o.number FROM events(k.shard, b.first - 1, b.first) j \
        JOIN orders o ON o.shard = j.shard AND o.order_id = j.order_id), \
       (SELECT o.number FROM events(k.shard, b.last - 1, b.last) j \
        JOIN orders o ON o.shard = j.shard AND o.order_id = j.order_id) \
     FROM (SELECT n.shard, n.newest, coalesce(l.block + 1, 0) AS block, l.latest \
           FROM unnest($1::smallint[], $2::bigint[]) AS n (shard, newest) LEFT JOIN LATERAL ( \
             SELECT s.block, s.latest FROM spans s WHERE s.shard = n.shard ORDER BY s.block DESC LIMIT 1) l ON true) k \
     CROSS JOIN LATERAL ( \
       SELECT j.position / 1024 AS block, max(j.occurred_at) AS latest, \
         min(j.occurred_at) FILTER (WHERE j.type = 'order.accepted') AS accepted_from, \
         max(j.occurred_at) FILTER (WHERE j.type = 'order.accepted') AS accepted_to, \
         min(j.position) FILTER (WHERE j.type = 'order.accepted') AS first, \
         max(j.position) FILTER (WHERE j.type = 'order.accepted') AS last \
       FROM events(k.shard, k.block * 1024 - 1, (k.newest + 1) / 1024 * 1024 - 1) j GROUP BY j.position / 1024) b";

/// Where the events of each of `$1` shards begin that are in no block yet.
macro_rules! tails {
    () => {
        "SELECT s.shard::smallint AS shard, coalesce((SELECT (k.block + 1) * 1024 FROM spans k \
           WHERE k.shard = s.shard::smallint ORDER BY k.block DESC LIMIT 1), 0) AS position \
         FROM generate_series(0, $1::integer - 1) AS s (shard)"
    };
}

/// The lowest and the highest number among which all orders lie that were accepted from `$2` on, before `$3`. What is
/// counted is of no use, but has the events read in one pass and not from each end.
const NUMBERS: &str = concat!(
    "SELECT min(n.lowest), max(n.highest) FROM ( \
       SELECT min(lowest) AS lowest, max(highest) AS highest FROM spans \
       WHERE accepted_to >= $2 AND accepted_from < $3 \
     UNION ALL \
       SELECT (SELECT o.number FROM events(t.shard, e.first - 1, e.first) j \
               JOIN orders o ON o.shard = j.shard AND o.order_id = j.order_id), \
              (SELECT o.number FROM events(t.shard, e.last - 1, e.last) j \
               JOIN orders o ON o.shard = j.shard AND o.order_id = j.order_id) \
       FROM (",
    tails!(),
    ") t CROSS JOIN LATERAL (SELECT min(j.position) AS first, max(j.position) AS last, count(*) \
         FROM events(t.shard, t.position - 1, 9223372036854775807) j WHERE j.type = 'order.accepted' \
         AND j.occurred_at >= $2 AND j.occurred_at < $3) e) n"
);

/// Where the first event of each of `$1` shards lies that happened at `$2` or later. Where the block that has it is not kept
/// any more, or not wholly, all that is kept comes later.
const FIRST: &str = concat!(
    "SELECT coalesce( \
       (SELECT min(j.position) FROM events(t.shard, b.block * 1024 - 1, b.block * 1024 + 1023) j WHERE j.occurred_at >= $2), \
       CASE WHEN b.block * 1024 <= h.floor THEN h.floor + 1 END, \
       (SELECT min(j.position) FROM events(t.shard, t.position - 1, 9223372036854775807) j WHERE j.occurred_at >= $2)) \
     FROM (",
    tails!(),
    ") t LEFT JOIN journal_heads h ON h.shard = t.shard LEFT JOIN LATERAL (SELECT k.block FROM spans k \
         WHERE k.shard = t.shard AND k.latest >= $2 ORDER BY k.block LIMIT 1) b ON true ORDER BY t.shard"
);

/// Before and behind every moment that can be kept.
const ENDS: (i64, i64) = (-200_000_000_000_000_000, 9_000_000_000_000_000_000);

/// The numbers among which all orders lie that are asked for, as the lowest and the first beyond; `None` when there are
/// none.
pub(crate) async fn numbers(conn: &Conn, shards: u16, query: &OrderQuery) -> Tried<Option<(i64, i64)>> {
    let before = query.before.unwrap_or(i64::MAX);
    if query.accepted_from.is_none() && query.accepted_to.is_none() {
        return Ok(Some((i64::MIN, before)));
    }
    let from = query.accepted_from.unwrap_or(Timestamp::from_micros(ENDS.0));
    let to = query.accepted_to.unwrap_or(Timestamp::from_micros(ENDS.1));
    let row = conn.query_one(NUMBERS, &[&i32::from(shards), &Moment(from), &Moment(to)]).await?;
    let (lowest, highest): (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
    Ok(lowest.zip(highest).map(|(lowest, highest)| (lowest, before.min(highest.saturating_add(1)))))
}

/// Where the first event of each shard lies that happened at `moment` or later, if there is one.
pub(crate) async fn first_at(conn: &Conn, shards: u16, moment: Timestamp) -> Tried<Vec<Option<u64>>> {
    let rows = conn.query(FIRST, &[&i32::from(shards), &Moment(moment)]).await?;
    let first = |row: &Row| {
        let first: Option<i64> = row.try_get(0)?;
        first.map(|_| number::<_, i64>(row, 0)).transpose()
    };
    rows.iter().map(first).collect()
}
