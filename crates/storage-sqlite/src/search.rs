//! What a text is the beginning of: ids, then references, then customers.

use crate::apply::load_number;
use crate::list::{LOOKUPS_MAX, readable};
use crate::terms::Terms;
use crate::terms::entry::{self, Field};
use order_core::OrderId;
use order_core::ids::check_text;
use order_core::listing::{Search, SearchField, SearchPage, SearchPlace};
use order_core::order::Order;
use order_core::query::{OrderQuery, PageWeight};
use rusqlite::Connection;
use uuid::Uuid;

/// A page of a search.
pub(crate) fn search(conn: &Connection, terms: &Terms, search: &Search) -> rusqlite::Result<SearchPage> {
    let query = OrderQuery { before: None, ..search.query.clone() };
    let mut page = Page {
        search,
        query: &query,
        orders: Vec::new(),
        weight: PageWeight::default(),
        left: usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX),
        last: None,
    };
    let begin = search.after.as_ref().map_or(SearchField::Id, |after| after.field);
    for field in [SearchField::Id, SearchField::Reference, SearchField::Customer] {
        if field < begin {
            continue;
        }
        let after = search.after.as_ref().filter(|after| after.field == field);
        let done = match field {
            SearchField::Id => page.ids(conn, terms, after)?,
            SearchField::Reference => page.texts(conn, terms, field, Field::Reference, after)?,
            SearchField::Customer => page.texts(conn, terms, field, Field::Customer, after)?,
        };
        if !done {
            return Ok(SearchPage { orders: page.orders, next: page.last.or_else(|| search.after.clone()) });
        }
    }
    Ok(SearchPage { orders: page.orders, next: None })
}

struct Page<'s> {
    search: &'s Search,
    query: &'s OrderQuery,
    orders: Vec<Order>,
    weight: PageWeight,
    /// How many orders may be looked at yet.
    left: usize,
    /// What was looked at last.
    last: Option<SearchPlace>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.left == 0
            || self.weight.is_full()
            || self.orders.len() >= usize::try_from(self.query.limit).unwrap_or(usize::MAX)
    }

    /// Looks at an order that may be found by `value`; whether it is, and is not found earlier, is seen on itself.
    fn look(&mut self, conn: &Connection, field: SearchField, value: String, number: i64) {
        self.left -= 1;
        let order = load_number(conn, number).map(|found| found.map(|(order, _)| order));
        let order = readable(number, order).flatten().filter(|order| self.query.matches(order));
        let found = order.filter(|order| {
            self.search.found_by(order).is_some_and(|(by, text)| by == field && text == value)
        });
        if let Some(order) = found {
            self.weight.add(&order);
            self.orders.push(order);
        }
        self.last = Some(SearchPlace { field, value, number });
    }

    /// By id; returns whether there are no more.
    fn ids(
        &mut self,
        conn: &Connection,
        terms: &Terms,
        after: Option<&SearchPlace>,
    ) -> rusqlite::Result<bool> {
        let Some((lowest, highest)) = id_range(&self.search.text) else { return Ok(true) };
        let tenant = &self.query.tenant;
        let all = entry::beginning(tenant, Field::Id, "");
        let (begin, end) = (entry::ids_from(tenant, lowest), entry::of_id(tenant, highest, 0));
        let shared = begin.iter().zip(&end).take_while(|(a, b)| a == b).count();
        let seen = after.and_then(|after| Some((OrderId(Uuid::try_parse(&after.value).ok()?), after.number)));
        let range = Range {
            beginning: begin[..shared].to_vec(),
            from: seen.map_or(begin, |(id, number)| behind(entry::of_id(tenant, id, number))),
            end,
        };
        let value = |found: &[u8]| entry::id(found, &all).map(|id| id.to_string());
        self.walk(conn, terms, SearchField::Id, range, value)
    }

    /// By reference or customer; returns whether there are no more.
    fn texts(
        &mut self,
        conn: &Connection,
        terms: &Terms,
        field: SearchField,
        of: Field,
        after: Option<&SearchPlace>,
    ) -> rusqlite::Result<bool> {
        if check_text(&self.search.text).is_err() {
            return Ok(true);
        }
        let tenant = &self.query.tenant;
        let all = entry::beginning(tenant, of, "");
        let beginning = entry::beginning(tenant, of, &self.search.text);
        let from = match after {
            Some(after) => behind(entry::entry(tenant, of, &after.value, after.number)),
            None => beginning.clone(),
        };
        // No text holds this byte.
        let end = [&beginning[..], &[0xff]].concat();
        let value = |found: &[u8]| entry::text(found, &all).map(str::to_owned);
        self.walk(conn, terms, field, Range { beginning, from, end }, value)
    }

    /// Looks at the orders of a range of entries; returns whether there are no more.
    fn walk(
        &mut self,
        conn: &Connection,
        terms: &Terms,
        field: SearchField,
        range: Range,
        value: impl Fn(&[u8]) -> Option<String>,
    ) -> rusqlite::Result<bool> {
        let waiting = terms.begin(conn, range.beginning, range.from, self.left + 1)?;
        let snapshot = conn.unchecked_transaction()?;
        let mut walk = waiting.walk(&snapshot)?;
        while let Some(found) = walk.next()?.filter(|found| **found <= *range.end) {
            let Some((value, number)) = value(found).zip(entry::number(found)) else { continue };
            if self.is_full() {
                return Ok(false);
            }
            self.look(&snapshot, field, value, number);
        }
        Ok(!walk.is_cut())
    }
}

/// Entries that begin with `beginning`, from `from` to `end`.
struct Range {
    beginning: Vec<u8>,
    from: Vec<u8>,
    end: Vec<u8>,
}

/// The first that can lie behind an entry.
fn behind(mut entry: Vec<u8>) -> Vec<u8> {
    entry.push(0);
    entry
}

/// The ids that begin with a text; `None` when none can.
pub(crate) fn id_range(text: &str) -> Option<(OrderId, OrderId)> {
    let text = text.to_ascii_lowercase();
    let shape = "00000000-0000-0000-0000-000000000000";
    let fits = |(byte, place): (u8, u8)| if place == b'-' { byte == b'-' } else { byte.is_ascii_hexdigit() };
    if text.len() > shape.len() || !text.bytes().zip(shape.bytes()).all(fits) {
        return None;
    }
    let filled = |digit: &str| {
        let rest = shape[text.len()..].replace('0', digit);
        Uuid::try_parse(&format!("{text}{rest}")).ok().map(OrderId)
    };
    filled("0").zip(filled("f"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_is_a_range() {
        let range = |text| id_range(text).map(|(lowest, highest)| (lowest.to_string(), highest.to_string()));
        let expected = |lowest: &str, highest: &str| Some((lowest.to_owned(), highest.to_owned()));
        assert_eq!(
            range("230E0945-2"),
            expected("230e0945-2000-0000-0000-000000000000", "230e0945-2fff-ffff-ffff-ffffffffffff")
        );
        let whole = "230e0945-205f-8eaa-8fef-55ebf134b616";
        assert_eq!(range(whole), expected(whole, whole));
        for none in ["x", "230e09452", "230e0945-205f-8eaa-8fef-55ebf134b6160", "-", "é"] {
            assert_eq!(range(none), None, "{none}");
        }
    }
}
