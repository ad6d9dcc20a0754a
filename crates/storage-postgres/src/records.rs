//! Rows of what there is little of, as the core's types: followers, redrives, API keys, the action log.

use crate::connect::Conn;
use crate::error::Tried;
use crate::rows::{Moment, bytes32, maybe_bytes32, maybe_time, number, text, time, unreadable};
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::api_key::{ApiKey, ApiKeyId, KeyHash, Previous};
use order_core::ids::{LeaseToken, RedriveId};
use order_core::journal::Cursor;
use order_core::query::FollowerRow;
use order_core::redrive::{Redrive, RedriveFilter};
use order_core::replay::Replay;
use order_core::share::Relay;
use tokio_postgres::Row;
use uuid::Uuid;

/// The columns that [`api_key`] reads, with what comes after.
macro_rules! select_api_keys {
    ($tail:literal) => {
        concat!(
            "SELECT number, key_id, tenant, name, scopes, hash, previous_hash, previous_until, created_at, \
             created_by, expires_at, rotated_at, last_used_at, revoked_at FROM api_keys ",
            $tail
        )
    };
}
pub(crate) use select_api_keys;

/// The columns that [`redrive`] reads, with what comes after.
macro_rules! select_redrives {
    ($tail:literal) => {
        concat!(
            "SELECT redrive_id, tenant, filter, reason, by, finished, redriven, refused, created_at, updated_at, next, \
             up_to FROM redrives ",
            $tail
        )
    };
}
pub(crate) use select_redrives;

/// The columns that [`action`] reads, with what comes after.
macro_rules! select_actions {
    ($tail:literal) => {
        concat!(
            "SELECT number, epoch, tenant, by, address, request_id, kind, subject, details, state_before, \
             state_after, at, previous, hash FROM actions ",
            $tail
        )
    };
}
pub(crate) use select_actions;

/// An API key.
pub(crate) fn api_key(row: &Row) -> Tried<ApiKey> {
    let previous = match (maybe_bytes32(row, 6)?, maybe_time(row, 7)?) {
        (Some(hash), Some(until)) => Some(Previous { hash: KeyHash(hash), until }),
        _ => None,
    };
    let key_id: &[u8] = row.try_get(1)?;
    Ok(ApiKey {
        number: row.try_get(0)?,
        key_id: ApiKeyId(key_id.try_into().map_err(|_| unreadable("key_id", "of another length"))?),
        tenant: text(row, 2)?,
        name: row.try_get(3)?,
        scopes: row.try_get(4)?,
        hash: KeyHash(bytes32(row, 5)?),
        previous,
        created_at: time(row, 8)?,
        created_by: row.try_get(9)?,
        expires_at: maybe_time(row, 10)?,
        rotated_at: maybe_time(row, 11)?,
        last_used_at: maybe_time(row, 12)?,
        revoked_at: maybe_time(row, 13)?,
    })
}

/// A redrive job.
pub(crate) fn redrive(row: &Row) -> Tried<Redrive> {
    let filter: &str = row.try_get(2)?;
    Ok(Redrive {
        redrive_id: RedriveId(row.try_get(0)?),
        tenant: text(row, 1)?,
        filter: RedriveFilter::from_text(filter).ok_or_else(|| unreadable("filter", filter))?,
        reason: row.try_get(3)?,
        by: row.try_get(4)?,
        finished: row.try_get(5)?,
        redriven: number::<_, i64>(row, 6)?,
        refused: number::<_, i64>(row, 7)?,
        created_at: time(row, 8)?,
        updated_at: time(row, 9)?,
        next: row.try_get(10)?,
        up_to: row.try_get(11)?,
    })
}

/// A row of the action log.
pub(crate) fn action(row: &Row) -> Tried<Action> {
    Ok(Action {
        number: number::<_, i64>(row, 0)?,
        epoch: number::<_, i32>(row, 1)?,
        tenant: text(row, 2)?,
        by: row.try_get(3)?,
        address: row.try_get(4)?,
        request_id: row.try_get(5)?,
        kind: row.try_get(6)?,
        subject: row.try_get(7)?,
        details: row.try_get(8)?,
        before: maybe_bytes32(row, 9)?,
        after: maybe_bytes32(row, 10)?,
        at: time(row, 11)?,
        previous: bytes32(row, 12)?,
        hash: bytes32(row, 13)?,
    })
}

