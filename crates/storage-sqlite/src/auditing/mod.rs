//! What audits read: each page in one statement or one short transaction. A row that does not read is named, and the next
//! one is read.

mod kept;
mod spans;
mod stores;
mod strays;
#[cfg(test)]
mod tests;
mod webhooks;

pub(crate) use strays::strays;

use crate::damage::{self, first, is_damage};
use crate::external;
use crate::ids::OrderIds;
use crate::read::EVENT_AT;
use crate::rows::{self, ORDER_COLUMNS, event, is_of_row, last_place, place, position, trace, uuid};
use crate::terms::Terms;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Named, Page, Unreadable, WorkFact};
use order_core::clock::Timestamp;
use order_core::desk::Desk;
use order_core::ids::{LeaseToken, OrderId, Shard};
use order_core::journal::{Event, Head};
use order_core::lease::Work;
use order_core::order::Order;
use order_core::query::PAGE_BYTES_MAX;
use order_core::query::{OrderDossier, Tally};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};
use std::sync::LazyLock;

/// Columns of [`ORDER_COLUMNS`]; behind them comes the shard.
const SHARD: usize = 32;
/// From here on they are of the work row.
const WORK: usize = 26;

static ORDERS: LazyLock<String> = LazyLock::new(|| {
    let from = ", o.shard FROM orders o LEFT JOIN work w USING (number) WHERE o.number > ?1 ORDER BY o.number LIMIT ?2";
    ["SELECT ", ORDER_COLUMNS, from].concat()
});

