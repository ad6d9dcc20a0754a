//! How many parked orders a filter matches.

use crate::connect::Conn;
use crate::error::Tried;
use crate::readers::Readers;
use crate::rows::small;
use order_core::ids::TenantId;
use order_core::query::SCAN_MAX;
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use std::collections::BTreeSet;

/// Exact, up to [`COUNT_MAX`].
pub(crate) async fn count_parked(
    readers: &Readers,
    shards: u16,
    tenant: &TenantId,
    filter: &RedriveFilter,
) -> Tried<BoundedCount> {
    let conn = readers.get().await?;
    let source = filter.source.as_ref().map(order_core::SourceId::as_str);
    if let Some(order_ids) = &filter.order_ids {
        let named: BTreeSet<_> = order_ids.iter().collect();
        let (of, ids): (Vec<i16>, Vec<_>) =
            named.into_iter().map(|order_id| (small(order_id.shard(shards)), order_id.0)).unzip();
        let row = conn
            .query_one(
                "SELECT count(*) FROM unnest($1::smallint[], $2::uuid[]) AS n (shard, order_id) CROSS JOIN LATERAL ( \
                   SELECT o.tenant, o.processing, o.source, o.last_error FROM orders o \
                   WHERE o.shard = n.shard AND o.order_id = n.order_id LIMIT 1) o \
                 WHERE o.tenant = $3 AND o.processing = 'parked' AND ($4::text IS NULL OR o.source = $4) \
                 AND ($5::text IS NULL OR strpos(o.last_error, $5) > 0)",
                &[&of, &ids, &tenant.as_str(), &source, &filter.error_contains],
            )
            .await?;
        return Ok(bounded(row.try_get(0)?));
    }
    match &filter.error_contains {
        // Of each commit's orders it is kept how many are parked.
        None => {
            let row = conn
                .query_one(
                    "SELECT coalesce(sum(parked), 0)::bigint FROM tallies \
                     WHERE tenant = $1 AND ($2::text IS NULL OR source = $2)",
                    &[&tenant.as_str(), &source],
                )
                .await?;
            Ok(bounded(row.try_get(0)?))
        }
        Some(text) => count_errors(&conn, tenant, source, text).await,
    }
}

/// How many of a tenant's parked orders have an error that contains a text. Each step is a read of its own, so that no
/// snapshot is held for as long as all of them take.
async fn count_errors(
    conn: &Conn,
    tenant: &TenantId,
    source: Option<&str>,
    text: &str,
) -> Tried<BoundedCount> {
    let (mut found, mut after) = (0_i64, i64::MIN);
    loop {
        let row = conn
            .query_one(
                "SELECT count(*) FILTER (WHERE o.tenant = $1 AND ($2::text IS NULL OR o.source = $2) \
                   AND strpos(o.last_error, $3) > 0), count(*), max(k.number) \
                 FROM (SELECT number, shard, order_id FROM standings WHERE tenant = $1 AND standing = 'parked' \
                   AND number > $4 ORDER BY number LIMIT $5) k \
                 LEFT JOIN LATERAL (SELECT o.tenant, o.source, o.last_error FROM orders o \
                   WHERE o.shard = k.shard AND o.order_id = k.order_id LIMIT 1) o ON true",
                &[&tenant.as_str(), &source, &text, &after, &i64::from(SCAN_MAX)],
            )
            .await?;
        let (fit, scanned, last): (i64, i64, Option<i64>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        found += fit;
        match last {
            Some(last) if scanned == i64::from(SCAN_MAX) && found.unsigned_abs() <= COUNT_MAX => after = last,
            _ => return Ok(bounded(found)),
        }
    }
}

fn bounded(count: i64) -> BoundedCount {
    let count = count.unsigned_abs();
    BoundedCount { count: count.min(COUNT_MAX), more: count > COUNT_MAX }
}