/// The end of the chain through the action log, as it is kept apart from the rows.
pub(crate) async fn action_end(conn: &Conn, installation_id: Uuid) -> Tried<Link> {
    let row = conn.query_one("SELECT value FROM latches WHERE name = 'actions'", &[]).await?;
    match row.try_get::<_, Option<&[u8]>>(0)? {
        None => Ok(Link::first(installation_id)),
        Some(bytes) => {
            Link::from_bytes(bytes).ok_or_else(|| unreadable("the end of the action log", "no link"))
        }
    }
}

/// Followers with their cursors: the one of that name, or all of them, by name.
pub(crate) async fn followers(conn: &Conn, name: Option<&str>, shards: u16) -> Tried<Vec<FollowerRow>> {
    let rows = conn
        .query(
            "SELECT f.name, f.sink, f.paused, f.epoch, f.created_at, f.updated_at, \
             array(SELECT c.shard FROM cursors c WHERE c.follower = f.name ORDER BY c.shard), \
             array(SELECT c.position FROM cursors c WHERE c.follower = f.name ORDER BY c.shard), \
             array(SELECT c.replay_next FROM cursors c WHERE c.follower = f.name ORDER BY c.shard), \
             array(SELECT c.replay_up_to FROM cursors c WHERE c.follower = f.name ORDER BY c.shard), \
             array(SELECT c.token FROM cursors c WHERE c.follower = f.name ORDER BY c.shard), \
             array(SELECT r.token FROM relays r WHERE r.follower = f.name ORDER BY r.token), \
             array(SELECT r.until FROM relays r WHERE r.follower = f.name ORDER BY r.token), \
             array(SELECT r.fault FROM relays r WHERE r.follower = f.name ORDER BY r.token), f.parked \
             FROM followers f WHERE $1::text IS NULL OR f.name = $1 ORDER BY f.name",
            &[&name],
        )
        .await?;
    rows.iter().map(|row| follower(row, shards)).collect()
}

fn follower(row: &Row, shards: u16) -> Tried<FollowerRow> {
    let none = || vec![0; usize::from(shards)];
    let (mut positions, mut replay) = (none(), None);
    let (of, at): (Vec<i16>, Vec<i64>) = (row.try_get(6)?, row.try_get(7)?);
    let (next, up_to): (Vec<Option<i64>>, Vec<Option<i64>>) = (row.try_get(8)?, row.try_get(9)?);
    let (holding, mut holders): (Vec<Option<Uuid>>, _) = (row.try_get(10)?, vec![None; usize::from(shards)]);
    let place = |position: i64| u64::try_from(position).map_err(|error| unreadable("position", error));
    for ((((shard, position), next), up_to), token) in
        of.into_iter().zip(at).zip(next).zip(up_to).zip(holding)
    {
        let index = usize::try_from(shard).ok().filter(|index| *index < positions.len());
        let index = index.ok_or_else(|| unreadable("shard", shard))?;
        positions[index] = place(position)?;
        holders[index] = token.map(LeaseToken);
        if let (Some(next), Some(up_to)) = (next, up_to) {
            let replay = replay.get_or_insert_with(|| Replay { next: none(), up_to: none() });
            (replay.next[index], replay.up_to[index]) = (place(next)?, place(up_to)?);
        }
    }
    Ok(FollowerRow {
        name: row.try_get(0)?,
        sink: row.try_get(1)?,
        paused: row.try_get(2)?,
        cursor: Cursor { epoch: number::<_, i32>(row, 3)?, positions },
        replay,
        holders,
        relays: relays(row)?,
        parked: number::<_, i64>(row, 14)?,
        created_at: time(row, 4)?,
        updated_at: time(row, 5)?,
    })
}

fn relays(row: &Row) -> Tried<Vec<Relay>> {
    let (tokens, until): (Vec<Uuid>, Vec<Moment>) = (row.try_get(11)?, row.try_get(12)?);
    let faults: Vec<Option<String>> = row.try_get(13)?;
    let relays = tokens.into_iter().zip(until).zip(faults);
    Ok(relays
        .map(|((token, until), fault)| Relay { token: LeaseToken(token), until: until.0, fault })
        .collect())
}
