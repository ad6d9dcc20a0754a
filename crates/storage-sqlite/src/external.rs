//! From external ids to orders: see [`order_core::external`]. Rows change in the commit that changes their orders.

use crate::apply::load_number;
use crate::rows::collect;
use order_core::external::{ExternalId, ExternalKey, key_of};
use order_core::order::Order;
use rusqlite::{Connection, params};

/// Enters an order under the key that leads to it now, in place of the one that `led` to it before, inside of a transaction.
pub(crate) fn enter(conn: &Connection, led: Option<ExternalKey>, order: &Order) -> rusqlite::Result<()> {
    let leads = key_of(order);
    if led == leads {
        return Ok(());
    }
    if let Some(ExternalKey(key)) = led {
        conn.prepare_cached("DELETE FROM external_ids WHERE key = ?1 AND number = ?2")?
            .execute(params![key, order.number])?;
    }
    if let Some(ExternalKey(key)) = leads {
        conn.prepare_cached("INSERT INTO external_ids VALUES (?1, ?2)")?
            .execute(params![key, order.number])?;
    }
    Ok(())
}

/// The newest order that bears an external id.
pub(crate) fn find(conn: &Connection, external: &ExternalId) -> rusqlite::Result<Option<Order>> {
    let ExternalKey(key) = external.key();
    let mut newest =
        conn.prepare_cached("SELECT number FROM external_ids WHERE key = ?1 ORDER BY number DESC LIMIT 1")?;
    // One that is revised between these two reads bears it no more; then the next is looked at.
    for _ in 0..TRIES {
        let numbers: Vec<i64> = collect(&mut newest, params![key], |row| row.get(0))?;
        let Some(number) = numbers.first() else { return Ok(None) };
        let order = load_number(conn, *number)?.map(|(order, _)| order);
        if let Some(order) = order.filter(|order| external.names(order)) {
            return Ok(Some(order));
        }
    }
    Ok(None)
}

/// How often an order may be revised while it is looked for.
const TRIES: usize = 3;

/// Whether the external id of an order, if it has one, leads to it; for audits.
pub(crate) fn leads_to(conn: &Connection, order: &Order) -> rusqlite::Result<bool> {
    let Some(ExternalKey(key)) = key_of(order) else { return Ok(true) };
    conn.prepare_cached("SELECT 1 FROM external_ids WHERE key = ?1 AND number = ?2")?
        .exists(params![key, order.number])
}
