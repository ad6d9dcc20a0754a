//! The action log as rows.

use crate::connect::Values;
use crate::error::Tried;
use crate::readers::Readers;
use crate::records::{self, action, select_actions};
use crate::rows::big;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::ids::TenantId;
use uuid::Uuid;

/// The rows of a tenant below a number, the newest first.
pub(crate) async fn of_tenant(
    readers: &Readers,
    tenant: &TenantId,
    before: Option<u64>,
    limit: u32,
) -> Tried<Vec<Action>> {
    let conn = readers.get().await?;
    let sql = select_actions!("WHERE tenant = $1 AND number < $2 ORDER BY number DESC LIMIT $3");
    let values: Values<'_> = &[&tenant.as_str(), &before.map_or(i64::MAX, big), &i64::from(limit)];
    conn.query(sql, values).await?.iter().map(action).collect()
}

/// The rows of all tenants behind a number, in order.
pub(crate) async fn behind(readers: &Readers, after: u64, limit: u32) -> Tried<Vec<Action>> {
    let conn = readers.get().await?;
    let sql = select_actions!("WHERE number > $1 ORDER BY number LIMIT $2");
    conn.query(sql, &[&big(after), &i64::from(limit)]).await?.iter().map(action).collect()
}

/// The end of the chain, as it is kept apart from the rows.
pub(crate) async fn end(readers: &Readers, installation_id: Uuid) -> Tried<Link> {
    records::action_end(&*readers.get().await?, installation_id).await
}
