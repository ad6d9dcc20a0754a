//! What a text is the beginning of: ids, then references, then customers.

use crate::apply::load_number;
use crate::ids::OrderIds;
use crate::list::{LOOKUPS_MAX, readable};
use crate::terms::Terms;
use crate::terms::entry::{self, Field};
use order_core::OrderId;
use order_core::ids::check_text;
use order_core::listing::{Search, SearchField, SearchPage, SearchPlace};
use order_core::order::Order;
use order_core::query::OrderQuery;
use rusqlite::Connection;
use uuid::Uuid;

/// A page of a search.
pub(crate) fn search(
    conn: &Connection,
    ids: &OrderIds,
    terms: &Terms,
    search: &Search,
) -> rusqlite::Result<SearchPage> {
    let query = OrderQuery { before: None, ..search.query.clone() };
    let mut page = Page {
        search,
        query: &query,
        orders: Vec::new(),
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
            SearchField::Id => page.ids(conn, ids, after)?,
            SearchField::Reference => page.terms(conn, terms, field, Field::Reference, after)?,
            SearchField::Customer => page.terms(conn, terms, field, Field::Customer, after)?,
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
    /// How many orders may be looked at yet.
    left: usize,
    /// What was looked at last.
    last: Option<SearchPlace>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.left == 0 || self.orders.len() >= usize::try_from(self.query.limit).unwrap_or(usize::MAX)
    }

    /// Looks at an order that may be found by `value`; whether it is, and is not found earlier, is seen on itself.
    fn look(&mut self, conn: &Connection, field: SearchField, value: String, number: i64) {
        self.left -= 1;
        let order = load_number(conn, number).map(|found| found.map(|(order, _)| order));
        let order = readable(number, order).flatten().filter(|order| self.query.matches(order));
        let found = order.filter(|order| {
            self.search.found_by(order).is_some_and(|(by, text)| by == field && text == value)
        });
        self.orders.extend(found);
        self.last = Some(SearchPlace { field, value, number });
    }

    /// By id; returns whether there are no more.
    fn ids(
        &mut self,
        conn: &Connection,
        ids: &OrderIds,
        after: Option<&SearchPlace>,
    ) -> rusqlite::Result<bool> {
        let Some((lowest, highest)) = id_range(&self.search.text) else { return Ok(true) };
        let after = after.and_then(|after| Uuid::try_parse(&after.value).ok()).map(OrderId);
        let found = ids.between(conn, lowest, highest, after, self.left + 1)?;
        let snapshot = conn.unchecked_transaction()?;
        for (id, number) in found {
            if self.is_full() {
                return Ok(false);
            }
            self.look(&snapshot, SearchField::Id, id.to_string(), number);
        }
        Ok(true)
    }

    /// By reference or customer; returns whether there are no more.
    fn terms(
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
            Some(after) => {
                let mut from = entry::entry(tenant, of, &after.value, after.number);
                // The first that can lie behind it.
                from.push(0);
                from
            }
            None => beginning.clone(),
        };
        let waiting = terms.begin(conn, beginning, from, self.left + 1)?;
        let snapshot = conn.unchecked_transaction()?;
        let mut walk = waiting.walk(&snapshot)?;
        while let Some(found) = walk.next()? {
            let Some((text, number)) = entry::text(found, &all).zip(entry::number(found)) else { continue };
            if self.is_full() {
                return Ok(false);
            }
            let text = text.to_owned();
            self.look(&snapshot, field, text, number);
        }
        Ok(!walk.is_cut())
    }
}

/// The ids that begin with a text; `None` when none can.
fn id_range(text: &str) -> Option<(OrderId, OrderId)> {
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
