//! What audits read: each page in one statement or one short transaction.

use crate::ids::OrderIds;
use crate::read::chain;
use crate::rows::{self, ORDER_COLUMNS, collect, last_place, place, trace, uuid};
use crate::terms::Terms;
use order_core::clock::Timestamp;
use order_core::ids::{LeaseToken, OrderId, Shard};
use order_core::lease::Work;
use order_core::query::{JournalFact, OrderDossier, Tally, TallyFact, WorkFact};
use rusqlite::{Connection, params};

/// Orders of a shard with everything that belongs to them, in one snapshot.
pub(crate) fn dossiers(
    conn: &Connection,
    ids: &OrderIds,
    terms: &Terms,
    shard: Shard,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<OrderDossier>> {
    let snapshot = conn.unchecked_transaction()?;
    let sql = [
        "SELECT ",
        ORDER_COLUMNS,
        " FROM orders o LEFT JOIN work w USING (number) \
         WHERE o.shard = ?1 AND o.number > ?2 ORDER BY o.number LIMIT ?3",
    ]
    .concat();
    let orders = collect(&mut *snapshot.prepare_cached(&sql)?, params![shard.0, after, limit], rows::order)?;
    let mut dossiers = Vec::with_capacity(orders.len());
    for (order, work) in orders {
        let events = chain(&snapshot, shard, order.last_position)?;
        dossiers.push(OrderDossier { order, events, work, found: false });
    }
    // Outside of the snapshot: what has been merged since is no longer in memory.
    drop(snapshot);
    for dossier in &mut dossiers {
        dossier.found = ids.number(conn, dossier.order.id)? == Some(dossier.order.number)
            && terms.lead_to(conn, &dossier.order)?;
    }
    Ok(dossiers)
}

/// Rows of the journal beside their orders.
pub(crate) fn journal_facts(
    conn: &Connection,
    shard: Shard,
    after: u64,
    limit: u32,
) -> rusqlite::Result<Vec<JournalFact>> {
    let mut statement = conn.prepare_cached(
        "SELECT j.position, j.order_id, j.version, o.version FROM journal j \
         LEFT JOIN orders o ON o.number = j.number AND o.order_id = j.order_id \
         WHERE j.place > ?1 AND j.place <= ?2 ORDER BY j.place LIMIT ?3",
    )?;
    collect(&mut statement, params![place(shard, after), last_place(shard), limit], |row| {
        Ok(JournalFact {
            shard,
            position: row.get(0)?,
            order_id: OrderId(uuid(row, 1)?),
            version: row.get(2)?,
            order_version: row.get(3)?,
        })
    })
}

/// Work rows beside their orders.
pub(crate) fn work_facts(conn: &Connection, after: i64, limit: u32) -> rusqlite::Result<Vec<WorkFact>> {
    let mut statement = conn.prepare_cached(
        "SELECT w.number, w.order_id, w.due_at, w.attempt, w.lapses, w.token, w.claimed_at, \
         CASE WHEN o.order_id = w.order_id THEN o.processing = 'queued' END, w.trace \
         FROM work w LEFT JOIN orders o USING (number) WHERE w.number > ?1 ORDER BY w.number LIMIT ?2",
    )?;
    collect(&mut statement, params![after, limit], |row| {
        let token: Option<[u8; 16]> = row.get(5)?;
        let claimed_at: Option<i64> = row.get(6)?;
        Ok(WorkFact {
            key: row.get(0)?,
            work: Work {
                order_id: OrderId(uuid(row, 1)?),
                due_at: Timestamp::from_micros(row.get(2)?),
                attempt: row.get(3)?,
                lapses: row.get(4)?,
                token: token.map(|token| LeaseToken(uuid::Uuid::from_bytes(token))),
                claimed_at: claimed_at.map(Timestamp::from_micros),
                trace: trace(row, 8)?,
            },
            wanted: row.get(7)?,
        })
    })
}

/// Tallies as kept beside what counting gives.
pub(crate) fn tally_facts(conn: &Connection) -> rusqlite::Result<Vec<TallyFact>> {
    let mut statement = conn.prepare_cached(
        "WITH counted AS (SELECT tenant, source, count(*) AS orders, sum(processing = 'queued') AS queued, \
           sum(processing = 'done' AND processed_at IS NOT NULL AND started_at IS NOT NULL) AS processed, \
           sum(processing = 'parked') AS parked, \
           sum(CASE WHEN processing = 'done' AND processed_at IS NOT NULL AND started_at IS NOT NULL \
               THEN max(processed_at - started_at, 0) ELSE 0 END) AS micros FROM orders GROUP BY tenant, source) \
         SELECT tenant, source, coalesce(k.orders, 0), coalesce(k.queued, 0), coalesce(k.processed, 0), \
           coalesce(k.parked, 0), coalesce(k.processing_micros, 0), coalesce(c.orders, 0), coalesce(c.queued, 0), \
           coalesce(c.processed, 0), coalesce(c.parked, 0), coalesce(c.micros, 0) \
         FROM counted c FULL JOIN tallies k USING (tenant, source)",
    )?;
    collect(&mut statement, params![], |row| {
        let tally = |from: usize| -> rusqlite::Result<Tally> {
            Ok(Tally {
                orders: row.get(from)?,
                queued: row.get(from + 1)?,
                running: 0,
                processed: row.get(from + 2)?,
                parked: row.get(from + 3)?,
                processing_micros: row.get(from + 4)?,
            })
        };
        Ok(TallyFact { tenant: row.get(0)?, source: row.get(1)?, kept: tally(2)?, counted: tally(7)? })
    })
}
