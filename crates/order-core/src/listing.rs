//! Lists that are not in the order of acceptance: what a text begins, and what changed since.

use crate::app::App;
use crate::clock::Timestamp;
use crate::error::Error;
use crate::journal::Cursor;
use crate::order::Order;
use crate::query::OrderQuery;

/// What a text may be the beginning of, in the order in which orders are found by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchField {
    /// The order's id, in the form that is shown; capitals are as good.
    Id,
    /// The client's own id, byte by byte.
    Reference,
    /// Whose it is, byte by byte.
    Customer,
}

/// The order that a page of a search ended with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchPlace {
    /// What it was found by.
    pub field: SearchField,
    /// The whole of that text.
    pub value: String,
    /// Its number.
    pub number: i64,
}

/// Orders whose id, reference or customer begins with a text: by field, then by the text found, then newest first. An
/// order is found once, by the first field that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// Whose, which of them, how many. Its `before` is not looked at.
    pub query: OrderQuery,
    /// The beginning.
    pub text: String,
    /// Where the page before ended.
    pub after: Option<SearchPlace>,
}

impl Search {
    /// The field by which `order` is found, and the whole text of it.
    pub fn found_by(&self, order: &Order) -> Option<(SearchField, String)> {
        found_by(&self.text, order)
    }
}

/// The field by which `order` is found that begins with `text`, and the whole text of it.
pub fn found_by(text: &str, order: &Order) -> Option<(SearchField, String)> {
    let id = order.id.to_string();
    if id.starts_with(&text.to_ascii_lowercase()) {
        return Some((SearchField::Id, id));
    }
    let reference = order.reference.as_ref().map(|reference| (SearchField::Reference, reference.as_str()));
    let customer = order.content.customer.as_deref().map(|customer| (SearchField::Customer, customer));
    let fits = |(_, value): &(SearchField, &str)| value.starts_with(text);
    let (field, value) = reference.filter(fits).or_else(|| customer.filter(fits))?;
    Some((field, value.to_owned()))
}

/// A page of a search.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SearchPage {
    /// The orders.
    pub orders: Vec<Order>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<SearchPlace>,
}

/// Orders that changed, each once, as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangesPage {
    /// The orders, by shard, and in each in the order of the first change that was seen of each.
    pub orders: Vec<Order>,
    /// How far the journal was read: what changes from now on lies behind it.
    pub next: Cursor,
    /// Whether it was read to its end.
    pub up_to_date: bool,
}

/// Where to begin with what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// With everything that is kept.
    Beginning,
    /// With the first change at or after a moment.
    Moment(Timestamp),
    /// Behind what was read before.
    Place(Cursor),
}

/// Orders that changed since, along the journal, shard by shard: in each its order is that of the commits, so a reader who
/// goes on from [`ChangesPage::next`] misses no change, whatever clocks do. Over shards there is no order. `query.before` is not looked at.
///
/// # Errors
/// When the place is not valid, or storage fails.
pub async fn changes(app: &App, query: &OrderQuery, since: Since) -> Result<ChangesPage, Error> {
    let install = app.storage.install();
    let after = match since {
        Since::Beginning => Cursor::beginning(install.epoch, install.shards),
        Since::Moment(moment) => app.storage.place_of(moment).await?,
        Since::Place(place) => place,
    };
    after.check(install.epoch, &app.storage.heads().await?)?;
    Ok(app.storage.changes(query, &after).await?)
}
