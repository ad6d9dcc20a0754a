//! Every way in which `marketplace` says no.

use super::wire::{self, Issue};
use crate::refuse::{self, Denied};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::{HeaderValue, StatusCode, header};
use order_core::json::InvalidJson;
use order_core::{Error, Fault, Rejection};
use std::time::Duration;

/// How a client of the mock marketplace logs in (RFC 7617).
const BASIC: HeaderValue = HeaderValue::from_static(r#"Basic realm="mock marketplace", charset="UTF-8""#);

/// When to try again what others were in the way of.
const AGAIN_IN: Duration = Duration::from_secs(1);

/// A refusal of a handler.
#[derive(Debug)]
pub(super) enum No {
    /// No marketplace is called so.
    MarketplaceUnknown,
    /// The body is JSON, but no object.
    BodyNotObject,
    /// The receipt is absent, null or empty.
    ReceiptMissing,
    /// The receipt is no string, or too long.
    ReceiptInvalid,
    /// The currency is not three letters.
    CurrencyInvalid,
    /// Not the name and password of the mock marketplace.
    LoginRefused,
    /// Something about the request is not as it must be.
    Invalid(Vec<Issue>),
    /// No store of the caller's has that sync token.
    StoreUnknown,
    /// This process has no way to that marketplace.
    MarketplaceAway,
    /// This server has no key for secrets at rest, and what is sent holds one.
    KeyMissing,
    /// The tenant has as many webhooks as it may have.
    WebhooksTooMany,
    /// The mock marketplace is to be asked later.
    MarketplaceBusy,
    /// What every mounted API may have to say; [`style`] words it.
    Shared(Refusal),
}

impl From<Refused> for No {
    fn from(Refused(refusal): Refused) -> Self {
        Self::Shared(refusal)
    }
}

impl From<Fault> for No {
    fn from(fault: Fault) -> Self {
        Error::from(fault).into()
    }
}

impl From<Error> for No {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejection(Rejection::StoreUnknown) => Self::StoreUnknown,
            Error::Rejection(Rejection::MarketplaceUnknown) => Self::MarketplaceAway,
            Error::Rejection(Rejection::SecretsKeyMissing) => Self::KeyMissing,
            Error::Rejection(Rejection::EndpointsTooMany) => Self::WebhooksTooMany,
            // Others change or delete the very webhook at this moment.
            Error::Rejection(
                Rejection::EndpointChanged | Rejection::EndpointUnknown | Rejection::EndpointUnproven(_),
            ) => Self::Shared(Refusal::Fault(Fault::Overloaded { retry_after: AGAIN_IN })),
            other => match Denied::from(other) {
                Denied::Shared(refusal) => Self::Shared(refusal),
                Denied::OrderUnknown | Denied::KeyReused(_) => Self::Shared(Refusal::Fault(Fault::internal(
                    "marketplace asks for no order, and sends no keys",
                ))),
            },
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let bad = |why| error(StatusCode::BAD_REQUEST, why);
        match self {
            Self::MarketplaceUnknown => bad("Invalid marketplace"),
            Self::BodyNotObject => bad("Body must be a JSON object"),
            Self::ReceiptMissing => bad("receipt is required"),
            Self::ReceiptInvalid => bad("receipt must be a string of 1 to 255 bytes"),
            Self::CurrencyInvalid => bad("currency must be 3 letters"),
            Self::LoginRefused => {
                let mut response = error(StatusCode::UNAUTHORIZED, "Unauthorized");
                response.headers_mut().insert(header::WWW_AUTHENTICATE, BASIC);
                response
            }
            Self::Invalid(details) => {
                let error = "Validation error";
                reply::json(StatusCode::BAD_REQUEST, &wire::Invalid { error, details })
            }
            Self::StoreUnknown => error(StatusCode::NOT_FOUND, "Store not found"),
            Self::MarketplaceAway => bad("This marketplace is not served here"),
            Self::KeyMissing => error(
                StatusCode::CONFLICT,
                "This server has no key for secrets at rest: set secrets.key_file",
            ),
            Self::WebhooksTooMany => {
                error(StatusCode::CONFLICT, "Too many webhooks: delete some that nobody needs")
            }
            Self::MarketplaceBusy => error(StatusCode::TOO_MANY_REQUESTS, "rate_limited"),
            Self::Shared(refusal) => Refused(refusal).into_response(),
        }
    }
}

/// The refusals that every mounted API shares, as `{"error"}`.
pub(super) fn style(refusal: &Refusal, _request_id: &RequestId) -> Response {
    let why = match (refusal, refuse::sentence(refusal)) {
        // The one part of a path here that may be anything is a marketplace.
        (Refusal::UriInvalid, _) => "Invalid marketplace".to_owned(),
        (_, Ok(sentence)) => sentence,
        (_, Err(invalid)) => invalid_json(invalid),
    };
    error(refusal.status(), &why)
}

/// The sentence of a body that is no JSON, or not within the limits.
fn invalid_json(invalid: &InvalidJson) -> String {
    let sentence = invalid_json::sentence(invalid);
    match invalid_json::field(invalid) {
        Some(field) => format!("Invalid {field}: {sentence}"),
        None => sentence,
    }
}

fn error(status: StatusCode, error: &str) -> Response {
    reply::json(status, &wire::Refused { error: error.to_owned() })
}
