//! What can happen to an order, and what it does to it. Commands and audits change an order through the same function,
//! [`Order::apply`], so an order always equals the fold of its events.

use super::event_data::Data;
pub use super::event_data::parse_lines;
use super::render::{Named, facts, push, push_optional, push_text, push_time};
use super::{Content, Order};
use crate::clock::Timestamp;
use crate::ids::{EventId, OrderId, Reference, SourceId, TenantId};
use crate::intake;
use crate::journal::Event;
use crate::order::state::{Fulfilment, Processing};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The form of `data` that this version writes.
pub const DATA_VERSION: u16 = 1;

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $word:literal;)+) => {
        /// What happened; `Unknown` is passed on untouched.
        #[derive(Debug, Clone, PartialEq, Eq, Hash)]
        pub enum EventType {
            $($(#[$doc])* $variant,)+
            /// A type that a later version wrote.
            Unknown(Box<str>),
        }

        impl EventType {
            /// The types that this version writes.
            pub const KNOWN: &'static [Self] = &[$(Self::$variant),+];

            /// The name on the wire and in storage.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $word,)+
                    Self::Unknown(word) => word,
                }
            }

            /// The type of that name.
            pub fn from_word(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)+
                    other => Self::Unknown(other.into()),
                }
            }
        }
    };
}

event_types! {
    /// An order came in.
    OrderAccepted = "order.accepted";
    /// Its content changed.
    OrderRevised = "order.revised";
    /// Its work was done.
    OrderProcessed = "order.processed";
    /// An attempt failed; another follows.
    ProcessingFailed = "order.processing_failed";
    /// It waits for an operator.
    OrderParked = "order.parked";
    /// An operator gave it a fresh budget of attempts.
    OrderRedriven = "order.redriven";
    /// The goods were sent.
    OrderShipped = "order.shipped";
    /// The goods arrived.
    OrderDelivered = "order.delivered";
    /// It was deleted softly, or cancelled.
    OrderWithdrawn = "order.withdrawn";
    /// Its personal fields were blanked.
    OrderErased = "order.erased";
}

/// What happened, with its particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventBody {
    /// See [`EventType::OrderAccepted`].
    Accepted(Box<Accepted>),
    /// See [`EventType::OrderRevised`].
    Revised {
        /// The new content, whole.
        content: Box<Content>,
        /// JSON pointers of what changed.
        changed: Vec<String>,
        /// Whether the new content must be processed.
        requeued: bool,
        /// Who, as far as it is known; so in the others.
        by: Option<Arc<str>>,
    },
    /// See [`EventType::OrderProcessed`].
    Processed {
        /// Which attempt, from 1.
        attempt: u32,
        /// When it began.
        started_at: Timestamp,
    },
    /// See [`EventType::ProcessingFailed`].
    Failed {
        /// Which attempt, from 1.
        attempt: u32,
        /// When it began.
        started_at: Timestamp,
        /// Why, for people.
        error: String,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// See [`EventType::OrderParked`].
    Parked {
        /// Attempts used up.
        attempt: u32,
        /// Leases in a row that ran out.
        lapses: u32,
        /// Why, for people.
        error: String,
        /// When the attempt began that parked it; `None` when none did, or that is not known.
        started_at: Option<Timestamp>,
    },
    /// See [`EventType::OrderRedriven`].
    Redriven {
        /// Why, in the operator's words.
        reason: String,
        /// Who.
        by: String,
    },
    /// See [`EventType::OrderShipped`].
    Shipped {
        /// When.
        shipped_at: Timestamp,
        /// The carrier's number.
        tracking_number: Option<String>,
        /// Who told of it.
        by: Option<Arc<str>>,
    },
    /// See [`EventType::OrderDelivered`].
    Delivered {
        /// When.
        delivered_at: Timestamp,
        /// Who told of it.
        by: Option<Arc<str>>,
    },
    /// See [`EventType::OrderWithdrawn`].
    Withdrawn {
        /// Why.
        reason: String,
        /// Who.
        by: String,
        /// Whether the withdrawal itself must be processed.
        requeued: bool,
    },
    /// See [`EventType::OrderErased`].
    Erased {
        /// JSON pointers of what was blanked.
        pointers: Vec<String>,
        /// Who.
        by: Option<Arc<str>>,
    },
    /// A type that a later version wrote.
    Unknown,
}

