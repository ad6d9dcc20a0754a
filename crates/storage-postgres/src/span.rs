//! Moments and places. Numbers and positions rise nearly, but not surely, in the order of their times: clocks are set, and
//! commands wait before they are committed.

use crate::connect::Conn;
use crate::error::Tried;
use order_core::query::OrderQuery;

/// The numbers among which all orders lie that are asked for, as the lowest and the first beyond; `None` when there are
/// none.
pub(crate) async fn numbers(_conn: &Conn, query: &OrderQuery) -> Tried<Option<(i64, i64)>> {
    Ok(Some((i64::MIN, query.before.unwrap_or(i64::MAX))))
}
