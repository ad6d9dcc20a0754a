//! `parspec` ⇄ core.

use super::wire::{self, CreateOrder, Field, Metrics, OrderReply, Status, Statuses};
use crate::contract::Contract;
use crate::{exact, reply};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use order_core::intake::{Accepted, IdempotencyKey, Intake};
use order_core::order::Content;
use order_core::query::Tally;
use order_core::{Order, Timestamp};
use serde_json::{Map, Number, Value};

/// Says that the order was made by an earlier request with the same key.
const REPLAYED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("idempotent-replayed"), HeaderValue::from_static("true"));

const MICROS_PER_SECOND: u64 = 1_000_000;

/// Wire → core. The core has no word for item ids: they are attributes.
pub(super) fn intake(contract: &Contract, order: CreateOrder, key: Option<IdempotencyKey>) -> Intake {
    let attributes = Map::from_iter([(Field::ItemIds.name().to_owned(), Value::Array(order.item_ids))]);
    let content = Content {
        customer: Some(order.user_id),
        total: order.total_amount,
        attributes,
        ..Content::default()
    };
    let (tenant, source) = (contract.tenant.clone(), contract.source.clone());
    Intake { tenant, source, reference: None, content, key }
}

/// Core → wire: 201 for a new order, 200 for one that its key made before.
pub(super) fn accepted(accepted: &Accepted, now: Timestamp) -> Response {
    match accepted {
        Accepted::New(order) => reply::order(StatusCode::CREATED, order.id, &order_reply(order, now)),
        Accepted::Duplicate { order, .. } => {
            ([REPLAYED], reply::order(StatusCode::OK, order.id, &order_reply(order, now))).into_response()
        }
    }
}

/// The order as this contract shows it.
pub(super) fn order_reply(order: &Order, now: Timestamp) -> OrderReply {
    let (status, began, ended) = match (order.live_lease(now), order.processed_at) {
        (Some(lease), _) => (Status::Processing, Some(lease.began_at), None),
        (None, Some(processed_at)) => (Status::Completed, order.started_at, Some(processed_at)),
        // Whatever waits, for a worker or for an operator, has no times.
        (None, None) => (Status::Pending, None, None),
    };
    OrderReply {
        order: wire::Order {
            id: order.number,
            // Only an erasure leaves an order without a user and items.
            user_id: order.content.customer.clone().unwrap_or_default(),
            item_ids: item_ids(order),
            total_amount: exact::number(order.content.total),
            status,
            created_at: order.accepted_at.millis_text(),
            updated_at: order.updated_at.millis_text(),
            processing_start_time: began.map(Timestamp::millis_text),
            processing_end_time: ended.map(Timestamp::millis_text),
        },
    }
}

fn item_ids(order: &Order) -> Vec<Value> {
    let items = order.content.attributes.get(Field::ItemIds.name()).and_then(Value::as_array);
    items.cloned().unwrap_or_default()
}

/// The counts as this contract shows them.
pub(super) fn metrics(tally: &Tally) -> Metrics {
    Metrics {
        total_orders: tally.orders,
        processed_count: tally.processed,
        avg_processing_time: average_seconds(tally),
        statuses: Statuses {
            pending: tally.orders.saturating_sub(tally.running).saturating_sub(tally.processed),
            processing: tally.running,
            completed: tally.processed,
        },
    }
}

/// Mean processing time in seconds, to the microsecond, with at least one decimal; 0 when nothing was processed.
fn average_seconds(tally: &Tally) -> Number {
    let micros = tally.processing_micros.checked_div(tally.processed).unwrap_or(0);
    if micros == 0 {
        return Number::from(0);
    }
    let decimals = format!("{:06}", micros % MICROS_PER_SECOND);
    let decimals = decimals.trim_end_matches('0');
    let decimals = if decimals.is_empty() { "0" } else { decimals };
    Number::from_string_unchecked(format!("{}.{decimals}", micros / MICROS_PER_SECOND))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_is_in_seconds_and_needs_no_float() {
        let average = |processed, processing_micros| {
            average_seconds(&Tally { processed, processing_micros, ..Tally::default() }).to_string()
        };
        assert_eq!(average(0, 0), "0");
        assert_eq!(average(5, 0), "0");
        assert_eq!(average(5, 10_000_000), "2.0");
        assert_eq!(average(2, 5_000_000), "2.5");
        assert_eq!(average(3, 1), "0");
        assert_eq!(average(3, 10), "0.000003");
        assert_eq!(average(1, 12_034_500), "12.0345");
    }

    #[test]
    fn the_statuses_sum_up_to_all_orders() {
        let tally = Tally {
            orders: 10,
            queued: 4,
            running: 3,
            processed: 5,
            parked: 1,
            processing_micros: 10_000_000,
        };
        let metrics = metrics(&tally);
        let Statuses { pending, processing, completed } = metrics.statuses;
        assert_eq!((pending, processing, completed), (2, 3, 5));
    }
}
