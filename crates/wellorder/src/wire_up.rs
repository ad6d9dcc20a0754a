//! From settings to a running whole: storage, use cases, worker, followers.

use crate::config::{FollowerStart, NdjsonSink, ProcessorKind, Settings};
use crate::folder::Folder;
use crate::http_processor::HttpProcessor;
use crate::seldom::Seldom;
use crate::simulate::Simulate;
use crate::sink_ndjson::{FileSink, StdoutSink};
use crate::system::{SystemClock, SystemIds};
use crate::{access, trust};
use anyhow::Context;
use order_core::api_key::chance;
use order_core::breaker::BreakerPolicy;
use order_core::follow::{Follower, FollowerPolicy};
use order_core::lane::LanePolicy;
use order_core::lease::{Backoff, LeasePolicy};
use order_core::ports::{Processor, Sink, Storage};
use order_core::process::{Worker, WorkerPolicy};
use order_core::trace::Tracer;
use order_core::{App, Clock, Ids};
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Opened, Options, Seed, SqliteStorage};
use tokio::sync::watch;
use tokio::time::Instant;

/// Between two tries to make a follower's row while the storage takes no writes.
const ENSURE_EVERY: Duration = Duration::from_secs(1);

/// Between two lines of the log about that.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The name of the follower that writes lines of JSON.
pub(crate) const NDJSON: &str = "ndjson";

/// How to open the database of a data folder.
pub(crate) fn options(settings: &Settings, path: std::path::PathBuf) -> Options {
    Options {
        path,
        busy_timeout: settings.storage.busy_timeout,
        free_bytes_min: settings.storage.free_space_min_bytes,
        // Workers outside work on while this process is away.
        leases_outlive: settings.processor == ProcessorKind::Pull,
    }
}

/// Opens (or installs) the database of a folder that is ours.
///
/// # Errors
/// When it cannot be used; with what is wrong.
pub(crate) fn open_storage(
    settings: &Settings,
    folder: &Folder,
) -> anyhow::Result<(Arc<dyn Storage>, Opened)> {
    let ids = SystemIds;
    let (cursor_key, key_pepper) = (chance(&ids), chance(&ids));
    let seed = Seed { installation_id: ids.uuid_v4(), cursor_key, key_pepper, shards: settings.shards };
    let options = options(settings, folder.database());
    let now = SystemClock::default().now();
    let opened = SqliteStorage::open(&options, &seed, now);
    let (storage, opened) = opened.with_context(|| format!("cannot open {}", options.path.display()))?;
    let pepper = access::pepper_of(settings, storage.install());
    // Whoever cannot write it now will at the next start.
    if let Err(error) = storage_sqlite::note_pepper(&options, pepper.print(), now) {
        tracing::debug!(%error, "cannot note what API keys are hashed with");
    }
    Ok((Arc::new(storage), opened))
}

/// The use cases over a storage.
pub(crate) fn app(settings: &Settings, storage: Arc<dyn Storage>, tracer: Tracer) -> Arc<App> {
    let lane = &settings.lane;
    let lanes = LanePolicy {
        queue_max: lane.queue_max,
        queue_bytes: lane.queue_bytes,
        batch_max: lane.batch_max,
        delay_max: lane.delay_max,
        deadline: lane.deadline,
    };
    App::traced(storage, Arc::new(SystemClock::default()), Arc::new(SystemIds), lanes, tracer)
}

/// How the settings have work leased and retried.
pub(crate) fn lease_policy(settings: &Settings) -> LeasePolicy {
    let worker = &settings.worker;
    LeasePolicy {
        lease: worker.lease,
        heartbeat: worker.heartbeat,
        attempts_max: worker.max_attempts,
        lapses_max: worker.lapses_max,
        backoff: Backoff { base: worker.backoff_base, cap: worker.backoff_cap },
    }
}

/// The worker that the settings ask for; none when workers outside do the work.
///
/// # Errors
/// When the processor's address cannot be used.
pub(crate) fn worker(settings: &Settings, app: &Arc<App>) -> anyhow::Result<Option<Worker>> {
    let processor: Arc<dyn Processor> = match settings.processor {
        ProcessorKind::Pull => return Ok(None),
        ProcessorKind::Simulate => Arc::new(Simulate {
            delay: settings.simulate.delay,
            fail_rate: settings.simulate.fail_rate,
            ids: Arc::clone(&app.ids),
        }),
        ProcessorKind::Http => Arc::new(http_processor(settings, app)?),
    };
    let worker = &settings.worker;
    let policy = WorkerPolicy {
        lease: lease_policy(settings),
        batch_size: worker.batch_size,
        poll: worker.poll_interval,
    };
    Ok(Some(Worker::new(Arc::clone(app), processor, policy)))
}

fn http_processor(settings: &Settings, app: &App) -> anyhow::Result<HttpProcessor> {
    let http = &settings.http_processor;
    let url = http.url.as_deref().context("http_processor.url is not set")?;
    let timeouts = outbound::Timeouts { connect: http.connect_timeout, total: http.timeout };
    let client =
        outbound::ProcessorClient::new(url, &trust::of(settings)?, timeouts).context("http_processor.url")?;
    Ok(HttpProcessor { client, clock: Arc::clone(&app.clock) })
}

/// Refuses a sink that can never be: any other is tried until it can be had, and keeps no orders out.
///
/// # Errors
/// When its file is a folder.
pub(crate) fn check_sink(settings: &Settings) -> anyhow::Result<()> {
    match &settings.ndjson.sink {
        NdjsonSink::File(path) if path.is_dir() => {
            anyhow::bail!("ndjson.path: {} is a folder; name a file in it", path.display())
        }
        _ => Ok(()),
    }
}

/// The follower that writes lines of JSON, if one is asked for, and what makes its row.
pub(crate) fn ndjson_follower(settings: &Settings, app: &Arc<App>) -> Option<Following> {
    let sink: Arc<dyn Sink> = match &settings.ndjson.sink {
        NdjsonSink::Off => return None,
        NdjsonSink::Stdout => Arc::new(StdoutSink),
        NdjsonSink::File(path) => Arc::new(FileSink::new(path, settings.ndjson.rotate_bytes)),
    };
    let policy = FollowerPolicy {
        batch_size: settings.follower.batch_size,
        retry_min: settings.follower.poll,
        retry_max: Duration::from_secs(5).max(settings.follower.poll),
        idle: settings.follower.idle,
        breaker: BreakerPolicy {
            calls: settings.follower.breaker_calls,
            failures_percent: settings.follower.breaker_failures_percent,
            probe_every: settings.follower.breaker_probe,
        },
    };
    let from_now = settings.follower.start == FollowerStart::Now;
    let follower = Follower::new(Arc::clone(app), NDJSON, Arc::clone(&sink), policy);
    Some(Following { app: Arc::clone(app), kind: sink.kind(), from_now, follower })
}

/// A follower that is about to run.
pub(crate) struct Following {
    app: Arc<App>,
    kind: &'static str,
    from_now: bool,
    follower: Follower,
}

impl Following {
    /// Makes the follower's row, as soon as the storage takes writes, then follows until `stop`.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut said = Seldom::every(SAY_EVERY);
        while let Err(error) = self.app.ensure_follower(NDJSON, self.kind, self.from_now).await {
            if said.due(Instant::now()) {
                tracing::warn!(%error, "cannot make the follower ndjson yet");
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(ENSURE_EVERY) => {}
            }
        }
        self.follower.run(stop).await;
    }
}
