//! Every refusal of this API, in the form of RFC 9457.

use crate::create::entity_tag;
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId, Worded};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use order_core::json::InvalidJson;
use order_core::state::{ChangeName, Fulfilment, Processing};
use order_core::{Error, Fault, Rejection};
use serde_json::{Map, Value, json};

/// What every `type` begins with.
const TYPE_PREFIX: &str = "urn:wellorder:problem:";

/// A kind of problem: name, status and title never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) status: u16,
    pub(crate) title: &'static str,
}

macro_rules! kinds {
    ($($constant:ident = $name:literal, $status:literal, $title:literal;)+) => {
        $(pub(crate) const $constant: Kind = Kind { name: $name, status: $status, title: $title };)+

        /// All of them, for the documentation.
        pub(crate) const KINDS: &[Kind] = &[$($constant),+];
    };
}

kinds! {
    INVALID_JSON = "invalid-json", 400, "The body is not valid JSON";
    INVALID_BODY = "invalid-body", 400, "The body does not have the form that is asked for";
    INVALID_PARAMETER = "invalid-parameter", 400, "A parameter is unknown or not valid";
    INVALID_KEY = "invalid-key", 400, "The idempotency key is not valid";
    CURSOR_INVALID = "cursor-invalid", 400, "The cursor is not valid";
    URI_INVALID = "uri-invalid", 400, "The request target is not valid";
    FOREIGN_HOST = "foreign-host", 400, "Only loopback names are served";
    BAD_FRAMING = "bad-framing", 400, "The request is not HTTP/1.1, or framed ambiguously or incompletely";
    UNAUTHENTICATED = "unauthenticated", 401, "A valid credential is needed";
    FORBIDDEN = "forbidden", 403, "The credential may not do this";
    ROUTE_UNKNOWN = "route-unknown", 404, "No such route";
    ORDER_UNKNOWN = "order-unknown", 404, "No such order";
    FOLLOWER_UNKNOWN = "follower-unknown", 404, "No such follower";
    REDRIVE_UNKNOWN = "redrive-unknown", 404, "No such redrive";
    BACKUP_UNKNOWN = "backup-unknown", 404, "No such copy";
    API_KEY_UNKNOWN = "api-key-unknown", 404, "No such API key";
    STORE_UNKNOWN = "store-unknown", 404, "No such store";
    IMPORT_UNKNOWN = "import-unknown", 404, "No such import";
    ENDPOINT_UNKNOWN = "endpoint-unknown", 404, "No such endpoint";
    DELIVERY_UNKNOWN = "delivery-unknown", 404, "No such delivery";
    METHOD_NOT_ALLOWED = "method-not-allowed", 405, "The path has other methods";
    BODY_TIMEOUT = "body-timeout", 408, "The body did not arrive in time";
    ILLEGAL_CHANGE = "illegal-change", 409, "The order's state does not allow this change";
    ALREADY_DIFFERS = "already-differs", 409, "It is so already, with other particulars";
    LEASE_LOST = "lease-lost", 409, "The lease is lost";
    WORK_NOT_PULLED = "work-not-pulled", 409, "No work is left to workers outside";
    BACKUP_ELSEWHERE = "backup-elsewhere", 409, "Copies of this database are made elsewhere";
    API_KEY_ENDED = "api-key-ended", 409, "The API key is revoked or expired";
    API_KEY_GRACE = "api-key-grace", 409, "The secret before still works";
    API_KEYS_TOO_MANY = "api-keys-too-many", 409, "The tenant has as many API keys as it may";
    SECRETS_KEY_MISSING = "secrets-key-missing", 409, "No key for secrets at rest is set";
    ENDPOINTS_TOO_MANY = "endpoints-too-many", 409, "The tenant has as many endpoints as it may";
    ENDPOINT_CHANGED = "endpoint-changed", 409, "The endpoint was changed meanwhile";
    ENDPOINT_UNPROVEN = "endpoint-unproven", 409, "The endpoint has not said that it wants to be called";
    ENDPOINT_DISABLED = "endpoint-disabled", 409, "The endpoint is disabled";
    ENDPOINT_GRACE = "endpoint-grace", 409, "The secret before the last rotation still counts";
    CURSOR_EXPIRED = "cursor-expired", 410, "The cursor lies below what is kept";
    EPOCH_CHANGED = "epoch-changed", 410, "The cursor belongs to an earlier history";
    VERSION_MISMATCH = "version-mismatch", 412, "The order has another version";
    BODY_TOO_LARGE = "body-too-large", 413, "The body is too large";
    URI_TOO_LONG = "uri-too-long", 414, "The request target is too long";
    MEDIA_TYPE_UNSUPPORTED = "media-type-unsupported", 415, "The content type is not supported";
    CONTENT_CODED = "content-coded", 415, "The body is compressed, or coded otherwise";
    MARKETPLACE_UNKNOWN = "marketplace-unknown", 422, "The marketplace is not connected here";
    VALUE_REFUSED = "value-refused", 422, "A value is refused";
    DUPLICATE_DIFFERS = "duplicate-differs", 422, "The order exists with other content";
    KEY_REUSED = "key-reused", 422, "The idempotency key was used for another request";
    PRECONDITION_REQUIRED = "precondition-required", 428, "If-Match is needed";
    HEADERS_TOO_LARGE = "headers-too-large", 431, "The header fields are too many or too large";
    RATE_LIMITED = "rate-limited", 429, "Too many requests";
    INTERNAL = "internal", 500, "Internal server error";
    TRANSFER_CODING = "transfer-coding-unknown", 501, "The transfer coding is not understood";
    UNAVAILABLE = "unavailable", 503, "Temporarily unavailable";
    OUTCOME_UNKNOWN = "outcome-unknown", 503, "Whether it was done is unknown";
    REQUEST_TIMEOUT = "request-timeout", 503, "The request took too long";
}