/// The particulars of an acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub order_id: OrderId,
    /// Its number.
    pub number: i64,
    /// Where it came from.
    pub source: SourceId,
    /// The client's own id.
    pub reference: Option<Reference>,
    /// What was bought.
    pub content: Content,
    /// Who brought it, as far as it is known.
    pub by: Option<Arc<str>>,
}

/// Where and when an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its id.
    pub event_id: EventId,
    /// Its place in the shard.
    pub position: u64,
    /// When it happened.
    pub occurred_at: Timestamp,
}

/// The journal of an order does not fold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FoldError(pub String);

impl EventBody {
    /// Its type; `None` for one that this version does not know.
    pub fn kind(&self) -> Option<EventType> {
        Some(match self {
            Self::Accepted(_) => EventType::OrderAccepted,
            Self::Revised { .. } => EventType::OrderRevised,
            Self::Processed { .. } => EventType::OrderProcessed,
            Self::Failed { .. } => EventType::ProcessingFailed,
            Self::Parked { .. } => EventType::OrderParked,
            Self::Redriven { .. } => EventType::OrderRedriven,
            Self::Shipped { .. } => EventType::OrderShipped,
            Self::Delivered { .. } => EventType::OrderDelivered,
            Self::Withdrawn { .. } => EventType::OrderWithdrawn,
            Self::Erased { .. } => EventType::OrderErased,
            Self::Unknown => return None,
        })
    }

    /// The particulars as they lie in the journal, for the order `order` (which has been changed already).
    pub fn to_json(&self, order: &Order) -> String {
        let named = Named {
            order_id: order.id,
            number: order.number,
            source: &order.source,
            reference: order.reference.as_ref(),
        };
        let mut json = String::from("{");
        match self {
            Self::Accepted(accepted) => {
                json.push_str(&facts(&named, &accepted.content));
                push_by(&mut json, accepted.by.as_deref());
            }
            Self::Revised { content, changed, requeued, by } => {
                json.push_str(&facts(&named, content));
                push(
                    &mut json,
                    format_args!(",\"changed\":{},\"requeued\":{requeued}", Value::from(changed.clone())),
                );
                push_by(&mut json, by.as_deref());
            }
            Self::Processed { attempt, started_at } => {
                push(&mut json, format_args!("\"attempt\":{attempt},\"started_at\":\"{started_at}\""));
            }
            Self::Failed { attempt, started_at, error, retry_at } => {
                push(
                    &mut json,
                    format_args!("\"attempt\":{attempt},\"started_at\":\"{started_at}\",\"error\":"),
                );
                push_text(&mut json, error);
                push(&mut json, format_args!(",\"retry_at\":\"{retry_at}\""));
            }
            Self::Parked { attempt, lapses, error, started_at } => {
                push(&mut json, format_args!("\"attempt\":{attempt},\"lapses\":{lapses},\"error\":"));
                push_text(&mut json, error);
                json.push_str(",\"started_at\":");
                push_time(&mut json, *started_at);
            }
            Self::Redriven { reason, by } => push_who(&mut json, reason, by),
            Self::Shipped { shipped_at, tracking_number, by } => {
                json.push_str("\"shipped_at\":");
                push_time(&mut json, Some(*shipped_at));
                json.push_str(",\"tracking_number\":");
                push_optional(&mut json, tracking_number.as_deref());
                push_by(&mut json, by.as_deref());
            }
            Self::Delivered { delivered_at, by } => {
                push(&mut json, format_args!("\"delivered_at\":\"{delivered_at}\""));
                push_by(&mut json, by.as_deref());
            }
            Self::Withdrawn { reason, by, requeued } => {
                push_who(&mut json, reason, by);
                push(&mut json, format_args!(",\"requeued\":{requeued}"));
            }
            Self::Erased { pointers, by } => {
                push(&mut json, format_args!("\"pointers\":{}", Value::from(pointers.clone())));
                push_by(&mut json, by.as_deref());
            }
            Self::Unknown => {}
        }
        json.push('}');
        json
    }

