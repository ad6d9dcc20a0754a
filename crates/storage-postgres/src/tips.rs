//! The newest position of each shard, which every commit and every follower asks for.
//!
//! A plan over the whole journal opens each of its parts. So the parts where the newest events lie are asked by their names,
//! in a statement that is made anew whenever events have moved on to the next part of a shard. What it gives tells whether
//! that is so: a part that is not full holds the newest event of its shard. What another node does meanwhile is seen, for
//! nothing but the names is kept.

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{number, small};
use order_core::ids::Shard;
use order_core::journal::Head;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_postgres::{Row, Statement};

/// The part of each of `$1` shards that holds its newest event or, behind a full one, will hold the next; its end, none for
/// the rest.
const HOT: &str = "SELECT s.shard, coalesce(p.low, 0), p.high FROM generate_series(0, $1::integer - 1) AS s (shard) \
     LEFT JOIN journal_heads h ON h.shard = s.shard::smallint \
     CROSS JOIN LATERAL part_of(s.shard::smallint, coalesce(newest_position(s.shard::smallint), h.floor, 0) + 1) p \
     ORDER BY s.shard";

/// As the role that asks sees them; all of it is looked for.
pub(crate) const SEEN: &str = "SELECT s.shard, coalesce(h.floor, 0), newest_below(s.shard::smallint, 9223372036854775807) \
     FROM generate_series(0, $1::integer - 1) AS s (shard) LEFT JOIN journal_heads h ON h.shard = s.shard::smallint \
     ORDER BY s.shard";

const NEWEST: &str = "SELECT newest_position($1::smallint)";

/// How far it is to the end of a part that has none.
const ENDLESS: i64 = i64::MAX;

/// See the module.
pub(crate) struct Tips {
    shards: u16,
    hot: Mutex<Option<Arc<Hot>>>,
}

/// The statement, and where the parts begin that it asks.
struct Hot {
    sql: Arc<str>,
    lows: Vec<u64>,
}

impl Tips {
    pub(crate) fn new(shards: u16) -> Self {
        Self { shards, hot: Mutex::default() }
    }

    /// The statement that asks for the newest positions of the shards `$1`; [`Tips::take`] reads its rows.
    pub(crate) async fn statement(&self, conn: &Conn) -> Tried<Statement> {
        let hot = self.hot(conn).await?;
        conn.prepared_latest(&hot.sql).await
    }

    /// The heads that the statement gave; those that it cannot know are asked for once more. A snapshot may be older than what
    /// is known of the parts: there, an empty part says nothing.
    pub(crate) async fn take(&self, conn: &Conn, rows: &[Row], snapshot: bool) -> Tried<Vec<Head>> {
        let mut heads = Vec::with_capacity(rows.len());
        for row in rows {
            let shard = Shard(number::<_, i16>(row, 0)?);
            let floor = number::<u64, i64>(row, 1)?;
            let found: Option<i64> = row.try_get(2)?;
            let found = found.map(|_| number::<u64, i64>(row, 2)).transpose()?;
            let (low, is_there): (u64, bool) = (number::<_, i64>(row, 3)?, row.try_get(4)?);
            let position = match found {
                Some(position) if is_there => Some(position),
                None if is_there && low == 0 => None,
                None if is_there && !snapshot => Some(low - 1),
                _ => {
                    self.forget();
                    newest(conn, shard).await?
                }
            };
            heads.push(Head { shard, floor, position: position.unwrap_or(floor) });
        }
        Ok(heads)
    }

    /// The head of every shard, by shard.
    pub(crate) async fn heads(&self, conn: &Conn, snapshot: bool) -> Tried<Vec<Head>> {
        let shards: Vec<i16> = (0..self.shards).map(|shard| small(Shard(shard))).collect();
        let statement = self.statement(conn).await?;
        let asked = conn.answered(conn.client().query(&statement, &[&shards])).await;
        let rows = asked.inspect_err(|_| self.forget())?;
        let mut heads = self.take(conn, &rows, snapshot).await?;
        heads.sort_unstable_by_key(|head| head.shard);
        Ok(heads)
    }

