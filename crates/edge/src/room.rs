//! Refuses writes that would wait too long, before their bodies are read.

use crate::guard::Guard;
use crate::refusal::Refused;
use axum::extract::FromRequestParts;
use http::request::Parts;
use std::sync::Arc;

/// There is room for a write now. A handler takes it before the body: one that would wait too long is refused with 503
/// when nothing but its head was looked at. What only reads does not ask.
#[derive(Debug, Clone, Copy)]
pub struct Room;

impl<S: Send + Sync> FromRequestParts<S> for Room {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refused> {
        let guard = parts.extensions.get::<Arc<Guard>>();
        match guard.and_then(|guard| guard.pressure.as_ref()) {
            Some(pressure) => Ok(pressure().map(|()| Self)?),
            None => Ok(Self),
        }
    }
}
