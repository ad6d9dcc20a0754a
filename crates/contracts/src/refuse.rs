//! What is refused whatever the contract: the core's refusals, sorted once, and those of the edge. Each contract then
//! finds its own words in its own `refuse`.

use edge::Refusal;
use order_core::json::InvalidJson;
use order_core::{Error, Fault, Rejection};

/// The core says no to something that contracts ask for.
#[derive(Debug)]
pub(crate) enum Denied {
    /// No such order, or none of this contract's.
    OrderUnknown,
    /// The idempotency key was used for another request; where that differs, in the core's JSON pointers.
    KeyReused(Vec<String>),
    /// What every mounted API may have to say.
    Shared(Refusal),
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Shared(Refusal::Fault(fault))
    }
}

impl From<Error> for Denied {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejection(rejection) => rejection.into(),
            Error::Fault(fault) => fault.into(),
        }
    }
}

impl From<Rejection> for Denied {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::OrderUnknown => Self::OrderUnknown,
            Rejection::KeyReused { differs, .. } => Self::KeyReused(differs),
            // No contract sends versions, changes, leases, followers, redrives, API keys, stores or cursors to the core.
            Rejection::VersionMismatch { .. }
            | Rejection::IllegalChange { .. }
            | Rejection::LeaseLost
            | Rejection::FollowerUnknown
            | Rejection::RedriveUnknown
            | Rejection::ApiKeyUnknown
            | Rejection::ApiKeyEnded
            | Rejection::ApiKeyGrace { .. }
            | Rejection::ApiKeysTooMany
            | Rejection::SecretsKeyMissing
            | Rejection::StoreUnknown
            | Rejection::MarketplaceUnknown
            | Rejection::ImportUnknown
            | Rejection::EndpointUnknown
            | Rejection::EndpointsTooMany
            | Rejection::EndpointChanged
            | Rejection::EndpointUnproven(_)
            | Rejection::EndpointDisabled
            | Rejection::EndpointGrace { .. }
            | Rejection::DeliveryUnknown
            | Rejection::CursorInvalid
            | Rejection::EpochChanged
            | Rejection::CursorExpired => {
                Fault::internal(format!("no contract asks for this: {rejection}")).into()
            }
        }
    }
}

/// The sentence of a refusal that all contracts share.
///
/// # Errors
/// What is wrong with a body that is no JSON: each contract has its own form for that.
pub(crate) fn sentence(refusal: &Refusal) -> Result<String, &InvalidJson> {
    match refusal {
        Refusal::InvalidJson(invalid) => Err(invalid),
        Refusal::RouteUnknown
        | Refusal::MethodNotAllowed
        | Refusal::BodyTooLarge { .. }
        | Refusal::MediaTypeUnsupported
        | Refusal::ContentCoded
        | Refusal::UriTooLong
        | Refusal::UriInvalid
        | Refusal::HeadersTooLarge
        | Refusal::ForeignHost
        | Refusal::HostInvalid
        | Refusal::BadFraming
        | Refusal::CodingUnknown
        | Refusal::PlainHttp
        | Refusal::BodyTimeout
        | Refusal::Unauthenticated
        | Refusal::Forbidden { .. }
        | Refusal::NotOperator
        | Refusal::KeysOfOperators
        | Refusal::RateLimited { .. }
        | Refusal::RequestTimeout
        | Refusal::Fault(_)
        | Refusal::Panicked => Ok(refusal.detail()),
    }
}
