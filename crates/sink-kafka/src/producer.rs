//! A producer of librdkafka, and batches that wait until all of their records are safe.

use crate::client::{Ails, Reports, locked};
use crate::{Options, Record, topic};
use order_core::parking::RefusedFor;
use rdkafka::client::Client;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two looks whether brokers are there, while records wait for them.
const LOOK: Duration = Duration::from_millis(250);
/// With no broker in reach for so long, records are given up, and come again later: waiting on would only hide why.
const OUTAGE: Duration = Duration::from_secs(3);

/// Why records are not safe.
pub(crate) struct Failed {
    pub(crate) ails: Ails,
    /// Why one of them will never be taken, if that is what it is.
    pub(crate) refused: Option<RefusedFor>,
}

/// Whether a record that failed so will never be taken as it is.
fn refusal(code: RDKafkaErrorCode) -> Option<RefusedFor> {
    match code {
        RDKafkaErrorCode::MessageSizeTooLarge => Some(RefusedFor::TooLarge),
        RDKafkaErrorCode::InvalidRecord => Some(RefusedFor::Invalid),
        _ => None,
    }
}

/// Records that were handed over together.
pub(crate) struct Batch {
    /// Records that are not settled yet.
    open: AtomicUsize,
    /// Why the first of those that failed did.
    fault: Mutex<Option<(Option<RDKafkaErrorCode>, String)>>,
    settled: Notify,
}

impl Batch {
    fn settle(&self, fault: Option<(&str, &KafkaError)>) {
        if let Some((topic, error)) = fault {
            let code = error.rdkafka_error_code();
            let mut kept = locked(&self.fault);
            // What is refused takes others down with it, which are told of first at times.
            let is_news = kept.as_ref().is_none_or(|(known, _)| {
                known.and_then(refusal).is_none() && code.and_then(refusal).is_some()
            });
            if is_news {
                *kept = Some((code, format!("topic {topic}: {error}")));
            }
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_one();
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => {
                self.reached();
                batch.settle(None);
            }
            Err((error, record)) => batch.settle(Some((record.topic(), error))),
        }
    }
}

/// How librdkafka is to send.
pub(crate) fn config(options: &Options) -> ClientConfig {
    let mut config = options.config();
    config
        .set("enable.idempotence", "true")
        .set("enable.gapless.guarantee", "true")
        .set("acks", "all")
        .set("delivery.timeout.ms", options.delivery_timeout.as_millis().to_string())
        // As Java's clients do, so that joins with their topics find their partitions.
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        // What tells that a broker is in reach again: librdkafka says aloud only when the last one is gone.
        .set("statistics.interval.ms", "1000")
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A producer; used until something fails.
pub(crate) struct Producer {
    inner: ThreadedProducer<Reports, NoCustomPartitioner>,
}

impl Producer {
    /// A producer, once every one of `topics` is there; and how many partitions each has. Blocks.
    ///
    /// # Errors
    /// When no broker is in reach, when they refuse us, when a topic is missing and cannot be made.
    pub(crate) fn open(options: &Options, topics: &[String]) -> Result<(Self, Vec<usize>), Ails> {
        let inner: ThreadedProducer<Reports, NoCustomPartitioner> =
            ThreadedProducer::from_config_and_context(&config(options), Reports::default()).map_err(
                |error| Reports::default().explained(&error.to_string(), error.rdkafka_error_code()),
            )?;
        let partitions = topic::ensure(inner.client(), options, topics)?;
        Ok((Self { inner }, partitions))
    }

    pub(crate) fn client(&self) -> &Client<Reports> {
        self.inner.client()
    }

    /// An error with what is behind it.
    pub(crate) fn explained(&self, error: &KafkaError) -> Ails {
        self.inner.context().explained(&error.to_string(), error.rdkafka_error_code())
    }

    /// Hands over all of `records` and waits until each is safe.
    ///
    /// # Errors
    /// Why the first of those that are not safe is not, a refusal before all else; others may be.
    pub(crate) async fn deliver(&self, records: impl IntoIterator<Item = &Record>) -> Result<(), Failed> {
        let batch =
            Arc::new(Batch { open: AtomicUsize::new(1), fault: Mutex::default(), settled: Notify::new() });
        for record in records {
            batch.open.fetch_add(1, Ordering::AcqRel);
            if let Err(error) = self.send(record, &batch) {
                batch.settle(Some((&record.topic, &error)));
                break;
            }
        }
        // The one more that kept the batch open until all of it was handed over.
        batch.settle(None);
        self.settled(&batch).await;
        match locked(&batch.fault).take() {
            None => Ok(()),
            Some((code, fault)) => Err(Failed {
                ails: self.inner.context().explained(&fault, code),
                refused: code.and_then(refusal),
            }),
        }
    }

    /// Whether it will never send anything again.
    pub(crate) fn is_broken(&self) -> bool {
        self.client().fatal_error().is_some()
    }

    fn send(&self, record: &Record, batch: &Arc<Batch>) -> Result<(), KafkaError> {
        let headers = record.headers.iter();
        let made = OwnedHeaders::new_with_capacity(headers.len());
        let headers =
            headers.fold(made, |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
        let record = BaseRecord::with_opaque_to(&record.topic, Arc::clone(batch))
            .key(&record.key)
            .payload(&record.value)
            .headers(headers);
        self.inner.send(record).map_err(|(error, _)| error)
    }

    /// Waits until every record of the batch is settled; librdkafka settles each within its time-out.
    async fn settled(&self, batch: &Batch) {
        while batch.open.load(Ordering::Acquire) > 0 {
            tokio::select! {
                () = batch.settled.notified() => {}
                () = tokio::time::sleep(LOOK) => self.give_up_in_an_outage(),
            }
        }
    }

    fn give_up_in_an_outage(&self) {
        if self.inner.context().out_since().is_some_and(|since| since.elapsed() >= OUTAGE) {
            self.inner.purge(PurgeConfig::default().queue().inflight());
        }
    }
}
