//! Redriving many parked orders is a job: recorded first, done in steps, each with its result.

use crate::clock::Timestamp;
use crate::ids::{OrderId, RedriveId, SourceId, TenantId};
use crate::listing;
use crate::order::Order;
use crate::order::state::{Fulfilment, Processing};
use crate::query::OrderQuery;
use serde_json::{Value, json};
use uuid::Uuid;

/// Most orders that a filter names one by one.
pub const ORDER_IDS_MAX: usize = 1_000;

/// Which parked orders to redrive. All conditions that are given must hold; they are those of a list of what is parked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedriveFilter {
    /// These orders, one by one, at most [`ORDER_IDS_MAX`]; `None`: all parked ones that meet the rest.
    pub order_ids: Option<Vec<OrderId>>,
    /// Only orders of this source.
    pub source: Option<SourceId>,
    /// Only orders whose id, reference or customer begins with this text.
    pub text: Option<String>,
    /// Only orders in this fulfilment state.
    pub fulfilment: Option<Fulfilment>,
    /// Only withdrawn, or only not withdrawn, ones.
    pub withdrawn: Option<bool>,
    /// Only orders of this customer.
    pub customer: Option<String>,
    /// Only orders accepted at this moment or later.
    pub accepted_from: Option<Timestamp>,
    /// Only orders accepted before this moment.
    pub accepted_to: Option<Timestamp>,
    /// Only orders whose last error contains this text.
    pub error_contains: Option<String>,
}

impl RedriveFilter {
    /// Whether `order` is parked and meets the conditions, whoever it belongs to and whether or not it is named.
    pub fn matches(&self, order: &Order) -> bool {
        let query = OrderQuery {
            source: self.source.clone(),
            processing: Some(Processing::Parked),
            fulfilment: self.fulfilment,
            withdrawn: self.withdrawn,
            customer: self.customer.clone(),
            accepted_from: self.accepted_from,
            accepted_to: self.accepted_to,
            error_contains: self.error_contains.clone(),
            ..OrderQuery::all(order.tenant.clone(), 1, order.updated_at)
        };
        query.matches(order) && self.text.as_ref().is_none_or(|text| listing::found_by(text, order).is_some())
    }

    /// How storages keep it: JSON, times as microseconds since 1970.
    pub fn to_text(&self) -> String {
        let order_ids =
            self.order_ids.as_ref().map(|ids| ids.iter().map(OrderId::to_string).collect::<Vec<_>>());
        json!({
            "order_ids": order_ids,
            "text": self.text,
            "source": self.source.as_ref().map(SourceId::as_str),
            "fulfilment": self.fulfilment.map(Fulfilment::word),
            "withdrawn": self.withdrawn,
            "customer": self.customer,
            "accepted_from": self.accepted_from.map(Timestamp::micros),
            "accepted_to": self.accepted_to.map(Timestamp::micros),
            "error_contains": self.error_contains,
        })
        .to_string()
    }

    /// Reads what [`RedriveFilter::to_text`] made; `None` when it is not that.
    pub fn from_text(text: &str) -> Option<Self> {
        let json: Value = serde_json::from_str(text).ok()?;
        let order_ids = match &json["order_ids"] {
            Value::Null => None,
            Value::Array(ids) => Some(
                ids.iter()
                    .map(|id| Uuid::parse_str(id.as_str()?).ok().map(OrderId))
                    .collect::<Option<Vec<_>>>()?,
            ),
            _ => return None,
        };
        let source = match json["source"].as_str() {
            Some(source) => Some(SourceId::new(source).ok()?),
            None => None,
        };
        let fulfilment = match json["fulfilment"].as_str() {
            Some(word) => Some(Fulfilment::from_word(word)?),
            None => None,
        };
        let text = |name: &str| json[name].as_str().map(str::to_owned);
        let moment = |name: &str| json[name].as_i64().map(Timestamp::from_micros);
        Some(Self {
            order_ids,
            text: text("text"),
            source,
            fulfilment,
            withdrawn: json["withdrawn"].as_bool(),
            customer: text("customer"),
            accepted_from: moment("accepted_from"),
            accepted_to: moment("accepted_to"),
            error_contains: text("error_contains"),
        })
    }

    /// Whether it asks for more than some orders, or those of a source.
    pub fn asks_what_is_in_it(&self) -> bool {
        let all = Self { order_ids: self.order_ids.clone(), source: self.source.clone(), ..Self::default() };
        *self != all
    }
}

/// A redrive job and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// Its id.
    pub redrive_id: RedriveId,
    /// Whose.
    pub tenant: TenantId,
    /// Which orders.
    pub filter: RedriveFilter,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// Whether nothing is left to do.
    pub finished: bool,
    /// Orders redriven.
    pub redriven: u64,
    /// Orders that could not be: unknown, or not parked.
    pub refused: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
    /// Where the next step begins: a number of an order, or an index of `order_ids`.
    pub next: i64,
    /// The orders at that it has no parked order beyond this number (set at the start, so that the job ends).
    pub up_to: i64,
}

/// What became of one order of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedriveItem {
    /// The order.
    pub order_id: OrderId,
    /// `redriven`, `unknown` or `not_parked` (or not as the filter asks).
    pub result: String,
}

/// How many orders match, exact up to [`COUNT_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoundedCount {
    /// As far as it was counted.
    pub count: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// How far a count that is shown goes.
pub const COUNT_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "test code")]

    use super::*;

    fn full() -> RedriveFilter {
        RedriveFilter {
            order_ids: Some(vec![OrderId(Uuid::from_u128(7)), OrderId(Uuid::from_u128(9))]),
            source: Some(SourceId::new("shop").unwrap()),
            text: Some("A-\"1\"".to_owned()),
            fulfilment: Some(Fulfilment::Shipped),
            withdrawn: Some(false),
            customer: Some("c-42".to_owned()),
            accepted_from: Some(Timestamp::from_micros(1)),
            accepted_to: Some(Timestamp::from_micros(i64::MAX)),
            error_contains: Some("no stock".to_owned()),
        }
    }

    #[test]
    fn a_filter_is_read_back_as_it_was() {
        for filter in [full(), RedriveFilter::default()] {
            assert_eq!(RedriveFilter::from_text(&filter.to_text()), Some(filter));
        }
    }

    #[test]
    fn what_is_no_filter_is_none() {
        let full = full().to_text();
        for (from, to) in [("\"shop\"", "\"\""), ("\"shipped\"", "\"sent\""), ("[", "[7,")] {
            let changed = full.replacen(from, to, 1);
            assert_ne!(changed, full);
            assert_eq!(RedriveFilter::from_text(&changed), None, "{changed}");
        }
        assert_eq!(RedriveFilter::from_text("no filter"), None);
    }
}
