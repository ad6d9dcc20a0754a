//! Lists of one customer's orders.

use super::LOOKUPS_MAX;
use crate::connect::Conn;
use crate::error::Tried;
use crate::terms::{self, Range};
use order_core::listing::SearchField;
use order_core::query::{OrderPage, OrderQuery, PageWeight};

/// A page of the orders that have, or had, this customer: of numbers below `before`, from `lowest` on.
pub(super) async fn orders(
    conn: &Conn,
    shards: u16,
    query: &OrderQuery,
    customer: &str,
    (lowest, before): (i64, i64),
) -> Tried<OrderPage> {
    let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
    let (mut page, mut last, mut weight) = (OrderPage::default(), before, PageWeight::default());
    // No text lies between this one and the same with a character more.
    let below = [customer, "\u{1}"].concat();
    let mut left = i64::from(LOOKUPS_MAX);
    let mut count = i64::from(query.limit).saturating_add(1).min(left);
    while left > 0 {
        let range = Range {
            tenant: query.tenant.as_str(),
            field: SearchField::Customer,
            after: (customer, Some(last)),
            below: &below,
        };
        let entries = range.read(conn, count).await?;
        let wanted = entries.iter().take_while(|entry| entry.number >= lowest);
        let mut orders = terms::load(conn, shards, wanted.map(|entry| entry.order_id)).await?;
        for entry in &entries {
            if entry.number < lowest {
                return Ok(page);
            }
            if page.orders.len() >= limit || weight.is_full() {
                page.next = Some(last);
                return Ok(page);
            }
            last = entry.number;
            let order = orders.remove(&entry.order_id);
            if let Some(order) = order.filter(|order| query.matches(order)) {
                weight.add(&order);
                page.orders.push(order);
            }
        }
        let read = i64::try_from(entries.len()).unwrap_or(i64::MAX);
        if read < count {
            return Ok(page);
        }
        left -= read;
        count = count.saturating_mul(2).min(left);
    }
    page.next = Some(last);
    Ok(page)
}
