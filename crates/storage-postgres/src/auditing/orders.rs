//! Orders with everything that belongs to them.

use super::{event_name, lenient};
use crate::connect::Conn;
use crate::error::Tried;
use crate::read::{PAGE_BYTES_MAX, ended};
use crate::readers::Readers;
use crate::rows::{self, ORDER_WIDTH, big, number, select_events, select_orders, small};
use order_core::audit::rows::{AuditedOrder, Page, Unreadable};
use order_core::external::key_of;
use order_core::ids::Shard;
use order_core::journal::Event;
use order_core::lease::Work;
use order_core::order::Order;
use order_core::order::state::{Fulfilment, Processing};
use order_core::query::OrderDossier;
use tokio_postgres::Row;
use uuid::Uuid;

/// From here on the columns of an order are of its work row.
const WORK: usize = 26;
/// Histories that are read at once.
const HISTORIES: usize = 100;

/// Orders of the numbers between two. Behind the order come its shard, and where it stands apart.
const ORDERS: &str = select_orders!(
    ", o.shard, array(SELECT s.standing FROM standings s WHERE s.tenant = o.tenant AND s.number = o.number \
       AND s.standing IN ('parked', 'withdrawn', 'shipped', 'delivered') \
       AND s.shard = o.shard AND s.order_id = o.order_id ORDER BY s.standing) \
     FROM (SELECT * FROM orders WHERE number > $1 AND number <= $2 ORDER BY number LIMIT $3) o \
     LEFT JOIN LATERAL (SELECT * FROM work w WHERE w.number = o.number AND w.shard = o.shard LIMIT 1) w ON true \
     ORDER BY o.number"
);

/// Behind each event come its place among those that are asked for, and the position before it. An event that does not
/// lead back ends a history.
const CHAINS: &str = select_events!(
    ", j.nth FROM (SELECT h.nth, (h.event).* FROM histories($1::smallint[], $2::bigint[]) h) j ORDER BY j.nth, j.position"
);

/// Columns of an event; behind them comes which history it is of.
const EVENT_WIDTH: usize = 14;

/// Orders behind a number, in one snapshot: fewer than `limit` where their events are large.
pub(crate) async fn orders(
    readers: &Readers,
    shards: u16,
    after: i64,
    limit: u32,
) -> Tried<Page<AuditedOrder, i64>> {
    let conn = readers.snapshot().await?;
    let read = page(&conn, shards, after, limit).await;
    ended(conn, read).await
}

async fn page(conn: &Conn, shards: u16, after: i64, limit: u32) -> Tried<Page<AuditedOrder, i64>> {
    let mut page = Page::default();
    let found = behind(conn, after, limit).await?;
    let mut bytes = 0;
    for some in found.chunks(HISTORIES) {
        bytes += read(conn, shards, some, &mut page).await?;
        if bytes >= usize::try_from(PAGE_BYTES_MAX).unwrap_or(usize::MAX) {
            break;
        }
    }
    Ok(page)
}

/// The rows of orders behind a number. Numbers are found by where they lie, which is quick for a narrow window of them
/// only; where there are none the window is widened, and behind the last that was given it is all the rest.
async fn behind(conn: &Conn, after: i64, limit: u32) -> Tried<Vec<Row>> {
    let given = conn.query_one("SELECT last_value FROM order_numbers", &[]).await?;
    let given: i64 = given.try_get(0)?;
    let (mut from, mut width) = (after, i64::from(limit.max(1)));
    loop {
        let end = if from >= given { i64::MAX } else { from.max(0).saturating_add(width).min(given) };
        let found = conn.query(ORDERS, &[&from, &end, &i64::from(limit)]).await?;
        if !found.is_empty() || end == i64::MAX {
            return Ok(found);
        }
        from = end;
        width = width.saturating_mul(2);
    }
}