/// What a row gave; an error that is not the row's stays one.
fn lenient<T>(
    row: &Row<'_>,
    read: rusqlite::Result<T>,
    name: impl FnOnce(usize) -> (&'static str, String),
) -> rusqlite::Result<Result<T, Unreadable>> {
    match read {
        Ok(read) => Ok(Ok(read)),
        Err(error) => match rows::unreadable(row, &error) {
            Some((column, why)) => {
                let (table, row) = name(column);
                Ok(Err(Unreadable { table, row, why }))
            }
            None => Err(error),
        },
    }
}

/// What to say of rows that lie where the file is damaged, behind `after` and up to `to`, both left out where they are
/// no key.
fn damaged(table: &'static str, what: &str, ends: (i64, i64), error: &rusqlite::Error) -> Unreadable {
    let row = match ends {
        (after, i64::MAX) => format!("{what} behind {}", after.max(0)),
        (after, to) => format!("{what} {} to {to}", after.max(0) + 1),
    };
    Unreadable { table, row, why: error.to_string() }
}

fn event_name(shard: Shard, position: u64) -> (&'static str, String) {
    ("event", format!("{position} of shard {shard}"))
}

/// Heads and tallies, in one snapshot. There are as many tallies as pairs of tenant and source.
pub(crate) fn beginning(conn: &Connection, shards: u16) -> rusqlite::Result<Beginning> {
    let snapshot = conn.unchecked_transaction()?;
    let mut beginning = Beginning::default();
    let mut ends = snapshot.prepare_cached(
        "SELECT coalesce((SELECT floor FROM journal_heads WHERE shard = ?1), 0), \
         (SELECT max(place) FROM journal WHERE place BETWEEN ?2 AND ?3)",
    )?;
    for shard in (0..shards).map(Shard) {
        let ends = ends.query_row(params![shard.0, place(shard, 0), last_place(shard)], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        let mut unreadable = |why| {
            let row = format!("of shard {shard}");
            beginning.unreadable.push(Unreadable { table: "head", row, why });
        };
        let (floor, newest) = match ends {
            Err(error) if is_damage(&error) => {
                unreadable(error.to_string());
                (0, None)
            }
            ends => ends?,
        };
        let floor = u64::try_from(floor).unwrap_or_else(|_| {
            unreadable(format!("`floor`: {floor} is no position"));
            0
        });
        beginning.heads.push(Head { shard, floor, position: newest.map_or(floor, position) });
    }
    let read = tallies(&snapshot, &mut beginning);
    match read {
        Err(error) if is_damage(&error) => {
            let (table, row) = ("tally", "of all".to_owned());
            beginning.unreadable.push(Unreadable { table, row, why: error.to_string() });
        }
        read => read?,
    }
    Ok(beginning)
}

fn tallies(snapshot: &Connection, beginning: &mut Beginning) -> rusqlite::Result<()> {
    let mut kept = snapshot.prepare_cached(
        "SELECT tenant, source, orders, queued, processed, parked, processing_micros FROM tallies",
    )?;
    let mut rows = kept.query([])?;
    while let Some(row) = rows.next()? {
        let name = |_| ("tally", format!("{}/{}", shown(row, 0), shown(row, 1)));
        match lenient(row, tally(row), name)? {
            Ok(tally) => beginning.tallies.push(tally),
            Err(unreadable) => beginning.unreadable.push(unreadable),
        }
    }
    Ok(())
}

fn tally(row: &Row<'_>) -> rusqlite::Result<(String, String, Tally)> {
    let tally = Tally {
        orders: row.get(2)?,
        queued: row.get(3)?,
        running: 0,
        processed: row.get(4)?,
        parked: row.get(5)?,
        processing_micros: row.get(6)?,
    };
    Ok((row.get(0)?, row.get(1)?, tally))
}

/// A column for people, whatever is in it.
fn shown(row: &Row<'_>, index: usize) -> String {
    use rusqlite::types::ValueRef;
    match row.get_ref(index) {
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Blob(bytes)) => match uuid::Uuid::from_slice(bytes) {
            Ok(uuid) => uuid.to_string(),
            Err(_) => format!("{bytes:02x?}"),
        },
        _ => "?".to_owned(),
    }
}

/// Orders with everything that belongs to them, in one snapshot: fewer than `limit` where their events are large.
pub(crate) fn orders(
    conn: &Connection,
    ids: &OrderIds,
    terms: &Terms,
    shards: u16,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Page<AuditedOrder, i64>> {
    let snapshot = conn.unchecked_transaction()?;
    let mut page = Page::default();
    let mut bytes = 0;
    let mut statement = snapshot.prepare_cached(&ORDERS)?;
    let mut rows = statement.query(params![after, limit])?;
    let mut broken = None;
    while bytes < PAGE_BYTES_MAX
        && let Some(row) = next(&mut rows, &mut broken)?
    {
        let number: i64 = row.get(0)?;
        page.last = Some(number);
        let read = rows::order(row).and_then(|read| Ok((read, Shard(row.get(SHARD)?))));
        let table = |column| if (WORK..SHARD).contains(&column) { "work" } else { "order" };
        match lenient(row, read, |column| (table(column), format!("number {number}")))? {
            Ok(((order, work), shard)) => {
                let (events, unreadable) = chain(&snapshot, order.id.shard(shards), order.last_position)?;
                bytes += events.iter().map(|event| event.data.len()).sum::<usize>();
                let (unread, unreadable): (Vec<_>, Vec<_>) = unreadable.into_iter().unzip();
                page.unreadable.extend(unreadable);
                let dossier = OrderDossier { order, events, work, found: false };
                page.rows.push(AuditedOrder { dossier, shard, unread });
            }
            Err(unreadable) => page.unreadable.push(unreadable),
        }
    }
    drop(rows);
    if let Some(error) = broken {
        let from = page.last.unwrap_or(after);
        let to = damage::past(from, |after| first(&mut statement, params![after, 1]))?;
        page.unreadable.push(damaged("order", "numbers", (from, to), &error));
        page.last = Some(to);
    }
    drop(statement);
    // Outside of the snapshot: what has been merged since is no longer in memory.
    drop(snapshot);
    for AuditedOrder { dossier, .. } in &mut page.rows {
        let found = found(conn, ids, terms, &dossier.order);
        // Where the file is damaged there, nothing leads to it.
        dossier.found = found.or_else(|error| if is_damage(&error) { Ok(false) } else { Err(error) })?;
    }
    Ok(page)
}

/// Whether look-ups lead to an order. It may have changed since it was read, and what led to it then is gone: then the
/// order as it is now is looked up, until it did not change meanwhile.
fn found(conn: &Connection, ids: &OrderIds, terms: &Terms, order: &Order) -> rusqlite::Result<bool> {
    let mut now = order.clone();
    loop {
        if ids.number(conn, now.id)? == Some(now.number)
            && terms.lead_to(conn, &now)?
            && external::leads_to(conn, &now)?
        {
            return Ok(true);
        }
        let version = now.version;
        let mut statement = conn.prepare_cached(&ORDERS)?;
        let mut rows = statement.query(params![now.number - 1, 1])?;
        match rows.next()?.map(rows::order) {
            Some(Ok((read, _))) if read.number == now.number && read.version != version => now = read,
            _ => return Ok(false),
        }
    }
}

/// The next row; where the file is damaged, none, and `broken` says why.
fn next<'r, 's>(
    rows: &'r mut Rows<'s>,
    broken: &mut Option<rusqlite::Error>,
) -> rusqlite::Result<Option<&'r Row<'s>>> {
    match rows.next() {
        Err(error) if is_damage(&error) => {
            *broken = Some(error);
            Ok(None)
        }
        row => row,
    }
}

/// As [`crate::read::chain`], and past events that do not read, as long as they still say which came before them.
#[expect(clippy::type_complexity, reason = "used once, and taken apart at once")]
fn chain(
    conn: &Connection,
    shard: Shard,
    newest: u64,
) -> rusqlite::Result<(Vec<Event>, Vec<(u64, Unreadable)>)> {
    let mut statement = conn.prepare_cached(&EVENT_AT)?;
    let (mut events, mut unread) = (Vec::new(), Vec::new());
    let mut next = newest;
    while next > 0 {
        let found = statement
            .query_row([place(shard, next)], |row| {
                let event = lenient(row, event(row), |_| event_name(shard, next))?;
                Ok((event, row.get::<_, u64>("prev_position").ok()))
            })
            .optional();
        let found = match found {
            Err(error) if is_damage(&error) => {
                let (table, row) = event_name(shard, next);
                unread.push((next, Unreadable { table, row, why: error.to_string() }));
                break;
            }
            found => found?,
        };
        let Some((event, before)) = found else { break };
        match event {
            // It leads to nowhere; that a version is missing will be seen.
            Ok(event) if event.prev_position >= next => break,
            Ok(event) => events.push(event),
            Err(unreadable) => unread.push((next, unreadable)),
        }
        match before.filter(|before| *before < next) {
            Some(before) => next = before,
            None => break,
        }
    }
    events.reverse();
    Ok((events, unread))
}

/// Rows of the journal beside their orders.
pub(crate) fn journal(
    conn: &Connection,
    shard: Shard,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Page<JournalFact, u64>> {
    let mut statement = conn.prepare_cached(
        "SELECT j.place, j.order_id, j.version, o.version, j.epoch, j.type, j.data_version FROM journal j \
         LEFT JOIN orders o ON o.number = j.number AND o.order_id = j.order_id \
         WHERE j.place > ?1 AND j.place <= ?2 ORDER BY j.place LIMIT ?3",
    )?;
    let (from, end) = (place(shard, after), last_place(shard));
    let mut rows = statement.query(params![from, end, limit])?;
    let (mut page, mut broken) = (Page::default(), None);
    while let Some(row) = next(&mut rows, &mut broken)? {
        let position = position(row.get(0)?);
        let read = named(row);
        let named = match lenient(row, read, |_| event_name(shard, position))? {
            Ok(named) => Some(named),
            Err(unreadable) => {
                page.unreadable.push(unreadable);
                None
            }
        };
        page.rows.push(JournalFact { position, named });
        page.last = Some(position);
    }
    drop(rows);
    if let Some(error) = broken {
        let from = page.last.map_or(from, |last| place(shard, last));
        // Perhaps it is only its order's row that lies where the file is damaged.
        if let Some((position, named)) = alone(conn, from, end)? {
            page.rows.push(JournalFact { position, named: Some(named) });
            page.last = Some(position);
            return Ok(page);
        }
        let to = damage::past(from, |after| first(&mut statement, params![after, end, 1]))?.min(end);
        let ends = [from, to].map(|place| i64::try_from(position(place)).unwrap_or(i64::MAX));
        let what = format!("of shard {shard}, positions");
        let to = if to == end { i64::MAX } else { ends[1] };
        page.unreadable.push(damaged("event", &what, (ends[0], to), &error));
        page.last = Some(u64::try_from(ends[1]).unwrap_or(u64::MAX));
    }
    Ok(page)
}

/// The next event, without a look at its order.
fn alone(conn: &Connection, from: i64, end: i64) -> rusqlite::Result<Option<(u64, Named)>> {
    let read = conn
        .prepare_cached(
            "SELECT place, order_id, version, ?3, epoch, type, data_version FROM journal \
             WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT 1",
        )?
        .query_row([from, end, i64::MAX], |row| Ok((position(row.get(0)?), named(row)?)))
        .optional();
    read.or_else(|error| if is_damage(&error) || is_of_row(&error) { Ok(None) } else { Err(error) })
}

fn named(row: &Row<'_>) -> rusqlite::Result<Named> {
    // A version of the order's row that does not read is told where orders are read.
    let order_version =
        row.get::<_, Option<i64>>(3)?.map(|version| u64::try_from(version).unwrap_or(u64::MAX));
    Ok(Named {
        order_id: OrderId(uuid(row, 1)?),
        version: row.get(2)?,
        order_version,
        epoch: row.get(4)?,
        kind: rows::text(row, 5)?,
        data_version: row.get(6)?,
    })
}

/// Work rows beside their orders.
pub(crate) fn work(conn: &Connection, after: i64, limit: u32) -> rusqlite::Result<Page<WorkFact, i64>> {
    let mut statement = conn.prepare_cached(
        "SELECT w.number, w.order_id, w.due_at, w.attempt, w.lapses, w.token, w.claimed_at, \
         CASE WHEN o.order_id = w.order_id THEN o.processing = 'queued' END, w.trace, \
         CASE WHEN o.order_id = w.order_id AND o.tenant <> w.tenant THEN w.tenant END, \
         w.desk, CASE WHEN o.order_id = w.order_id THEN o.source END \
         FROM work w LEFT JOIN orders o USING (number) WHERE w.number > ?1 ORDER BY w.number LIMIT ?2",
    )?;
    let mut rows = statement.query(params![after, limit])?;
    let (mut page, mut broken) = (Page::default(), None);
    while let Some(row) = next(&mut rows, &mut broken)? {
        let number: i64 = row.get(0)?;
        page.last = Some(number);
        match lenient(row, work_fact(row), |_| ("work", format!("number {number}")))? {
            Ok(fact) => page.rows.push(fact),
            Err(unreadable) => page.unreadable.push(unreadable),
        }
    }
    drop(rows);
    if let Some(error) = broken {
        let from = page.last.unwrap_or(after);
        let to = damage::past(from, |after| first(&mut statement, params![after, 1]))?;
        page.unreadable.push(damaged("work", "numbers", (from, to), &error));
        page.last = Some(to);
    }
    Ok(page)
}

fn work_fact(row: &Row<'_>) -> rusqlite::Result<WorkFact> {
    let token: Option<[u8; 16]> = row.get(5)?;
    let claimed_at: Option<i64> = row.get(6)?;
    let work = Work {
        order_id: OrderId(uuid(row, 1)?),
        due_at: Timestamp::from_micros(row.get(2)?),
        attempt: row.get(3)?,
        lapses: row.get(4)?,
        token: token.map(|token| LeaseToken(uuid::Uuid::from_bytes(token))),
        claimed_at: claimed_at.map(Timestamp::from_micros),
        trace: trace(row, 8)?,
    };
    let other_tenant = row.get_ref(9)?.as_bytes_or_null().ok().flatten();
    let other_tenant = other_tenant.map(|tenant| String::from_utf8_lossy(tenant).into_owned());
    // A source that does not read is told where orders are read.
    let source = row.get_ref(11)?.as_str_or_null().ok().flatten();
    let desk = row.get(10)?;
    let other_desk = source.and_then(|source| Desk::other(desk, source));
    Ok(WorkFact { work, wanted: row.get(7)?, other_tenant, other_desk })
}
