//! Our own form: CloudEvents 1.0 in binary mode (Kafka protocol binding §3.2). The particulars of the event are the body, all
//! the rest are headers.

use crate::{Encode, Record};
use order_core::journal::Event;
use order_core::trace::TraceContext;
use uuid::Uuid;

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
        let mut headers = vec![
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", event.event_id.to_string()),
            ("ce_source", self.source.clone()),
            ("ce_type", format!("wellorder.{}", event.kind.as_str())),
            ("ce_subject", event.order_id.to_string()),
            ("ce_time", event.occurred_at.to_string()),
            ("ce_sequence", event.version.to_string()),
            ("ce_shard", event.shard.to_string()),
            ("ce_position", event.position.to_string()),
            ("ce_epoch", event.epoch.to_string()),
            ("ce_dataversion", event.data_version.to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        headers.extend(event.trace.map(traceparent));
        let key = event.order_id.to_string();
        Some(Record { topic: self.topic.clone(), key, value: event.data.clone().into_bytes(), headers })
    }
}

/// The header that says where in a trace it happened, as W3C Trace Context writes it.
pub(crate) fn traceparent(trace: TraceContext) -> (&'static str, String) {
    ("traceparent", trace.to_string())
}
