//! Which node holds which shards of a follower, and what is parked for it. The row of the follower is locked.

use super::{Applied, Batch};
use crate::rows::{Moment, big, small};
use order_core::Rejection;
use order_core::command::{Advance, Reply};
use order_core::ids::OrderId;
use order_core::share::Share;
use uuid::Uuid;

const LEAVE: &str = "DELETE FROM relays WHERE follower = $1 AND (until <= $2 OR token = $3)";

const KEEP: &str = "INSERT INTO relays (follower, token, until, fault) VALUES ($1, $2, $3, $4)";

const HOLD: &str = "UPDATE cursors c SET token = n.token \
     FROM unnest($2::smallint[], $3::uuid[]) AS n (shard, token) WHERE c.follower = $1 AND c.shard = n.shard";

const READ: &str = "SELECT n.order_id, p.from_version FROM unnest($2::smallint[], $3::uuid[]) AS n (shard, order_id) \
     LEFT JOIN parked_streams p ON p.follower = $1 AND p.shard = n.shard AND p.order_id = n.order_id";

const GO: &str = "DELETE FROM parked_streams p USING unnest($2::smallint[], $3::uuid[]) AS n (shard, order_id) \
     WHERE p.follower = $1 AND p.shard = n.shard AND p.order_id = n.order_id";

const MOVE: &str = "UPDATE parked_streams p SET from_version = n.next \
     FROM unnest($2::smallint[], $3::uuid[], $4::bigint[]) AS n (shard, order_id, next) \
     WHERE p.follower = $1 AND p.shard = n.shard AND p.order_id = n.order_id";

const PARK: &str = "INSERT INTO parked_streams AS p \
     (follower, shard, order_id, tenant, from_version, refused_version, reason, detail, parked_at, redriving) \
     VALUES ($1, $2, $3, $4, $5, $5, $6, $7, $8, $9) \
     ON CONFLICT (follower, shard, order_id) DO UPDATE SET from_version = excluded.from_version, \
     refused_version = excluded.refused_version, \
     reason = excluded.reason, detail = excluded.detail, parked_at = excluded.parked_at, \
     redriving = excluded.redriving WHERE p.from_version >= excluded.from_version";

const COUNT: &str = "UPDATE followers SET parked = (SELECT count(*) FROM parked_streams WHERE follower = $1) \
     WHERE name = $1";

const REDRIVE_ALL: &str = "UPDATE parked_streams SET redriving = true WHERE follower = $1 AND NOT redriving";

const REDRIVE: &str = "UPDATE parked_streams SET redriving = true \
     WHERE follower = $1 AND NOT redriving AND (shard, order_id) IN \
     (SELECT * FROM unnest($2::smallint[], $3::uuid[]))";

/// Also those on their way, but each refused event once.
const SKIP_ALL: &str = "UPDATE parked_streams SET redriving = true, from_version = refused_version + 1 \
     WHERE follower = $1 AND from_version = refused_version";

const SKIP: &str = "UPDATE parked_streams SET redriving = true, from_version = refused_version + 1 \
     WHERE follower = $1 AND from_version = refused_version AND (shard, order_id) IN \
     (SELECT * FROM unnest($2::smallint[], $3::uuid[]))";

impl Batch<'_> {
    pub(super) async fn share(&mut self, share: &Share) -> Applied {
        let row = self.follower_row(&share.follower).await?.ok_or(Rejection::FollowerUnknown)?;
        let (name, token) = (&share.follower, share.token.0);
        self.conn.execute(LEAVE, &[name, &Moment(share.now), &token]).await?;
        if let Some(until) = share.until {
            self.conn.execute(KEEP, &[name, &token, &Moment(until), &share.fault]).await?;
        }
        let changes = share.changes(&row);
        if !changes.is_empty() {
            let shards: Vec<i16> = changes.iter().map(|(shard, _)| small(*shard)).collect();
            let holders: Vec<Option<Uuid>> =
                changes.iter().map(|(_, holder)| holder.map(|holder| holder.0)).collect();
            self.conn.execute(HOLD, &[name, &shards, &holders]).await?;
        }
        Ok(Reply::Done)
    }

    fn keys(&self, orders: impl Iterator<Item = OrderId> + Clone) -> (Vec<i16>, Vec<Uuid>) {
        (orders.clone().map(|id| small(self.shard(id))).collect(), orders.map(|id| id.0).collect())
    }

    /// What was sent again must be parked as it was when it was read.
    pub(super) async fn check_resent(&self, advance: &Advance) -> Applied<()> {
        if advance.resent.is_empty() {
            return Ok(());
        }
        let (shards, ids) = self.keys(advance.resent.iter().map(|resent| resent.order_id));
        for row in self.conn.query(READ, &[&advance.follower, &shards, &ids]).await? {
            let (id, from): (Uuid, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            let was = advance.resent.iter().find(|resent| resent.order_id.0 == id);
            if from.is_none() || from != was.map(|was| big(was.from_version)) {
                return Err(Rejection::CursorInvalid.into());
            }
        }
        Ok(())
    }

    /// Moves what was sent again, then parks what was refused.
    pub(super) async fn park(&self, advance: &Advance) -> Applied<()> {
        let Advance { follower, resent, parked, .. } = advance;
        if resent.is_empty() && parked.is_empty() {
            return Ok(());
        }
        let gone = resent.iter().filter(|resent| resent.next.is_none());
        let (shards, ids) = self.keys(gone.map(|resent| resent.order_id));
        self.conn.execute(GO, &[follower, &shards, &ids]).await?;
        let moved = resent.iter().filter(|resent| resent.next.is_some());
        let (shards, ids) = self.keys(moved.map(|resent| resent.order_id));
        let next: Vec<i64> = resent.iter().filter_map(|resent| resent.next.map(big)).collect();
        self.conn.execute(MOVE, &[follower, &shards, &ids, &next]).await?;
        for stream in parked {
            let (shard, version, at) =
                (small(stream.shard), big(stream.from_version), Moment(stream.parked_at));
            let (tenant, reason) = (stream.tenant.as_str(), stream.reason.name());
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
                follower,
                &shard,
                &stream.order_id.0,
                &tenant,
                &version,
                &reason,
                &stream.detail,
                &at,
                &stream.redriving,
            ];
            self.conn.execute(PARK, &values).await?;
        }
        self.conn.execute(COUNT, &[follower]).await?;
        Ok(())
    }

    /// Has parked orders sent again that are not on their way yet, or leaves out what was refused of them; tells how many.
    pub(super) async fn redrive_streams(
        &self,
        follower: &str,
        orders: Option<&[OrderId]>,
        skips: bool,
    ) -> Applied {
        let (all, some) = if skips { (SKIP_ALL, SKIP) } else { (REDRIVE_ALL, REDRIVE) };
        let count = match orders {
            None => self.conn.execute(all, &[&follower]).await?,
            Some(orders) => {
                let (shards, ids) = self.keys(orders.iter().copied());
                self.conn.execute(some, &[&follower, &shards, &ids]).await?
            }
        };
        Ok(Reply::Redriven(count))
    }
}
