//! From the texts of orders (id, reference, customer) to the orders: see the tables `term_tail`, `term_runs` and
//! `term_blocks`. Each commit adds one row with the texts of all its orders; a task of each node packs them, behind the
//! commits and beside them.

mod pack;

pub(crate) use pack::{Packer, RUN_ORDERS, Texts, write_run};

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{order, select_orders, small};
use order_core::OrderId;
use order_core::listing::SearchField;
use order_core::order::Order;
use std::collections::HashMap;
use tokio_postgres::Row;
use uuid::Uuid;

/// Entries of a block.
const BLOCK: i64 = 32;

/// Of the tenant `$1` and the field `$2`: behind the text `$3` and the rank `$4`, texts below `$5`, the first `$6`. Of each
/// run the blocks that end in between are asked for, at most `$7`, and the one behind them.
const ENTRIES: &str = "WITH blocks AS MATERIALIZED ( \
       SELECT b.texts, b.ranks, b.order_ids FROM term_runs r CROSS JOIN LATERAL ( \
         (SELECT b.texts, b.ranks, b.order_ids FROM term_blocks b WHERE b.run = r.run AND b.tenant = $1 AND b.field = $2 \
            AND (b.last, b.last_rank) > ($3, $4) AND b.last < $5 ORDER BY b.last, b.last_rank LIMIT $7) \
         UNION ALL \
         (SELECT b.texts, b.ranks, b.order_ids FROM term_blocks b WHERE b.run = r.run AND b.tenant = $1 AND b.field = $2 \
            AND b.last >= $5 ORDER BY b.last, b.last_rank LIMIT 1)) b), \
     entries AS ( \
       SELECT e.text COLLATE \"C\" AS text, e.rank, e.order_id \
       FROM blocks b CROSS JOIN LATERAL unnest(b.texts, b.ranks, b.order_ids) AS e (text, rank, order_id) \
       UNION ALL \
       SELECT (CASE $2::smallint WHEN 0 THEN e.order_id::text WHEN 1 THEN e.ref ELSE e.customer END) COLLATE \"C\", \
         -e.number, e.order_id \
       FROM term_tail t CROSS JOIN LATERAL unnest(t.tenants, t.order_ids, t.numbers, t.refs, t.customers) \
         AS e (tenant, order_id, number, ref, customer) WHERE e.tenant = $1) \
     SELECT DISTINCT e.text, e.rank, e.order_id FROM entries e \
     WHERE (e.text, e.rank) > ($3, $4) AND e.text < $5 ORDER BY e.text, e.rank LIMIT $6";

const ORDERS: &str = select_orders!(
    "FROM unnest($1::smallint[], $2::uuid[]) AS n (shard, order_id) CROSS JOIN LATERAL (SELECT * FROM orders o \
       WHERE o.shard = n.shard AND o.order_id = n.order_id LIMIT 1) o \
     LEFT JOIN LATERAL (SELECT * FROM work w WHERE w.number = o.number AND w.shard = o.shard LIMIT 1) w ON true"
);

/// A text that an order has, or had.
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) number: i64,
    pub(crate) order_id: OrderId,
}

/// Entries to read.
pub(crate) struct Range<'r> {
    pub(crate) tenant: &'r str,
    pub(crate) field: SearchField,
    /// Behind this text and number: of the same text, newer orders come first. `None`: from the text on.
    pub(crate) after: (&'r str, Option<i64>),
    /// And below this text.
    pub(crate) below: &'r str,
}

impl Range<'_> {
    /// The first `count` of them, in order.
    pub(crate) async fn read(&self, conn: &Conn, count: i64) -> Tried<Vec<Entry>> {
        let field: i16 = match self.field {
            SearchField::Id => 0,
            SearchField::Reference => 1,
            SearchField::Customer => 2,
        };
        let (text, number) = self.after;
        let rank = number.map_or(i64::MIN, |number| number.saturating_neg());
        // The first of them may end with the first entry that is asked for.
        let blocks = count / BLOCK + 2;
        let rows =
            conn.query(ENTRIES, &[&self.tenant, &field, &text, &rank, &self.below, &count, &blocks]).await?;
        let entry = |row: &Row| {
            let rank: i64 = row.try_get(1)?;
            Ok(Entry {
                text: row.try_get(0)?,
                number: rank.saturating_neg(),
                order_id: OrderId(row.try_get(2)?),
            })
        };
        rows.iter().map(entry).collect()
    }
}

/// The orders of these ids that are there and read.
pub(crate) async fn load(
    conn: &Conn,
    shards: u16,
    order_ids: impl Iterator<Item = OrderId>,
) -> Tried<HashMap<OrderId, Order>> {
    let (of, ids): (Vec<i16>, Vec<Uuid>) =
        order_ids.map(|order_id| (small(order_id.shard(shards)), order_id.0)).unzip();
    let mut orders = HashMap::with_capacity(ids.len());
    if ids.is_empty() {
        return Ok(orders);
    }
    for row in &conn.query(ORDERS, &[&of, &ids]).await? {
        if let Some((order, _)) = crate::list::readable(row, order(row))? {
            orders.insert(order.id, order);
        }
    }
    Ok(orders)
}