/// Where a problem lies in what was sent, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offence {
    place: Place,
    code: &'static str,
    message: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// JSON pointer into the body.
    Pointer(String),
    /// A parameter of the path or the query.
    Parameter(String),
}

impl Offence {
    pub(crate) fn at(pointer: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { place: Place::Pointer(pointer.into()), code, message: message.into() }
    }

    pub(crate) fn parameter(name: impl Into<String>, code: &'static str, message: impl Into<String>) -> Self {
        Self { place: Place::Parameter(name.into()), code, message: message.into() }
    }

    fn to_json(&self) -> Value {
        let Self { place, code, message } = self;
        match place {
            Place::Pointer(pointer) => json!({ "pointer": pointer, "code": code, "message": message }),
            // The parameters taken as an object, as the pointer of a member of a body.
            Place::Parameter(name) => {
                json!({ "pointer": format!("/{name}"), "parameter": name, "code": code, "message": message })
            }
        }
    }
}

/// A refusal that names the request once its id is known.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    offences: Vec<Offence>,
    more: Map<String, Value>,
    headers: HeaderMap,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            offences: Vec::new(),
            more: Map::new(),
            headers: HeaderMap::new(),
        }
    }

    pub(crate) fn offences(mut self, offences: Vec<Offence>) -> Self {
        self.offences = offences;
        self
    }

    /// Adds a member of this kind's own.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Its type, and what it says.
    pub(crate) fn told(&self) -> (String, &str) {
        (format!("{TYPE_PREFIX}{}", self.kind.name), &self.detail)
    }

    /// The status of the reply.
    pub(crate) fn status(&self) -> u16 {
        self.kind.status
    }

    /// Adds a header.
    pub(crate) fn header(mut self, (name, value): (HeaderName, HeaderValue)) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Names the version that the order has, in the body and as its entity tag.
    pub(crate) fn version(self, version: u64) -> Self {
        let problem = self.with("version", version);
        match entity_tag(version) {
            Some(tag) => problem.header((header::ETAG, tag)),
            None => problem,
        }
    }

    /// What is said of it, as a reply or as a part of one.
    pub(crate) fn to_json(&self, request_id: &RequestId) -> Value {
        let mut body = json!({
            "type": format!("{TYPE_PREFIX}{}", self.kind.name),
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "request_id": request_id.0,
        });
        if let Value::Object(body) = &mut body {
            if !self.offences.is_empty() {
                body.insert("errors".to_owned(), self.offences.iter().map(Offence::to_json).collect());
            }
            body.extend(self.more.clone());
        }
        body
    }

    fn respond(&self, request_id: &RequestId) -> Response {
        let body = self.to_json(request_id);
        let status = StatusCode::from_u16(self.kind.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = edge::respond::with_type(status, content_type, body.to_string());
        response.headers_mut().extend(self.headers.clone());
        response
    }
}

/// Words the refusals that every API shares.
pub fn style(refusal: &Refusal, request_id: &RequestId) -> Response {
    Problem::from(refusal).respond(request_id)
}

