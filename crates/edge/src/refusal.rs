//! Refusals that every mounted API shares. A handler or the plumbing returns [`Refused`]; the mount's [`Style`] turns it
//! into the reply in that API's own form.

use crate::access::Scope;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use order_core::Fault;
use order_core::json::InvalidJson;
use std::sync::Arc;
use std::time::Duration;

/// Why a request is refused before, or whatever, a contract makes of it.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// No such path: 404.
    RouteUnknown,
    /// The path has other methods: 405. The header `Allow` names them: the router sets it around the reply.
    MethodNotAllowed,
    /// The body is larger than the limit: 413.
    BodyTooLarge {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// The content type is missing or none that is read here: 415.
    MediaTypeUnsupported,
    /// The body is compressed, or coded otherwise (`Content-Encoding`): 415 with `Accept-Encoding` (RFC 9110 §12.5.3).
    ContentCoded,
    /// The request target is too long: 414.
    UriTooLong,
    /// The request target is not percent-encoded UTF-8, or holds U+0000: 400.
    UriInvalid,
    /// Too many or too large header fields: 431.
    HeadersTooLarge,
    /// `Host` is not a loopback name, or a write comes from another origin: 400.
    ForeignHost,
    /// An HTTP/1.1 request without `Host`, with two, or with one that names no host (RFC 9112 §3.2): 400.
    HostInvalid,
    /// No HTTP/1.1 that can be parsed, `Content-Length` and `Transfer-Encoding` together, or framing that ends early:
    /// 400.
    BadFraming,
    /// Another transfer coding under `chunked` (RFC 9112 §6.1): 501.
    CodingUnknown,
    /// Plain HTTP, where TLS is spoken or where only a proxy that speaks it may come from: 400.
    PlainHttp,
    /// The body did not arrive in time: 408.
    BodyTimeout,
    /// The whole request took too long: 503 with `Retry-After`.
    RequestTimeout,
    /// Malformed, too deep, too long, a key given twice, U+0000: 400.
    InvalidJson(InvalidJson),
    /// There is no credential, or no good one: 401, and no word of which.
    Unauthenticated,
    /// The credential is good and may not do this: 403.
    Forbidden {
        /// What it lacks.
        scope: Scope,
    },
    /// The credential is good, and not of those who run the installation: 403.
    NotOperator,
    /// The credential is good and no operator's, the API keys of its tenant are: it may not hand them out, or end them: 403.
    KeysOfOperators,
    /// Too many requests of this caller or address: 429 with `Retry-After`.
    RateLimited {
        /// When there is room again.
        retry_after: Duration,
    },
    /// Infrastructure broke: 503 with `Retry-After` when it passes, else 500.
    Fault(Fault),
    /// A handler panicked: 500.
    Panicked,
}

