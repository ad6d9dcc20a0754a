//! Messages that others sent, and that may come again: each is remembered in the commit of the change that it caused, so
//! that it causes it once.

use crate::app::{App, unexpected};
use crate::change::Target;
use crate::clock::Timestamp;
use crate::command::{Change, ChangeKind, Changed, Command, Reply};
use crate::error::{Error, Fault, Rejection};
use crate::ids::{EventId, OrderId, SourceId, TenantId};
use crate::trace;
use std::sync::Arc;
use std::time::Duration;

/// How long it is remembered at least that a message was consumed. What comes again later changes an order that has
/// changed already: nothing.
pub const MESSAGE_KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// The longest id of a message that is kept as it is, in bytes; longer ones are refused by [`MessageId::new`].
pub const MESSAGE_ID_BYTES_MAX: usize = 255;

/// Which message, of those that one consumer takes for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageId {
    consumer: Arc<str>,
    id: String,
}

/// A name or an id that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the id of a message must have 1 to 255 bytes and no U+0000")]
pub struct InvalidMessageId;

impl MessageId {
    /// The message `id` of `consumer`, which is a queue or a topic.
    ///
    /// # Errors
    /// When one of the two is empty, too long or holds U+0000.
    pub fn new(consumer: &Arc<str>, id: impl Into<String>) -> Result<Self, InvalidMessageId> {
        let id = id.into();
        let fits = |text: &str| (1..=MESSAGE_ID_BYTES_MAX).contains(&text.len()) && !text.contains('\0');
        if fits(consumer) && fits(&id) {
            Ok(Self { consumer: Arc::clone(consumer), id })
        } else {
            Err(InvalidMessageId)
        }
    }

    /// Who takes it.
    pub fn consumer(&self) -> &str {
        &self.consumer
    }

    /// What it is known by.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn footprint(&self) -> usize {
        self.id.len()
    }
}

/// See [`Command::Consume`].
#[derive(Debug, Clone)]
pub struct Consume {
    /// Which message; of the tenant of the change.
    pub message: MessageId,
    /// What it causes.
    pub change: Change,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumed {
    /// It was new, and so is what it caused, if it changed anything.
    Now(Changed),
    /// It was consumed before: nothing was done.
    Before,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is dealt with, or was before: what it caused is committed.
    Done,
    /// It may be dealt with later; after the last retry it is parked at the broker.
    Retry {
        /// Why not now, for people.
        why: String,
    },
    /// It can never be dealt with: parked at the broker at once.
    Poison {
        /// Why, for people.
        why: String,
    },
    /// A fault of ours, that passes: it stays in hand, and uses up no retry.
    Hold {
        /// Which, for the log.
        why: String,
    },
}

/// What a message says happened to an order.
#[derive(Debug, Clone)]
pub struct Fact {
    /// What its sender calls this fact, if it says so.
    pub event_id: Option<String>,
    /// Whose order it is; `None` where the sender does not know: whose it turns out to be.
    pub tenant: Option<TenantId>,
    /// Set where the sender knows the orders of one source only.
    pub source: Option<SourceId>,
    /// Which order.
    pub order_id: OrderId,
    /// What happened.
    pub kind: ChangeKind,
}

impl App {
    /// Deals with a fact that came through `queue` in a message that the broker knows by `message_id`. It counts once: by
    /// its own id, else by the message's, else once for each order and queue. Ids that cannot be kept count as none.
    pub async fn hear(&self, queue: &Arc<str>, message_id: Option<&str>, fact: Fact) -> Outcome {
        let ids = fact.event_id.as_deref().into_iter().chain(message_id);
        let mut messages = ids.filter_map(|id| MessageId::new(queue, id).ok());
        let message = match messages.next() {
            Some(message) => message,
            None => match MessageId::new(queue, format!("order {}", fact.order_id)) {
                Ok(message) => message,
                Err(error) => return Outcome::Poison { why: error.to_string() },
            },
        };
        let order_id = fact.order_id;
        match self.heard(message, fact).await {
            Ok(Consumed::Now(_) | Consumed::Before) => Outcome::Done,
            Err(Error::Rejection(Rejection::OrderUnknown)) => {
                Outcome::Retry { why: "no such order".to_owned() }
            }
            Err(Error::Rejection(refused)) => Outcome::Poison { why: refused.to_string() },
            Err(Error::Fault(Fault::Data { .. })) => {
                Outcome::Poison { why: "the database refuses what it says".to_owned() }
            }
            // A defect of ours may be of this message alone: it must not keep the others waiting for ever.
            Err(Error::Fault(Fault::Internal { why })) => {
                tracing::error!(error = why, %order_id, "cannot deal with a message");
                Outcome::Retry { why: "an internal fault; see the log".to_owned() }
            }
            Err(Error::Fault(fault)) => Outcome::Hold { why: fault.to_string() },
        }
    }

    async fn heard(&self, message: MessageId, fact: Fact) -> Result<Consumed, Error> {
        let Fact { tenant, source, order_id, kind, .. } = fact;
        let tenant = match tenant {
            Some(tenant) => tenant,
            None => self.storage.owner(order_id).await?.ok_or(Rejection::OrderUnknown)?,
        };
        let target = Target { tenant, source, order_id, expected_version: None };
        self.consume(message, target, kind).await
    }

    /// Changes an order as `message` says, once however often it comes: that it was consumed is committed with the change.
    /// A message that is refused is not remembered.
    ///
    /// # Errors
    /// As [`App::change`].
    pub async fn consume(
        &self,
        message: MessageId,
        target: Target,
        kind: ChangeKind,
    ) -> Result<Consumed, Error> {
        let now = self.clock.now();
        let Target { tenant, source, order_id, expected_version } = target;
        let event_id = EventId(self.ids.uuid_v7(now));
        // As no token can call itself: see [`crate::action_log::Actor`].
        let by = Some(format!("consumer:{}", message.consumer).into());
        let trace = trace::current();
        let change = Change { tenant, source, order_id, expected_version, event_id, now, kind, trace, by };
        let consume = Consume { message, change };
        match self.lanes.submit(Command::Consume(Box::new(consume))).await? {
            Reply::Consumed(consumed) => Ok(consumed),
            other => Err(unexpected("consume", &other)),
        }
    }

    /// Forgets messages that were remembered long enough, at most `limit`; returns how many went.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn sweep_inbox(&self, limit: u32) -> Result<u32, Error> {
        let kept = i64::try_from(MESSAGE_KEPT.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.clock.now().micros().saturating_sub(kept));
        match self.lanes.submit(Command::SweepInbox { before, limit }).await? {
            Reply::Swept(count) => Ok(count),
            other => Err(unexpected("sweep of the inbox", &other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_storage_can_keep_is_an_id() {
        let queue: Arc<str> = "orders.shipped".into();
        assert!(MessageId::new(&queue, "x".repeat(255)).is_ok());
        for refused in ["", "a\0b", &"x".repeat(256)] {
            assert_eq!(MessageId::new(&queue, refused), Err(InvalidMessageId), "{refused:?}");
        }
        assert!(MessageId::new(&"".into(), "m").is_err());
    }
}
