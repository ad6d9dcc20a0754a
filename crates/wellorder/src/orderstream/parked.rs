//! Messages that can never be carried out: kept beside their topic, with the reason, while the partition goes on.

use order_core::fault_point;
use sink_kafka::{NotWritten, Publisher, Received, Record};

/// What of a record besides its value must fit into the largest record too.
const BESIDE: usize = 4096;
/// Longest reason, or key, that is kept, in bytes.
const WHY_MAX: usize = 1000;

/// A message that is to be parked, and why.
pub(super) struct Unfit<'b> {
    record: &'b Received,
    why: String,
}

impl<'b> Unfit<'b> {
    pub(super) fn new(record: &'b Received, why: impl Into<String>) -> Self {
        Self { record, why: why.into() }
    }
}

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

    /// A record that is parked, with so much of its value at most.
    fn record(&self, unfit: &Unfit<'_>, value_max: usize) -> Record {
        let Received { topic, partition, offset, key, value, .. } = unfit.record;
        let mut headers = vec![
            ("wellorder-why", cut(&unfit.why)),
            ("wellorder-topic", topic.clone()),
            ("wellorder-partition", partition.to_string()),
            ("wellorder-offset", offset.to_string()),
        ];
        let mut value = value.as_deref().unwrap_or_default();
        if value.len() > value_max {
            headers.push(("wellorder-cut-from", value.len().to_string()));
            value = &value[..value_max];
        }
        // A longer key cannot be one of ours, and need not be whole.
        let key = cut(&key.as_deref().map(String::from_utf8_lossy).unwrap_or_default());
        let headers = headers.into_iter().collect();
        Record { topic: self.topic.clone(), key, value: value.to_vec(), headers }
    }

    /// Keeps messages. One that the topic does not take as it is, because it takes less than the topic that the message comes
    /// from, is kept without its value: that can still be had from there.
    ///
    /// # Errors
    /// Why they are not safe, for people; some may be.
    pub(super) async fn keep(&self, unfit: &[Unfit<'_>]) -> Result<(), String> {
        let value_max = self.bytes_max.saturating_sub(BESIDE);
        let mut left: Vec<(&Unfit<'_>, usize)> = unfit.iter().map(|unfit| (unfit, value_max)).collect();
        if !left.is_empty() {
            fault_point::pass("inbox.before_dlq");
        }
        while !left.is_empty() {
            let records: Vec<Record> = left.iter().map(|(unfit, max)| self.record(unfit, *max)).collect();
            let refused = match self.publisher.publish(&records).await {
                Ok(()) => Vec::new(),
                Err(NotWritten::Refused(refused)) => refused,
                Err(ails @ NotWritten::Ails(_)) => return Err(ails.to_string()),
            };
            // Of each key, what is behind a refused one was left out.
            let mut again = Vec::new();
            for (at, (unfit, max)) in left.into_iter().enumerate() {
                if let Some(no) = refused.iter().find(|no| no.index == at) {
                    if max == 0 {
                        return Err(format!("cannot park a message, not even without its value: {}", no.why));
                    }
                    again.push((unfit, 0));
                } else if refused.iter().any(|no| no.index < at && records[no.index].key == records[at].key) {
                    again.push((unfit, max));
                } else {
                    self.say(unfit);
                }
            }
            left = again;
        }
        if !unfit.is_empty() {
            fault_point::pass("inbox.after_dlq");
        }
        Ok(())
    }

    /// Says, once it is so, that a message is parked.
    fn say(&self, Unfit { record, why }: &Unfit<'_>) {
        let Received { topic, partition, offset, .. } = record;
        tracing::error!(topic, partition, offset, why, to = self.topic, "parked a message");
    }
}

/// As much of a text as is kept.
fn cut(text: &str) -> String {
    let end = (0..=text.len().min(WHY_MAX)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text[..end].to_owned()
}
