//! What an audit looks at.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::audit::Finding;
use order_core::audit::rows::AuditedOrder;
use order_core::audit::rows::Beginning;
use order_core::audit::rows::JournalFact;
use order_core::audit::rows::Page;
use order_core::audit::rows::WorkFact;
use order_core::ids::Shard;

/// Not written yet.
pub(crate) async fn beginning(_readers: &Readers, _shards: u16) -> Tried<Beginning> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn orders(
    _readers: &Readers,
    _shards: u16,
    _after: i64,
    _limit: u32,
) -> Tried<Page<AuditedOrder, i64>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn journal(
    _readers: &Readers,
    _shards: u16,
    _shard: Shard,
    _after: u64,
    _limit: u32,
) -> Tried<Page<JournalFact, u64>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn work(_readers: &Readers, _after: i64, _limit: u32) -> Tried<Page<WorkFact, i64>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn strays(_readers: &Readers, _shards: u16, _max: usize) -> Tried<Vec<Finding>> {
    Err(unwritten())
}
