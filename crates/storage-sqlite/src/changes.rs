//! What changed, along the journal.

use crate::apply::load_number;
use crate::list::{LOOKUPS_MAX, readable};
use crate::read;
use crate::rows::{last_place, place, position};
use crate::span;
use order_core::Timestamp;
use order_core::ids::Shard;
use order_core::journal::{Cursor, Head};
use order_core::listing::ChangesPage;
use order_core::order::Order;
use order_core::query::{OrderQuery, PageWeight, SCAN_MAX};
use rusqlite::{Connection, params};
use std::collections::BTreeSet;

/// A page of orders that changed behind `after`, as they are now.
pub(crate) fn changes(
    conn: &Connection,
    shards: u16,
    query: &OrderQuery,
    after: &Cursor,
) -> rusqlite::Result<ChangesPage> {
    // One snapshot: an order is at least as new as its event.
    let conn = conn.unchecked_transaction()?;
    let query = OrderQuery { before: None, ..query.clone() };
    let mut next = after.clone();
    let mut behind: Vec<Head> = read::heads(&conn, shards)?;
    let lag = |head: &Head, next: &Cursor| {
        let read = next.positions.get(usize::from(head.shard.0)).copied().unwrap_or(head.position);
        head.position.saturating_sub(read.max(head.floor))
    };
    behind.retain(|head| lag(head, &next) > 0);
    // Who is furthest behind comes first, so that a busy shard cannot starve the rest.
    behind.sort_by_key(|head| std::cmp::Reverse(lag(head, &next)));
    let mut page = Page {
        query: &query,
        seen: BTreeSet::new(),
        orders: Vec::new(),
        weight: PageWeight::default(),
        scans_left: SCAN_MAX,
        lookups_left: LOOKUPS_MAX,
    };
    for head in &behind {
        if let Some(read) = next.positions.get_mut(usize::from(head.shard.0)) {
            *read = page.read(&conn, head.shard, (*read).max(head.floor))?;
        }
    }
    let up_to_date = behind.iter().all(|head| lag(head, &next) == 0);
    Ok(ChangesPage { orders: page.orders, next, up_to_date })
}

struct Page<'q> {
    query: &'q OrderQuery,
    seen: BTreeSet<i64>,
    orders: Vec<Order>,
    weight: PageWeight,
    scans_left: u32,
    lookups_left: u32,
}

impl Page<'_> {
    /// Reads a shard on from `after`; returns how far it came.
    fn read(&mut self, conn: &Connection, shard: Shard, after: u64) -> rusqlite::Result<u64> {
        let limit = usize::try_from(self.query.limit).unwrap_or(usize::MAX);
        let mut statement = conn.prepare_cached(
            "SELECT place, number, tenant = ?3 FROM journal WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?4",
        )?;
        let tenant = self.query.tenant.as_str();
        let mut rows =
            statement.query(params![place(shard, after), last_place(shard), tenant, self.scans_left])?;
        let mut at = after;
        while self.orders.len() < limit
            && !self.weight.is_full()
            && self.lookups_left > 0
            && let Some(row) = rows.next()?
        {
            self.scans_left -= 1;
            at = position(row.get(0)?);
            let number = row.get(1)?;
            if row.get(2)? && self.seen.insert(number) {
                self.lookups_left -= 1;
                let order = load_number(conn, number).map(|found| found.map(|(order, _)| order));
                let order = readable(number, order).flatten().filter(|order| self.query.matches(order));
                if let Some(order) = order {
                    self.weight.add(&order);
                    self.orders.push(order);
                }
            }
        }
        Ok(at)
    }
}

/// The place behind which everything lies that happened at `moment` or later.
pub(crate) fn place_of(
    conn: &Connection,
    shards: u16,
    epoch: u32,
    moment: Timestamp,
) -> rusqlite::Result<Cursor> {
    let conn = conn.unchecked_transaction()?;
    let heads = read::heads(&conn, shards)?;
    let positions = heads.iter().map(|head| {
        let position = span::position_of(&conn, head.shard, moment)?;
        Ok(position.map_or(head.position, |position| position.max(head.floor)))
    });
    Ok(Cursor { epoch, positions: positions.collect::<rusqlite::Result<_>>()? })
}
