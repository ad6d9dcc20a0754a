//! What changed since, along the journal.

use crate::connect::Conn;
use crate::error::Tried;
use crate::list::{LOOKUPS_MAX, readable};
use crate::read::{ended, upto};
use crate::readers::Readers;
use crate::rows::{self, big, number, select_orders, small};
use crate::span;
use crate::tips::{self, Tips};
use order_core::clock::Timestamp;
use order_core::ids::{OrderId, Shard};
use order_core::journal::{Cursor, Head};
use order_core::listing::ChangesPage;
use order_core::order::Order;
use order_core::query::{OrderQuery, PageWeight, SCAN_MAX};
use std::collections::{HashMap, HashSet};

/// Events that are read at once, for each order that a page has room for.
const EVENTS_FACTOR: u32 = 4;

const NAMED: &str = select_orders!(
    "FROM unnest($2::uuid[]) AS n (order_id) CROSS JOIN LATERAL (SELECT * FROM orders o \
       WHERE o.shard = $1 AND o.order_id = n.order_id LIMIT 1) o \
     LEFT JOIN LATERAL (SELECT * FROM work w WHERE w.number = o.number AND w.shard = o.shard LIMIT 1) w ON true"
);

/// A page of orders that changed behind `after`, as they are now: in one snapshot, so that an order is at least as new as
/// its event.
pub(crate) async fn changes(
    readers: &Readers,
    shards: u16,
    query: &OrderQuery,
    after: &Cursor,
) -> Tried<ChangesPage> {
    let conn = readers.snapshot().await?;
    let read = read(&conn, shards, query, after).await;
    ended(conn, read).await
}

async fn read(conn: &Conn, shards: u16, query: &OrderQuery, after: &Cursor) -> Tried<ChangesPage> {
    let query = OrderQuery { before: None, ..query.clone() };
    let mut next = after.clone();
    let mut behind: Vec<Head> = tips::seen(conn, shards).await?;
    let lag = |head: &Head, next: &Cursor| {
        let read = next.positions.get(usize::from(head.shard.0)).copied().unwrap_or(head.position);
        head.position.saturating_sub(read.max(head.floor))
    };
    behind.retain(|head| lag(head, &next) > 0);
    // Who is furthest behind comes first, so that a busy shard cannot starve the rest.
    behind.sort_by_key(|head| std::cmp::Reverse(lag(head, &next)));
    let mut page = Page {
        limit: usize::try_from(query.limit).unwrap_or(usize::MAX),
        query: &query,
        seen: HashSet::new(),
        orders: Vec::new(),
        weight: PageWeight::default(),
        scans_left: SCAN_MAX,
        lookups_left: usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX),
    };
    for head in &behind {
        if let Some(read) = next.positions.get_mut(usize::from(head.shard.0)) {
            *read = page.read(conn, head, (*read).max(head.floor)).await?;
        }
    }
    let up_to_date = behind.iter().all(|head| lag(head, &next) == 0);
    Ok(ChangesPage { orders: page.orders, next, up_to_date })
}

struct Page<'q> {
    query: &'q OrderQuery,
    limit: usize,
    seen: HashSet<OrderId>,
    orders: Vec<Order>,
    weight: PageWeight,
    scans_left: u32,
    lookups_left: usize,
}

/// An event: where it lies, and the order, if it is the tenant's.
type Named = (u64, Option<OrderId>);

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.orders.len() >= self.limit || self.weight.is_full() || self.lookups_left == 0
    }

    /// Reads a shard on from `after`; returns how far it came. Positions that are not found are of events that are others'.
    async fn read(&mut self, conn: &Conn, head: &Head, after: u64) -> Tried<u64> {
        let mut at = after;
        while !self.is_full() && self.scans_left > 0 && at < head.position {
            let behind = u32::try_from(head.position - at).unwrap_or(u32::MAX);
            let most = self.scans_left.min(self.query.limit.saturating_mul(EVENTS_FACTOR).max(1)).min(behind);
            let end = at + u64::from(most);
            let events = self.events(conn, head.shard, at, most).await?;
            let mut orders = self.load(conn, head.shard, &events).await?;
            for (position, order_id) in &events {
                if self.is_full() {
                    return Ok(at);
                }
                at = *position;
                if let Some(order_id) = order_id.filter(|order_id| self.seen.insert(*order_id)) {
                    self.lookups_left -= 1;
                    if let Some(order) = orders.remove(&order_id).filter(|order| self.query.matches(order)) {
                        self.weight.add(&order);
                        self.orders.push(order);
                    }
                }
            }
            self.scans_left -= most;
            at = end;
        }
        Ok(at)
    }

    async fn events(&self, conn: &Conn, shard: Shard, after: u64, most: u32) -> Tried<Vec<Named>> {
        let rows = conn
            .query(
                "SELECT position, CASE WHEN tenant = $3 THEN order_id END \
                 FROM events($1::smallint, $2::bigint, $4::bigint) ORDER BY position",
                &[&small(shard), &big(after), &self.query.tenant.as_str(), &upto(after, most)],
            )
            .await?;
        let named = rows.iter().map(|row| {
            Ok((number::<_, i64>(row, 0)?, row.try_get::<_, Option<uuid::Uuid>>(1)?.map(OrderId)))
        });
        named.collect()
    }

    /// The orders that events name, but for those that were seen.
    async fn load(&self, conn: &Conn, shard: Shard, events: &[Named]) -> Tried<HashMap<OrderId, Order>> {
        let named: HashSet<OrderId> = events.iter().filter_map(|(_, order_id)| *order_id).collect();
        let unseen: Vec<uuid::Uuid> = named.difference(&self.seen).map(|order_id| order_id.0).collect();
        if unseen.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = conn.query(NAMED, &[&small(shard), &unseen]).await?;
        let mut orders = HashMap::new();
        for row in &rows {
            if let Some((order, _)) = readable(row, rows::order(row))? {
                // Another tenant's is none: an event may say what is not so.
                orders.insert(order.id, order);
            }
        }
        Ok(orders)
    }
}

/// The place behind which everything lies that happened at `moment` or later.
pub(crate) async fn place_of(
    readers: &Readers,
    shards: u16,
    epoch: u32,
    tips: &Tips,
    moment: Timestamp,
) -> Tried<Cursor> {
    let conn = readers.snapshot().await?;
    let read = async {
        let firsts = span::first_at(&conn, shards, moment).await?;
        let place = |(head, first): (Head, Option<u64>)| {
            first.map_or(head.position, |first| first.saturating_sub(1).max(head.floor))
        };
        let positions = tips.heads(&conn, true).await?.into_iter().zip(firsts).map(place).collect();
        Ok(Cursor { epoch, positions })
    }
    .await;
    ended(conn, read).await
}
