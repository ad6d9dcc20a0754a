//! `marketplace` ⇄ what is behind it.

use super::mock::{self, Verdict};
use super::refuse::No;
use super::wire::{Found, NotFound, Validate, Validated};
use crate::reply;
use axum::response::Response;
use http::StatusCode;
use order_core::Timestamp;

/// What the mock marketplace answers; `now` is when it is asked.
///
/// # Errors
/// [`No::MarketplaceBusy`].
pub(super) fn validated(asked: Validate, now: Timestamp) -> Result<Response, No> {
    let said = match mock::verdict(&asked.receipt) {
        Verdict::RateLimited => return Err(No::MarketplaceBusy),
        Verdict::Unknown => Validated::NotFound(NotFound { status: false }),
        Verdict::Found { order_id, amount } => {
            let (currency, imported_at_utc) = (asked.currency, now.millis_text());
            Validated::Found(Found { status: true, order_id, amount, currency, imported_at_utc })
        }
    };
    Ok(reply::json(StatusCode::OK, &said))
}
