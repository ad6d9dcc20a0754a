//! How much waits: for metrics, which are asked for every few seconds, whatever the database holds.

use crate::read;
use crate::rows::{last_place, place};
use order_core::clock::Timestamp;
use order_core::desk::Desk;
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::query::{Backlog, DUE_COUNT_MAX, REDRIVES_LOOKED_AT};
use rusqlite::{Connection, OptionalExtension, params};

/// Tallies that are added up; beyond so many pairs of tenant and source, the rest is left out.
const TALLIES_MAX: u32 = 50_000;

/// Everything but the log, in one snapshot.
pub(crate) fn backlog(conn: &Connection, shards: u16, now: Timestamp) -> rusqlite::Result<Backlog> {
    let snapshot = conn.unchecked_transaction()?;
    let (open, parked) = snapshot
        .prepare_cached(
            "SELECT coalesce(sum(queued), 0), coalesce(sum(parked), 0) \
             FROM (SELECT queued, parked FROM tallies LIMIT ?1)",
        )?
        .query_row([TALLIES_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let (due, due_since) = snapshot
        .prepare_cached(
            // The index of due work begins with the tenant and the desk: a look into it for each.
            "WITH RECURSIVE tenants (tenant) AS (SELECT min(tenant) FROM work UNION ALL \
               SELECT (SELECT min(tenant) FROM work WHERE tenant > t.tenant) FROM tenants t WHERE t.tenant IS NOT NULL), \
               desks (desk) AS (SELECT 0 UNION ALL SELECT desk + 1 FROM desks WHERE desk < ?3) \
             SELECT (SELECT count(*) FROM (SELECT 1 FROM tenants t CROSS JOIN desks d CROSS JOIN work w \
               WHERE w.tenant = t.tenant AND w.desk = d.desk AND w.due_at <= ?1 LIMIT ?2)), \
             (SELECT min((SELECT min(due_at) FROM work w WHERE w.tenant = t.tenant AND w.desk = d.desk)) \
               FROM tenants t CROSS JOIN desks d)",
        )?
        .query_row(params![now.micros(), DUE_COUNT_MAX, Desk::COUNT - 1], |row| {
            Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?))
        })?;
    let leased = snapshot
        .prepare_cached("SELECT count(*) FROM work WHERE token IS NOT NULL AND due_at > ?1")?
        .query_row([now.micros()], |row| row.get(0))?;
    let parked_since: Option<i64> = snapshot
        .prepare_cached("SELECT min(updated_at) FROM orders WHERE processing = 'parked'")?
        .query_row([], |row| row.get(0))?;
    let (redrives, redrives_since) = snapshot
        .prepare_cached(
            "SELECT (SELECT count(*) FROM redrives WHERE finished = 0), (SELECT min(created_at) FROM \
             (SELECT created_at FROM redrives WHERE finished = 0 ORDER BY redrive_id LIMIT ?1))",
        )?
        .query_row([REDRIVES_LOOKED_AT], |row| Ok((row.get(0)?, row.get::<_, Option<i64>>(1)?)))?;
    let mut followers = Vec::new();
    for row in read::followers(&snapshot, shards)? {
        followers.push((row.name, behind_since(&snapshot, &row.cursor)?));
    }
    Ok(Backlog {
        open,
        due,
        due_since: due_since.map(Timestamp::from_micros).filter(|due_at| *due_at <= now),
        leased,
        parked,
        parked_since: parked_since.map(Timestamp::from_micros),
        redrives,
        redrives_since: redrives_since.map(Timestamp::from_micros),
        followers,
        log_pages: None,
    })
}

/// When the oldest event behind a cursor happened: the first one of each shard is looked at.
fn behind_since(conn: &Connection, cursor: &Cursor) -> rusqlite::Result<Option<Timestamp>> {
    let mut statement = conn.prepare_cached(
        "SELECT occurred_at FROM journal WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT 1",
    )?;
    let mut since: Option<i64> = None;
    for (shard, position) in (0..).map(Shard).zip(&cursor.positions) {
        let ends = params![place(shard, *position), last_place(shard)];
        let found: Option<i64> = statement.query_row(ends, |row| row.get(0)).optional()?;
        since = since.into_iter().chain(found).min();
    }
    Ok(since.map(Timestamp::from_micros))
}
