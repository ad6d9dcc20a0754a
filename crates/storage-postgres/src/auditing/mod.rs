//! What audits read: each page in one statement or one short transaction. A row that does not read is named, and the next
//! one is read.

mod blocks;
mod kept;
mod orders;
mod stores;
mod strays;
mod webhooks;

pub(crate) use orders::orders;
pub(crate) use strays::strays;

use crate::connect::Conn;
use crate::error::{Tried, Trouble};
use crate::read::{ended, tally_row};
use crate::readers::Readers;
use crate::rows::{self, big, number, small};
use crate::tips;
use order_core::Fault;
use order_core::audit::rows::{Beginning, JournalFact, Named, Page, Unreadable, WorkFact};
use order_core::desk::Desk;
use order_core::ids::{OrderId, Shard};
use order_core::journal::Head;
use tokio_postgres::Row;

/// What a row gave; an error that is not the row's stays one.
fn lenient<T>(read: Tried<T>, name: impl FnOnce() -> (&'static str, String)) -> Tried<Result<T, Unreadable>> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(Trouble::Fault(Fault::Internal { why })) => {
            let (table, row) = name();
            Ok(Err(Unreadable { table, row, why }))
        }
        Err(trouble) => Err(trouble),
    }
}

fn event_name(shard: Shard, position: impl std::fmt::Display) -> (&'static str, String) {
    ("event", format!("{position} of shard {shard}"))
}

/// Heads and tallies, in one snapshot. There are as many tallies as pairs of tenant and source.
pub(crate) async fn beginning(readers: &Readers, shards: u16) -> Tried<Beginning> {
    let conn = readers.snapshot().await?;
    let read = begin(&conn, shards).await;
    ended(conn, read).await
}

async fn begin(conn: &Conn, shards: u16) -> Tried<Beginning> {
    let mut beginning = Beginning::default();
    for (shard, row) in (0..shards).map(Shard).zip(conn.query(tips::SEEN, &[&i32::from(shards)]).await?) {
        let floor = lenient(number::<u64, i64>(&row, 1), || ("head", format!("of shard {shard}")))?;
        let floor = floor.unwrap_or_else(|unreadable| {
            beginning.unreadable.push(unreadable);
            0
        });
        let newest: Option<i64> = row.try_get(2)?;
        // A position below 1 is told where the journal is read.
        let position = newest.map_or(floor, |newest| u64::try_from(newest).unwrap_or(0));
        beginning.heads.push(Head { shard, floor, position });
    }
    let kept = conn
        .query(
            "SELECT sum(orders)::bigint, sum(queued)::bigint, sum(processed)::bigint, sum(parked)::bigint, \
             sum(processing_micros)::bigint, tenant, source FROM tallies GROUP BY tenant, source",
            &[],
        )
        .await?;
    for row in &kept {
        let (tenant, source): (String, String) = (row.try_get(5)?, row.try_get(6)?);
        match lenient(tally_row(row, 0), || ("tally", format!("{tenant}/{source}")))? {
            Ok(tally) => beginning.tallies.push((tenant, source, tally)),
            Err(unreadable) => beginning.unreadable.push(unreadable),
        }
    }
    Ok(beginning)
}

/// Rows of the journal beside their orders. Parts below the floor are about to go, and no part of it any more.
pub(crate) async fn journal(
    readers: &Readers,
    shard: Shard,
    after: u64,
    limit: u32,
) -> Tried<Page<JournalFact, u64>> {
    let conn = readers.get().await?;
    let rows = conn
        .query(
            "SELECT j.position, j.order_id, j.version, o.version, j.epoch, j.type, j.data_version \
             FROM (SELECT coalesce(max(p.high) - 1, 0) AS gone FROM journal_parts p \
               JOIN journal_heads h ON h.shard = p.shard WHERE p.shard = $1 AND p.high - 1 <= h.floor) g \
             CROSS JOIN LATERAL next_events($1::smallint, greatest($2::bigint, g.gone), $3::bigint) j \
             LEFT JOIN LATERAL (SELECT o.version FROM orders o WHERE o.shard = $1 AND o.order_id = j.order_id LIMIT 1) o \
             ON true ORDER BY j.position",
            &[&small(shard), &big(after), &i64::from(limit)],
        )
        .await?;
    let mut page = Page::default();
    for row in &rows {
        let position = number::<_, i64>(row, 0)?;
        let named = match lenient(named(row), || event_name(shard, position))? {
            Ok(named) => Some(named),
            Err(unreadable) => {
                page.unreadable.push(unreadable);
                None
            }
        };
        page.rows.push(JournalFact { position, named });
        page.last = Some(position);
    }
    Ok(page)
}

fn named(row: &Row) -> Tried<Named> {
    // A version of the order's row that does not read is told where orders are read.
    let order_version =
        row.try_get::<_, Option<i64>>(3)?.map(|version| u64::try_from(version).unwrap_or(u64::MAX));
    Ok(Named {
        order_id: OrderId(row.try_get(1)?),
        version: number::<_, i64>(row, 2)?,
        order_version,
        epoch: number::<_, i32>(row, 4)?,
        kind: rows::text(row, 5)?,
        data_version: number::<_, i16>(row, 6)?,
    })
}

/// Work rows beside their orders.
pub(crate) async fn work(readers: &Readers, after: i64, limit: u32) -> Tried<Page<WorkFact, i64>> {
    let conn = readers.get().await?;
    let rows = conn
        .query(
            "SELECT w.number, w.order_id, o.wanted, w.due_at, w.attempt, w.lapses, w.token, w.claimed_at, w.trace, \
             CASE WHEN o.tenant <> w.tenant THEN w.tenant END, w.desk, o.source \
             FROM (SELECT * FROM work WHERE number > $1 ORDER BY number LIMIT $2) w \
             LEFT JOIN LATERAL (SELECT o.processing = 'queued' AS wanted, o.tenant, o.source FROM orders o \
               WHERE o.shard = w.shard AND o.order_id = w.order_id AND o.number = w.number LIMIT 1) o ON true \
             ORDER BY w.number",
            &[&after, &i64::from(limit)],
        )
        .await?;
    let mut page = Page::default();
    for row in &rows {
        let number: i64 = row.try_get(0)?;
        page.last = Some(number);
        match lenient(work_fact(row), || ("work", format!("number {number}")))? {
            Ok(fact) => page.rows.push(fact),
            Err(unreadable) => page.unreadable.push(unreadable),
        }
    }
    Ok(page)
}

fn work_fact(row: &Row) -> Tried<WorkFact> {
    let work = rows::work(row, OrderId(row.try_get(1)?), 3)?;
    let (desk, source): (i16, Option<&str>) = (row.try_get(10)?, row.try_get(11)?);
    let other_desk = source.and_then(|source| Desk::other(desk.into(), source));
    Ok(WorkFact { work, wanted: row.try_get(2)?, other_tenant: row.try_get(9)?, other_desk })
}
