//! `orderstream` ⇄ core.

use super::EVENTS;
use super::payload::Payload;
use super::wire::{self, Status};
use crate::exact;
use order_core::external::{EXTERNAL_ID, ExternalId};
use order_core::ids::Reference;
use order_core::intake::Intake;
use order_core::order::Content;
use order_core::{Order, OrderId, SourceId, TenantId, Timestamp};
use serde_json::{Map, Value};
use uuid::Uuid;

/// The attribute that holds the payload.
const PAYLOAD: &str = "payload";

/// The id's first byte, modulo this, is the bucket.
const BUCKETS: u8 = 4;

/// Wire → core: what an order of `customer` holds.
pub(crate) fn content(customer: Option<String>, payload: Payload) -> Content {
    let Payload { object, amount, external_id } = payload;
    let external = external_id.map(|text| (EXTERNAL_ID.to_owned(), Value::String(text)));
    let attributes = external.into_iter().chain([(PAYLOAD.to_owned(), Value::Object(object))]).collect();
    Content { customer, total: amount, attributes, ..Content::default() }
}

/// Wire → core: a new order.
pub(crate) fn intake(tenant: TenantId, source: SourceId, user_id: Uuid, payload: Payload) -> Intake {
    let content = content(Some(user_id.to_string()), payload);
    Intake { tenant, source, reference: None, content, key: None }
}

/// The source of orders that came in as events of others.
pub(crate) fn events_source() -> SourceId {
    #[expect(clippy::expect_used, reason = "a constant, and a test reads it")]
    SourceId::new(EVENTS).expect("a valid source")
}

/// The core's id of an order that came in as an event of others, under an id of theirs.
pub(crate) fn foreign_id(tenant: &TenantId, order_id: Uuid) -> Option<OrderId> {
    let reference = Reference::new(&order_id.to_string()).ok()?;
    Some(OrderId::derived(tenant, &events_source(), &reference))
}

/// What an order is looked for by.
pub(crate) fn external(tenant: &TenantId, source: SourceId, user_id: Uuid, text: &str) -> ExternalId {
    ExternalId { tenant: tenant.clone(), source, customer: user_id.to_string(), text: text.to_owned() }
}

/// The id that clients of this contract know an order by.
pub(crate) fn shown_id(order: &Order) -> Uuid {
    let foreign = order.reference.as_ref().filter(|_| order.source.as_str() == EVENTS);
    foreign.and_then(|reference| Uuid::try_parse(reference.as_str()).ok()).unwrap_or(order.id.0)
}

/// How far an order is, in this contract's words.
pub(crate) fn status(order: &Order, now: Timestamp) -> Status {
    if order.withdrawn {
        return Status::Deleted;
    }
    match order.processing_at(now) {
        order_core::state::Processing::Running => Status::Processing,
        order_core::state::Processing::Done => Status::Done,
        // This contract has no word for what waits for an operator.
        order_core::state::Processing::Queued | order_core::state::Processing::Parked => Status::New,
    }
}

/// The payload of an order; empty once its data were erased.
pub(crate) fn payload(order: &Order) -> Map<String, Value> {
    order.content.attributes.get(PAYLOAD).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// The bucket of an order id.
pub(crate) fn bucket(order_id: Uuid) -> u8 {
    order_id.as_bytes()[0] % BUCKETS
}

/// Core → wire.
pub(crate) fn shown(order: &Order, now: Timestamp) -> wire::Order {
    let order_id = shown_id(order);
    wire::Order {
        order_id: order_id.to_string(),
        user_id: order.content.customer.clone().unwrap_or_default(),
        amount: exact::number(order.content.total),
        status: status(order, now),
        payload_json: payload(order),
        created_at: order.accepted_at.millis_text(),
        updated_at: order.updated_at.millis_text(),
        bucket: bucket(order_id),
    }
}
