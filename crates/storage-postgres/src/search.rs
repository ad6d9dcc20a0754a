//! What a text is the beginning of: ids, then references, then customers.

use crate::connect::Conn;
use crate::error::Tried;
use crate::list::LOOKUPS_MAX;
use crate::read::ended;
use crate::readers::Readers;
use crate::terms::{self, Entry, Range};
use order_core::ids::{TEXT_BYTES_MAX, check_text};
use order_core::listing::{Search, SearchField, SearchPage, SearchPlace};
use order_core::order::Order;
use order_core::query::{OrderQuery, PageWeight};

/// A page of a search, in one snapshot.
pub(crate) async fn search(readers: &Readers, shards: u16, search: &Search) -> Tried<SearchPage> {
    let conn = readers.snapshot().await?;
    let read = page(&conn, shards, search).await;
    ended(conn, read).await
}

async fn page(conn: &Conn, shards: u16, search: &Search) -> Tried<SearchPage> {
    let query = OrderQuery { before: None, ..search.query.clone() };
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let left = usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX);
    let mut page = Page {
        search,
        query: &query,
        limit,
        orders: Vec::new(),
        weight: PageWeight::default(),
        left,
        last: None,
    };
    let begin = search.after.as_ref().map_or(SearchField::Id, |after| after.field);
    for field in [SearchField::Id, SearchField::Reference, SearchField::Customer] {
        if field < begin {
            continue;
        }
        let after = search.after.clone().filter(|after| after.field == field);
        if !page.walk(conn, shards, field, after).await? {
            return Ok(SearchPage { orders: page.orders, next: page.last.or_else(|| search.after.clone()) });
        }
    }
    Ok(SearchPage { orders: page.orders, next: None })
}

struct Page<'s> {
    search: &'s Search,
    query: &'s OrderQuery,
    limit: usize,
    orders: Vec<Order>,
    weight: PageWeight,
    /// How many orders may be looked at yet.
    left: usize,
    /// What was looked at last.
    last: Option<SearchPlace>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.left == 0 || self.weight.is_full() || self.orders.len() >= self.limit
    }

    /// Looks at the orders that may be found by a field; returns whether there are no more.
    async fn walk(
        &mut self,
        conn: &Conn,
        shards: u16,
        field: SearchField,
        after: Option<SearchPlace>,
    ) -> Tried<bool> {
        let tenant = self.query.tenant.as_str();
        let text = match field {
            SearchField::Id if can_begin_an_id(&self.search.text) => self.search.text.to_ascii_lowercase(),
            SearchField::Reference | SearchField::Customer if check_text(&self.search.text).is_ok() => {
                self.search.text.clone()
            }
            SearchField::Id | SearchField::Reference | SearchField::Customer => return Ok(true),
        };
        let below = beyond(&text);
        let (mut from, mut number) = after.map_or((text, None), |after| (after.value, Some(after.number)));
        // One more than is wanted tells whether there are more. Where few of them fit, more are read at once.
        let mut most = self.limit.saturating_sub(self.orders.len()).saturating_add(1);
        loop {
            let count = i64::try_from(most.min(self.left + 1)).unwrap_or(i64::MAX);
            let range = Range { tenant, field, after: (&from, number), below: &below };
            let entries = range.read(conn, count).await?;
            let mut orders = terms::load(conn, shards, entries.iter().map(|entry| entry.order_id)).await?;
            for entry in &entries {
                if self.is_full() {
                    return Ok(false);
                }
                self.look(field, entry, orders.remove(&entry.order_id));
            }
            let seen = i64::try_from(entries.len()).unwrap_or(i64::MAX);
            match entries.into_iter().next_back() {
                Some(last) if seen == count => (from, number) = (last.text, Some(last.number)),
                _ => return Ok(true),
            }
            most = most.saturating_mul(2);
        }
    }

    /// Looks at an order that may be found by a field; whether it is, and is not found earlier, is seen on itself.
    fn look(&mut self, field: SearchField, entry: &Entry, order: Option<Order>) {
        self.left -= 1;
        let order = order.filter(|order| self.query.matches(order));
        let found = order.filter(|order| {
            self.search.found_by(order).is_some_and(|(by, text)| by == field && text == entry.text)
        });
        if let Some(order) = found {
            self.weight.add(&order);
            self.orders.push(order);
        }
        self.last = Some(SearchPlace { field, value: entry.text.clone(), number: entry.number });
    }
}

/// A text that lies behind all that begin with `text`, byte by byte: nothing that can be found is as long, and no
/// character is higher.
fn beyond(text: &str) -> String {
    let highest = char::MAX;
    [text, &String::from(highest).repeat(TEXT_BYTES_MAX / highest.len_utf8() + 1)].concat()
}

/// Whether an id, as it is shown, can begin with a text; capitals are as good.
fn can_begin_an_id(text: &str) -> bool {
    let shape = "00000000-0000-0000-0000-000000000000";
    let fits = |(byte, place): (u8, u8)| if place == b'-' { byte == b'-' } else { byte.is_ascii_hexdigit() };
    !text.is_empty() && text.len() <= shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_as_they_are_shown() {
        for text in ["2", "230E0945-2", "230e0945-205f-8eaa-8fef-55ebf134b616"] {
            assert!(can_begin_an_id(text), "{text}");
        }
        for text in ["", "x", "230e09452", "230e0945-205f-8eaa-8fef-55ebf134b6160", "-", "é"] {
            assert!(!can_begin_an_id(text), "{text}");
        }
    }

    #[test]
    fn nothing_that_begins_with_a_text_lies_beyond() {
        let longest = ["a", &"\u{10ffff}".repeat((TEXT_BYTES_MAX - 1) / 4)].concat();
        for text in ["a", "a\u{10ffff}", &longest] {
            assert!(longest.as_str() < beyond(text).as_str(), "{text:?}");
        }
        assert!(beyond("a").as_str() < "b");
    }
}
