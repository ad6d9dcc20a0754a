//! The followers that the settings ask for.

use crate::config::{FollowerStart, NdjsonSink, Problems, Settings};
use crate::output::escape;
use crate::seldom::Seldom;
use crate::sink_ndjson::{FileSink, StdoutSink};
use crate::{kafka, orderstream, rabbitmq};
use order_core::App;
use order_core::breaker::BreakerPolicy;
use order_core::follow::{Follower, FollowerPolicy};
use order_core::ports::Sink;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two tries to make a follower's row while the storage takes no writes.
const ENSURE_EVERY: Duration = Duration::from_secs(1);

/// Between two lines of the log about that.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The name of the follower that writes lines of JSON.
pub(crate) const NDJSON: &str = "ndjson";

/// What a follower is to be.
pub(crate) struct Plan {
    /// Its name: the same over restarts, for its place goes by it.
    pub(crate) name: String,
    /// Where it carries events.
    pub(crate) sink: Arc<dyn Sink>,
    /// How it reads.
    pub(crate) policy: FollowerPolicy,
    /// Whether a new one starts with the next event instead of the first.
    pub(crate) from_now: bool,
}

impl Plan {
    /// One that reads as the settings say.
    pub(crate) fn new(settings: &Settings, name: &str, sink: Arc<dyn Sink>) -> Self {
        let from_now = settings.follower.start == FollowerStart::Now;
        Self { name: name.to_owned(), sink, policy: policy(settings), from_now }
    }
}

/// Every follower that the settings ask for.
///
/// # Errors
/// When a sink's settings cannot be used.
pub(crate) fn plans(settings: &Settings, app: &App) -> anyhow::Result<Vec<Plan>> {
    let brokers =
        [kafka::plans(settings, app)?, orderstream::plans(settings, app)?, rabbitmq::plans(settings, app)?];
    Ok(ndjson(settings).into_iter().chain(brokers.into_iter().flatten()).collect())
}

/// Refuses sinks that can never be: any other is tried until it can be had, and keeps no orders out.
///
/// # Errors
/// When a file that is needed cannot be read, or the one to write is a folder.
pub(crate) fn check(settings: &Settings) -> anyhow::Result<()> {
    match &settings.ndjson.sink {
        NdjsonSink::File(path) if path.is_dir() => {
            let what = format!("{} is a folder", escape(&path.display().to_string()));
            Err(Problems::one("ndjson.path", what, "name a file in it").into())
        }
        _ => kafka::check(settings).and_then(|()| rabbitmq::check(settings)),
    }
}

/// The follower that writes lines of JSON.
fn ndjson(settings: &Settings) -> Option<Plan> {
    let sink: Arc<dyn Sink> = match &settings.ndjson.sink {
        NdjsonSink::Off => return None,
        NdjsonSink::Stdout => Arc::new(StdoutSink),
        NdjsonSink::File(path) => Arc::new(FileSink::new(path, settings.ndjson.rotate_bytes)),
    };
    Some(Plan::new(settings, NDJSON, sink))
}

/// How followers read, as the settings say.
pub(crate) fn policy(settings: &Settings) -> FollowerPolicy {
    FollowerPolicy {
        batch_size: settings.follower.batch_size,
        retry_min: settings.follower.poll,
        retry_max: Duration::from_secs(5).max(settings.follower.poll),
        idle: settings.follower.idle,
        breaker: BreakerPolicy {
            calls: settings.follower.breaker_calls,
            failures_percent: settings.follower.breaker_failures_percent,
            probe_every: settings.follower.breaker_probe,
        },
        lease: settings.follower.lease,
        heartbeat: settings.follower.heartbeat,
        ..FollowerPolicy::default()
    }
}

/// A follower that is about to run.
pub(crate) struct Following {
    app: Arc<App>,
    name: String,
    kind: &'static str,
    from_now: bool,
    follower: Follower,
}

impl Following {
    /// The follower of a plan.
    pub(crate) fn new(app: &Arc<App>, plan: Plan) -> Self {
        let Plan { name, sink, policy, from_now } = plan;
        let kind = sink.kind();
        let follower = Follower::new(Arc::clone(app), &name, sink, policy);
        Self { app: Arc::clone(app), name, kind, from_now, follower }
    }

    /// Makes the follower's row, as soon as the storage takes writes, then follows until `stop`.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut said = Seldom::every(SAY_EVERY);
        while let Err(error) = self.app.ensure_follower(&self.name, self.kind, self.from_now).await {
            if said.due(Instant::now()) {
                tracing::warn!(follower = self.name, %error, "cannot make a follower yet");
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(ENSURE_EVERY) => {}
            }
        }
        self.follower.run(stop).await;
    }
}
