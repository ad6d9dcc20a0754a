//! What changed since, along the journal.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::clock::Timestamp;
use order_core::journal::Cursor;
use order_core::listing::ChangesPage;
use order_core::query::OrderQuery;

/// Not written yet.
pub(crate) async fn changes(
    _readers: &Readers,
    _shards: u16,
    _query: &OrderQuery,
    _after: &Cursor,
) -> Tried<ChangesPage> {
    Err(unwritten())
}

/// Not written yet.
pub(crate) async fn place_of(
    _readers: &Readers,
    _shards: u16,
    _epoch: u32,
    _moment: Timestamp,
) -> Tried<Cursor> {
    Err(unwritten())
}