    /// To be found out anew: events have moved on, or it failed.
    pub(crate) fn forget(&self) {
        *self.hot.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    async fn hot(&self, conn: &Conn) -> Tried<Arc<Hot>> {
        let known = self.hot.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(hot) = known {
            return Ok(hot);
        }
        let rows = conn.query(HOT, &[&i32::from(self.shards)]).await?;
        let mut arms = Vec::with_capacity(rows.len());
        let mut lows = Vec::with_capacity(rows.len());
        for row in &rows {
            let low: u64 = number::<_, i64>(row, 1)?;
            let high: Option<i64> = row.try_get(2)?;
            arms.push(arm(row.try_get(0)?, low, high.filter(|high| *high != ENDLESS)));
            lows.push(low);
        }
        let sql = [
            "SELECT t.shard, coalesce(h.floor, 0), t.position, t.low, t.is_there FROM (",
            &arms.join(" UNION ALL "),
            ") t LEFT JOIN journal_heads h ON h.shard = t.shard",
        ]
        .concat();
        let hot = Arc::new(Hot { sql: sql.into(), lows });
        let mut known = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have found the same: then the statement that is prepared already is kept.
        if known.as_ref().is_none_or(|known| known.lows != hot.lows || known.sql != hot.sql) {
            *known = Some(Arc::clone(&hot));
        }
        Ok(known.as_ref().map_or(hot, Arc::clone))
    }
}

/// The newest position of one part, and whether that is the newest of the shard. The rest may have become a part meanwhile,
/// and the table of this name another one.
fn arm(shard: i32, low: u64, high: Option<i64>) -> String {
    let (shard, low) = (shard.to_string(), low.to_string());
    let (table, is_there) = match high {
        Some(high) => (
            ["journal_", &shard, "_", &low].concat(),
            ["coalesce(p.position, 0) + 1 < ", &high.to_string()].concat(),
        ),
        None => (
            ["journal_", &shard, "_rest"].concat(),
            ["NOT EXISTS (SELECT FROM journal_parts j WHERE j.shard = ", &shard, " AND j.low >= ", &low, ")"]
                .concat(),
        ),
    };
    [
        "SELECT ",
        &shard,
        "::smallint AS shard, p.position, ",
        &low,
        "::bigint AS low, ",
        &is_there,
        " AS is_there FROM (SELECT (SELECT position FROM ",
        &table,
        // Its index begins with the shard, though that is the same in all of it.
        " WHERE shard = ",
        &shard,
        "::smallint ORDER BY position DESC LIMIT 1) AS position WHERE ",
        &shard,
        "::smallint = ANY ($1::smallint[])) p",
    ]
    .concat()
}

/// The head of every shard, by shard, of the rows that the connection may see.
pub(crate) async fn seen(conn: &Conn, shards: u16) -> Tried<Vec<Head>> {
    let rows = conn.query(SEEN, &[&i32::from(shards)]).await?;
    let head = |row: &Row| {
        let floor = number::<_, i64>(row, 1)?;
        let newest: Option<i64> = row.try_get(2)?;
        let position = newest.map(|_| number::<_, i64>(row, 2)).transpose()?;
        Ok(Head { shard: Shard(number::<_, i32>(row, 0)?), floor, position: position.unwrap_or(floor) })
    };
    rows.iter().map(head).collect()
}

/// The newest position of a shard, wherever it lies.
async fn newest(conn: &Conn, shard: Shard) -> Tried<Option<u64>> {
    let row = conn.query_one(NEWEST, &[&small(shard)]).await?;
    let newest: Option<i64> = row.try_get(0)?;
    newest.map(|_| number::<u64, i64>(&row, 0)).transpose()
}
