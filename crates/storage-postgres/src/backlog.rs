//! How much waits, and since when: for metrics, which are asked for every few seconds, whatever the database holds.

use crate::connect::Conn;
use crate::error::Tried;
use crate::read::ended;
use crate::readers::Readers;
use crate::records;
use crate::rows::{self, Moment, big, maybe_time, number};
use order_core::clock::Timestamp;
use order_core::desk::Desks;
use order_core::journal::Cursor;
use order_core::query::{Backlog, DUE_COUNT_MAX, PARKED_LOOKED_AT, REDRIVES_LOOKED_AT};

/// Tallies that are added up; beyond so many, the rest is left out.
const TALLIES_MAX: i64 = 200_000;

const COUNTS: &str = "SELECT \
     (SELECT coalesce(sum(queued), 0)::bigint FROM (SELECT queued FROM tallies LIMIT $3) t), \
     (SELECT count(*) FROM (SELECT FROM unnest($5::smallint[]) d (desk) CROSS JOIN LATERAL ( \
         SELECT FROM work WHERE desk = d.desk AND due_at <= $1 ORDER BY due_at LIMIT $2) w LIMIT $2) w), \
     (SELECT min(w.due_at) FROM unnest($5::smallint[]) d (desk) CROSS JOIN LATERAL ( \
         SELECT due_at FROM work WHERE desk = d.desk ORDER BY due_at LIMIT 1) w), \
     (SELECT count(*) FROM work WHERE token IS NOT NULL AND due_at > $1), \
     (SELECT coalesce(sum(parked), 0)::bigint FROM (SELECT parked FROM tallies LIMIT $3) t), \
     (SELECT count(*) FROM redrives WHERE NOT finished), \
     (SELECT min(o.updated_at) FROM (SELECT s.shard, s.order_id \
         FROM (SELECT DISTINCT tenant FROM tallies WHERE parked > 0) t CROSS JOIN LATERAL ( \
           SELECT shard, order_id FROM standings WHERE tenant = t.tenant AND standing = 'parked' \
           ORDER BY number LIMIT $6) s LIMIT $6) s CROSS JOIN LATERAL ( \
         SELECT o.updated_at FROM orders o WHERE o.shard = s.shard AND o.order_id = s.order_id LIMIT 1) o), \
     (SELECT min(r.created_at) FROM (SELECT created_at FROM redrives WHERE NOT finished ORDER BY redrive_id LIMIT $4) r)";

/// Everything, in one snapshot.
pub(crate) async fn backlog(readers: &Readers, shards: u16, now: Timestamp) -> Tried<Backlog> {
    let conn = readers.snapshot().await?;
    let read = read(&conn, shards, now).await;
    ended(conn, read).await
}

async fn read(conn: &Conn, shards: u16, now: Timestamp) -> Tried<Backlog> {
    let desks: Vec<i16> = Desks::ALL.iter().map(rows::desk).collect();
    let (due_max, redrives_max) = (big(DUE_COUNT_MAX), big(REDRIVES_LOOKED_AT));
    let (now, parked_max) = (Moment(now), big(PARKED_LOOKED_AT));
    let counts =
        conn.query_one(COUNTS, &[&now, &due_max, &TALLIES_MAX, &redrives_max, &desks, &parked_max]).await?;
    let mut followers = Vec::new();
    for row in records::followers(conn, None, shards).await? {
        followers.push((row.name, behind_since(conn, &row.cursor).await?));
    }
    Ok(Backlog {
        open: number::<_, i64>(&counts, 0)?,
        due: number::<_, i64>(&counts, 1)?,
        due_since: maybe_time(&counts, 2)?.filter(|due_at| *due_at <= now.0),
        leased: number::<_, i64>(&counts, 3)?,
        parked: number::<_, i64>(&counts, 4)?,
        redrives: number::<_, i64>(&counts, 5)?,
        parked_since: maybe_time(&counts, 6)?,
        redrives_since: maybe_time(&counts, 7)?,
        followers,
        log_pages: None,
    })
}

/// When the oldest event behind a cursor happened: the first one of each shard is looked at.
async fn behind_since(conn: &Conn, cursor: &Cursor) -> Tried<Option<Timestamp>> {
    let positions: Vec<i64> = cursor.positions.iter().copied().map(big).collect();
    let row = conn
        .query_one(
            "SELECT min(e.occurred_at) FROM unnest($1::bigint[]) WITH ORDINALITY AS c (position, nth) \
             JOIN journal_heads h ON h.shard = (c.nth - 1)::smallint \
             CROSS JOIN LATERAL events(h.shard, greatest(c.position, h.floor), greatest(c.position, h.floor) + 1) e",
            &[&positions],
        )
        .await?;
    maybe_time(&row, 0)
}
