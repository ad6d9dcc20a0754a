//! API keys as rows.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::api_key::ApiKey;
use order_core::api_key::ApiKeyId;
use order_core::clock::Timestamp;
use order_core::ids::TenantId;

/// Not written yet.
pub(crate) async fn by_id(_readers: &Readers, _key_id: ApiKeyId) -> Tried<Option<ApiKey>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn of_tenant(
    _readers: &Readers,
    _tenant: &TenantId,
    _before: Option<i64>,
    _limit: u32,
) -> Tried<Vec<ApiKey>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn live(_readers: &Readers, _now: Timestamp) -> Tried<u64> {
    Err(unwritten())
}
