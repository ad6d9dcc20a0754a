//! API keys as rows.

use crate::error::Tried;
use crate::readers::Readers;
use crate::records::{api_key, select_api_keys};
use crate::rows::{Moment, number};
use order_core::api_key::{ApiKey, ApiKeyId};
use order_core::clock::Timestamp;
use order_core::ids::TenantId;

/// One key, whoever owns it.
pub(crate) async fn by_id(readers: &Readers, key_id: ApiKeyId) -> Tried<Option<ApiKey>> {
    let conn = readers.get().await?;
    let row = conn.query_opt(select_api_keys!("WHERE key_id = $1"), &[&key_id.0.as_slice()]).await?;
    row.as_ref().map(api_key).transpose()
}

/// The keys of a tenant below a number, the newest first.
pub(crate) async fn of_tenant(
    readers: &Readers,
    tenant: &TenantId,
    before: Option<i64>,
    limit: u32,
) -> Tried<Vec<ApiKey>> {
    let conn = readers.get().await?;
    let sql = select_api_keys!("WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3");
    let values: crate::connect::Values<'_> =
        &[&tenant.as_str(), &before.unwrap_or(i64::MAX), &i64::from(limit)];
    conn.query(sql, values).await?.iter().map(api_key).collect()
}

/// How many keys of all tenants are live.
pub(crate) async fn live(readers: &Readers, now: Timestamp) -> Tried<u64> {
    let conn = readers.get().await?;
    let sql =
        "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $1)";
    number::<_, i64>(&conn.query_one(sql, &[&Moment(now)]).await?, 0)
}
