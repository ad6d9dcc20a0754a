//! Redriving many parked orders is a job: recorded first, done in steps, each with its result.

use crate::clock::Timestamp;
use crate::ids::{OrderId, RedriveId, SourceId, TenantId};

/// Most orders that a filter names one by one.
pub const ORDER_IDS_MAX: usize = 1_000;

/// Which parked orders to redrive. All conditions that are given must hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RedriveFilter {
    /// These orders, one by one, at most [`ORDER_IDS_MAX`]; `None`: all parked ones that meet the rest.
    pub order_ids: Option<Vec<OrderId>>,
    /// Only orders of this source.
    pub source: Option<SourceId>,
    /// Only orders whose last error contains this text.
    pub error_contains: Option<String>,
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
    /// `redriven`, `unknown` or `not_parked`.
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
