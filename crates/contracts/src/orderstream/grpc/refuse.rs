//! Every way in which `orderstream` says no over gRPC: a status with details.

use super::super::refuse::No;
use super::super::wire::Status as OrderStatus;
use crate::{invalid_json, refuse};
use axum::body::Body;
use axum::response::Response;
use edge::{Refusal, RequestId};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The reason of a precondition that an order does not meet.
const DELETED: &str = "DELETED";
const ON_ITS_WAY: &str = "ON_ITS_WAY";
/// What kind of thing there is none of.
const ORDER: &str = "order";
const UNKNOWN: &str = "not found";

/// The status of a refusal of a method.
pub(super) fn status(no: No) -> Status {
    if let Some((field, why)) = no.of_input() {
        let field = if field == "payload" { "payload_json" } else { field };
        let details = ErrorDetails::with_bad_request_violation(field, why.clone());
        return Status::with_error_details(Code::InvalidArgument, why, details);
    }
    match no {
        No::Conflict { order_id, status } => {
            let why = No::conflict(status);
            let kind = match status {
                OrderStatus::Deleted => DELETED,
                OrderStatus::New | OrderStatus::Processing | OrderStatus::Done => ON_ITS_WAY,
            };
            let details = ErrorDetails::with_precondition_failure_violation(kind, order_id, why);
            Status::with_error_details(Code::FailedPrecondition, why, details)
        }
        No::Shared(refusal) => refused(&refusal, ErrorDetails::new()),
        // The rest was input.
        No::OrderUnknown
        | No::BodyNotObject
        | No::UserIdInvalid
        | No::OrderIdInvalid
        | No::StatusInvalid
        | No::Payload(_) => {
            let details = ErrorDetails::with_resource_info(ORDER, "", "", UNKNOWN);
            Status::with_error_details(Code::NotFound, UNKNOWN, details)
        }
    }
}

/// A message that cannot be read.
pub(super) fn unreadable(why: String) -> Status {
    let details = ErrorDetails::with_bad_request_violation("", why.clone());
    Status::with_error_details(Code::InvalidArgument, why, details)
}

/// The refusals that every mounted API shares, as replies of gRPC.
pub(super) fn style(refusal: &Refusal, request_id: &RequestId) -> Response {
    let mut details = ErrorDetails::new();
    details.set_request_info(request_id.0.clone(), String::new());
    let mut response: Response = refused(refusal, details).into_http::<Body>();
    if matches!(refusal, Refusal::MediaTypeUnsupported | Refusal::ContentCoded) {
        // Whoever sends something else does not look for a status of gRPC.
        *response.status_mut() = refusal.status();
    }
    response
}

fn refused(refusal: &Refusal, mut details: ErrorDetails) -> Status {
    let why = refuse::sentence(refusal).unwrap_or_else(invalid_json::sentence);
    if let Some(wait) = refusal.retry_after() {
        details.set_retry_info(Some(wait));
    }
    Status::with_error_details(code(refusal), why, details)
}

fn code(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::RouteUnknown | Refusal::MethodNotAllowed | Refusal::CodingUnknown => Code::Unimplemented,
        Refusal::BodyTooLarge { .. }
        | Refusal::UriTooLong
        | Refusal::HeadersTooLarge
        | Refusal::RateLimited { .. } => Code::ResourceExhausted,
        Refusal::MediaTypeUnsupported
        | Refusal::ContentCoded
        | Refusal::UriInvalid
        | Refusal::ForeignHost
        | Refusal::HostInvalid
        | Refusal::BadFraming
        | Refusal::PlainHttp
        | Refusal::InvalidJson(_) => Code::InvalidArgument,
        Refusal::BodyTimeout => Code::DeadlineExceeded,
        Refusal::Unauthenticated => Code::Unauthenticated,
        Refusal::Forbidden { .. } | Refusal::NotOperator | Refusal::KeysOfOperators => Code::PermissionDenied,
        Refusal::RequestTimeout => Code::Unavailable,
        Refusal::Fault(fault) if fault.retry_after().is_some() => Code::Unavailable,
        Refusal::Fault(_) | Refusal::Panicked => Code::Internal,
    }
}
