//! Reads of one order, of the journal, of followers and of redrives.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::clock::Timestamp;
use order_core::ids::OrderId;
use order_core::ids::RedriveId;
use order_core::ids::Shard;
use order_core::ids::SourceId;
use order_core::ids::TenantId;
use order_core::journal::Event;
use order_core::journal::Head;
use order_core::journal::Mark;
use order_core::order::Order;
use order_core::query::FollowerRow;
use order_core::query::OrderDossier;
use order_core::query::Tally;
use order_core::redrive::Redrive;
use order_core::redrive::RedriveItem;

/// Not written yet.
pub(crate) async fn order(
    _readers: &Readers,
    _shards: u16,
    _tenant: &TenantId,
    _order_id: OrderId,
) -> Tried<Option<Order>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn order_by_number(
    _readers: &Readers,
    _tenant: &TenantId,
    _number: i64,
) -> Tried<Option<Order>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn next_due(_readers: &Readers, _tenant: &TenantId) -> Tried<Option<Timestamp>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn order_events(
    _readers: &Readers,
    _shards: u16,
    _tenant: &TenantId,
    _order_id: OrderId,
) -> Tried<Option<Vec<Event>>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn dossier(
    _readers: &Readers,
    _shards: u16,
    _tenant: &TenantId,
    _order_id: OrderId,
    _events_max: u32,
) -> Tried<Option<OrderDossier>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn journal(
    _readers: &Readers,
    _shard: Shard,
    _after: u64,
    _limit: u32,
) -> Tried<Vec<Event>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn marks(_readers: &Readers, _shard: Shard, _after: u64, _limit: u32) -> Tried<Vec<Mark>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn heads(_readers: &Readers, _shards: u16) -> Tried<Vec<Head>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn followers(_readers: &Readers, _shards: u16) -> Tried<Vec<FollowerRow>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn follower(_readers: &Readers, _shards: u16, _name: &str) -> Tried<Option<FollowerRow>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn tally(
    _readers: &Readers,
    _tenant: &TenantId,
    _source: &SourceId,
    _now: Timestamp,
) -> Tried<Tally> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn tallies(_readers: &Readers, _sources: &[SourceId], _now: Timestamp) -> Tried<Vec<Tally>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn redrive(
    _readers: &Readers,
    _tenant: &TenantId,
    _redrive_id: RedriveId,
) -> Tried<Option<Redrive>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn redrive_items(
    _readers: &Readers,
    _redrive_id: RedriveId,
    _after: u64,
    _limit: u32,
) -> Tried<Vec<RedriveItem>> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn open_redrives(_readers: &Readers) -> Tried<Vec<RedriveId>> {
    Err(unwritten())
}