impl From<&Refusal> for Problem {
    fn from(refusal: &Refusal) -> Self {
        let problem = Self::new(kind_of(refusal), refusal.detail());
        match refusal {
            Refusal::InvalidJson(invalid) => problem.offences(vec![Offence::at(
                invalid.pointer(),
                json_code(invalid),
                invalid.to_string(),
            )]),
            _ => problem,
        }
    }
}

fn kind_of(refusal: &Refusal) -> Kind {
    match refusal {
        Refusal::RouteUnknown => ROUTE_UNKNOWN,
        Refusal::MethodNotAllowed => METHOD_NOT_ALLOWED,
        Refusal::BodyTooLarge { .. } => BODY_TOO_LARGE,
        Refusal::MediaTypeUnsupported => MEDIA_TYPE_UNSUPPORTED,
        Refusal::ContentCoded => CONTENT_CODED,
        Refusal::UriTooLong => URI_TOO_LONG,
        Refusal::UriInvalid => URI_INVALID,
        Refusal::HeadersTooLarge => HEADERS_TOO_LARGE,
        Refusal::ForeignHost => FOREIGN_HOST,
        Refusal::BadFraming | Refusal::HostInvalid | Refusal::PlainHttp => BAD_FRAMING,
        Refusal::CodingUnknown => TRANSFER_CODING,
        Refusal::BodyTimeout => BODY_TIMEOUT,
        Refusal::Unauthenticated => UNAUTHENTICATED,
        Refusal::Forbidden { .. } | Refusal::NotOperator | Refusal::KeysOfOperators => FORBIDDEN,
        Refusal::RateLimited { .. } => RATE_LIMITED,
        Refusal::RequestTimeout => REQUEST_TIMEOUT,
        Refusal::InvalidJson(_) => INVALID_JSON,
        Refusal::Fault(
            Fault::Unavailable { .. }
            | Fault::LoginUnavailable { .. }
            | Fault::Overloaded { .. }
            | Fault::ShuttingDown,
        ) => UNAVAILABLE,
        Refusal::Fault(Fault::OutcomeUnknown) => OUTCOME_UNKNOWN,
        Refusal::Fault(Fault::Data { .. } | Fault::Internal { .. }) | Refusal::Panicked => INTERNAL,
    }
}

fn json_code(invalid: &InvalidJson) -> &'static str {
    match invalid {
        InvalidJson::Absent => "missing",
        InvalidJson::Syntax { .. } => "malformed",
        InvalidJson::DuplicateKey { .. } => "duplicate-key",
        InvalidJson::Nul { .. } => "nul",
        InvalidJson::ReservedKey { .. } => "reserved-key",
        InvalidJson::TooDeep { .. } => "too-deep",
        InvalidJson::TooMany { .. } => "too-many",
    }
}

/// What a handler fails with.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Our own words.
    Problem(Box<Problem>),
    /// A refusal that the mount words.
    Refused(Refused),
}

