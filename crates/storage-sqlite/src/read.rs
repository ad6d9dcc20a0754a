//! Reads of one order, of the journal and of followers; shared by the writer and the readers.

use crate::apply::load_number;
use crate::ids::OrderIds;
use crate::rows::{EVENT_COLUMNS, blob, collect, event, last_place, place, position, uuid};
use crate::streams;
use order_core::clock::Timestamp;
use order_core::desk::Desks;
use order_core::ids::{LeaseToken, OrderId, RedriveId, Shard, SourceId, TenantId};
use order_core::journal::{Cursor, Event, Head, Mark};
use order_core::order::event::EventType;
use order_core::query::{EventPage, FollowerRow, OrderDossier, PAGE_BYTES_MAX, PageWeight, Tally};
use order_core::redrive::{Redrive, RedriveFilter, RedriveItem};
use order_core::replay::Replay;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};
use std::collections::VecDeque;
use std::sync::LazyLock;

pub(crate) static EVENT_AT: LazyLock<String> =
    LazyLock::new(|| ["SELECT ", EVENT_COLUMNS, " FROM journal WHERE place = ?1"].concat());
static EVENTS_AFTER: LazyLock<String> = LazyLock::new(|| {
    let tail = " FROM journal WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3";
    ["SELECT ", EVENT_COLUMNS, tail].concat()
});

/// The events of the order whose newest one lies at `position`, newest first, as far as they are kept, each given to
/// `look` until that returns false. Stops where the chain does not lead backwards: an audit sees that a version is
/// missing.
pub(crate) fn chain(
    conn: &Connection,
    shard: Shard,
    position: u64,
    mut look: impl FnMut(Event) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(&EVENT_AT)?;
    let mut next = position;
    while next > 0 {
        let Some(found) = statement.query_row([place(shard, next)], event).optional()? else { break };
        if found.prev_position >= next {
            break;
        }
        next = found.prev_position;
        if !look(found)? {
            break;
        }
    }
    Ok(())
}

/// The newest `events_max` events of the order whose newest one lies at `position`, oldest first; none beyond the one
/// that makes a page full.
fn newest(conn: &Connection, shard: Shard, position: u64, events_max: usize) -> rusqlite::Result<Vec<Event>> {
    let (mut events, mut weight) = (Vec::new(), PageWeight::default());
    if events_max > 0 {
        chain(conn, shard, position, |event| {
            weight.add_event(&event);
            events.push(event);
            Ok(events.len() < events_max && !weight.is_full())
        })?;
    }
    events.reverse();
    Ok(events)
}

/// Events of the order of `tenant`, behind version `after`.
pub(crate) fn order_events(
    conn: &Connection,
    ids: &OrderIds,
    shard: Shard,
    (tenant, order_id): (&TenantId, OrderId),
    (after, limit): (u64, u32),
) -> rusqlite::Result<Option<EventPage>> {
    // Before the snapshot begins: what is merged meanwhile leaves the memory and is not in the snapshot.
    let Some(number) = ids.number(conn, order_id)? else { return Ok(None) };
    let snapshot = conn.unchecked_transaction()?;
    match load_number(&snapshot, number)? {
        Some((order, _)) if order.tenant == *tenant => {
            page_of_chain(&snapshot, shard, order.last_position, after, limit).map(Some)
        }
        _ => Ok(None),
    }
}

/// Events behind version `after` of the order whose newest one lies at `position`. The chain leads backwards only, so it is
/// walked to there first: of each event a few numbers are read, of which no more are kept than the page may have.
fn page_of_chain(
    conn: &Connection,
    shard: Shard,
    position: u64,
    after: u64,
    limit: u32,
) -> rusqlite::Result<EventPage> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut link = conn.prepare_cached("SELECT version, prev_position FROM journal WHERE place = ?1")?;
    let (mut oldest, mut next, mut newer) = (VecDeque::new(), position, false);
    while next > 0 {
        let read = |row: &Row<'_>| Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?));
        let Some((version, before)) = link.query_row([place(shard, next)], read).optional()? else { break };
        if version <= after || before >= next {
            break;
        }
        if oldest.len() >= limit {
            oldest.pop_back();
            newer = true;
        }
        oldest.push_front(next);
        next = before;
    }
    let mut statement = conn.prepare_cached(&EVENT_AT)?;
    let (mut page, mut weight) = (EventPage::default(), PageWeight::default());
    for position in &oldest {
        if weight.is_full() {
            break;
        }
        let found = statement.query_row([place(shard, *position)], event)?;
        weight.add_event(&found);
        page.events.push(found);
    }
    let more = newer || page.events.len() < oldest.len();
    page.next = page.events.last().filter(|_| more).map(|event| event.version);
    Ok(page)
}

