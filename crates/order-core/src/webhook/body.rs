//! What a receiver reads: the body and the headers of a delivery, in the words of its endpoint's dialect.

use super::endpoint::{Dialect, Endpoint};
use super::signing;
use super::stream::Subject;
use crate::clock::Timestamp;
use crate::ids::EventId;
use crate::journal::Event;
use crate::marketplace::StoreEvent;
use crate::sealing::Secret;
use serde_json::{Value, json};
use std::sync::Arc;

/// What is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// An event of an order.
    Order(Arc<Event>),
    /// An event of a store.
    Store(Box<StoreEvent>),
    /// That somebody tries the endpoint out.
    Test {
        /// Its id.
        event_id: EventId,
        /// When.
        at: Timestamp,
    },
    /// That whoever is there is asked whether they want to be called: see [`super::challenge`].
    Challenge {
        /// Its id.
        event_id: EventId,
        /// When.
        at: Timestamp,
        /// What is to be said back: letters and digits.
        word: String,
    },
}

/// The type of a [`Told::Test`].
pub const TEST: &str = "endpoint.test";
/// The type of a [`Told::Challenge`].
pub const CHALLENGE: &str = "endpoint.challenge";

impl Told {
    /// The id of the event: the `webhook-id`.
    pub fn event_id(&self) -> EventId {
        match self {
            Self::Order(event) => event.event_id,
            Self::Store(event) => event.event_id,
            Self::Test { event_id, .. } | Self::Challenge { event_id, .. } => *event_id,
        }
    }

    /// The type of the event.
    pub fn kind(&self) -> &str {
        match self {
            Self::Order(event) => event.kind.as_str(),
            Self::Store(event) => event.kind.word(),
            Self::Test { .. } => TEST,
            Self::Challenge { .. } => CHALLENGE,
        }
    }

    /// The version of the event in its subject; 0 for what has none.
    pub fn version(&self) -> u64 {
        match self {
            Self::Order(event) => event.version,
            Self::Store(event) => event.version,
            Self::Test { .. } | Self::Challenge { .. } => 0,
        }
    }

    /// What it is about; `None` for what is about nothing.
    pub fn subject(&self) -> Option<Subject> {
        match self {
            Self::Order(event) => Some(Subject::order(event.order_id)),
            Self::Store(event) => Some(Subject::store(event.store_id.0)),
            Self::Test { .. } | Self::Challenge { .. } => None,
        }
    }

    /// The bytes of the body.
    pub fn body(&self, endpoint: &Endpoint) -> Vec<u8> {
        match endpoint.dialect {
            Dialect::V1 => self.own(),
            Dialect::Marketplace => self.of_marketplace(endpoint),
        }
        .into_bytes()
    }

    fn own(&self) -> String {
        match self {
            Self::Order(event) => event.to_json(),
            Self::Store(event) => {
                // Ids, numbers and types need no escaping; `data` is JSON already.
                let StoreEvent { event_id, store_id, version, kind, data, occurred_at, .. } = &**event;
                let kind = kind.word();
                format!(
                    r#"{{"event_id":"{event_id}","store_id":"{store_id}","version":{version},"type":"{kind}","occurred_at":"{occurred_at}","data":{data}}}"#
                )
            }
            Self::Test { event_id, at } => of_no_subject(*event_id, TEST, *at, json!({})),
            Self::Challenge { event_id, at, word } => {
                of_no_subject(*event_id, CHALLENGE, *at, json!({ "challenge": word }))
            }
        }
    }

    fn of_marketplace(&self, endpoint: &Endpoint) -> String {
        let (at, store, organization, data) = match self {
            Self::Order(event) => {
                (event.occurred_at, None, endpoint.organization.as_deref(), event.data.as_str())
            }
            Self::Store(event) => (
                event.occurred_at,
                Some(event.store_id),
                Some(event.organization.as_str()),
                event.data.as_str(),
            ),
            Self::Test { at, .. } | Self::Challenge { at, .. } => {
                (*at, None, endpoint.organization.as_deref(), "{}")
            }
        };
        let (organization, store) = (json!(organization), json!(store.map(|store| store.to_string())));
        format!(
            r#"{{"eventId":"{}","event":"{}","timestamp":"{}","organizationId":{organization},"storeId":{store},"data":{data}}}"#,
            self.event_id(),
            self.kind(),
            at.millis_text(),
        )
    }
}

fn of_no_subject(event_id: EventId, kind: &str, at: Timestamp, data: Value) -> String {
    json!({ "event_id": event_id.to_string(), "type": kind, "occurred_at": at.to_string(), "data": data })
        .to_string()
}

/// The headers of a delivery that leaves at `now`, signed with each of `secrets`, the newest first.
pub fn headers(
    dialect: Dialect,
    event_id: EventId,
    now: Timestamp,
    secrets: &[Secret],
    body: &[u8],
) -> Vec<(&'static str, String)> {
    let (id, seconds) = (event_id.to_string(), now.micros() / 1_000_000);
    let mut headers = vec![("webhook-id", id.clone()), ("webhook-timestamp", seconds.to_string())];
    if !secrets.is_empty() {
        let signatures = secrets.iter().map(|secret| signing::standard(secret, &id, seconds, body));
        headers.push(("webhook-signature", signatures.collect::<Vec<_>>().join(" ")));
    }
    if dialect == Dialect::Marketplace {
        headers.push(("x-event-id", id));
        if let Some(secret) = secrets.first() {
            headers.push(("x-webhook-signature", signing::of_marketplace(secret, body)));
            headers.push(("x-webhook-timestamp", now.millis_text()));
        }
    }
    headers
}
