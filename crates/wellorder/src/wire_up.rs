//! From settings to a running whole: storage, use cases, worker.

use crate::config::{ProcessorKind, Settings};
use crate::folder::Folder;
use crate::http_processor::HttpProcessor;
use crate::simulate::Simulate;
use crate::system::{SystemClock, SystemIds};
use crate::{access, trust};
use anyhow::Context;
use order_core::api_key::chance;
use order_core::lane::LanePolicy;
use order_core::lease::{Backoff, LeasePolicy};
use order_core::ports::{Processor, Storage};
use order_core::process::{Worker, WorkerPolicy};
use order_core::trace::Tracer;
use order_core::{App, Clock, Ids};
use std::sync::Arc;
use storage_sqlite::{Opened, Options, Seed, SqliteStorage};

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
