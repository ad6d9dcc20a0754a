//! `dev`: every role in one process, on loopback, without a login.

use crate::cli::args::DevArgs;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Role, Settings};
use crate::demo::{self, Demo};
use crate::folder::Folder;
use crate::output::Output;
use crate::shutdown::{Stop, signalled};
use crate::{banner, serve, telemetry, wire_up};
use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use order_core::App;
use order_core::journal::Cursor;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Idempotency keys that one sweep deletes.
const SWEEP: u32 = 1_000;
/// Between two looks for keys that were kept long enough.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Longest wait for the storage to be let go at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// Runs until a signal.
///
/// # Errors
/// When something that is needed cannot be had: an address, the folder, the database.
pub(crate) async fn dev(
    args: &DevArgs,
    mut settings: Settings,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    telemetry::init(settings.log.level, settings.log.format)?;
    let ephemeral = args.ephemeral.then(|| Ephemeral::make(&mut settings)).transpose()?;
    let metrics = telemetry::metrics()?;
    let mut folder = Folder::lock(&settings.data)?;
    let listener = serve::listen(settings.listen, "--listen").await?;
    let ops = match settings.ops {
        Some(address) => Some(serve::listen(address, "--ops").await?),
        None => None,
    };
    let (storage, opened) = wire_up::open_storage(&settings, &folder)?;
    let app = wire_up::app(&settings, storage);

    let stop = Stop::new();
    let mut tasks = JoinSet::new();
    background(&settings, &app, &metrics, &stop, &mut tasks)?;
    let guard = serve::guard(&settings.limits, true);
    let router = serve::main_router(&settings, &app, &guard, &metrics);
    let address = listener.local_addr().context("the listener has no address")?;
    let ops_address = ops.as_ref().and_then(|listener| listener.local_addr().ok());
    folder.announce(address).context("cannot write the lock file")?;
    let drain = settings.shutdown_drain;
    if let Some(ops) = ops {
        let router = serve::ops_router(&app, &guard, &metrics);
        tasks.spawn(served(edge::serve(ops, router, Arc::clone(&guard), stop.subscribe(), drain)));
    }
    tasks.spawn(served(edge::serve(listener, router.clone(), guard, stop.subscribe(), drain)));
    banner::show(
        &banner::Started {
            settings: &settings,
            address,
            ops_address,
            ephemeral: ephemeral.is_some(),
            opened: &opened,
        },
        out,
    )?;
    if args.demo {
        if !out.json {
            let heads = app.storage.heads().await.map_err(anyhow::Error::from)?;
            let cursor = Cursor::at_heads(app.storage.install().epoch, &heads);
            tasks.spawn(demo::show_events(Arc::clone(&app), cursor, stop.subscribe()));
        }
        tasks.spawn(Demo { app: Arc::clone(&app), router }.run(stop.subscribe()));
    } else {
        drop(router);
    }

    signalled().await.context("cannot listen to signals")?;
    out.note("stopping: what runs may end");
    stop.stop();
    while tasks.join_next().await.is_some() {}
    close(app).await;
    drop(ephemeral);
    Ok(Exit::Ok)
}

/// Lets go of the storage and waits until it is closed, so that the database is one whole file at rest. A connection
/// that was cut off may hold it a moment longer; then the log stays beside the file, and nothing is lost either.
async fn close(app: Arc<App>) {
    let storage = Arc::downgrade(&app.storage);
    drop(app);
    let closed = async {
        while storage.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(CLOSE, closed).await.is_err() {
        tracing::debug!("the storage is still in use; its log stays beside it");
    }
}

async fn served(serving: impl Future<Output = usize>) {
    let cut = serving.await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut off connections that did not end in time");
    }
}

/// Starts what the roles ask for.
fn background(
    settings: &Settings,
    app: &Arc<App>,
    metrics: &PrometheusHandle,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    if settings.has_role(Role::Worker) {
        tasks.spawn(wire_up::worker(settings, app)?.run(stop.subscribe(), settings.shutdown_drain));
    }
    if settings.has_role(Role::Relay)
        && let Some(follower) = wire_up::ndjson_follower(settings, app)?
    {
        tasks.spawn(follower.run(stop.subscribe()));
    }
    if settings.has_role(Role::Api) {
        let app = Arc::clone(app);
        tasks.spawn(async move {
            if let Err(error) = api::resume_redrives(app).await {
                tracing::warn!(%error, "cannot take up unfinished redrives; the next start will");
            }
        });
    }
    tasks.spawn(sweep(Arc::clone(app), stop.subscribe()));
    let (cancelled, mut stopped) = (CancellationToken::new(), stop.subscribe());
    tasks.spawn(telemetry::upkeep(metrics.clone(), cancelled.clone()));
    tasks.spawn(async move {
        drop(stopped.wait_for(|stop| *stop).await);
        cancelled.cancel();
    });
    Ok(())
}

/// Deletes idempotency keys that were kept long enough, in small batches.
async fn sweep(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        loop {
            match app.sweep(SWEEP).await {
                Ok(swept) if swept == SWEEP => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "cannot delete old idempotency keys");
                    break;
                }
            }
        }
    }
}

/// A data folder that goes when the process ends.
struct Ephemeral(PathBuf);

impl Ephemeral {
    fn make(settings: &mut Settings) -> anyhow::Result<Self> {
        let name = format!("wellorder-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // What lies in the folder by default must follow it.
        if let crate::config::NdjsonSink::File(file) = &mut settings.ndjson.sink
            && let Ok(inside) = file.strip_prefix(&settings.data)
        {
            *file = path.join(inside);
        }
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        settings.data.clone_from(&path);
        Ok(Self(path))
    }
}

impl Drop for Ephemeral {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove the temporary data folder");
        }
    }
}