/// Adds orders to a page; returns how many bytes their events have.
async fn read(conn: &Conn, shards: u16, found: &[Row], page: &mut Page<AuditedOrder, i64>) -> Tried<usize> {
    let mut read: Vec<AuditedOrder> = Vec::new();
    for row in found {
        let number: i64 = row.try_get(0)?;
        page.last = Some(number);
        // What is of the work row is told to be, for it is another row.
        let order = lenient(audited(row), || {
            let work = row.try_get::<_, Option<rows::Moment>>(WORK).is_ok_and(|due_at| due_at.is_some());
            let order_id = order_core::OrderId(Uuid::nil());
            let is_of_work = work && rows::work(row, order_id, WORK).is_err();
            (if is_of_work { "work" } else { "order" }, format!("number {number}"))
        })?;
        match order {
            Ok(order) => read.push(order),
            Err(unreadable) => page.unreadable.push(unreadable),
        }
    }
    external_ids(conn, &mut read).await?;
    let mut bytes = 0;
    for (nth, event) in histories(conn, shards, &read).await? {
        let Some(audited) = read.get_mut(nth) else { continue };
        match event {
            Ok(event) => {
                bytes += event.data.len();
                audited.dossier.events.push(event);
            }
            Err((position, unreadable)) => {
                audited.unread.push(position);
                page.unreadable.push(unreadable);
            }
        }
    }
    page.rows.append(&mut read);
    Ok(bytes)
}

/// Notes of orders that bear an external id whether that leads to them.
async fn external_ids(conn: &Conn, orders: &mut [AuditedOrder]) -> Tried<()> {
    let of = |audited: &AuditedOrder| {
        let order = &audited.dossier.order;
        key_of(order).map(|key| (Uuid::from_bytes(key.0), order.number))
    };
    let (keys, numbers): (Vec<Uuid>, Vec<i64>) = orders.iter().filter_map(of).unzip();
    if keys.is_empty() {
        return Ok(());
    }
    let rows = conn
        .query(
            "SELECT e.number FROM external_ids e JOIN unnest($1::uuid[], $2::bigint[]) AS n (key, number) \
             ON e.key = n.key AND e.number = n.number",
            &[&keys, &numbers],
        )
        .await?;
    let there: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    for audited in orders.iter_mut().filter(|audited| of(audited).is_some()) {
        audited.dossier.found &= there.contains(&audited.dossier.order.number);
    }
    Ok(())
}

fn audited(row: &Row) -> Tried<AuditedOrder> {
    let (order, work): (Order, Option<Work>) = rows::order(row)?;
    let shard = Shard(number::<_, i16>(row, ORDER_WIDTH)?);
    let standings: Vec<String> = row.try_get(ORDER_WIDTH + 1)?;
    let found = standings == stands(&order);
    Ok(AuditedOrder {
        dossier: OrderDossier { order, events: Vec::new(), work, found },
        shard,
        unread: Vec::new(),
    })
}

/// Where lists look for an order that stands apart, by name.
fn stands(order: &Order) -> Vec<&'static str> {
    let stands = [
        ("delivered", order.fulfilment == Fulfilment::Delivered),
        ("parked", order.processing == Processing::Parked),
        ("shipped", order.fulfilment == Fulfilment::Shipped),
        ("withdrawn", order.withdrawn),
    ];
    stands.into_iter().filter(|(_, stands)| *stands).map(|(standing, _)| standing).collect()
}

/// An event, or where one lies that does not read.
type Read = Result<Event, (u64, Unreadable)>;

/// The events of orders, by their places, each history oldest first: past events that do not read, as long as they still
/// say which came before them.
async fn histories(conn: &Conn, shards: u16, orders: &[AuditedOrder]) -> Tried<Vec<(usize, Read)>> {
    let newest = orders.iter().map(|audited| {
        let order = &audited.dossier.order;
        (small(order.id.shard(shards)), big(order.last_position))
    });
    let (of, newest): (Vec<i16>, Vec<i64>) = newest.unzip();
    let rows = conn.query(CHAINS, &[&of, &newest]).await?;
    let mut read = Vec::with_capacity(rows.len());
    for row in &rows {
        let nth: i64 = row.try_get(EVENT_WIDTH)?;
        let nth = usize::try_from(nth).unwrap_or(0).saturating_sub(1);
        let (shard, position) = (Shard(number::<_, i16>(row, 5)?), number::<_, i64>(row, 6)?);
        let event = lenient(rows::event(row), || event_name(shard, position))?;
        read.push((nth, event.map_err(|unreadable| (position, unreadable))));
    }
    Ok(read)
}
