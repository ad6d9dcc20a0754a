//! What a text is the beginning of: ids, then references, then customers.

use crate::connect::Conn;
use crate::error::Tried;
use crate::list::{LOOKUPS_MAX, readable};
use crate::read::ended;
use crate::readers::Readers;
use crate::rows::{self, select_orders};
use order_core::OrderId;
use order_core::ids::{TEXT_BYTES_MAX, check_text};
use order_core::listing::{Search, SearchField, SearchPage, SearchPlace};
use order_core::order::Order;
use order_core::query::OrderQuery;
use tokio_postgres::Row;
use uuid::Uuid;

/// The columns of an order that a text is found in: see `select_orders!`.
const REFERENCE: usize = 4;
const CUSTOMER: usize = 6;

macro_rules! with_work {
    () => {
        " LEFT JOIN LATERAL (SELECT * FROM work w WHERE w.number = o.number AND w.shard = o.shard LIMIT 1) w ON true "
    };
}

const BY_ID: &str = concat!(
    select_orders!(
        "FROM (SELECT * FROM orders o WHERE o.tenant = $1 AND o.order_id >= $2 AND o.order_id <= $3 \
           ORDER BY o.order_id LIMIT $4) o"
    ),
    with_work!(),
    "ORDER BY o.order_id"
);

/// From the text `$2` and numbers below `$3` on, to texts below `$4`.
macro_rules! by_text {
    ($column:literal) => {
        concat!(
            select_orders!("FROM (SELECT * FROM ((SELECT * FROM orders o WHERE o.tenant = $1 AND o."),
            $column,
            " = $2 AND o.number < $3 ORDER BY o.number DESC LIMIT $5) UNION ALL (SELECT * FROM orders o \
             WHERE o.tenant = $1 AND o.",
            $column,
            " > $2 AND o.",
            $column,
            " < $4 ORDER BY o.",
            $column,
            ", o.number DESC LIMIT $5)) o ORDER BY o.",
            $column,
            ", o.number DESC LIMIT $5) o",
            with_work!(),
            "ORDER BY o.",
            $column,
            ", o.number DESC"
        )
    };
}

const BY_REFERENCE: &str = by_text!("reference");
const BY_CUSTOMER: &str = by_text!("customer");

/// A page of a search, in one snapshot.
pub(crate) async fn search(readers: &Readers, search: &Search) -> Tried<SearchPage> {
    let conn = readers.snapshot().await?;
    let read = page(&conn, search).await;
    ended(conn, read).await
}

async fn page(conn: &Conn, search: &Search) -> Tried<SearchPage> {
    let query = OrderQuery { before: None, ..search.query.clone() };
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let left = usize::try_from(LOOKUPS_MAX).unwrap_or(usize::MAX);
    let mut page = Page { search, query: &query, limit, orders: Vec::new(), left, last: None };
    let begin = search.after.as_ref().map_or(SearchField::Id, |after| after.field);
    for field in [SearchField::Id, SearchField::Reference, SearchField::Customer] {
        if field < begin {
            continue;
        }
        let after = search.after.clone().filter(|after| after.field == field);
        if !page.walk(conn, field, after).await? {
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
    /// How many orders may be looked at yet.
    left: usize,
    /// What was looked at last.
    last: Option<SearchPlace>,
}

impl Page<'_> {
    fn is_full(&self) -> bool {
        self.left == 0 || self.orders.len() >= self.limit
    }

    /// Looks at the orders that may be found by a field; returns whether there are no more.
    async fn walk(&mut self, conn: &Conn, field: SearchField, after: Option<SearchPlace>) -> Tried<bool> {
        let mut after = after;
        // One more than is wanted tells whether there are more. Where few of them fit, more are read at once.
        let mut most = self.limit.saturating_sub(self.orders.len()).saturating_add(1);
        loop {
            let count = i64::try_from(most.min(self.left + 1)).unwrap_or(i64::MAX);
            let found = behind(conn, self.query, &self.search.text, field, after.as_ref(), count).await?;
            for row in &found {
                if self.is_full() {
                    return Ok(false);
                }
                self.look(row, field)?;
            }
            if i64::try_from(found.len()).unwrap_or(i64::MAX) < count {
                return Ok(true);
            }
            after.clone_from(&self.last);
            most = most.saturating_mul(2);
        }
    }

    /// Looks at an order that may be found by a field; whether it is, and is not found earlier, is seen on itself.
    fn look(&mut self, row: &Row, field: SearchField) -> Tried<()> {
        self.left -= 1;
        let order_id = OrderId(row.try_get(1)?);
        let value = match field {
            SearchField::Id => order_id.to_string(),
            SearchField::Reference => row.try_get(REFERENCE)?,
            SearchField::Customer => row.try_get(CUSTOMER)?,
        };
        let order = readable(row, rows::order(row))?.map(|(order, _)| order);
        let order = order.filter(|order| self.query.matches(order));
        self.orders.extend(
            order.filter(|order| self.search.found_by(order).is_some_and(|(found_by, _)| found_by == field)),
        );
        self.last = Some(SearchPlace { field, value, number: row.try_get(0)? });
        Ok(())
    }
}

/// Rows of orders behind `after` that may be found by a field, at most `count`.
async fn behind(
    conn: &Conn,
    query: &OrderQuery,
    text: &str,
    field: SearchField,
    after: Option<&SearchPlace>,
    count: i64,
) -> Tried<Vec<Row>> {
    let tenant = query.tenant.as_str();
    let sql = match field {
        SearchField::Id => {
            let Some((lowest, highest)) = id_range(text) else { return Ok(Vec::new()) };
            let seen = after.and_then(|after| Uuid::try_parse(&after.value).ok());
            let lowest = match seen.map(|id| id.as_u128().checked_add(1)) {
                Some(None) => return Ok(Vec::new()),
                Some(Some(next)) => Uuid::from_u128(next),
                None => lowest.0,
            };
            return conn.query(BY_ID, &[&tenant, &lowest, &highest.0, &count]).await;
        }
        SearchField::Reference => BY_REFERENCE,
        SearchField::Customer => BY_CUSTOMER,
    };
    if check_text(text).is_err() {
        return Ok(Vec::new());
    }
    let (from, number) = after.map_or((text, i64::MAX), |after| (after.value.as_str(), after.number));
    conn.query(sql, &[&tenant, &from, &number, &beyond(text), &count]).await
}

/// A text that lies behind all that begin with `text`, byte by byte: nothing that can be found is as long, and no
/// character is higher.
fn beyond(text: &str) -> String {
    let highest = char::MAX;
    [text, &String::from(highest).repeat(TEXT_BYTES_MAX / highest.len_utf8() + 1)].concat()
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
        Uuid::try_parse(&[text.as_str(), &rest].concat()).ok().map(OrderId)
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

    #[test]
    fn nothing_that_begins_with_a_text_lies_beyond() {
        let longest = ["a", &"\u{10ffff}".repeat((TEXT_BYTES_MAX - 1) / 4)].concat();
        for text in ["a", "a\u{10ffff}", &longest] {
            assert!(longest.as_str() < beyond(text).as_str(), "{text:?}");
        }
        assert!(beyond("a").as_str() < "b");
    }
}
