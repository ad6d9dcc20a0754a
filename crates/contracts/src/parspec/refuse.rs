//! Every way in which `parspec` says no.

use super::wire;
use super::wire::Field;
use crate::refuse::{self, Denied};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::StatusCode;
use order_core::json::InvalidJson;

/// A refusal of a handler.
#[derive(Debug)]
pub(super) enum No {
    /// The body is JSON, but no object.
    BodyNotObject,
    /// A field is absent, null or an empty string.
    FieldsMissing,
    /// A field is not what it must be.
    FieldInvalid(Field),
    /// The `Idempotency-Key` is no key.
    KeyInvalid,
    /// The `Idempotency-Key` made an order that is not what was sent; where it differs, in the core's JSON pointers.
    KeyReused(Vec<String>),
    /// The id in the path is no number.
    IdInvalid,
    /// No such order here.
    OrderUnknown,
    /// What every mounted API may have to say; [`style`] words it.
    Shared(Refusal),
}

impl From<Denied> for No {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OrderUnknown => Self::OrderUnknown,
            Denied::KeyReused(differs) => Self::KeyReused(differs),
            Denied::Shared(refusal) => Self::Shared(refusal),
        }
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        let (status, why) = match self {
            Self::BodyNotObject => (StatusCode::BAD_REQUEST, "Body must be a JSON object".to_owned()),
            Self::FieldsMissing => (StatusCode::BAD_REQUEST, "Missing required fields".to_owned()),
            Self::FieldInvalid(field) => (StatusCode::BAD_REQUEST, format!("Invalid {}", field.name())),
            Self::KeyInvalid => {
                let why = "Invalid Idempotency-Key: one header of 1 to 255 visible ASCII characters is read";
                (StatusCode::BAD_REQUEST, why.to_owned())
            }
            Self::KeyReused(differs) => (StatusCode::UNPROCESSABLE_ENTITY, key_reused(&differs)),
            Self::IdInvalid => (StatusCode::BAD_REQUEST, "Invalid order ID".to_owned()),
            Self::OrderUnknown => (StatusCode::NOT_FOUND, "Order not found".to_owned()),
            Self::Shared(refusal) => return Refused(refusal).into_response(),
        };
        error(status, why)
    }
}

/// The sentence of a key that was used for other content.
fn key_reused(differs: &[String]) -> String {
    let concerns = |field: Field, pointer: &String| match field {
        Field::UserId => pointer == "/customer",
        Field::ItemIds => pointer.starts_with("/attributes/itemIds"),
        Field::TotalAmount => pointer == "/total",
    };
    let fields: Vec<&str> = Field::ALL
        .into_iter()
        .filter(|field| differs.iter().any(|pointer| concerns(*field, pointer)))
        .map(Field::name)
        .collect();
    let used = "Idempotency-Key was used for another order";
    if fields.is_empty() { used.to_owned() } else { format!("{used}: other {}", fields.join(", ")) }
}

/// The refusals that every mounted API shares, as `{"error"}`.
pub(super) fn style(refusal: &Refusal, _request_id: &RequestId) -> Response {
    let why = match (refusal, refuse::sentence(refusal)) {
        // The one part of a path here that may be anything is the id.
        (Refusal::UriInvalid, _) => "Invalid order ID".to_owned(),
        (_, Ok(sentence)) => sentence,
        (_, Err(invalid)) => invalid_json(invalid),
    };
    error(refusal.status(), why)
}

/// The sentence of a body that is no JSON, or not within the limits. A field of an order whose value is not read is
/// worded as any other invalid value of it.
fn invalid_json(invalid: &InvalidJson) -> String {
    let Some(field) = invalid_json::field(invalid) else {
        return invalid_json::sentence(invalid);
    };
    let known = Field::ALL.iter().any(|known| known.name() == field);
    match invalid {
        InvalidJson::Nul { .. } | InvalidJson::TooDeep { .. } | InvalidJson::TooMany { .. } if known => {
            format!("Invalid {field}")
        }
        _ => format!("Invalid {field}: {}", invalid_json::sentence(invalid)),
    }
}

fn error(status: StatusCode, error: String) -> Response {
    reply::json(status, &wire::Refused { error })
}
