//! What a text is the beginning of.

use crate::error::{Tried, unwritten};
use crate::readers::Readers;
use order_core::listing::Search;
use order_core::listing::SearchPage;

/// Not written yet.
pub(crate) async fn search(_readers: &Readers, _search: &Search) -> Tried<SearchPage> {
    Err(unwritten())
}
