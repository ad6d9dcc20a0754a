//! `oscarps` ⇄ core.

use super::wire::{CreateOrder, Row, Status};
use crate::contract::Contract;
use crate::{exact, reply};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode};
use order_core::intake::{Accepted, Intake};
use order_core::order::Content;
use order_core::{Order, OrderId, Reference, Timestamp};

/// Names the fields in which a duplicate differs from the order that is there, as JSON pointers apart by commas.
const DUPLICATE_DIFFERS: HeaderName = HeaderName::from_static("wellorder-duplicate-differs");

/// The counter of duplicates with that header.
pub(super) const DUPLICATES_DIFFERING: &str = "wellorder_duplicates_differing_total";

/// The fields that a client of this contract can have sent differently; they are called the same in the core.
const COMPARED: [&str; 2] = ["/customer", "/total"];

/// Wire → core.
pub(super) fn intake(contract: &Contract, order: CreateOrder) -> Intake {
    Intake {
        tenant: contract.tenant.clone(),
        source: contract.source.clone(),
        reference: Some(order.order_id),
        content: Content { customer: Some(order.customer), total: order.total, ..Content::default() },
        key: None,
    }
}

/// The core's id of a client's order id; `None` when no order can have that id.
pub(super) fn order_id(contract: &Contract, order_id: &str) -> Option<OrderId> {
    let reference = Reference::new(order_id).ok()?;
    Some(OrderId::derived(&contract.tenant, &contract.source, &reference))
}

/// Core → wire: 201 for a new order, 200 for one that was there.
pub(super) fn accepted(accepted: &Accepted, now: Timestamp) -> Response {
    match accepted {
        Accepted::New(order) => reply::order(StatusCode::CREATED, order.id, &row(order, now)),
        Accepted::Duplicate { order, differs } => {
            let reply = reply::order(StatusCode::OK, order.id, &row(order, now));
            let known: Vec<&str> =
                COMPARED.into_iter().filter(|field| differs.iter().any(|pointer| pointer == field)).collect();
            match HeaderValue::try_from(known.join(",")) {
                Ok(pointers) if !pointers.is_empty() => {
                    metrics::counter!(DUPLICATES_DIFFERING, "contract" => super::NAME).increment(1);
                    ([(DUPLICATE_DIFFERS, pointers)], reply).into_response()
                }
                _ => reply,
            }
        }
    }
}

/// The order as this contract shows it.
pub(super) fn row(order: &Order, now: Timestamp) -> Row {
    Row {
        id: order.id.to_string(),
        order_id: order.reference.as_ref().map(ToString::to_string).unwrap_or_default(),
        // Only an erasure leaves an order without a customer.
        customer: order.content.customer.clone().unwrap_or_default(),
        total: exact::number(order.content.total),
        // There is no third word: what is parked or withdrawn unprocessed is pending.
        status: if order.processed_at.is_some() { Status::Processed } else { Status::Pending },
        attempts: order.failed_attempts(),
        locked_at: order.live_lease(now).map(|lease| lease.began_at.millis_text()),
        last_error: order.last_error.clone(),
        created_at: order.accepted_at.millis_text(),
    }
}
