//! Which node holds which shards of a follower, and what is parked for it.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use crate::rows::blob;
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::{Advance, Reply};
use order_core::ids::{LeaseToken, OrderId};
use order_core::parking::ParkedStream;
use order_core::share::Share;
use rusqlite::{OptionalExtension, params};

macro_rules! redrive {
    ($which:literal) => {
        concat!("UPDATE parked_streams SET redriving = 1 WHERE follower = ?1 AND redriving = 0", $which)
    };
    // Also those on their way, but each refused event once.
    (skips, $which:literal) => {
        concat!(
            "UPDATE parked_streams SET redriving = 1, from_version = refused_version + 1 \
             WHERE follower = ?1 AND from_version = refused_version",
            $which
        )
    };
}

impl Batch<'_> {
    pub(super) fn share(&self, share: &Share) -> Applied {
        let row = read::follower(self.conn, &share.follower, self.install.shards).map_err(fault)?;
        let row = row.ok_or(Rejection::FollowerUnknown)?;
        let changes = share.changes(&row);
        self.keep_relay(share).map_err(fault)?;
        for (shard, holder) in changes {
            self.conn
                .prepare_cached("UPDATE cursors SET token = ?3 WHERE follower = ?1 AND shard = ?2")
                .and_then(|mut statement| {
                    let token = holder.map(|holder| *holder.0.as_bytes());
                    statement.execute(params![share.follower, shard.0, token])
                })
                .map_err(fault)?;
        }
        Ok(Reply::Done)
    }

    fn keep_relay(&self, share: &Share) -> rusqlite::Result<()> {
        let token = blob(&share.token.0);
        self.conn
            .prepare_cached("DELETE FROM relays WHERE follower = ?1 AND (until <= ?2 OR token = ?3)")?
            .execute(params![share.follower, share.now.micros(), token])?;
        let Some(until) = share.until else { return Ok(()) };
        self.conn
            .prepare_cached("INSERT INTO relays (follower, token, until, fault) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![share.follower, token, until.micros(), share.fault])?;
        Ok(())
    }

    /// Extends the lease of a node that has just moved something.
    pub(super) fn extend(&self, follower: &str, token: LeaseToken, until: Timestamp) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached("UPDATE relays SET until = max(until, ?3) WHERE follower = ?1 AND token = ?2")?
            .execute(params![follower, blob(&token.0), until.micros()])?;
        Ok(())
    }

    /// What was sent again must be parked as it was when it was read.
    pub(super) fn check_resent(&self, advance: &Advance) -> Applied<()> {
        for resent in &advance.resent {
            let from: Option<u64> = self
                .conn
                .prepare_cached(
                    "SELECT from_version FROM parked_streams WHERE follower = ?1 AND shard = ?2 AND order_id = ?3",
                )
                .and_then(|mut statement| {
                    let shard = resent.order_id.shard(self.install.shards).0;
                    let key = params![advance.follower, shard, blob(&resent.order_id.0)];
                    statement.query_row(key, |row| row.get(0)).optional()
                })
                .map_err(fault)?;
            if from != Some(resent.from_version) {
                return Err(Rejection::CursorInvalid.into());
            }
        }
        Ok(())
    }

    /// Moves what was sent again, then parks what was refused.
    pub(super) fn park(&self, advance: &Advance) -> rusqlite::Result<()> {
        for resent in &advance.resent {
            let (shard, id) = (resent.order_id.shard(self.install.shards).0, blob(&resent.order_id.0));
            match resent.next {
                None => self
                    .conn
                    .prepare_cached(
                        "DELETE FROM parked_streams WHERE follower = ?1 AND shard = ?2 AND order_id = ?3",
                    )?
                    .execute(params![advance.follower, shard, id])?,
                Some(next) => self
                    .conn
                    .prepare_cached(
                        "UPDATE parked_streams SET from_version = ?4 \
                         WHERE follower = ?1 AND shard = ?2 AND order_id = ?3",
                    )?
                    .execute(params![advance.follower, shard, id, next])?,
            };
        }
        for stream in &advance.parked {
            self.park_stream(&advance.follower, stream)?;
        }
        if advance.resent.is_empty() && advance.parked.is_empty() {
            return Ok(());
        }
        self.conn
            .prepare_cached(
                "UPDATE followers SET parked = (SELECT count(*) FROM parked_streams WHERE follower = ?1) \
                 WHERE name = ?1",
            )?
            .execute([&advance.follower])?;
        Ok(())
    }

    fn park_stream(&self, follower: &str, stream: &ParkedStream) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO parked_streams (follower, shard, order_id, tenant, from_version, refused_version, \
                 reason, detail, parked_at, redriving) VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, ?7, ?8, ?9) \
                 ON CONFLICT DO UPDATE SET from_version = ?5, refused_version = ?5, reason = ?6, detail = ?7, parked_at = ?8, redriving = ?9 WHERE from_version >= ?5",
            )?
            .execute(params![
                follower,
                stream.shard.0,
                blob(&stream.order_id.0),
                stream.tenant.as_str(),
                stream.from_version,
                stream.reason.name(),
                stream.detail,
                stream.parked_at.micros(),
                stream.redriving,
            ])?;
        Ok(())
    }

    /// Has parked orders sent again that are not on their way yet, or leaves out what was refused of them; returns how many.
    pub(super) fn redrive_streams(
        &self,
        follower: &str,
        orders: Option<&[OrderId]>,
        skips: bool,
    ) -> rusqlite::Result<u64> {
        let Some(orders) = orders else {
            let all = if skips { redrive!(skips, "") } else { redrive!("") };
            return Ok(self.conn.prepare_cached(all)?.execute([follower])? as u64);
        };
        let one = if skips {
            redrive!(skips, " AND shard = ?2 AND order_id = ?3")
        } else {
            redrive!(" AND shard = ?2 AND order_id = ?3")
        };
        let mut one = self.conn.prepare_cached(one)?;
        let mut count = 0;
        for order_id in orders {
            let shard = order_id.shard(self.install.shards).0;
            count += one.execute(params![follower, shard, blob(&order_id.0)])? as u64;
        }
        Ok(count)
    }
}