/// An order, whoever owns it, with its work and its newest events, in one snapshot.
pub(crate) fn dossier(
    conn: &Connection,
    ids: &OrderIds,
    shards: u16,
    order_id: OrderId,
    events_max: u32,
) -> rusqlite::Result<Option<OrderDossier>> {
    // Before the snapshot begins: what is merged meanwhile leaves the memory and is not in the snapshot.
    let Some(number) = ids.number(conn, order_id)? else { return Ok(None) };
    let snapshot = conn.unchecked_transaction()?;
    let Some((order, work)) = load_number(&snapshot, number)? else { return Ok(None) };
    let events_max = usize::try_from(events_max).unwrap_or(usize::MAX);
    let events = newest(&snapshot, order_id.shard(shards), order.last_position, events_max)?;
    Ok(Some(OrderDossier { order, events, work, found: true }))
}

/// Events of one shard behind `after`, at most `limit` of them and about [`PAGE_BYTES_MAX`].
pub(crate) fn journal(
    conn: &Connection,
    shard: Shard,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<Event>> {
    let mut statement = conn.prepare_cached(&EVENTS_AFTER)?;
    let mut rows = statement.query(params![place(shard, after), last_place(shard), limit])?;
    let (mut events, mut bytes) = (Vec::new(), 0);
    while bytes < PAGE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let event = event(row)?;
        bytes += event.data.len();
        events.push(event);
    }
    Ok(events)
}

/// The events at `places`, in that order, until a page is full.
pub(crate) fn events_at(conn: &Connection, places: &[(Shard, u64)]) -> rusqlite::Result<Vec<Option<Event>>> {
    let mut statement = conn.prepare_cached(&EVENT_AT)?;
    let (mut events, mut weight) = (Vec::with_capacity(places.len()), PageWeight::default());
    for (shard, position) in places {
        if weight.is_full() {
            break;
        }
        let found = statement.query_row([place(*shard, *position)], event).optional()?;
        found.iter().for_each(|event| weight.add_event(event));
        events.push(found);
    }
    Ok(events)
}

/// The same as [`journal`], without what the events hold.
pub(crate) fn marks(conn: &Connection, shard: Shard, after: u64, limit: u32) -> rusqlite::Result<Vec<Mark>> {
    let mut statement = conn.prepare_cached(
        "SELECT place, order_id, type FROM journal WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT ?3",
    )?;
    collect(&mut statement, params![place(shard, after), last_place(shard), limit], |row| {
        Ok(Mark {
            position: position(row.get(0)?),
            order_id: OrderId(uuid(row, 1)?),
            kind: EventType::from_word(row.get_ref(2)?.as_str()?),
        })
    })
}

/// The head of every shard.
pub(crate) fn heads(conn: &Connection, shards: u16) -> rusqlite::Result<Vec<Head>> {
    let mut statement = conn.prepare_cached(
        "SELECT coalesce((SELECT floor FROM journal_heads WHERE shard = ?1), 0), \
         (SELECT max(place) FROM journal WHERE place BETWEEN ?2 AND ?3)",
    )?;
    (0..shards).map(Shard).map(|shard| head(&mut statement, shard)).collect()
}

fn head(statement: &mut Statement<'_>, shard: Shard) -> rusqlite::Result<Head> {
    statement.query_row(params![shard.0, place(shard, 0), last_place(shard)], |row| {
        let floor: u64 = row.get(0)?;
        Ok(Head { shard, floor, position: row.get::<_, Option<i64>>(1)?.map_or(floor, position) })
    })
}

/// One follower.
pub(crate) fn follower(conn: &Connection, name: &str, shards: u16) -> rusqlite::Result<Option<FollowerRow>> {
    let row = conn
        .prepare_cached(
            "SELECT name, sink, paused, epoch, created_at, updated_at, parked FROM followers WHERE name = ?1",
        )?
        .query_row([name], follower_row)
        .optional()?;
    row.map(|row| with_positions(conn, row, shards)).transpose()
}

