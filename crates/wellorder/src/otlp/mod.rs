//! Sends the spans of this process to an OpenTelemetry collector: OTLP over HTTP, as protobuf.
//!
//! Spans wait in a queue of bounded length; nobody waits for this task. While the collector is away the spans of one
//! request to it are kept and tried again, the queue fills up, and what finds no room is dropped and counted.

mod encode;

use crate::config::Settings;
use crate::system::{SystemClock, SystemIds};
use crate::trust;
use anyhow::Context;
use encode::Resource;
use metrics::Counter;
use order_core::trace::{Recorded, Tracer};
use outbound::{CollectorClient, Timeouts, collector_headers};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

/// Most spans of one request.
const BATCH_MAX: usize = 512;
/// How long the first span of a request waits for others.
const LINGER: Duration = Duration::from_secs(1);
/// First and longest wait before a request is tried again.
const AGAIN_MIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);
/// How long a request may take.
const TIMEOUTS: Timeouts = Timeouts { connect: Duration::from_secs(3), total: Duration::from_secs(10) };
/// What the last spans get at least when everything else has used up the time to end.
const LAST_MIN: Duration = Duration::from_millis(500);

/// The exporter of a process, under way.
pub(crate) struct Exporting {
    finish: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Exporting {
    /// Sends what waits, until `deadline` at the latest (and half a second at least). Whoever makes spans has ended.
    pub(crate) async fn finish(self, deadline: Instant) {
        self.finish.send_replace(true);
        if timeout_at(deadline.max(Instant::now() + LAST_MIN), self.task).await.is_err() {
            tracing::warn!("could not send all spans to the collector in time; the rest is dropped");
        }
    }
}

/// Makes the tracer that the settings ask for and, when there is a collector, starts to send.
///
/// # Errors
/// When the collector's address or headers cannot be used.
pub(crate) fn start(settings: &Settings) -> anyhow::Result<(Tracer, Option<Exporting>)> {
    let telemetry = &settings.telemetry;
    let Some(endpoint) = &telemetry.otlp_endpoint else { return Ok((Tracer::off(), None)) };
    let headers = collector_headers(&telemetry.otlp_headers).context("telemetry.otlp_headers")?;
    let client = CollectorClient::new(endpoint, headers, &trust::of(settings)?, TIMEOUTS);
    let client = client.context("telemetry.otlp_endpoint")?;
    let (clock, ids) = (Arc::new(SystemClock::default()), Arc::new(SystemIds));
    let (tracer, spans) = Tracer::on(clock, ids, telemetry.sample_ratio);
    let (finish, finishing) = watch::channel(false);
    let exporter = Exporter {
        client,
        resource: Resource::new(&telemetry.service_name),
        spans,
        batch: Vec::new(),
        finishing,
        state: State::Well,
        sent: metrics::counter!("wellorder_spans_sent_total"),
        refused: metrics::counter!("wellorder_spans_refused_total"),
    };
    let task = tokio::spawn(exporter.run());
    Ok((tracer, Some(Exporting { finish, task })))
}

/// What was said last about the collector: the same is not said again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Well,
    Away,
    Refusing,
}

/// What became of a request.
enum Sent {
    Taken,
    /// It may succeed later.
    Later(Option<Duration>),
    Refused,
}

struct Exporter {
    client: CollectorClient,
    resource: Resource,
    spans: mpsc::Receiver<Recorded>,
    /// Spans that were taken from the queue.
    batch: Vec<Recorded>,
    finishing: watch::Receiver<bool>,
    state: State,
    sent: Counter,
    refused: Counter,
}

impl Exporter {
    async fn run(mut self) {
        let mut finishing = self.finishing.clone();
        loop {
            tokio::select! {
                biased;
                _ = finishing.wait_for(|finish| *finish) => break,
                more = self.gather() => if !more { break },
            }
            self.deliver().await;
        }
        self.last().await;
    }

    /// Fills the batch; `false` when nobody is left who makes spans.
    async fn gather(&mut self) -> bool {
        if self.batch.is_empty() && self.spans.recv_many(&mut self.batch, BATCH_MAX).await == 0 {
            return false;
        }
        let by = Instant::now() + LINGER;
        while self.batch.len() < BATCH_MAX {
            let room = BATCH_MAX - self.batch.len();
            if !matches!(timeout_at(by, self.spans.recv_many(&mut self.batch, room)).await, Ok(1..)) {
                break;
            }
        }
        true
    }

    /// Sends the batch, again and again while the collector is away; returns early at the end of the process.
    async fn deliver(&mut self) {
        let mut finishing = self.finishing.clone();
        let body = encode::request(&self.resource, &self.batch);
        let mut pause = AGAIN_MIN;
        loop {
            let sent = tokio::select! {
                biased;
                _ = finishing.wait_for(|finish| *finish) => return,
                sent = self.send(body.clone()) => sent,
            };
            let Sent::Later(asked) = sent else {
                self.batch.clear();
                return;
            };
            let wait = asked.map_or(pause, |asked| asked.max(pause));
            // Cut short at the end, which the next turn sees.
            drop(timeout(wait, finishing.wait_for(|finish| *finish)).await);
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// Sends what is left, each request once.
    async fn last(&mut self) {
        self.spans.close();
        loop {
            while self.batch.len() < BATCH_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() {
                return;
            }
            let body = encode::request(&self.resource, &self.batch);
            if let Sent::Later(_) = self.send(body).await {
                let left = self.batch.len() + self.spans.len();
                tracing::warn!(spans = left, "the collector is away at the end; spans are dropped");
                return;
            }
            self.batch.clear();
        }
    }

    /// Sends a request of the batch once, and says what it says of the collector.
    async fn send(&mut self, body: Vec<u8>) -> Sent {
        let spans = self.batch.len() as u64;
        let answer = match self.client.send(body).await {
            Ok(answer) => answer,
            Err(error) => {
                self.away(&error);
                return Sent::Later(None);
            }
        };
        match answer.status {
            200..=299 => {
                let refused = encode::refused(&answer.body).min(spans);
                self.sent.increment(spans - refused);
                self.refused.increment(refused);
                self.well();
                Sent::Taken
            }
            // What is worth another try: OTLP 1.x, «Retryable response codes».
            status @ (429 | 502 | 503 | 504) => {
                self.away(&format_args!("it answered {status}"));
                Sent::Later(answer.retry_after)
            }
            status => {
                self.refused.increment(spans);
                if self.state != State::Refusing {
                    tracing::warn!(status, "the collector refuses spans; they are dropped");
                }
                self.state = State::Refusing;
                Sent::Refused
            }
        }
    }

    fn away(&mut self, error: &dyn std::fmt::Display) {
        if self.state != State::Away {
            let said =
                "cannot send spans to the collector; trying again, spans that find no room are dropped";
            tracing::warn!(%error, "{said}");
        }
        self.state = State::Away;
    }

    fn well(&mut self) {
        if self.state != State::Well {
            tracing::info!("sends spans to the collector again");
        }
        self.state = State::Well;
    }
}
