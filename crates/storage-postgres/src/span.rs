//! Moments and places. Numbers and positions rise nearly, but not surely, in the order of their times: clocks are set, and
//! commands wait before they are committed.

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{Moment, number};
use order_core::clock::Timestamp;
use order_core::query::OrderQuery;
use tokio_postgres::Row;

/// The numbers among which all orders lie that are asked for, as the lowest and the first beyond; `None` when there are
/// none.
pub(crate) async fn numbers(_conn: &Conn, query: &OrderQuery) -> Tried<Option<(i64, i64)>> {
    Ok(Some((i64::MIN, query.before.unwrap_or(i64::MAX))))
}

/// Where the first event of each shard lies that happened at `moment` or later, if there is one.
pub(crate) async fn first_at(conn: &Conn, shards: u16, moment: Timestamp) -> Tried<Vec<Option<u64>>> {
    let rows = conn
        .query(
            "SELECT (SELECT min(j.position) FROM journal j WHERE j.shard = s.shard::smallint AND j.occurred_at >= $2) \
             FROM generate_series(0, $1::integer - 1) AS s (shard) ORDER BY s.shard",
            &[&i32::from(shards), &Moment(moment)],
        )
        .await?;
    let first = |row: &Row| {
        let first: Option<i64> = row.try_get(0)?;
        first.map(|_| number::<_, i64>(row, 0)).transpose()
    };
    rows.iter().map(first).collect()
}