/// All followers, by name.
pub(crate) fn followers(conn: &Connection, shards: u16) -> rusqlite::Result<Vec<FollowerRow>> {
    let mut statement = conn.prepare_cached(
        "SELECT name, sink, paused, epoch, created_at, updated_at, parked FROM followers ORDER BY name",
    )?;
    let rows = collect(&mut statement, params![], follower_row)?;
    rows.into_iter().map(|row| with_positions(conn, row, shards)).collect()
}

pub(crate) fn follower_row(row: &Row<'_>) -> rusqlite::Result<FollowerRow> {
    Ok(FollowerRow {
        name: row.get(0)?,
        sink: row.get(1)?,
        paused: row.get(2)?,
        cursor: Cursor { epoch: row.get(3)?, positions: Vec::new() },
        replay: None,
        holders: Vec::new(),
        relays: Vec::new(),
        parked: row.get(6)?,
        created_at: Timestamp::from_micros(row.get(4)?),
        updated_at: Timestamp::from_micros(row.get(5)?),
    })
}

fn with_positions(conn: &Connection, mut row: FollowerRow, shards: u16) -> rusqlite::Result<FollowerRow> {
    row.cursor.positions = vec![0; usize::from(shards)];
    row.holders = vec![None; usize::from(shards)];
    row.relays = streams::relays(conn, &row.name)?;
    let mut statement = conn.prepare_cached(
        "SELECT shard, position, replay_next, replay_up_to, token FROM cursors WHERE follower = ?1",
    )?;
    let mut rows = statement.query([&row.name])?;
    let none = || Replay { next: vec![0; usize::from(shards)], up_to: vec![0; usize::from(shards)] };
    while let Some(cursor) = rows.next()? {
        let shard: usize = cursor.get(0)?;
        let Some(position) = row.cursor.positions.get_mut(shard) else { continue };
        *position = cursor.get(1)?;
        if !matches!(cursor.get_ref(4)?, ValueRef::Null) {
            row.holders[shard] = Some(LeaseToken(uuid(cursor, 4)?));
        }
        if let (Some(next), Some(up_to)) = (cursor.get(2)?, cursor.get(3)?) {
            let replay = row.replay.get_or_insert_with(none);
            (replay.next[shard], replay.up_to[shard]) = (next, up_to);
        }
    }
    Ok(row)
}

/// Leased work comes first, of which there is little; the planner, left alone, may begin with the orders, all of them.
const TALLY: &str = "SELECT orders, queued, processed, parked, processing_micros, \
     (SELECT count(*) FROM work w INDEXED BY work_leased CROSS JOIN orders o USING (number) \
      WHERE w.token IS NOT NULL AND w.due_at > ?3 AND o.tenant = ?1 AND o.source = ?2) \
     FROM tallies WHERE tenant = ?1 AND source = ?2";

/// As [`TALLY`], of all tenants.
const TALLIES: &str = "SELECT coalesce(sum(orders), 0), coalesce(sum(queued), 0), coalesce(sum(processed), 0), \
     coalesce(sum(parked), 0), coalesce(sum(processing_micros), 0), \
     (SELECT count(*) FROM work w INDEXED BY work_leased CROSS JOIN orders o USING (number) \
      WHERE w.token IS NOT NULL AND w.due_at > ?2 AND o.source = ?1) \
     FROM tallies WHERE source = ?1";

/// Counts of one tenant's orders of one source; one statement, so one snapshot.
pub(crate) fn tally(
    conn: &Connection,
    tenant: &TenantId,
    source: &SourceId,
    now: Timestamp,
) -> rusqlite::Result<Tally> {
    let tally = conn
        .prepare_cached(TALLY)?
        .query_row(params![tenant.as_str(), source.as_str(), now.micros()], tally_row)
        .optional()?;
    Ok(tally.unwrap_or_default())
}

fn tally_row(row: &Row<'_>) -> rusqlite::Result<Tally> {
    Ok(Tally {
        orders: row.get(0)?,
        queued: row.get(1)?,
        processed: row.get(2)?,
        parked: row.get(3)?,
        processing_micros: row.get(4)?,
        running: row.get(5)?,
    })
}

