//! What others tell `sales` of its orders: that they were sent, that they arrived.
//!
//! The queue says which. A message is the envelope `{event_id, event_type, order_id, timestamp, data}`, or bare
//! `{order_id, status, tracking_number?, shipped_at? | delivered_at?}`, as existing senders emit it.

use super::wire;
use order_core::command::ChangeKind;
use order_core::ids::TEXT_BYTES_MAX;
use order_core::json::{self, JsonLimits};
use order_core::{OrderId, Timestamp};
use serde_json::{Map, Value};

/// What a queue tells of orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// They were sent.
    Shipped,
    /// They arrived.
    Delivered,
}

impl Fact {
    fn time_field(self) -> &'static str {
        match self {
            Self::Shipped => "shipped_at",
            Self::Delivered => "delivered_at",
        }
    }
}

/// A message that can never be dealt with, and why, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// A message as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The order.
    pub order_id: OrderId,
    /// What its sender calls this message, inside of it.
    pub event_id: Option<String>,
    /// When it happened, if the message says so.
    pub at: Option<Timestamp>,
    /// The carrier's number.
    pub tracking_number: Option<String>,
    fact: Fact,
}

impl Message {
    /// Reads the body of a message from the queue that tells of `fact`.
    ///
    /// # Errors
    /// When it is no JSON object, names no order by a UUID, or has a time or an id that is none.
    pub fn read(fact: Fact, body: &[u8]) -> Result<Self, Unreadable> {
        let parsed = json::parse(body, JsonLimits::default()).map_err(|no| Unreadable(no.to_string()))?;
        let Value::Object(outer) = parsed else {
            return Err(Unreadable("the message is no JSON object".to_owned()));
        };
        let inner = match outer.get("data") {
            Some(Value::Object(inner)) => Some(inner),
            _ => None,
        };
        let fields = Fields { outer: &outer, inner };
        let event_id = match outer.get("event_id") {
            None | Some(Value::Null) => None,
            Some(Value::String(id)) if id.is_empty() => None,
            Some(Value::String(id)) if id.len() <= TEXT_BYTES_MAX => Some(id.clone()),
            Some(Value::Number(id)) if id.as_str().len() <= TEXT_BYTES_MAX => Some(id.to_string()),
            Some(_) => return Err(Unreadable("event_id is no text of 1 to 255 bytes".to_owned())),
        };
        Ok(Self {
            order_id: fields.order_id()?,
            event_id,
            at: fields.moment(fact.time_field())?,
            tracking_number: fields.tracking_number()?,
            fact,
        })
    }

    /// What it does to the order; `now` is when it happened where the message does not say.
    pub fn change(&self, now: Timestamp) -> ChangeKind {
        let at = self.at.unwrap_or(now);
        match self.fact {
            Fact::Shipped => {
                ChangeKind::Ship { shipped_at: Some(at), tracking_number: self.tracking_number.clone() }
            }
            Fact::Delivered => ChangeKind::Deliver { delivered_at: at },
        }
    }
}

/// The fields of a message: those within an envelope, else those at the top.
struct Fields<'m> {
    outer: &'m Map<String, Value>,
    inner: Option<&'m Map<String, Value>>,
}

impl Fields<'_> {
    fn get(&self, field: &str) -> Option<&Value> {
        let inner = self.inner.and_then(|inner| inner.get(field));
        inner.or_else(|| self.outer.get(field)).filter(|value| !value.is_null())
    }

    fn order_id(&self) -> Result<OrderId, Unreadable> {
        let id = |fields: &Map<String, Value>| match fields.get("order_id") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => wire::uuid(text).map(Some).ok_or(()),
            Some(_) => Err(()),
        };
        let no_uuid = |()| Unreadable("order_id is no UUID".to_owned());
        let outer = id(self.outer).map_err(no_uuid)?;
        let inner = self.inner.map_or(Ok(None), id).map_err(no_uuid)?;
        match (outer, inner) {
            (Some(outer), Some(inner)) if outer != inner => {
                Err(Unreadable("the message names two orders".to_owned()))
            }
            (Some(id), _) | (None, Some(id)) => Ok(OrderId(id)),
            (None, None) => Err(Unreadable("the message names no order: order_id is missing".to_owned())),
        }
    }

    /// When it happened; an envelope without its own field says it with `timestamp`.
    fn moment(&self, field: &str) -> Result<Option<Timestamp>, Unreadable> {
        let stamp = || self.inner.and_then(|_| self.outer.get("timestamp")).map(|value| ("timestamp", value));
        let found = self.get(field).map(|value| (field, value)).or_else(stamp);
        match found {
            None | Some((_, Value::Null)) => Ok(None),
            Some((_, Value::String(text))) if moment(text).is_some() => Ok(moment(text)),
            Some((field, _)) => Err(Unreadable(format!("{field} is no time of RFC 3339"))),
        }
    }

    fn tracking_number(&self) -> Result<Option<String>, Unreadable> {
        match self.get("tracking_number") {
            None => Ok(None),
            Some(Value::String(number)) if number.is_empty() => Ok(None),
            Some(Value::String(number)) if number.len() <= TEXT_BYTES_MAX => Ok(Some(number.clone())),
            // Some senders have it as one.
            Some(Value::Number(number)) if number.as_str().len() <= TEXT_BYTES_MAX => {
                Ok(Some(number.to_string()))
            }
            Some(_) => Err(Unreadable("tracking_number is no text of at most 255 bytes".to_owned())),
        }
    }
}

