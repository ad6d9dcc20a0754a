//! Our own form: CloudEvents 1.0 in binary mode (Kafka protocol binding §3.2). The particulars of the event are the body, all
//! the rest are headers.

use crate::{Encode, Headers, Record};
use order_core::journal::Event;
use uuid::Uuid;

/// The header that says where in a trace it happened, as W3C Trace Context writes it.
pub const TRACEPARENT: &str = "traceparent";

/// Headers of a record, and about how many bytes their values have.
const HEADERS: usize = 13;
const HEADER_BYTES: usize = 320;

/// Makes records of our own form.
#[derive(Debug)]
pub struct CloudEvents {
    topic: String,
    source: String,
}

impl CloudEvents {
    /// Records for `topic`, from the installation of that id.
    pub fn new(topic: &str, installation: Uuid) -> Self {
        Self { topic: topic.to_owned(), source: format!("urn:wellorder:installation:{installation}") }
    }
}

impl Encode for CloudEvents {
    fn topics(&self) -> Vec<String> {
        vec![self.topic.clone()]
    }

    fn encode(&self, event: &Event) -> Option<Record> {
        let mut headers = Headers::with_capacity(HEADERS, HEADER_BYTES);
        headers.push("ce_specversion", "1.0");
        headers.push("ce_id", event.event_id);
        headers.push("ce_source", &self.source);
        headers.push("ce_type", format_args!("wellorder.{}", event.kind.as_str()));
        headers.push("ce_subject", event.order_id);
        headers.push("ce_time", event.occurred_at);
        headers.push("ce_sequence", event.version);
        headers.push("ce_shard", event.shard);
        headers.push("ce_position", event.position);
        headers.push("ce_epoch", event.epoch);
        headers.push("ce_dataversion", event.data_version);
        headers.push("content-type", "application/json");
        if let Some(trace) = event.trace {
            headers.push(TRACEPARENT, trace);
        }
        let key = event.order_id.to_string();
        Some(Record { topic: self.topic.clone(), key, value: event.data.clone().into_bytes(), headers })
    }
}