/// Counts of all tenants' orders, source by source, in one snapshot.
pub(crate) fn tallies(
    conn: &Connection,
    sources: &[SourceId],
    now: Timestamp,
) -> rusqlite::Result<Vec<Tally>> {
    let snapshot = conn.unchecked_transaction()?;
    let mut kept = snapshot.prepare_cached(TALLIES)?;
    sources.iter().map(|source| kept.query_row(params![source.as_str(), now.micros()], tally_row)).collect()
}

/// When the next work of a tenant at some desks is due.
pub(crate) fn next_due(
    conn: &Connection,
    tenant: &TenantId,
    desks: Desks,
) -> rusqlite::Result<Option<Timestamp>> {
    let mut first = conn.prepare_cached("SELECT min(due_at) FROM work WHERE tenant = ?1 AND desk = ?2")?;
    let mut due: Option<i64> = None;
    for desk in desks.iter() {
        let found: Option<i64> =
            first.query_row(params![tenant.as_str(), desk.number()], |row| row.get(0))?;
        due = due.into_iter().chain(found).min();
    }
    Ok(due.map(Timestamp::from_micros))
}

/// One redrive job.
pub(crate) fn redrive(conn: &Connection, redrive_id: RedriveId) -> rusqlite::Result<Option<Redrive>> {
    conn.prepare_cached(
        "SELECT tenant, filter, reason, by, finished, redriven, refused, created_at, updated_at, next, up_to \
         FROM redrives WHERE redrive_id = ?1",
    )?
    .query_row([blob(&redrive_id.0)], |row| {
        let unreadable = |index, why: &str| {
            rusqlite::Error::FromSqlConversionFailure(
                index,
                rusqlite::types::Type::Text,
                why.to_owned().into(),
            )
        };
        let tenant: String = row.get(0)?;
        let filter: String = row.get(1)?;
        Ok(Redrive {
            redrive_id,
            tenant: TenantId::new(&tenant).map_err(|error| unreadable(0, &error.to_string()))?,
            filter: RedriveFilter::from_text(&filter).ok_or_else(|| unreadable(1, "no filter"))?,
            reason: row.get(2)?,
            by: row.get(3)?,
            finished: row.get(4)?,
            redriven: row.get(5)?,
            refused: row.get(6)?,
            created_at: Timestamp::from_micros(row.get(7)?),
            updated_at: Timestamp::from_micros(row.get(8)?),
            next: row.get(9)?,
            up_to: row.get(10)?,
        })
    })
    .optional()
}

/// Results of a redrive job behind result number `after`.
pub(crate) fn redrive_items(
    conn: &Connection,
    redrive_id: RedriveId,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<RedriveItem>> {
    let mut statement = conn.prepare_cached(
        "SELECT order_id, result FROM redrive_items WHERE redrive_id = ?1 AND item > ?2 ORDER BY item LIMIT ?3",
    )?;
    collect(&mut statement, params![blob(&redrive_id.0), after, limit], |row| {
        Ok(RedriveItem { order_id: OrderId(uuid(row, 0)?), result: row.get(1)? })
    })
}

/// Redrive jobs that are not finished.
pub(crate) fn open_redrives(conn: &Connection) -> rusqlite::Result<Vec<RedriveId>> {
    let mut statement =
        conn.prepare_cached("SELECT redrive_id FROM redrives WHERE finished = 0 ORDER BY redrive_id")?;
    collect(&mut statement, params![], |row| Ok(RedriveId(uuid(row, 0)?)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::migrate::migrate;
    use std::path::Path;

    /// A count that looks at every order is quick in a test and slow after a year.
    #[test]
    fn counts_look_at_leased_work_alone() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn, Path::new("in memory"), Timestamp::from_micros(1)).unwrap();
        for sql in [TALLY, TALLIES] {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let count = statement.parameter_count();
            let unbound = rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, count));
            let plan: Vec<String> =
                statement.query_map(unbound, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let work = plan.iter().position(|step| step.starts_with("SCAN w USING INDEX work_leased"));
            let order = plan.iter().position(|step| step == "SEARCH o USING INTEGER PRIMARY KEY (rowid=?)");
            assert!(work.is_some() && work < order, "{plan:#?}");
        }
    }
}
