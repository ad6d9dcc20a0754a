//! The messages of `orderstream` on Kafka, both ways, and what becomes of one that came: pure, so that whoever carries them
//! has nothing to decide.
//!
//! Topic `orders.events` tells of orders, `orders.ack` of what workers made of them. Others write both too: an event may be
//! of an order that nobody here has seen, come before the one that it follows, or come twice.

use super::history::Known;
use super::payload::{Payload, external_id};
use super::refuse;
use super::wire::{is_delete, uuid};
use super::{EVENTS, map};
use order_core::intake::{self, Intake};
use order_core::json::{self, JsonLimits};
use order_core::order::Content;
use order_core::{Money, Order, Reference, TenantId, Timestamp};
use serde_json::{Map, Number, Value, json};
use std::fmt;
use uuid::Uuid;

/// Where orders are told of, unless the settings say otherwise.
pub const EVENTS_TOPIC: &str = "orders.events";
/// Where acknowledgements are told of, unless the settings say otherwise.
pub const ACK_TOPIC: &str = "orders.ack";
/// The header that says which installation wrote an event: it skips its own.
pub const INSTALLATION: &str = "wellorder-installation";
/// The consumer group, unless the settings say otherwise.
pub const GROUP: &str = "order-workers";
/// How long the result of an order is kept for those who ask Redis.
pub const RESULT_SECONDS: u64 = 600;

/// The attribute that holds the time of the event that an order's content is of.
pub(super) const EVENT_AT: &str = "event_at";
/// Statuses of events that say what an order holds, whether it is new or was there: those that an order has before it is
/// deleted, what is acknowledged of it, and none.
const UPSERTED: [&str; 6] = ["", "new", "processing", "done", "created", "updated"];
/// The attribute of an order of which nothing is known but that it was deleted.
const TOMBSTONE: &str = "tombstone";

/// An event that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderEvent {
    /// Which order; a new one when `None`.
    pub order_id: Option<Uuid>,
    /// Whose order it is.
    pub user_id: Uuid,
    /// When it happened, as its writer says.
    pub at: Timestamp,
    content: Option<Content>,
}

/// Why a message is parked: it is no event, or no acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a worker made of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// It is new.
    Created,
    /// It has new content.
    Updated,
    /// It is deleted.
    Deleted,
}

impl AckStatus {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// An acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// The order's id in this contract.
    pub order_id: Uuid,
    /// What became of it.
    pub status: AckStatus,
    /// When, as its writer says.
    pub processed_at: Option<Timestamp>,
}

/// What becomes of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ruling {
    /// A new order is taken in; acknowledged `created` once it is worked on.
    Accept(Box<Intake>),
    /// The order gets this content; acknowledged `updated` once that is worked on.
    Revise(Box<Content>),
    /// The order is withdrawn; acknowledged `deleted` once that is worked on.
    Withdraw,
    /// Nothing is known of the order: this is taken in and withdrawn in one commit, and nobody works on it. Acknowledged
    /// `deleted`.
    Bury(Box<Intake>),
    /// Nothing changes; acknowledged at once.
    Acknowledge(AckStatus),
}

impl OrderEvent {
    /// Reads the value of a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: Option<&[u8]>, limits: JsonLimits) -> Result<Self, Malformed> {
        let mut event = object(value, limits)?;
        let order_id = match text(&event, "order_id")? {
            "" | "0" => None,
            id => Some(uuid(id).ok_or_else(|| Malformed("order_id is no UUID".to_owned()))?),
        };
        let user_id =
            uuid(text(&event, "user_id")?).ok_or_else(|| Malformed("user_id is no UUID".to_owned()))?;
        let at = moment(&event, "timestamp")?.ok_or_else(|| Malformed("timestamp is missing".to_owned()))?;
        let status = text(&event, "status")?;
        if !is_delete(status) && !UPSERTED.contains(&status) {
            return Err(Malformed("status is none of this contract's".to_owned()));
        }
        let content = if is_delete(status) {
            None
        } else {
            let told = event.get("external_id").and_then(external_id);
            let payload = event.remove("payload").unwrap_or(Value::Null);
            let mut payload =
                Payload::read(payload, limits).map_err(|no| Malformed(refuse::no_payload(&no)))?;
            payload.external_id = payload.external_id.or(told);
            let mut content = map::content(Some(user_id.to_string()), payload);
            content.attributes.insert(EVENT_AT.to_owned(), at.to_string().into());
            Some(content)
        };
        if order_id.is_none() && content.is_none() {
            return Err(Malformed("a delete names no order".to_owned()));
        }
        Ok(Self { order_id, user_id, at, content })
    }

    /// Gives an event that names no order the id of the one that it makes: the same each time that the event comes.
    pub fn make(&mut self, order_id: Uuid) {
        self.order_id.get_or_insert(order_id);
    }

    /// When it happened and what the order then held, unless it deletes the order.
    pub(super) fn content(&self) -> Option<(Timestamp, &Content)> {
        self.content.as_ref().map(|content| (self.at, content))
    }

    /// What becomes of it, given the order that it names as it is now, and what is known of that.
    pub(super) fn ruling(&self, tenant: &TenantId, found: Option<(&Order, Known)>) -> Ruling {
        let Some((order, known)) = found else { return self.of_unknown(tenant) };
        if order.withdrawn {
            return Ruling::Acknowledge(AckStatus::Deleted);
        }
        let Some(content) = &self.content else { return Ruling::Withdraw };
        // Writers tell the time in milliseconds, or in seconds: what is as old need not be the same.
        if self.at < known.at || known.seen {
            return Ruling::Acknowledge(self.did(order, content));
        }
        // Whose order it is, an event does not change either.
        let customer = order.content.customer.clone();
        Ruling::Revise(Box::new(Content { customer, ..content.clone() }))
    }

    /// What an event did that came before, or would have done had it come in time.
    fn did(&self, order: &Order, content: &Content) -> AckStatus {
        if intake::digest(content) == order.digest { AckStatus::Created } else { AckStatus::Updated }
    }

    fn of_unknown(&self, tenant: &TenantId) -> Ruling {
        let reference = self.order_id.and_then(|order_id| Reference::new(&order_id.to_string()).ok());
        let intake = |content| {
            let source = map::events_source();
            Box::new(Intake { tenant: tenant.clone(), source, reference, content, key: None })
        };
        match &self.content {
            Some(content) => Ruling::Accept(intake(content.clone())),
            None => {
                let attributes = Map::from_iter([
                    (TOMBSTONE.to_owned(), true.into()),
                    (EVENT_AT.to_owned(), self.at.to_string().into()),
                ]);
                Ruling::Bury(intake(Content { attributes, ..Content::default() }))
            }
        }
    }
}