impl Failure {
    /// As a part of a reply: what would be the header `Retry-After` is a member, in seconds.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::Problem(problem) => *problem,
            Self::Refused(Refused(refusal)) => {
                let problem = Problem::from(&refusal);
                match refusal.retry_after_seconds() {
                    Some(seconds) => problem.with("retry_after", seconds),
                    None => problem,
                }
            }
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(problem) => {
                Worded::new(move |request_id| problem.respond(request_id)).into_response()
            }
            Self::Refused(refused) => refused.into_response(),
        }
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal.into())
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Refused(fault.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejection(rejection) => rejection.into(),
            Error::Fault(fault) => fault.into(),
        }
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Problem::from(rejection).into()
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let said = |kind, detail: &str| Self::new(kind, detail);
        match rejection {
            Rejection::OrderUnknown => said(ORDER_UNKNOWN, "There is no such order"),
            Rejection::KeyReused { order_id, differs } => {
                let why =
                    "The key was used for another request; see errors for what differs, or use a fresh key";
                said(KEY_REUSED, why).with("order_id", order_id.to_string()).offences(key_differing(&differs))
            }
            Rejection::VersionMismatch { expected, actual } => {
                Self::new(VERSION_MISMATCH, format!("The order has version {actual}, not {expected}"))
                    .version(actual)
            }
            Rejection::IllegalChange { change, processing, fulfilment, withdrawn } => {
                illegal(change, (processing, fulfilment, withdrawn))
            }
            Rejection::LeaseLost => said(LEASE_LOST, "The lease ran out or the work was replaced"),
            Rejection::FollowerUnknown => said(FOLLOWER_UNKNOWN, "There is no such follower"),
            Rejection::RedriveUnknown => said(REDRIVE_UNKNOWN, "There is no such redrive"),
            Rejection::ApiKeyUnknown => said(API_KEY_UNKNOWN, "There is no such API key"),
            Rejection::ApiKeyEnded => said(API_KEY_ENDED, "The API key is revoked or expired: make another"),
            Rejection::ApiKeyGrace { until } => {
                let detail =
                    format!("The secret before works until {until}; with end_grace true it ends now");
                Self::new(API_KEY_GRACE, detail).with("previous_until", until.to_string())
            }
            Rejection::ApiKeysTooMany => said(API_KEYS_TOO_MANY, "Revoke API keys that nobody needs"),
            Rejection::SecretsKeyMissing => said(
                SECRETS_KEY_MISSING,
                "Whoever runs the server must set secrets.key_file or secrets.key: until then it keeps no secrets",
            ),
            Rejection::StoreUnknown => said(STORE_UNKNOWN, "There is no such store"),
            Rejection::MarketplaceUnknown => said(
                MARKETPLACE_UNKNOWN,
                "No such marketplace is connected here: see the settings under marketplaces",
            ),
            Rejection::ImportUnknown => said(IMPORT_UNKNOWN, "The store was never asked for this receipt"),
            Rejection::EndpointUnknown => said(ENDPOINT_UNKNOWN, "There is no such endpoint"),
            Rejection::EndpointsTooMany => said(ENDPOINTS_TOO_MANY, "Delete endpoints that nobody needs"),
            Rejection::EndpointChanged => {
                said(ENDPOINT_CHANGED, "Somebody changed the endpoint at the same time: try again")
            }
            Rejection::EndpointUnproven(lack) => Self::new(
                ENDPOINT_UNPROVEN,
                format!(
                    "The endpoint {lack}: it must answer an `endpoint.challenge` with 2xx and the `challenge` of its `data`"
                ),
            ),
            Rejection::EndpointDisabled => {
                said(ENDPOINT_DISABLED, "Nothing is sent to an endpoint that is disabled: enable it first")
            }
            Rejection::EndpointGrace { until } => {
                let detail =
                    format!("The secret before counts until {until}; with end_previous true it ends now");
                Self::new(ENDPOINT_GRACE, detail).with("previous_until", until.to_string())
            }
            Rejection::DeliveryUnknown => said(DELIVERY_UNKNOWN, "There is no such delivery"),
            Rejection::CursorInvalid => said(CURSOR_INVALID, "The cursor was not made here, or not for this"),
            Rejection::EpochChanged => said(
                EPOCH_CHANGED,
                "The database was restored since: begin anew, from the beginning, and compare by event_id",
            ),
            Rejection::CursorExpired => {
                said(CURSOR_EXPIRED, "What follows the cursor is no longer kept: begin anew")
            }
        }
    }
}

fn illegal(
    change: ChangeName,
    (processing, fulfilment, withdrawn): (Processing, Fulfilment, bool),
) -> Problem {
    let is = if withdrawn { " and withdrawn" } else { "" };
    let detail = format!("{change} is not allowed: the order is {processing}, {fulfilment}{is}");
    Problem::new(ILLEGAL_CHANGE, detail)
        .with("change", change.word())
        .with("processing", processing.word())
        .with("fulfilment", fulfilment.word())
        .with("withdrawn", withdrawn)
}

/// What refuses a cursor, with the parameter or member that held it; any other failure as it is.
pub(crate) fn cursor_refused(
    error: impl Into<Error>,
    at: impl FnOnce(&'static str, &'static str) -> Offence,
) -> Failure {
    match error.into() {
        Error::Rejection(
            rejection @ (Rejection::CursorInvalid | Rejection::EpochChanged | Rejection::CursorExpired),
        ) => {
            let problem = Problem::from(rejection);
            let offence = at(problem.kind.name, "must be a cursor that can be read on from");
            problem.offences(vec![offence]).into()
        }
        other => other.into(),
    }
}

/// What differs from the order that is there, pointer by pointer.
pub(crate) fn differing(pointers: &[String]) -> Vec<Offence> {
    let offence =
        |pointer: &String| Offence::at(pointer.as_str(), "differs", "differs from the order that exists");
    pointers.iter().map(offence).collect()
}