impl Refusal {
    /// The status of the reply.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::RouteUnknown => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaTypeUnsupported | Self::ContentCoded => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::UriTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UriInvalid
            | Self::ForeignHost
            | Self::HostInvalid
            | Self::BadFraming
            | Self::PlainHttp
            | Self::InvalidJson(_) => StatusCode::BAD_REQUEST,
            Self::CodingUnknown => StatusCode::NOT_IMPLEMENTED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden { .. } | Self::NotOperator | Self::KeysOfOperators => StatusCode::FORBIDDEN,
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::RequestTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault(fault) if fault.retry_after().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault(_) | Self::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// When to try again, for the header `Retry-After`.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Fault(fault) => fault.retry_after(),
            Self::BodyTimeout | Self::RequestTimeout => Some(Duration::from_secs(1)),
            Self::RateLimited { retry_after } => Some(*retry_after),
            _ => None,
        }
    }

    /// The same in whole seconds, rounded up: earlier would be too early.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.retry_after()?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// One sentence for the client; never an internal detail.
    pub fn detail(&self) -> String {
        match self {
            Self::RouteUnknown => "No such route".to_owned(),
            Self::MethodNotAllowed => "Method not allowed".to_owned(),
            Self::BodyTooLarge { bytes_max } => format!("Body larger than {bytes_max} bytes"),
            Self::MediaTypeUnsupported => "Content-Type must be application/json".to_owned(),
            Self::ContentCoded => {
                "Content-Encoding is not understood here: send the body as it is, not compressed, and leave that header out"
                    .to_owned()
            }
            Self::UriTooLong => "Request target too long".to_owned(),
            Self::UriInvalid => "Request target is not percent-encoded UTF-8".to_owned(),
            Self::HeadersTooLarge => "Too many or too large header fields".to_owned(),
            Self::ForeignHost => "Host and Origin must be loopback names here".to_owned(),
            Self::HostInvalid => "Exactly one Host field that names a host is needed".to_owned(),
            Self::BadFraming => "Not HTTP/1.1, or framed ambiguously or incompletely".to_owned(),
            Self::CodingUnknown => "No transfer coding but chunked is understood".to_owned(),
            Self::PlainHttp => "Plain HTTP is not served here; use https".to_owned(),
            Self::BodyTimeout => "The body did not arrive in time".to_owned(),
            Self::RequestTimeout => "The request took too long; try again".to_owned(),
            Self::Unauthenticated => "A valid credential is needed".to_owned(),
            Self::Forbidden { scope } => format!("The credential lacks the scope {scope}"),
            Self::NotOperator => {
                "This belongs to the whole installation: only credentials that name its operators' tenant may do it"
                    .to_owned()
            }
            Self::KeysOfOperators => {
                "API keys of this tenant are operators' keys, and this credential is no operator's, for it names no tenant: use \
                 a token with the claim tenant, an API key, or wellorder keys on the server's data folder"
                    .to_owned()
            }
            Self::RateLimited { .. } => "Too many requests; try again later".to_owned(),
            Self::InvalidJson(InvalidJson::Absent) => {
                "A body is needed, and there is none: send one as Content-Type says, described at /v1/docs".to_owned()
            }
            Self::InvalidJson(invalid) => format!("Invalid JSON: {invalid}"),
            Self::Fault(fault) if fault.retry_after().is_some() => {
                "Temporarily unavailable; try again".to_owned()
            }
            Self::Fault(_) | Self::Panicked => "Internal server error".to_owned(),
        }
    }
}

/// The id of a request: the client's `X-Request-Id` when it is 1 to 128 printable ASCII characters, else a fresh one.
/// In every reply's `X-Request-Id` and in every log line about it.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// How a mounted API words its refusals: status, headers and body of the reply. The plumbing adds `X-Request-Id`,
/// `Retry-After` and `Allow` itself.
pub type Style = fn(&Refusal, &RequestId) -> Response;

/// A refusal on its way to the mount's style: what handlers and extractors return.
#[derive(Debug, Clone)]
pub struct Refused(pub Refusal);

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self(refusal)
    }
}

impl From<Fault> for Refused {
    fn from(fault: Fault) -> Self {
        Self(Refusal::Fault(fault))
    }
}

impl From<InvalidJson> for Refused {
    fn from(invalid: InvalidJson) -> Self {
        Self(Refusal::InvalidJson(invalid))
    }
}

impl IntoResponse for Refused {
    /// A bare reply that carries the refusal; the mount's layer replaces it by the styled one.
    fn into_response(self) -> Response {
        let mut response = self.0.status().into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// A reply of a handler that names the request: worded by the mount, which knows its id.
#[derive(Clone)]
pub struct Worded(Arc<dyn Fn(&RequestId) -> Response + Send + Sync>);

impl Worded {
    /// The reply that `word` makes.
    pub fn new(word: impl Fn(&RequestId) -> Response + Send + Sync + 'static) -> Self {
        Self(Arc::new(word))
    }

    pub(crate) fn word(&self, request_id: &RequestId) -> Response {
        (self.0)(request_id)
    }
}

impl IntoResponse for Worded {
    /// A bare reply that carries the wording; the mount's layer replaces it.
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
