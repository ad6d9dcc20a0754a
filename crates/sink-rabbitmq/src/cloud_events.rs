//! Our own form, for all events: an exchange that whoever wants some of them binds queues to. The particulars of the event are
//! the body, all the rest are headers, named as CloudEvents does in AMQP (AMQP protocol binding §3.1.3).

use crate::publisher::{Encode, Message};
use crate::topology::{Exchange, Topology};
use order_core::journal::Event;
use order_core::telling::Untellable;

/// Makes messages of our own form. The routing key is the type of the event, as `order.accepted`.
///
/// What no queue is bound for is not kept: the exchange is for those who want it.
#[derive(Debug)]
pub struct CloudEvents {
    exchange: String,
    source: String,
}

impl CloudEvents {
    /// Messages for `exchange`, from an installation.
    pub fn new(exchange: &str, installation: impl std::fmt::Display) -> Self {
        Self { exchange: exchange.to_owned(), source: format!("urn:wellorder:installation:{installation}") }
    }
}

impl Encode for CloudEvents {
    fn topology(&self) -> Topology {
        Topology { exchanges: vec![Exchange { name: self.exchange.clone() }], queues: Vec::new() }
    }

    fn encode(&self, event: &Event) -> Result<Option<Message>, Untellable> {
        let kind = format!("wellorder.{}", event.kind.as_str());
        let headers = vec![
            ("cloudEvents_specversion", "1.0".to_owned()),
            ("cloudEvents_id", event.event_id.to_string()),
            ("cloudEvents_source", self.source.clone()),
            ("cloudEvents_type", kind.clone()),
            ("cloudEvents_subject", event.order_id.to_string()),
            ("cloudEvents_time", event.occurred_at.to_string()),
            ("cloudEvents_sequence", event.version.to_string()),
            ("cloudEvents_shard", event.shard.to_string()),
            ("cloudEvents_position", event.position.to_string()),
            ("cloudEvents_epoch", event.epoch.to_string()),
            ("cloudEvents_dataversion", event.data_version.to_string()),
        ];
        Ok(Some(Message {
            exchange: self.exchange.clone(),
            routing_key: event.kind.as_str().to_owned(),
            mandatory: false,
            message_id: event.event_id.to_string(),
            kind,
            timestamp: u64::try_from(event.occurred_at.micros() / 1_000_000).unwrap_or(0),
            body: event.data.clone().into_bytes(),
            headers,
            trace: event.trace,
        }))
    }
}
