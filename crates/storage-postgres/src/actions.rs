//! The action log as rows.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::ids::TenantId;
use uuid::Uuid;

/// Not written yet.
pub(crate) async fn of_tenant(
    _readers: &Readers,
    _tenant: &TenantId,
    _before: Option<u64>,
    _limit: u32,
) -> Tried<Vec<Action>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn behind(_readers: &Readers, _after: u64, _limit: u32) -> Tried<Vec<Action>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn end(_readers: &Readers, _installation_id: Uuid) -> Tried<Link> {
    Err(unwritten())
}
