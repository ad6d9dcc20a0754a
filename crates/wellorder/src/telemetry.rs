//! Logs and metrics of the process; its traces are in [`crate::otlp`].
//!
//! Logs go to standard error, one event a line. The ids of the request and the order are fields of spans
//! (`request_id`, `order_id`) and so stand in every event inside. What is never logged: bodies, secrets, the query of an
//! address.

use std::{io, time::Duration};

use anyhow::Context as _;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio_util::sync::CancellationToken;
use tracing::Subscriber;
use tracing_subscriber::{EnvFilter, fmt, fmt::MakeWriter, layer::SubscriberExt as _, registry};

use crate::{
    config::{LogFormat, LogLevel},
    output::escape,
};

/// Our own crates; everybody else's are heard from warnings on.
const CRATES: &[&str] = &[
    "wellorder",
    "order_core",
    "storage_sqlite",
    "storage_postgres",
    "edge",
    "auth",
    "api",
    "contracts",
    "outbound",
    "sink_kafka",
    "sink_rabbitmq",
    "redis_kv",
];

/// What others tell that must not be told: messages that came back from RabbitMQ, whole.
const SILENT: &[&str] = &["lapin::returned_messages"];

/// How often histograms are folded, scraped or not; without this they grow with every observation.
const UPKEEP: Duration = Duration::from_secs(5);

/// Bounds for everything that is measured in seconds: from a commit in a fraction of a millisecond to a request at
/// its time-out.
const SECONDS: &[f64] = &[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
    60.0,
];

/// Bounds for everything else, which are counts: rows of a batch, events of a page.
const COUNTS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0];

/// Starts logging, once a process.
///
/// # Errors
/// Something logs already.
pub(crate) fn init(level: LogLevel, format: LogFormat) -> anyhow::Result<()> {
    match format {
        LogFormat::Json => tracing::subscriber::set_global_default(json(level, io::stderr)),
        LogFormat::Text => tracing::subscriber::set_global_default(text(level, io::stderr)),
    }
    .context("logging was started twice")
}

fn filter(level: LogLevel) -> EnvFilter {
    let (ours, others) = match level {
        LogLevel::Error => ("error", "error"),
        LogLevel::Warn => ("warn", "warn"),
        LogLevel::Info => ("info", "warn"),
        LogLevel::Debug => ("debug", "warn"),
        LogLevel::Trace => ("trace", "info"),
    };
    let directives = CRATES.iter().fold(others.to_owned(), |all, name| format!("{all},{name}={ours}"));
    let directives = SILENT.iter().fold(directives, |all, name| format!("{all},{name}=off"));
    EnvFilter::new(directives)
}

fn json<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().json().flatten_event(true).with_current_span(false).with_writer(writer);
    registry().with(filter(level)).with(layer)
}

fn text<W>(level: LogLevel, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = fmt::layer().with_ansi(false).with_writer(OneLine(writer));
    registry().with(filter(level)).with(layer)
}

/// Keeps an event on its line and off the terminal's controls: a line break in a message could otherwise pretend to
/// be another event.
struct OneLine<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for OneLine<W> {
    type Writer = OneLine<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for OneLine<W> {
    /// An event comes as one write, ended by its own line break.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        writeln!(self.0, "{}", escape(text.strip_suffix('\n').unwrap_or(&text)))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Starts measuring, once a process. The handle renders what is measured, for `/metrics`.
///
/// # Errors
/// Something measures already.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = builder()?.install_recorder().context("measuring was started twice")?;
    declare();
    Ok(handle)
}

/// Says what is measured where it happens. Counters are there from the start: a rate needs a zero to rise from.
fn declare() {
    let counters = [
        (
            "wellorder_storage_commit_faults_total",
            "Commits that failed because the storage could not be used",
        ),
        ("wellorder_spans_sent_total", "Spans that a collector took"),
        ("wellorder_spans_refused_total", "Spans that a collector refused for good"),
    ];
    for (name, help) in counters {
        metrics::describe_counter!(name, help);
        metrics::counter!(name).increment(0);
    }
    metrics::describe_histogram!(
        "wellorder_storage_commit_seconds",
        metrics::Unit::Seconds,
        "Time of a commit, its flush to disk included"
    );
    metrics::describe_histogram!("wellorder_storage_commit_commands", "Commands in a commit");
}

fn builder() -> anyhow::Result<PrometheusBuilder> {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    Ok(PrometheusBuilder::new().set_buckets(COUNTS)?.set_buckets_for_metric(seconds, SECONDS)?)
}

/// Folds histograms every five seconds until `stop`.
pub(crate) async fn upkeep(handle: PrometheusHandle, stop: CancellationToken) {
    let mut tick = tokio::time::interval(UPKEEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        handle.run_upkeep();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::sync::{Arc, Mutex};

    use serde_json::Value;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Log {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn json_lines_carry_the_ids_of_their_spans() {
        let log = Log::default();
        tracing::subscriber::with_default(json(LogLevel::Info, log.clone()), || {
            let _request = tracing::info_span!("request", request_id = "r-1").entered();
            let _order = tracing::info_span!("order", order_id = "o-1").entered();
            tracing::info!(status = 201, "accepted\nnot a line of its own");
            tracing::debug!("too quiet");
        });
        let text = log.text();
        let event: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert_eq!((&event["level"], &event["status"]), (&"INFO".into(), &201.into()));
        assert_eq!(event["message"], "accepted\nnot a line of its own");
        assert_eq!(event["spans"][0]["request_id"], "r-1");
        assert_eq!(event["spans"][1]["order_id"], "o-1");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_text_line_is_one_line_and_harmless() {
        let log = Log::default();
        tracing::subscriber::with_default(text(LogLevel::Info, log.clone()), || {
            let hostile = "x\r\n2030-01-01T00:00:00Z ERROR forged \x1b[31m";
            tracing::info!(reference = hostile, "refused: {hostile}");
            tracing::info!(reference = %hostile, "next");
        });
        let text = log.text();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(!text.contains('\x1b') && !text.contains('\r'), "{text:?}");
    }

    #[test]
    fn other_crates_are_heard_from_warnings_on() {
        let log = Log::default();
        tracing::subscriber::with_default(json(LogLevel::Debug, log.clone()), || {
            tracing::info!(target: "hyper::proto", "chatter");
            tracing::warn!(target: "hyper::proto", "trouble");
            tracing::debug!(target: "order_core::intake", "ours");
        });
        let text = log.text();
        assert!(!text.contains("chatter") && text.contains("trouble") && text.contains("ours"), "{text}");
    }

    #[test]
    fn messages_are_told_of_at_no_level() {
        for level in [LogLevel::Error, LogLevel::Info, LogLevel::Trace] {
            let log = Log::default();
            tracing::subscriber::with_default(text(level, log.clone()), || {
                tracing::warn!(target: "lapin::returned_messages", "a body");
                tracing::error!(target: "lapin::channels", "trouble");
            });
            let text = log.text();
            assert!(!text.contains("a body") && text.contains("trouble"), "{text}");
        }
    }

    #[test]
    fn seconds_and_counts_have_their_own_buckets() {
        let recorder = builder().unwrap().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            metrics::histogram!("wellorder_commit_seconds").record(0.003);
            metrics::histogram!("wellorder_batch_rows").record(7.0);
        });
        let text = recorder.handle().render();
        assert!(text.contains("wellorder_commit_seconds_bucket{le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("wellorder_commit_seconds_bucket{le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("wellorder_batch_rows_bucket{le=\"10\"} 1"), "{text}");
        assert!(!text.contains("quantile"), "{text}");
    }
}
