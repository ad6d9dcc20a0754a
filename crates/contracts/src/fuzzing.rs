//! What the fuzz targets see of this crate besides its interface.

use crate::orderstream::events::{Ack, OrderEvent};
use crate::{exact, orderstream, oscarps, parspec};
use order_core::json::JsonLimits;
use order_core::order::Content;
use order_core::{Money, Reference};
use serde_json::{Number, Value};

/// A body of `oscarps`: reference, customer, total; else what is wrong with it, field by field.
///
/// # Errors
/// When the body is refused.
pub fn oscarps(body: &Value) -> Result<(Reference, String, Money), String> {
    oscarps::read(body)
}

/// A body of `parspec`: user, items, total; else what is said about it.
///
/// # Errors
/// When the body is refused.
pub fn parspec(body: Value) -> Result<(String, Vec<Value>, Money), String> {
    parspec::read(body)
}

/// A body of `orderstream`: what an order would hold, nothing for a delete; else what is wrong with it.
///
/// # Errors
/// When the body is refused.
pub fn orderstream(body: Value) -> Result<Option<Content>, String> {
    orderstream::read(body)
}

/// Reads a message as an event and as an acknowledgement of `orderstream`; whether it is one of them.
pub fn orderstream_message(value: &[u8]) -> bool {
    let limits = JsonLimits::default();
    OrderEvent::parse(Some(value), limits).is_ok() || Ack::parse(Some(value), limits).is_ok()
}

/// A number in a path of `parspec`; the inner `None` when it is larger than any order's, the outer one when it is none.
pub fn order_number(text: &str) -> Option<Option<i64>> {
    parspec::number(text)
}

/// An amount as contracts write it.
pub fn number(money: Money) -> Number {
    exact::number(money)
}
