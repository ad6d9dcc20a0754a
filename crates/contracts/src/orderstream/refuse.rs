//! Every way in which `orderstream` says no.

use super::payload::NoPayload;
use super::wire::{self, Status};
use crate::refuse::{self, Denied};
use crate::{invalid_json, reply};
use axum::response::{IntoResponse, Response};
use edge::{Refusal, Refused, RequestId};
use http::StatusCode;
use order_core::Fault;
use order_core::json::InvalidJson;

/// A refusal of a handler.
#[derive(Debug)]
pub(crate) enum No {
    /// The body is JSON, but no object.
    BodyNotObject,
    /// `user_id` is no UUID.
    UserIdInvalid,
    /// `order_id` is no UUID where one is needed.
    OrderIdInvalid,
    /// `status` is no text.
    StatusInvalid,
    /// The payload cannot be read.
    Payload(NoPayload),
    /// No such order here.
    OrderUnknown,
    /// The order is not in a state in which that can be: deleted, or on its way.
    Conflict {
        /// The order's id here.
        order_id: String,
        /// How far it is.
        status: Status,
    },
    /// What every mounted API may have to say; [`style`] words it.
    Shared(Refusal),
}

impl From<NoPayload> for No {
    fn from(no: NoPayload) -> Self {
        Self::Payload(no)
    }
}

impl From<Denied> for No {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::OrderUnknown => Self::OrderUnknown,
            Denied::KeyReused(_) => {
                Self::Shared(Refusal::Fault(Fault::internal("this contract sends no idempotency keys")))
            }
            Denied::Shared(refusal) => Self::Shared(refusal),
        }
    }
}

impl From<Refusal> for No {
    fn from(refusal: Refusal) -> Self {
        Self::Shared(refusal)
    }
}

impl No {
    /// What is wrong with the input, and the field that is to blame, if it is that.
    pub(super) fn of_input(&self) -> Option<(&'static str, String)> {
        Some(match self {
            Self::BodyNotObject => ("", "body must be a JSON object".to_owned()),
            Self::UserIdInvalid => ("user_id", "user_id must be a UUID".to_owned()),
            Self::OrderIdInvalid => ("order_id", "order_id must be a UUID".to_owned()),
            Self::StatusInvalid => ("status", "status must be a string".to_owned()),
            Self::Payload(no) => ("payload", no_payload(no)),
            Self::OrderUnknown | Self::Conflict { .. } | Self::Shared(_) => return None,
        })
    }

    /// Why the state of the order is in the way.
    pub(super) fn conflict(status: Status) -> &'static str {
        match status {
            Status::Deleted => "the order is deleted",
            Status::New | Status::Processing | Status::Done => "the order is on its way and changes no more",
        }
    }
}

/// Why a payload is none.
pub(super) fn no_payload(no: &NoPayload) -> String {
    match no {
        NoPayload::Missing => "payload is required".to_owned(),
        NoPayload::NotAnObject => "payload must be a JSON object, or a string that holds one".to_owned(),
        NoPayload::Json(invalid) => format!("payload: {}", sentence(invalid)),
        NoPayload::Number(place) => {
            format!("payload.{place} must be a number of at most 28 significant digits and 28 decimals")
        }
        NoPayload::Sum => "the amount of payload.items has more than 28 digits".to_owned(),
    }
}

impl IntoResponse for No {
    fn into_response(self) -> Response {
        if let Some((_, why)) = self.of_input() {
            return error(StatusCode::BAD_REQUEST, why);
        }
        match self {
            Self::Conflict { order_id, status } => {
                let error = Self::conflict(status).to_owned();
                reply::json(StatusCode::CONFLICT, &wire::Conflict { order_id, status, error })
            }
            Self::Shared(refusal) => Refused(refusal).into_response(),
            // The rest was input.
            Self::OrderUnknown
            | Self::BodyNotObject
            | Self::UserIdInvalid
            | Self::OrderIdInvalid
            | Self::StatusInvalid
            | Self::Payload(_) => error(StatusCode::NOT_FOUND, "not found".to_owned()),
        }
    }
}

/// The refusals that every mounted API shares, as `{"error"}`.
pub(super) fn style(refusal: &Refusal, _request_id: &RequestId) -> Response {
    let why = match refuse::sentence(refusal) {
        Ok(sentence) => sentence,
        Err(invalid) => sentence(invalid),
    };
    error(refusal.status(), why)
}

/// The sentence of what is no JSON, or not within the limits.
fn sentence(invalid: &InvalidJson) -> String {
    let sentence = invalid_json::sentence(invalid);
    match invalid_json::field(invalid) {
        Some(field) => format!("{field}: {sentence}"),
        None => sentence,
    }
}

fn error(status: StatusCode, error: String) -> Response {
    reply::json(status, &wire::Refused { error })
}