    /// Reads the particulars of an event back.
    ///
    /// # Errors
    /// When `data` is not what its type and version promise.
    pub fn parse(event: &Event) -> Result<Self, FoldError> {
        let data: Value = serde_json::from_str(&event.data).map_err(|error| FoldError(error.to_string()))?;
        let data = Data(data.as_object().ok_or_else(|| FoldError("data is no object".to_owned()))?);
        Ok(match event.kind {
            EventType::OrderAccepted => Self::Accepted(Box::new(data.accepted(event.order_id)?)),
            EventType::OrderRevised => Self::Revised {
                content: Box::new(data.content()?),
                changed: data.texts("changed")?,
                requeued: data.flag("requeued"),
                by: data.by()?,
            },
            EventType::OrderProcessed => {
                Self::Processed { attempt: data.count("attempt")?, started_at: data.time("started_at")? }
            }
            EventType::ProcessingFailed => Self::Failed {
                attempt: data.count("attempt")?,
                started_at: data.time("started_at")?,
                error: data.text("error")?,
                retry_at: data.time("retry_at")?,
            },
            EventType::OrderParked => Self::Parked {
                attempt: data.count("attempt")?,
                lapses: data.count("lapses")?,
                error: data.text("error")?,
                started_at: data.gained("started_at", Data::time)?,
            },
            EventType::OrderRedriven => Self::Redriven { reason: data.text("reason")?, by: data.text("by")? },
            EventType::OrderShipped => Self::Shipped {
                shipped_at: data.time("shipped_at")?,
                tracking_number: data.optional("tracking_number")?,
                by: data.by()?,
            },
            EventType::OrderDelivered => {
                Self::Delivered { delivered_at: data.time("delivered_at")?, by: data.by()? }
            }
            EventType::OrderWithdrawn => Self::Withdrawn {
                reason: data.text("reason")?,
                by: data.text("by")?,
                requeued: data.flag("requeued"),
            },
            EventType::OrderErased => Self::Erased { pointers: data.texts("pointers")?, by: data.by()? },
            EventType::Unknown(_) => Self::Unknown,
        })
    }
}

fn push_who(json: &mut String, reason: &str, by: &str) {
    json.push_str("\"reason\":");
    push_text(json, reason);
    json.push_str(",\"by\":");
    push_text(json, by);
}

fn push_by(json: &mut String, by: Option<&str>) {
    json.push_str(",\"by\":");
    push_optional(json, by);
}

impl Order {
    /// The order that an acceptance makes.
    pub fn accepted(tenant: TenantId, accepted: Accepted, digest: [u8; 32], place: Place) -> Self {
        Self {
            id: accepted.order_id,
            number: accepted.number,
            tenant,
            source: accepted.source,
            reference: accepted.reference,
            content: accepted.content,
            digest,
            version: 1,
            processing: Processing::Queued,
            fulfilment: Fulfilment::Unshipped,
            withdrawn: false,
            attempt: 0,
            last_error: None,
            accepted_at: place.occurred_at,
            updated_at: place.occurred_at,
            started_at: None,
            processed_at: None,
            shipped_at: None,
            tracking_number: None,
            delivered_at: None,
            cause: place.event_id,
            last_position: place.position,
            lease: None,
        }
    }

