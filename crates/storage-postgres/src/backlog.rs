//! How much waits, and since when.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::clock::Timestamp;
use order_core::query::Backlog;

/// Not written yet.
pub(crate) async fn backlog(_readers: &Readers, _shards: u16, _now: Timestamp) -> Tried<Backlog> {
    Err(unwritten())
}
