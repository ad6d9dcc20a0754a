//! `sales` ⇄ core.

use super::wire::{self, CreateOrder, Status};
use crate::contract::Contract;
use order_core::ids::TEXT_BYTES_MAX;
use order_core::intake::Intake;
use order_core::order::{Content, Line};
use order_core::state::Fulfilment;
use order_core::{Fault, Money, Order, Reference, Timestamp};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The attribute that keeps a key which is too long to be a reference.
const KEY: &str = "idempotency_key";

/// Wire → core. The key is the reference; the product is the one line, without a price, for the contract knows none.
pub(super) fn intake(contract: &Contract, order: CreateOrder) -> Result<Intake, Fault> {
    let mut attributes = Map::new();
    let reference = match order.idempotency_key {
        Some(key) => {
            let reference = reference(&key)?;
            if key.len() > TEXT_BYTES_MAX {
                attributes.insert(KEY.to_owned(), Value::String(key));
            }
            Some(reference)
        }
        None => None,
    };
    let line = Line {
        sku: order.product_id.to_string(),
        name: None,
        quantity: order.quantity,
        unit_price: Money::ZERO,
    };
    let content = Content {
        customer: Some(order.user_id.to_string()),
        lines: vec![line],
        attributes,
        ..Content::default()
    };
    let (tenant, source) = (contract.tenant.clone(), contract.source.clone());
    Ok(Intake { tenant, source, reference, content, key: None })
}

/// A key counts in characters, a reference in bytes: one that has more bytes than fit is known by its hash.
fn reference(key: &str) -> Result<Reference, Fault> {
    let known_as = if key.len() <= TEXT_BYTES_MAX {
        key.to_owned()
    } else {
        let hash = Sha256::digest(key.as_bytes());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256:{hex}")
    };
    // A key with U+0000 was refused with the body.
    Reference::new(&known_as).map_err(Fault::internal)
}

/// What is told of an order that was just made.
pub(super) fn created(order: &Order) -> wire::Created {
    wire::Created {
        order_id: order.id.to_string(),
        status: status(order),
        created_at: order.accepted_at.millis_text(),
    }
}

/// The order as this contract shows it.
pub(super) fn order(order: &Order) -> wire::Order {
    let line = order.content.lines.first();
    wire::Order {
        order_id: order.id.to_string(),
        user_id: order.content.customer.clone(),
        product_id: line.map(|line| line.sku.clone()),
        quantity: line.map_or(0, |line| line.quantity),
        status: status(order),
        idempotency_key: key(order),
        created_at: order.accepted_at.millis_text(),
        shipped_at: order.shipped_at.map(Timestamp::millis_text),
        delivered_at: order.delivered_at.map(Timestamp::millis_text),
        updated_at: order.updated_at.millis_text(),
    }
}

fn key(order: &Order) -> Option<String> {
    let long = order.content.attributes.get(KEY).and_then(Value::as_str);
    long.or(order.reference.as_ref().map(Reference::as_str)).map(str::to_owned)
}

/// The one axis that this contract shows.
pub(super) fn status(order: &Order) -> Status {
    match order.fulfilment {
        Fulfilment::Unshipped => Status::PendingShipment,
        Fulfilment::Shipped => Status::Shipped,
        Fulfilment::Delivered => Status::Delivered,
    }
}