    /// Lets an event happen to the order.
    pub fn apply(&mut self, body: &EventBody, place: Place) {
        self.version += 1;
        self.updated_at = place.occurred_at;
        self.last_position = place.position;
        match body {
            EventBody::Accepted(_) | EventBody::Unknown => {}
            EventBody::Revised { content, requeued, .. } => {
                self.content = (**content).clone();
                // Whatever work comes next, a redrive's too, is for the new content: another effect.
                self.cause = place.event_id;
                self.requeue(*requeued, place.event_id);
            }
            EventBody::Processed { attempt, started_at } => {
                self.processing = Processing::Done;
                self.attempt = *attempt;
                self.last_error = None;
                self.started_at = Some(*started_at);
                self.processed_at = Some(place.occurred_at);
            }
            EventBody::Failed { attempt, started_at, error, .. } => {
                self.attempt = *attempt;
                self.last_error = Some(error.clone());
                self.started_at = Some(*started_at);
            }
            EventBody::Parked { attempt, error, .. } => {
                self.processing = Processing::Parked;
                self.attempt = *attempt;
                self.last_error = Some(error.clone());
            }
            EventBody::Redriven { .. } => {
                self.processing = Processing::Queued;
                self.attempt = 0;
            }
            EventBody::Shipped { shipped_at, tracking_number, .. } => {
                self.shipped_at = Some(*shipped_at);
                if tracking_number.is_some() {
                    self.tracking_number.clone_from(tracking_number);
                }
                self.fulfilment = self.fulfilment.max(Fulfilment::Shipped);
            }
            EventBody::Delivered { delivered_at, .. } => {
                self.delivered_at = Some(*delivered_at);
                self.fulfilment = Fulfilment::Delivered;
            }
            EventBody::Withdrawn { requeued, .. } => {
                self.withdrawn = true;
                // Nothing is left to do for it, unless the withdrawal itself must be processed.
                self.processing = Processing::Done;
                self.requeue(*requeued, place.event_id);
            }
            EventBody::Erased { .. } => self.blank(),
        }
    }

    fn requeue(&mut self, requeued: bool, cause: EventId) {
        if requeued {
            self.processing = Processing::Queued;
            self.attempt = 0;
            self.started_at = None;
            self.processed_at = None;
            self.cause = cause;
        }
    }

    /// Blanks the personal fields; ids, digest and amounts stay.
    fn blank(&mut self) {
        blank_content(&mut self.content);
        self.last_error = None;
        self.tracking_number = None;
    }

    /// Folds one more event onto the order (`None` before the first).
    ///
    /// # Errors
    /// When the event does not follow: another order's, a version that is not the next, unreadable data.
    pub fn fold(order: Option<Self>, event: &Event) -> Result<Self, FoldError> {
        let place =
            Place { event_id: event.event_id, position: event.position, occurred_at: event.occurred_at };
        let body = EventBody::parse(event)?;
        let expected = order.as_ref().map_or(1, |order| order.version + 1);
        if event.version != expected {
            return Err(FoldError(format!("version {} where {expected} must follow", event.version)));
        }
        match (order, body) {
            (None, EventBody::Accepted(accepted)) => {
                let digest = intake::digest(&accepted.content);
                Ok(Self::accepted(event.tenant.clone(), *accepted, digest, place))
            }
            (Some(mut order), body) if !matches!(body, EventBody::Accepted(_)) => {
                order.apply(&body, place);
                Ok(order)
            }
            _ => Err(FoldError("the first event, and only that, must be order.accepted".to_owned())),
        }
    }
}

/// The JSON pointers that an erasure blanks where they are set, in the order as `/v1` shows it.
pub const ERASED_POINTERS: [&str; 5] =
    ["/customer", "/attributes", "/lines/*/name", "/last_error", "/tracking_number"];

fn blank_content(content: &mut Content) {
    content.customer = None;
    content.attributes = Map::new();
    for line in &mut content.lines {
        line.name = None;
    }
}

/// The particulars of an event without the personal fields; what an erasure leaves of earlier events.
///
/// # Errors
/// When the event cannot be read.
pub fn blanked(event: &Event, order: &Order) -> Result<String, FoldError> {
    let mut body = EventBody::parse(event)?;
    match &mut body {
        EventBody::Accepted(accepted) => blank_content(&mut accepted.content),
        EventBody::Revised { content, changed, .. } => {
            blank_content(content);
            changed.retain(|pointer| !pointer.starts_with("/attributes/"));
        }
        EventBody::Failed { error, .. } | EventBody::Parked { error, .. } => error.clear(),
        EventBody::Redriven { reason, .. } | EventBody::Withdrawn { reason, .. } => reason.clear(),
        EventBody::Shipped { tracking_number, .. } => *tracking_number = None,
        EventBody::Processed { .. } | EventBody::Delivered { .. } | EventBody::Erased { .. } => {}
        // A later version's event is not ours to read: leave nothing of it.
        EventBody::Unknown => {}
    }
    Ok(body.to_json(order))
}