/// A time without an offset is one in UTC: some senders leave that out.
fn moment(text: &str) -> Option<Timestamp> {
    Timestamp::parse(text).or_else(|_| Timestamp::parse(&format!("{text}Z"))).ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use serde_json::json;

    const ID: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    fn read(fact: Fact, message: &Value) -> Result<Message, Unreadable> {
        Message::read(fact, message.to_string().as_bytes())
    }

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn both_forms_are_read() {
        let bare = json!({ "order_id": ID, "status": "Shipped", "tracking_number": "T-1", "shipped_at": "2025-02-24T08:30:00.000Z" });
        let envelope = json!({ "event_id": "e-1", "event_type": "OrderShipped", "order_id": ID,
            "timestamp": "2025-02-24T09:00:00Z", "data": bare });
        let from_bare = read(Fact::Shipped, &bare).unwrap();
        let from_envelope = read(Fact::Shipped, &envelope).unwrap();
        assert_eq!(from_bare.event_id, None);
        assert_eq!(from_envelope.event_id.as_deref(), Some("e-1"));
        assert_eq!(Message { event_id: None, ..from_envelope }, from_bare);
        assert_eq!(from_bare.at, Some(at("2025-02-24T08:30:00Z")));
        assert_eq!(from_bare.tracking_number.as_deref(), Some("T-1"));
    }

    #[test]
    fn the_queue_says_what_it_means_and_the_message_when() {
        let said = json!({ "order_id": ID, "event_type": "OrderShipped", "status": "Shipped",
            "shipped_at": "2025-02-24T08:30:00Z", "delivered_at": "2025-02-25T12:00:00" });
        let now = at("2025-03-01T00:00:00Z");
        let ship = read(Fact::Shipped, &said).unwrap().change(now);
        let shipped_at = Some(at("2025-02-24T08:30:00Z"));
        assert_eq!(ship, ChangeKind::Ship { shipped_at, tracking_number: None });
        let deliver = read(Fact::Delivered, &said).unwrap().change(now);
        assert_eq!(deliver, ChangeKind::Deliver { delivered_at: at("2025-02-25T12:00:00Z") });
        let silent = read(Fact::Delivered, &json!({ "order_id": ID })).unwrap().change(now);
        assert_eq!(silent, ChangeKind::Deliver { delivered_at: now });
        let stamped = json!({ "order_id": ID, "timestamp": "2025-02-26T00:00:00Z", "data": {} });
        assert_eq!(read(Fact::Delivered, &stamped).unwrap().at, Some(at("2025-02-26T00:00:00Z")));
    }

    #[test]
    fn a_number_is_a_name_too() {
        let id = ID.to_uppercase();
        let said = format!(r#"{{"order_id":"{id}","event_id":7,"tracking_number":100200300400500600700}}"#);
        let read = Message::read(Fact::Shipped, said.as_bytes()).unwrap();
        assert_eq!((read.event_id.as_deref(), read.order_id.to_string().as_str()), (Some("7"), ID));
        assert_eq!(read.tracking_number.as_deref(), Some("100200300400500600700"), "digit by digit");
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let other = "16fd2706-8baf-433b-82eb-8c7fada847da";
        for (message, why) in [
            (json!([]), "no JSON object"),
            (json!("x"), "no JSON object"),
            (json!({}), "names no order"),
            (json!({ "order_id": null, "data": { "x": 1 } }), "names no order"),
            (json!({ "order_id": 7 }), "order_id is no UUID"),
            (json!({ "order_id": "7" }), "order_id is no UUID"),
            (json!({ "order_id": ID, "data": { "order_id": other } }), "names two orders"),
            (json!({ "order_id": ID, "shipped_at": "yesterday" }), "shipped_at is no time"),
            (json!({ "order_id": ID, "shipped_at": 1740385800 }), "shipped_at is no time"),
            (json!({ "order_id": ID, "timestamp": "x", "data": {} }), "timestamp is no time"),
            (json!({ "order_id": ID, "event_id": {} }), "event_id is no text"),
            (json!({ "order_id": ID, "event_id": "x".repeat(256) }), "event_id is no text"),
            (json!({ "order_id": ID, "tracking_number": [] }), "tracking_number is no text"),
        ] {
            let unreadable = read(Fact::Shipped, &message).unwrap_err();
            assert!(unreadable.0.contains(why), "{message}: {unreadable}");
        }
        for body in [&b""[..], b"{", b"\xff", b"null", br#"{"order_id":"\u0000"}"#] {
            assert!(Message::read(Fact::Shipped, body).is_err());
        }
    }
}
