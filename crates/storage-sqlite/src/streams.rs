//! Orders that are parked for a follower, and the nodes that carry it.

use crate::rows::{blob, collect, text, uuid};
use order_core::clock::Timestamp;
use order_core::ids::{LeaseToken, OrderId, Shard};
use order_core::parking::{ParkedStream, WhichStreams};
use order_core::share::Relay;
use rusqlite::{Connection, Row, params};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT follower, shard, order_id, tenant, from_version, reason, detail, parked_at, redriving FROM parked_streams ",
            $rest
        )
    };
}

/// Those that are asked for, by shard and id.
pub(crate) fn parked(
    conn: &Connection,
    follower: &str,
    which: &WhichStreams,
    shards: u16,
) -> rusqlite::Result<Vec<ParkedStream>> {
    match which {
        WhichStreams::Page { after, limit } => {
            let (shard, order_id) = after.map_or((-1, Vec::new()), |(shard, order_id)| {
                (i64::from(shard.0), blob(&order_id.0).to_vec())
            });
            let mut page = conn.prepare_cached(select!(
                "WHERE follower = ?1 AND (shard, order_id) > (?2, ?3) ORDER BY shard, order_id LIMIT ?4"
            ))?;
            collect(&mut page, params![follower, shard, order_id, limit], stream)
        }
        WhichStreams::Redriving { shards, limit } => {
            let mut found = Vec::new();
            let mut of_shard = conn.prepare_cached(select!(
                "INDEXED BY parked_streams_redriving WHERE follower = ?1 AND shard = ?2 AND redriving = 1 \
                 ORDER BY order_id LIMIT ?3"
            ))?;
            for shard in shards {
                let room = u64::from(*limit).saturating_sub(found.len() as u64);
                found.extend(collect(&mut of_shard, params![follower, shard.0, room], stream)?);
            }
            Ok(found)
        }
        WhichStreams::Of(orders) => {
            let mut found = Vec::new();
            let mut of_order =
                conn.prepare_cached(select!("WHERE follower = ?1 AND shard = ?2 AND order_id = ?3"))?;
            let mut orders: Vec<(Shard, OrderId)> = orders.iter().map(|id| (id.shard(shards), *id)).collect();
            orders.sort_unstable();
            orders.dedup();
            for (shard, order_id) in orders {
                found.extend(collect(&mut of_order, params![follower, shard.0, blob(&order_id.0)], stream)?);
            }
            Ok(found)
        }
    }
}

/// A row of `parked_streams`: follower, shard, order_id, tenant, from_version, reason, detail, parked_at, redriving.
pub(crate) fn stream(row: &Row<'_>) -> rusqlite::Result<ParkedStream> {
    Ok(ParkedStream {
        shard: Shard(row.get(1)?),
        order_id: OrderId(uuid(row, 2)?),
        tenant: text(row, 3)?,
        from_version: row.get(4)?,
        reason: text(row, 5)?,
        detail: row.get(6)?,
        parked_at: Timestamp::from_micros(row.get(7)?),
        redriving: row.get(8)?,
    })
}

/// The nodes that carry a follower, by token.
pub(crate) fn relays(conn: &Connection, follower: &str) -> rusqlite::Result<Vec<Relay>> {
    let mut relays = conn.prepare_cached(
        "SELECT follower, token, until, fault FROM relays WHERE follower = ?1 ORDER BY token",
    )?;
    collect(&mut relays, params![follower], relay)
}

/// A row of `relays`: follower, token, until, fault.
pub(crate) fn relay(row: &Row<'_>) -> rusqlite::Result<Relay> {
    let until = Timestamp::from_micros(row.get(2)?);
    Ok(Relay { token: LeaseToken(uuid(row, 1)?), until, fault: row.get(3)? })
}
