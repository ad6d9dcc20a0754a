//! Lists of orders, newest first, and counts of parked ones.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::ids::TenantId;
use order_core::query::OrderPage;
use order_core::query::OrderQuery;
use order_core::redrive::BoundedCount;
use order_core::redrive::RedriveFilter;

/// Not written yet.
pub(crate) async fn orders(_readers: &Readers, _query: &OrderQuery) -> Tried<OrderPage> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn count_parked(
    _readers: &Readers,
    _shards: u16,
    _tenant: &TenantId,
    _filter: &RedriveFilter,
) -> Tried<BoundedCount> {
    Err(unwritten())
}
