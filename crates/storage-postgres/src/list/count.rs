//! How many parked orders a filter matches.

use crate::error::Tried;
use crate::readers::Readers;
use crate::terms;
use order_core::OrderId;
use order_core::ids::TenantId;
use order_core::redrive::{BoundedCount, COUNT_MAX, RedriveFilter};
use std::collections::BTreeSet;

/// Orders that are looked at together.
const PAGE: i64 = 500;

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
        let named: BTreeSet<_> = order_ids.iter().copied().collect();
        let orders = terms::load(&conn, shards, named.into_iter()).await?;
        let fits = orders.values().filter(|order| order.tenant == *tenant && filter.matches(order));
        return Ok(BoundedCount { count: u64::try_from(fits.count()).unwrap_or(u64::MAX), more: false });
    }
    if !filter.asks_what_is_in_it() {
        // Of each commit's orders it is kept how many are parked.
        let row = conn
            .query_one(
                "SELECT coalesce(sum(parked), 0)::bigint FROM tallies \
                 WHERE tenant = $1 AND ($2::text IS NULL OR source = $2)",
                &[&tenant.as_str(), &source],
            )
            .await?;
        return Ok(bounded(row.try_get(0)?));
    }
    // Each step is a read of its own, so that no snapshot is held for as long as all of them take.
    let (mut found, mut after) = (0_i64, i64::MIN);
    loop {
        let rows = conn
            .query(
                "SELECT number, order_id FROM standings WHERE tenant = $1 AND standing = 'parked' AND number > $2 \
                 ORDER BY number LIMIT $3",
                &[&tenant.as_str(), &after, &PAGE],
            )
            .await?;
        let ids: Vec<OrderId> =
            rows.iter().map(|row| row.try_get(1).map(OrderId)).collect::<Result<_, _>>()?;
        let orders = terms::load(&conn, shards, ids.into_iter()).await?;
        let fits = orders.values().filter(|order| order.tenant == *tenant && filter.matches(order));
        found += i64::try_from(fits.count()).unwrap_or(i64::MAX);
        match rows.last() {
            Some(last) if found.unsigned_abs() <= COUNT_MAX => after = last.try_get(0)?,
            _ => return Ok(bounded(found)),
        }
    }
}

fn bounded(count: i64) -> BoundedCount {
    let count = count.unsigned_abs();
    BoundedCount { count: count.min(COUNT_MAX), more: count > COUNT_MAX }
}
