//! Every way in which `oscarps` says no.

use super::wire::{InvalidBody, Message};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::StatusCode;
use order_core::{Error, Fault, Rejection};
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

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        Self::Shared(Refusal::Fault(fault))
    }
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejection(rejection) => rejection.into(),
            Error::Fault(fault) => fault.into(),
        }
    }
}

impl From<Rejection> for No {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::OrderUnknown => Self::OrderUnknown,
            // This contract sends no keys, versions, changes, leases, followers, redrives or cursors to the core.
            Rejection::KeyReused { .. }
            | Rejection::VersionMismatch { .. }
            | Rejection::IllegalChange { .. }
            | Rejection::LeaseLost
            | Rejection::FollowerUnknown
            | Rejection::RedriveUnknown
            | Rejection::CursorInvalid
            | Rejection::EpochChanged
            | Rejection::CursorExpired => {
                Fault::internal(format!("oscarps never asks for this: {rejection}")).into()
            }
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
    match refusal {
        Refusal::InvalidJson(invalid) => {
            let mut issues = Issues::default();
            let why = invalid_json::sentence(invalid);
            match invalid_json::field(invalid) {
                Some(field) => issues.field(&field, why),
                None => issues.whole(why),
            }
            invalid_body(issues)
        }
        Refusal::RouteUnknown
        | Refusal::MethodNotAllowed
        | Refusal::BodyTooLarge { .. }
        | Refusal::MediaTypeUnsupported
        | Refusal::UriTooLong
        | Refusal::UriInvalid
        | Refusal::HeadersTooLarge
        | Refusal::ForeignHost
        | Refusal::BadFraming
        | Refusal::BodyTimeout
        | Refusal::Unauthenticated
        | Refusal::Forbidden { .. }
        | Refusal::RateLimited { .. }
        | Refusal::RequestTimeout
        | Refusal::Fault(_)
        | Refusal::Panicked => message(refusal.status(), refusal.detail()),
    }
}

fn message(status: StatusCode, message: String) -> Response {
    reply::json(status, &Message { message })
}

fn invalid_body(Issues(issues): Issues) -> Response {
    reply::json(StatusCode::BAD_REQUEST, &InvalidBody { message: "Invalid request body", issues })
}
