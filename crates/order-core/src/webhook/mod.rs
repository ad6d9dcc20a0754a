//! Webhooks: endpoints that are told of events, in order within an order, at least once.

pub mod sending;

use std::fmt;
use uuid::Uuid;

/// The id of an endpoint (UUIDv7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointId(pub Uuid);

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}
