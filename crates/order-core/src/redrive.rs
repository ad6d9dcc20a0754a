//! Redriving many parked orders is a job: recorded first, done in steps, each with its result.

use crate::clock::Timestamp;
use crate::ids::{OrderId, RedriveId, SourceId, TenantId};
use crate::listing;
use crate::order::Order;
use crate::order::state::{Fulfilment, Processing};
use crate::query::OrderQuery;

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
