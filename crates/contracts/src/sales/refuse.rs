//! Every way in which `sales` says no.

use super::wire::{self, ErrorEntry};
use crate::refuse::{self, Denied};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::{HeaderValue, StatusCode, header};
use order_core::json::InvalidJson;
use order_core::{Fault, OrderId};
use std::time::Duration;

/// One thing that is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Issue(String);

impl Issue {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// A refusal of a handler.
#[derive(Debug)]
pub(super) enum No {
    /// Something about the request is not as it must be.
    Invalid(Vec<Issue>),
    /// The key made this order before.
    KeyUsed(OrderId),
    /// There is no such product, or less of it than was asked for.
    ProductUnavailable,
    /// The catalogue gave no answer.
    CatalogUnavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// No such order here.
    OrderUnknown,
    /// What every mounted API may have to say; [`style`] words it.
    Shared(Refusal),
}

impl From<Denied> for No {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OrderUnknown => Self::OrderUnknown,
            // The key of this contract is its reference.
            Denied::KeyReused(_) => Self::Shared(Refusal::Fault(Fault::internal("sales sends no keys"))),
            Denied::Shared(refusal) => Self::Shared(refusal),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(issues) => {
                let entries = issues.into_iter().map(|Issue(why)| entry(VALIDATION_ERROR, why)).collect();
                errors(StatusCode::BAD_REQUEST, entries)
            }
            Self::KeyUsed(order_id) => {
                let why = format!("The idempotency key was used for the order {order_id}");
                let mut entry = entry("DUPLICATE_IDEMPOTENCY_KEY", why);
                entry.order_id = Some(order_id.to_string());
                errors(StatusCode::CONFLICT, vec![entry])
            }
            Self::ProductUnavailable => {
                let why = "The product is not available in this quantity".to_owned();
                error(StatusCode::CONFLICT, "PRODUCT_UNAVAILABLE", why)
            }
            Self::CatalogUnavailable { retry_after } => {
                let why = "Whether the product is available cannot be found out now; try again".to_owned();
                let mut response = error(StatusCode::SERVICE_UNAVAILABLE, "CATALOG_UNAVAILABLE", why);
                let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
                response
            }
            Self::OrderUnknown => {
                error(StatusCode::NOT_FOUND, "ORDER_NOT_FOUND", "Order not found".to_owned())
            }
            Self::Shared(refusal) => Refused(refusal).into_response(),
        }
    }
}

const VALIDATION_ERROR: &str = "VALIDATION_ERROR";

/// The refusals that every mounted API shares, as `errors`.
pub(super) fn style(refusal: &Refusal, _request_id: &RequestId) -> Response {
    let why = match refuse::sentence(refusal) {
        Ok(sentence) => sentence,
        Err(invalid) => invalid_json(invalid),
    };
    error(refusal.status(), code(refusal), why)
}

fn code(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::RouteUnknown => "NOT_FOUND",
        Refusal::MethodNotAllowed => "METHOD_NOT_ALLOWED",
        Refusal::BodyTooLarge { .. } => "PAYLOAD_TOO_LARGE",
        Refusal::MediaTypeUnsupported | Refusal::ContentCoded => "UNSUPPORTED_MEDIA_TYPE",
        Refusal::UriTooLong => "URI_TOO_LONG",
        Refusal::HeadersTooLarge => "HEADERS_TOO_LARGE",
        Refusal::UriInvalid | Refusal::InvalidJson(_) => VALIDATION_ERROR,
        Refusal::ForeignHost | Refusal::HostInvalid | Refusal::BadFraming | Refusal::PlainHttp => {
            "BAD_REQUEST"
        }
        Refusal::CodingUnknown => "NOT_IMPLEMENTED",
        Refusal::BodyTimeout => "REQUEST_TIMEOUT",
        Refusal::Unauthenticated => "UNAUTHORIZED",
        Refusal::Forbidden { .. } | Refusal::NotOperator | Refusal::KeysOfOperators => "FORBIDDEN",
        Refusal::RateLimited { .. } => "RATE_LIMITED",
        Refusal::RequestTimeout => "UNAVAILABLE",
        Refusal::Fault(fault) if fault.retry_after().is_some() => "UNAVAILABLE",
        Refusal::Fault(_) | Refusal::Panicked => "INTERNAL_ERROR",
    }
}

/// The sentence of a body that is no JSON, or not within the limits.
fn invalid_json(invalid: &InvalidJson) -> String {
    let why = invalid_json::sentence(invalid);
    match invalid_json::field(invalid) {
        Some(field) => format!("{field}: {why}"),
        None => why,
    }
}

fn error(status: StatusCode, code: &'static str, why: String) -> Response {
    errors(status, vec![entry(code, why)])
}

fn entry(error_code: &'static str, error_description: String) -> ErrorEntry {
    ErrorEntry { error_code, error_description, error_severity: "error", order_id: None }
}

fn errors(status: StatusCode, errors: Vec<ErrorEntry>) -> Response {
    reply::json(status, &wire::Refused { errors })
}
