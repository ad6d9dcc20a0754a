//! What `sales` tells others of its orders: the forms of its messages, and when there is one.

use super::{map, wire};
use order_core::Order;
use order_core::event::EventType;
use order_core::journal::Event;
use serde::Serialize;

/// The topic of Kafka that this contract's orders are told of on.
pub const TOPIC: &str = "order-events";
/// The topic exchange of RabbitMQ that new orders are published to; the queue of the same name is bound to it.
pub const CREATED: &str = "orders.created";
/// The routing key of a new order.
pub const CREATED_KEY: &str = "order.created";
/// The queue that says which orders were sent.
pub const SHIPPED: &str = "orders.shipped";
/// The queue that says which orders arrived.
pub const DELIVERED: &str = "orders.delivered";

/// What happened, in this contract's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The order is new.
    Created,
    /// It was sent, or arrived.
    StatusChanged,
}

impl Told {
    /// What `event` tells, which made `after` of `before`. Nothing when the status stays as it is: a shipment that comes
    /// late, a number of the carrier, processing.
    pub fn by(before: Option<&Order>, after: &Order, event: &Event) -> Option<Self> {
        match before {
            None => (event.kind == EventType::OrderAccepted).then_some(Self::Created),
            Some(before) => (map::status(before) != map::status(after)).then_some(Self::StatusChanged),
        }
    }

    /// The type of the message.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Created => "OrderCreated",
            Self::StatusChanged => "OrderStatusChanged",
        }
    }
}

/// Whether an event of this kind may tell anything: the others need no look at their order.
pub fn may_tell(kind: &EventType) -> bool {
    matches!(kind, EventType::OrderAccepted | EventType::OrderShipped | EventType::OrderDelivered)
}

#[derive(Serialize)]
struct Envelope<'a> {
    event_id: String,
    event_type: &'static str,
    order_id: String,
    timestamp: String,
    data: &'a wire::Order,
    #[serde(flatten)]
    bare: Option<Bare<'a>>,
}

/// For who reads no envelope.
#[derive(Serialize)]
struct Bare<'a> {
    user_id: Option<&'a str>,
    product_id: Option<&'a str>,
    quantity: u32,
    status: wire::Status,
    created_at: &'a str,
}

/// The envelope for Kafka; `after` is the order as the event left it, and `data` what a GET showed then.
///
/// # Errors
/// When it cannot be written as JSON: a defect of ours.
pub fn envelope(told: Told, after: &Order, event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    render(told, after, event, false)
}

/// The message for RabbitMQ: the envelope, with what a reader of the bare form needs repeated at its top.
///
/// # Errors
/// When it cannot be written as JSON: a defect of ours.
pub fn created(after: &Order, event: &Event) -> Result<Vec<u8>, serde_json::Error> {
    render(Told::Created, after, event, true)
}

fn render(told: Told, after: &Order, event: &Event, repeated: bool) -> Result<Vec<u8>, serde_json::Error> {
    let data = map::order(after);
    let bare = repeated.then(|| Bare {
        user_id: data.user_id.as_deref(),
        product_id: data.product_id.as_deref(),
        quantity: data.quantity,
        status: data.status,
        created_at: &data.created_at,
    });
    serde_json::to_vec(&Envelope {
        event_id: event.event_id.to_string(),
        event_type: told.event_type(),
        order_id: event.order_id.to_string(),
        timestamp: event.occurred_at.millis_text(),
        data: &data,
        bare,
    })
}
