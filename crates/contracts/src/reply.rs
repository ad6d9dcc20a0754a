//! Replies in JSON.

use axum::response::{IntoResponse, Response};
use edge::{LoggedOrder, Refusal, Refused};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use order_core::{Fault, OrderId};
use serde::Serialize;

/// As the original systems answer.
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

/// A reply whose body is `body` as JSON.
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => (status, [(CONTENT_TYPE, JSON)], bytes).into_response(),
        Err(error) => Refused(Refusal::Fault(Fault::internal(error))).into_response(),
    }
}

/// A reply about one order, which the log names.
pub(crate) fn order(status: StatusCode, order_id: OrderId, body: &impl Serialize) -> Response {
    let mut response = json(status, body);
    response.extensions_mut().insert(LoggedOrder(order_id));
    response
}
