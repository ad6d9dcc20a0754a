//! What `sales` tells of its orders on its topic.

use super::NAME;
use super::message::{self, Told as What};
use order_core::ids::{InvalidText, SourceId};
use order_core::journal::Event;
use order_core::order::Order;
use order_core::telling::{Telling, Told, Untellable};

/// Tells when an order is made, sent and delivered: one envelope each, under the order's id.
#[derive(Debug)]
pub struct OrderEvents {
    source: SourceId,
    topic: String,
}

impl OrderEvents {
    /// Tells it on `topic`.
    ///
    /// # Errors
    /// Never: the name of the contract is a source.
    pub fn new(topic: &str) -> Result<Self, InvalidText> {
        Ok(Self { source: SourceId::new(NAME)?, topic: topic.to_owned() })
    }
}

impl Telling for OrderEvents {
    fn source(&self) -> &SourceId {
        &self.source
    }

    fn places(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    fn concerns(&self, event: &Event) -> bool {
        message::may_tell(&event.kind)
    }

    fn tell(&self, event: &Event, before: Option<&Order>, after: &Order) -> Result<Option<Told>, Untellable> {
        let Some(what) = What::by(before, after, event) else { return Ok(None) };
        let body = message::envelope(what, after, event).map_err(|error| Untellable(error.to_string()))?;
        let (to, key) = (self.topic.clone(), event.order_id.to_string());
        Ok(Some(Told { to, key, body, headers: Vec::new() }))
    }
}