impl Ack {
    /// Reads the value of a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(value: Option<&[u8]>, limits: JsonLimits) -> Result<Self, Malformed> {
        let ack = object(value, limits)?;
        let order_id =
            uuid(text(&ack, "order_id")?).ok_or_else(|| Malformed("order_id is no UUID".to_owned()))?;
        let status = match text(&ack, "status")? {
            "created" => AckStatus::Created,
            "updated" => AckStatus::Updated,
            "deleted" => AckStatus::Deleted,
            _ => return Err(Malformed("status is none of created, updated, deleted".to_owned())),
        };
        Ok(Self { order_id, status, processed_at: moment(&ack, "processed_at")? })
    }

    /// The value of the message.
    pub fn message(&self) -> Value {
        json!({
            "order_id": self.order_id.to_string(),
            "status": self.status.word(),
            "processed_at": self.processed_at.map(Timestamp::millis_text),
        })
    }
}

/// What is acknowledged when the work of an order has ended.
pub fn ack_of(order: &Order) -> AckStatus {
    if order.withdrawn { AckStatus::Deleted } else { first_status(order) }
}

/// The value of the message that tells of an order, which held `content` when it happened. Its key is the order's id.
pub fn event_message(order: &Order, content: &Content, at: Timestamp, deleted: bool) -> Value {
    let order = Order { content: content.clone(), ..order.clone() };
    let external = order.content.attributes.get(order_core::external::EXTERNAL_ID).and_then(Value::as_str);
    json!({
        "order_id": map::shown_id(&order).to_string(),
        "external_id": external.unwrap_or_default(),
        "user_id": order.content.customer.as_deref().unwrap_or_default(),
        "payload": map::payload(&order),
        // Programs that exist tell of an update by `new` too.
        "status": if deleted { "deleted" } else { "new" },
        "timestamp": at.millis_text(),
    })
}

/// The id that others know an order by.
pub fn shown_id(order: &Order) -> Uuid {
    map::shown_id(order)
}

/// The key under which the result of an order lies in Redis.
pub fn result_key(order: &Order) -> String {
    format!("order_result:{}", map::shown_id(order))
}

/// The result of an order, as it lies in Redis before `ack` is sent.
pub fn result(order: &Order, ack: &Ack) -> Value {
    let processed_at = ack.processed_at.unwrap_or(order.updated_at);
    let shown = map::shown(order, processed_at);
    json!({
        "order_id": shown.order_id,
        "status": ack.status.word(),
        "processed_at": processed_at.millis_text(),
        "order_status": if order.withdrawn { "deleted" } else { "done" },
        "user_id": shown.user_id,
        "amount": Value::Number(shown.amount),
        "payload": shown.payload_json,
        "created_at": shown.created_at,
        "updated_at": shown.updated_at,
        "bucket": Number::from(shown.bucket),
    })
}

/// Whether nothing is known of an order but that it was deleted: readers do not see it.
pub(crate) fn is_tombstone(order: &Order) -> bool {
    let Order { source, content, .. } = order;
    source.as_str() == EVENTS
        && content.attributes.get(TOMBSTONE) == Some(&Value::Bool(true))
        && content.total == Money::ZERO
}

/// The time of the event that a content is of, if it is of one.
pub(super) fn event_at(content: &Content) -> Option<Timestamp> {
    let said = content.attributes.get(EVENT_AT).and_then(Value::as_str);
    said.and_then(|said| Timestamp::parse(said).ok())
}

/// What the event that an order's content is of did.
fn first_status(order: &Order) -> AckStatus {
    if intake::digest(&order.content) == order.digest { AckStatus::Created } else { AckStatus::Updated }
}

fn object(value: Option<&[u8]>, limits: JsonLimits) -> Result<Map<String, Value>, Malformed> {
    let value = value.ok_or_else(|| Malformed("the value is null".to_owned()))?;
    match json::parse(value, limits) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Malformed("the value is no JSON object".to_owned())),
        Err(invalid) => Err(Malformed(invalid.to_string())),
    }
}

/// A text; empty when it is absent or null.
fn text<'m>(message: &'m Map<String, Value>, name: &str) -> Result<&'m str, Malformed> {
    match message.get(name) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Malformed(format!("{name} is no text"))),
    }
}

fn moment(message: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, Malformed> {
    match text(message, name)? {
        "" => Ok(None),
        said => {
            Timestamp::parse(said).map(Some).map_err(|_| Malformed(format!("{name} is no time (RFC 3339)")))
        }
    }
}
