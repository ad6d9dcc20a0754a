//! A producer of librdkafka, and batches that wait until all of their records are safe.

use crate::{Options, Record};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{
    BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Between two looks whether brokers are there, while records wait for them.
const LOOK: Duration = Duration::from_millis(250);
/// With no broker in reach for so long, records are given up, and come again later: waiting on would only hide why.
const OUTAGE: Duration = Duration::from_secs(3);

/// Records that were handed over together.
struct Batch {
    /// Records that are not settled yet.
    open: AtomicUsize,
    /// Why the first of those that failed did.
    fault: Mutex<Option<String>>,
    settled: Notify,
}

impl Batch {
    fn settle(&self, fault: Option<String>) {
        if let Some(fault) = fault {
            locked(&self.fault).get_or_insert(fault);
        }
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.settled.notify_one();
        }
    }
}

/// What librdkafka tells, from its own threads.
#[derive(Default)]
struct Reports {
    /// Since when no broker is in reach, and what was said of the last one.
    outage: Mutex<Option<Instant>>,
    last_error: Mutex<Option<String>>,
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "kafka: {message}");
            }
            // An outage is told by whoever follows, once.
            _ => tracing::debug!(facility, "kafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "kafka");
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown) {
            locked(&self.outage).get_or_insert_with(Instant::now);
        } else {
            *locked(&self.last_error) = Some(reason.to_owned());
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Batch>;

    fn delivery(&self, result: &DeliveryResult<'_>, batch: Arc<Batch>) {
        match result {
            Ok(_) => {
                locked(&self.outage).take();
                batch.settle(None);
            }
            Err((error, _)) => batch.settle(Some(error.to_string())),
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
        .set_log_level(RDKafkaLogLevel::Info);
    config
}

/// A producer; used until something fails.
pub(crate) struct Producer {
    inner: ThreadedProducer<Reports, NoCustomPartitioner>,
}

impl Producer {
    pub(crate) fn new(options: &Options) -> Result<Self, KafkaError> {
        Ok(Self { inner: ThreadedProducer::from_config_and_context(&config(options), Reports::default())? })
    }

    /// Hands over all of `records` and waits until each is safe.
    ///
    /// # Errors
    /// Why the first of those that are not safe is not; others may be.
    pub(crate) async fn deliver(&self, records: impl Iterator<Item = Record>) -> Result<(), String> {
        let batch =
            Arc::new(Batch { open: AtomicUsize::new(1), fault: Mutex::default(), settled: Notify::new() });
        for record in records {
            batch.open.fetch_add(1, Ordering::AcqRel);
            if let Err(error) = self.send(&record, &batch) {
                batch.settle(Some(format!("topic {}: {error}", record.topic)));
                break;
            }
        }
        // The one more that kept the batch open until all of it was handed over.
        batch.settle(None);
        self.settled(&batch).await;
        match locked(&batch.fault).take() {
            None => Ok(()),
            Some(fault) => Err(self.explained(fault)),
        }
    }

    fn send(&self, record: &Record, batch: &Arc<Batch>) -> Result<(), KafkaError> {
        let headers = record
            .headers
            .iter()
            .fold(OwnedHeaders::new_with_capacity(record.headers.len()), |headers, (key, value)| {
                headers.insert(Header { key, value: Some(value) })
            });
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
        let since = *locked(&self.inner.context().outage);
        if since.is_some_and(|since| since.elapsed() >= OUTAGE) {
            self.inner.purge(PurgeConfig::default().queue().inflight());
        }
    }

    /// A fault with what is behind it: that no broker was in reach, or what one said.
    fn explained(&self, fault: String) -> String {
        match locked(&self.inner.context().last_error).take() {
            Some(error) => format!("{fault}: {error}"),
            None => fault,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
