//! Orders that are parked for a follower.

use crate::error::Tried;
use crate::readers::Readers;
use crate::rows::{number, small, time, unreadable};
use order_core::ids::{OrderId, Shard, TenantId};
use order_core::parking::{ParkedStream, RefusedFor, WhichStreams};
use tokio_postgres::Row;
use uuid::Uuid;

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT follower, shard, order_id, tenant, from_version, reason, detail, parked_at, redriving \
             FROM parked_streams ",
            $rest
        )
    };
}

/// Those that are asked for, by shard and id.
pub(crate) async fn parked(
    readers: &Readers,
    follower: &str,
    which: &WhichStreams,
    shards: u16,
) -> Tried<Vec<ParkedStream>> {
    let conn = readers.get().await?;
    let rows = match which {
        WhichStreams::Page { after, limit } => {
            let after = after.map_or((-1, Uuid::nil()), |(shard, order_id)| (small(shard), order_id.0));
            let page = select!(
                "WHERE follower = $1 AND (shard, order_id) > ($2, $3) ORDER BY shard, order_id LIMIT $4"
            );
            conn.query(page, &[&follower, &after.0, &after.1, &i64::from(*limit)]).await?
        }
        WhichStreams::Redriving { shards, limit } => {
            let shards: Vec<i16> = shards.iter().copied().map(small).collect();
            let redriving = select!(
                "WHERE follower = $1 AND shard = ANY ($2::smallint[]) AND redriving \
                 ORDER BY shard, order_id LIMIT $3"
            );
            conn.query(redriving, &[&follower, &shards, &i64::from(*limit)]).await?
        }
        WhichStreams::Of(orders) => {
            let of_shards: Vec<i16> = orders.iter().map(|id| small(id.shard(shards))).collect();
            let ids: Vec<Uuid> = orders.iter().map(|id| id.0).collect();
            let named = select!(
                "WHERE follower = $1 AND (shard, order_id) IN \
                 (SELECT * FROM unnest($2::smallint[], $3::uuid[])) ORDER BY shard, order_id"
            );
            conn.query(named, &[&follower, &of_shards, &ids]).await?
        }
    };
    rows.iter().map(stream).collect()
}

/// A row of `parked_streams`: follower, shard, order_id, tenant, from_version, reason, detail, parked_at, redriving.
pub(crate) fn stream(row: &Row) -> Tried<ParkedStream> {
    let (tenant, reason): (String, String) = (row.try_get(3)?, row.try_get(5)?);
    Ok(ParkedStream {
        shard: Shard(number::<_, i16>(row, 1)?),
        order_id: OrderId(row.try_get(2)?),
        tenant: TenantId::new(&tenant).map_err(|error| unreadable("tenant", error))?,
        from_version: number::<_, i64>(row, 4)?,
        reason: RefusedFor::from_name(&reason).ok_or_else(|| unreadable("reason", reason))?,
        detail: row.try_get(6)?,
        parked_at: time(row, 7)?,
        redriving: row.try_get(8)?,
    })
}
