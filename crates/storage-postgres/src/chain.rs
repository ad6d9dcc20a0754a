//! The history of one order, along the chain that its events make.

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{self, big, select_events, small};
use order_core::ids::Shard;
use order_core::journal::Event;

/// The events of an order from its newest, at `last_position`, back to the first: oldest first.
pub(crate) async fn read(conn: &Conn, shard: Shard, last_position: u64) -> Tried<Vec<Event>> {
    let rows = conn
        .query(
            select_events!("FROM history($1::smallint, $2::bigint, 0, NULL, NULL) j ORDER BY j.position"),
            &[&small(shard), &big(last_position)],
        )
        .await?;
    rows.iter().map(rows::event).collect()
}