/// What differs from the request that a key was used for. What its content was is not kept: where the order has become
/// what is sent now, all that can be said is that the body was another.
fn key_differing(pointers: &[String]) -> Vec<Offence> {
    if pointers.is_empty() {
        return vec![Offence::at("", "differs", "differs from what the key was used for")];
    }
    differing(pointers)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::panic, reason = "tests")]
    use super::*;
    use std::time::Duration;

    #[test]
    fn kinds_have_names_of_their_own() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn a_shared_refusal_keeps_its_status() {
        let unavailable = Fault::Unavailable { why: String::new(), retry_after: Duration::ZERO };
        let faults = [
            unavailable,
            Fault::overloaded(),
            Fault::ShuttingDown,
            Fault::OutcomeUnknown,
            Fault::Data { why: String::new() },
            Fault::internal("x"),
        ];
        let refusals = [
            Refusal::RouteUnknown,
            Refusal::MethodNotAllowed,
            Refusal::BodyTooLarge { bytes_max: 1 },
            Refusal::MediaTypeUnsupported,
            Refusal::ContentCoded,
            Refusal::UriTooLong,
            Refusal::UriInvalid,
            Refusal::HeadersTooLarge,
            Refusal::ForeignHost,
            Refusal::BadFraming,
            Refusal::HostInvalid,
            Refusal::CodingUnknown,
            Refusal::BodyTimeout,
            Refusal::Unauthenticated,
            Refusal::Forbidden { scope: edge::Scope::OrdersRead },
            Refusal::NotOperator,
            Refusal::KeysOfOperators,
            Refusal::RateLimited { retry_after: Duration::from_secs(1) },
            Refusal::PlainHttp,
            Refusal::RequestTimeout,
            Refusal::InvalidJson(InvalidJson::Syntax { line: 1, column: 1, pointer: String::new() }),
            Refusal::Panicked,
        ];
        for refusal in refusals.into_iter().chain(faults.map(Refusal::Fault)) {
            let response = style(&refusal, &RequestId("x".to_owned()));
            assert_eq!(response.status(), refusal.status(), "{refusal:?}");
        }
    }

    #[test]
    fn what_is_no_request_line_is_not_called_badly_framed_alone() {
        assert_eq!(BAD_FRAMING.title, Refusal::BadFraming.detail().replacen("Not", "The request is not", 1));
    }

    #[test]
    fn rejections_have_kinds() {
        let order_id =
            order_core::OrderId("230e0945-205f-8eaa-8fef-55ebf134b616".parse().unwrap_or_default());
        for (rejection, kind) in [
            (Rejection::OrderUnknown, ORDER_UNKNOWN),
            (Rejection::KeyReused { order_id, differs: vec!["/total".to_owned()] }, KEY_REUSED),
            (Rejection::VersionMismatch { expected: 1, actual: 2 }, VERSION_MISMATCH),
            (Rejection::LeaseLost, LEASE_LOST),
            (Rejection::FollowerUnknown, FOLLOWER_UNKNOWN),
            (Rejection::RedriveUnknown, REDRIVE_UNKNOWN),
            (Rejection::ApiKeyUnknown, API_KEY_UNKNOWN),
            (Rejection::ApiKeyEnded, API_KEY_ENDED),
            (Rejection::ApiKeyGrace { until: order_core::Timestamp::from_micros(0) }, API_KEY_GRACE),
            (Rejection::ApiKeysTooMany, API_KEYS_TOO_MANY),
            (Rejection::SecretsKeyMissing, SECRETS_KEY_MISSING),
            (Rejection::StoreUnknown, STORE_UNKNOWN),
            (Rejection::MarketplaceUnknown, MARKETPLACE_UNKNOWN),
            (Rejection::ImportUnknown, IMPORT_UNKNOWN),
            (Rejection::EndpointUnknown, ENDPOINT_UNKNOWN),
            (Rejection::EndpointsTooMany, ENDPOINTS_TOO_MANY),
            (Rejection::EndpointChanged, ENDPOINT_CHANGED),
            (Rejection::EndpointUnproven(String::new()), ENDPOINT_UNPROVEN),
            (Rejection::EndpointDisabled, ENDPOINT_DISABLED),
            (Rejection::EndpointGrace { until: order_core::Timestamp::from_micros(0) }, ENDPOINT_GRACE),
            (Rejection::DeliveryUnknown, DELIVERY_UNKNOWN),
            (Rejection::CursorInvalid, CURSOR_INVALID),
            (Rejection::EpochChanged, EPOCH_CHANGED),
            (Rejection::CursorExpired, CURSOR_EXPIRED),
        ] {
            let Failure::Problem(problem) = Failure::from(rejection) else { panic!("no problem: {kind:?}") };
            assert_eq!(problem.kind, kind);
        }
    }
}
