//! Messages that can never be carried out: kept beside their topic, with the reason, while the partition goes on.

use sink_kafka::{Publisher, Received, Record};

/// What of a record besides its value must fit into the largest record too.
const BESIDE: usize = 4096;
/// Longest reason, or key, that is kept, in bytes.
const WHY_MAX: usize = 1000;

/// The topic of such messages: as they came, the rest in headers.
pub(super) struct Parked {
    pub(super) publisher: Publisher,
    pub(super) topic: String,
    pub(super) bytes_max: usize,
}

impl Parked {
    /// Where what is parked of `topic` is kept.
    pub(super) fn topic(topic: &str) -> String {
        format!("{topic}.parked")
    }

    /// A record that is parked.
    pub(super) fn record(&self, record: &Received, why: &str) -> Record {
        let Received { topic, partition, offset, key, value, .. } = record;
        tracing::error!(topic, partition, offset, why, to = self.topic, "parked a message");
        let mut headers = vec![
            ("wellorder-why", cut(why)),
            ("wellorder-topic", topic.clone()),
            ("wellorder-partition", partition.to_string()),
            ("wellorder-offset", offset.to_string()),
        ];
        let (max, mut value) = (self.bytes_max.saturating_sub(BESIDE), value.clone().unwrap_or_default());
        if value.len() > max {
            headers.push(("wellorder-cut-from", value.len().to_string()));
            value.truncate(max);
        }
        // A longer key cannot be one of ours, and need not be whole.
        let key = cut(&key.as_deref().map(String::from_utf8_lossy).unwrap_or_default());
        Record { topic: self.topic.clone(), key, value, headers }
    }

    /// Keeps `records`.
    ///
    /// # Errors
    /// Why they are not safe, for people.
    pub(super) async fn keep(&self, records: &[Record]) -> Result<(), String> {
        self.publisher.publish(records).await.map_err(|ails| ails.to_string())
    }
}

/// As much of a text as is kept.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(WHY_MAX)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}
