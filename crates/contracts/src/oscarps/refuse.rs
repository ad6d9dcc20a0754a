//! Every way in which `oscarps` says no.

use super::wire::{InvalidBody, Message};
use crate::refuse::{self, Denied};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::StatusCode;
use order_core::Fault;
use serde_json::{Map, Value, json};

/// What is wrong with a body, field by field.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Issues(Map<String, Value>);

impl Issues {
    /// The body as a whole is wrong.
    pub(super) fn whole(&mut self, why: String) {
        self.0.insert("_errors".to_owned(), json!([why]));
    }

    /// A field is wrong.
    pub(super) fn field(&mut self, field: &str, why: String) {
        self.0.insert(field.to_owned(), json!({ "_errors": [why] }));
    }
}

/// A refusal of a handler.
#[derive(Debug)]
pub(super) enum No {
    /// The body is JSON, but no order.
    Body(Issues),
    /// No such order here.
    OrderUnknown,
    /// What every mounted API may have to say; [`style`] words it.
    Shared(Refusal),
}

impl From<Issues> for No {
    fn from(issues: Issues) -> Self {
        Self::Body(issues)
    }
}

impl From<Denied> for No {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OrderUnknown => Self::OrderUnknown,
            // This contract sends no keys.
            Denied::KeyReused(_) => Self::Shared(Refusal::Fault(Fault::internal("oscarps sends no keys"))),
            Denied::Shared(refusal) => Self::Shared(refusal),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        match self {
            Self::Body(issues) => invalid_body(issues),
            Self::OrderUnknown => message(StatusCode::NOT_FOUND, "Order not found".to_owned()),
            Self::Shared(refusal) => Refused(refusal).into_response(),
        }
    }
}

/// The refusals that every mounted API shares, as `{"message"}`.
pub(super) fn style(refusal: &Refusal, _request_id: &RequestId) -> Response {
    match refuse::sentence(refusal) {
        Ok(sentence) => message(refusal.status(), sentence),
        Err(invalid) => {
            let mut issues = Issues::default();
            let why = invalid_json::sentence(invalid);
            match invalid_json::field(invalid) {
                Some(field) => issues.field(&field, why),
                None => issues.whole(why),
            }
            invalid_body(issues)
        }
    }
}

fn message(status: StatusCode, message: String) -> Response {
    reply::json(status, &Message { message })
}

fn invalid_body(Issues(issues): Issues) -> Response {
    reply::json(StatusCode::BAD_REQUEST, &InvalidBody { message: "Invalid request body", issues })
}
