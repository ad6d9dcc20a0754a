//! A server: what its roles ask for, until a signal. `dev` and `serve_command` say how it is started.

use crate::access::Access;
use crate::boot::Place;
use crate::cli::failure::{Exit, Failure};
use crate::config::{Mode, NdjsonSink, Role, Settings};
use crate::demo::{self, Demo};
use crate::folder::Folder;
use crate::following::{self, Following};
use crate::otlp::{self, Exporting};
use crate::output::Output;
use crate::seldom::Seldom;
use crate::serve_check::ServeCheck;
use crate::shutdown::{Signals, Stop};
use crate::storage::{Database, Done, Opened};
use crate::{
    banner, boot, catalog, failed_logins, further, kafka, lookout, markets, orderstream, rabbitmq, redis,
    secrets, serve, telemetry, transport, webhooks, wire_up,
};
use anyhow::Context;
use axum::Router;
use edge::{Listening, Transport};
use metrics_exporter_prometheus::PrometheusHandle;
use order_core::App;
use order_core::journal::Cursor;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Idempotency keys, messages that were consumed, and tries of webhooks, that one sweep deletes of each.
const SWEEP: u32 = 1_000;
/// Between two looks for keys that were kept long enough.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// Between two tries to take up redrives while the storage takes no writes.
const RESUME_EVERY: Duration = Duration::from_secs(1);

/// Between two lines of the log about tries that keep failing.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Longest wait for the storage to be let go at the end.
const CLOSE: Duration = Duration::from_secs(2);

/// What is to be run.
pub(crate) struct Start {
    pub(crate) mode: Mode,
    pub(crate) settings: Settings,
    /// The data folder, which is ours.
    pub(crate) folder: Folder,
    /// The database, which is not open yet.
    pub(crate) database: Arc<dyn Database>,
    /// What could not be checked before, for the database could not be read.
    pub(crate) check: Option<ServeCheck>,
    /// Whether orders are made up and shown.
    pub(crate) demo: bool,
    /// Whether the data folder goes when the process ends.
    pub(crate) ephemeral: bool,
}

/// Runs until a signal.
///
/// # Errors
/// When something that is needed cannot be had: an address, the database. One that is locked, or on a full disk, is waited
/// for.
pub(crate) async fn run(start: Start, signals: Signals, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let Start { mode, settings, folder, database, check, demo, ephemeral } = start;
    let metrics = telemetry::metrics()?;
    let transport = transport::of(mode, &settings)?;
    following::check(&settings)?;
    redis::check(&settings)?;
    catalog::check(&settings)?;
    let keys = secrets::keys(mode, &settings)?;
    let listener = serve::listen(settings.listen, "--listen").await?;
    let ops = match settings.ops {
        Some(address) => Some(serve::listen(address, "--ops").await?),
        None => None,
    };
    let further = further::listen(&settings).await?;
    let folder = Arc::new(folder);
    let (stop, mut tasks) = (Stop::new(), JoinSet::new());
    tasks.spawn(lookout::lock_file(Arc::clone(&folder), stop.subscribe()));
    if let Transport::Tls(tls) = &transport {
        tasks.spawn(transport::reload(Arc::clone(tls), &settings, stop.subscribe())?);
    }
    let mut signalled = std::pin::pin!(signals.first());
    let place =
        Place { mode, settings: &settings, folder: &folder, database, listener, ops, further, transport };
    let Some(opened) = boot::storage(&place, check, &mut signalled).await? else {
        out.note("stopped before the database could be had");
        return Ok(Exit::Ok);
    };
    let address = place.listener.local_addr().context("the listener has no address")?;
    let ops_address = place.ops.as_ref().and_then(|listener| listener.local_addr().ok());
    let Begun { app, router, exporting, done, followers } =
        begin(place, opened, keys, &metrics, &stop, &mut tasks).await?;
    banner::show(
        &banner::Started {
            mode,
            settings: &settings,
            address,
            ops_address,
            ephemeral,
            done: &done,
            followers,
        },
        out,
    )?;
    if demo {
        demonstrate(&settings, &app, router, out, &stop, &mut tasks).await?;
    } else {
        drop(router);
    }
    tokio::select! {
        () = &mut signalled => {}
        () = broken(&app, &mut tasks) => return Err(anyhow::anyhow!("a part of the server died; see the log").into()),
    }
    out.note("stopping: what runs may end");
    end(&stop, tasks, exporting, settings.shutdown_drain).await;
    close(app).await;
    Ok(Exit::Ok)
}

/// A server that has begun.
struct Begun {
    app: Arc<App>,
    router: Router,
    exporting: Option<Exporting>,
    done: Done,
    followers: Vec<banner::Carries>,
}

/// Starts everything over a storage that is open.
async fn begin(
    place: Place<'_>,
    opened: Opened,
    keys: Option<secrets::Keys>,
    metrics: &PrometheusHandle,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> Result<Begun, Failure> {
    let Place { mode, settings, folder, listener, ops, further, transport, .. } = place;
    let (tracer, exporting) = otlp::start(settings)?;
    let app = wire_up::app(settings, &opened, tracer.clone());
    secrets::hold(&app, keys).await?;
    let Opened { done, beside, .. } = opened;
    beside.start(&app, stop.subscribe(), tasks);
    let own = webhooks::own(settings, &done.place, &listener, ops.as_ref()).await;
    webhooks::start(mode, settings, own, &app, stop, tasks)?;
    let access = Access::new(mode, settings, &app)?;
    let followers = background(settings, &app, metrics, stop, tasks)?;
    let failed = access.failed_logins();
    tasks.spawn(failed_logins::keep(Arc::clone(&app), failed, access.operators(), stop.subscribe()));
    if let Err(error) = lookout::newest(&app).await {
        tracing::debug!(%error, "cannot compare the clock with the newest event");
    }
    let guard = serve::guard(mode, settings, &app, tracer);
    if settings.has_role(Role::Api) {
        let rates = Arc::clone(&guard.rates);
        if let Some(sharing) = redis::share_rates(settings, &app, rates, stop.subscribe())? {
            tasks.spawn(sharing);
        }
    }
    if let Some(remote) = redis::remote(settings)? {
        app.remotes.add(remote);
    }
    let (catalog, shop) = catalog::of(settings, &app)?;
    if let Some(shop) = shop {
        app.remotes.add(shop);
    }
    tasks.spawn(lookout::remotes(Arc::clone(&app)));
    let address = listener.local_addr().context("the listener has no address")?;
    let plain = matches!(transport, Transport::Plain) && settings.has_role(Role::Api);
    let market = markets::market(settings, &app, Some(address).filter(|_| plain))?;
    if settings.has_role(Role::Sync) {
        tasks.spawn(Arc::clone(&market).run(stop.subscribe()));
    }
    let beside = serve::Beside { means: serve::means(&app, metrics, catalog), market };
    let router = serve::main_router(mode, settings, &app, &guard, metrics, &access, &beside);
    if let Err(error) = folder.announce(address, matches!(transport, Transport::Tls(_))) {
        // The lock is held all the same; a full disk keeps nobody from being served.
        tracing::warn!(%error, "cannot write the address into the lock file yet: commands need --url");
    }
    let drain = settings.shutdown_drain;
    if let Some(ops) = ops {
        let router = serve::ops_router(&app, &guard, metrics);
        tasks.spawn(served(edge::serve(ops, router, Arc::clone(&guard), stop.subscribe(), drain)));
    }
    for further in further {
        let (listening, router) = further.served(settings, &app, &guard, &access, &beside, transport.clone());
        tasks.spawn(served(edge::serve(listening, router, Arc::clone(&guard), stop.subscribe(), drain)));
    }
    let http2 = serve::grpc(settings, &app, &guard, &access);
    let listening = Listening { listener, transport, http2 };
    tasks.spawn(served(edge::serve(listening, router.clone(), guard, stop.subscribe(), drain)));
    Ok(Begun { app, router, exporting, done, followers })
}

/// Makes orders up, and shows what becomes of them.
async fn demonstrate(
    settings: &Settings,
    app: &Arc<App>,
    router: Router,
    out: &Output<'_>,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<()> {
    if !out.json {
        let cursor = Cursor::at_heads(app.storage.install().epoch, &app.storage.heads().await?);
        // Standard output belongs to the events when they are written there.
        let to: Box<dyn io::Write + Send> = match settings.ndjson.sink {
            NdjsonSink::Stdout => Box::new(io::stderr()),
            NdjsonSink::File(_) | NdjsonSink::Off => Box::new(io::stdout()),
        };
        let shown = (to, out.again.clone());
        tasks.spawn(demo::show_events(Arc::clone(app), cursor, shown, stop.subscribe()));
    }
    tasks.spawn(Demo { app: Arc::clone(app), router }.run(stop.subscribe()));
    Ok(())
}

/// Stops everything and waits until it has ended; then nothing makes spans any more, and the last ones are sent.
async fn end(stop: &Stop, mut tasks: JoinSet<()>, exporting: Option<Exporting>, drain: Duration) {
    let deadline = Instant::now() + drain;
    stop.stop();
    while tasks.join_next().await.is_some() {}
    if let Some(exporting) = exporting {
        exporting.finish(deadline).await;
    }
}

/// Lets go of the storage and waits until it is closed, so that the database is one whole file at rest. A connection
/// that was cut off may hold it a moment longer; then the log stays beside the file, and nothing is lost either.
async fn close(app: Arc<App>) {
    let storage = Arc::clone(&app.storage);
    drop(app);
    let let_go = async {
        while Arc::strong_count(&storage) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    if tokio::time::timeout(CLOSE, let_go).await.is_err() {
        tracing::debug!("the storage is still in use; its log stays beside it");
    }
    // The last one to let go closes it, and returns when it is closed: had that been a task, the process could end in
    // the middle of it.
    drop(storage);
}

/// Waits until a part of the server dies. The process then ends too, for whoever supervises it to start another: that
/// loses nothing, while living on without a part would look healthy.
async fn broken(app: &App, tasks: &mut JoinSet<()>) {
    loop {
        tokio::select! {
            () = app.lanes.ended() => {
                tracing::error!("the lane of commits died");
                return;
            }
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a background task died");
                    return;
                }
            }
        }
    }
}

async fn served(serving: impl Future<Output = usize>) {
    let cut = serving.await;
    if cut > 0 {
        tracing::warn!(connections = cut, "cut off connections that did not end in time");
    }
}

/// Starts what the roles ask for; gives who carries events on here.
fn background(
    settings: &Settings,
    app: &Arc<App>,
    metrics: &PrometheusHandle,
    stop: &Stop,
    tasks: &mut JoinSet<()>,
) -> anyhow::Result<Vec<banner::Carries>> {
    let consumers = orderstream::consumers(settings, app, &stop.subscribe())?;
    if settings.has_role(Role::Worker)
        && let Some(worker) = wire_up::worker(settings, app)?
    {
        tasks.spawn(worker.run(stop.subscribe(), settings.shutdown_drain));
    }
    if settings.has_role(Role::Worker) {
        rabbitmq::consume(settings, app, stop, tasks)?;
    }
    let mut followers = Vec::new();
    if settings.has_role(Role::Relay) {
        for plan in following::plans(settings, app)? {
            followers.push(banner::Carries { name: plan.name.clone(), sink: plan.sink.kind() });
            let follower = Following::new(app, plan);
            // A sink that hangs must not keep the process from ending: its cursor has not moved.
            tasks.spawn(cut_off(follower.run(stop.subscribe()), stop.subscribe(), settings.shutdown_drain));
        }
    }
    // Looked at by every role: health of an API tells of the brokers too, whoever relays.
    for remote in [kafka::remote(settings)?, rabbitmq::remote(settings)?].into_iter().flatten() {
        app.remotes.add(remote);
    }
    for consumer in consumers {
        tasks.spawn(cut_off(consumer, stop.subscribe(), settings.shutdown_drain));
    }
    if settings.has_role(Role::Api) {
        tasks.spawn(redrives(Arc::clone(app), stop.subscribe()));
        tasks.spawn(sweep(Arc::clone(app), stop.subscribe()));
    }
    tasks.spawn(lookout::clock(Arc::clone(app), stop.subscribe()));
    let (streaming, mut stopped) = (Arc::clone(app), stop.subscribe());
    tasks.spawn(async move {
        drop(stopped.wait_for(|stop| *stop).await);
        streaming.stop();
    });
    let (cancelled, mut stopped) = (CancellationToken::new(), stop.subscribe());
    tasks.spawn(telemetry::upkeep(metrics.clone(), cancelled.clone()));
    tasks.spawn(async move {
        drop(stopped.wait_for(|stop| *stop).await);
        cancelled.cancel();
    });
    Ok(followers)
}

/// Takes up redrives that an earlier process left unfinished, then those of other nodes that are gone.
async fn redrives(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let mut said = Seldom::every(SAY_EVERY);
    while let Err(error) = api::resume_redrives(Arc::clone(&app)).await {
        if said.due(Instant::now()) {
            tracing::warn!(%error, "cannot take up unfinished redrives yet");
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(RESUME_EVERY) => {}
        }
    }
    let later = Arc::downgrade(&app);
    drop(app);
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = api::adopt_redrives(later) => {}
    }
}

/// Runs `task`; once `stop` says so, for at most `drain` more.
async fn cut_off(task: impl Future<Output = ()>, mut stop: watch::Receiver<bool>, drain: Duration) {
    let late = async {
        drop(stop.wait_for(|stop| *stop).await);
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = task => {}
        () = late => tracing::warn!("cut off what carries events and did not end in time; they come again"),
    }
}

/// Deletes idempotency keys, messages that were consumed and tries of webhooks that were kept long enough, in small batches.
async fn sweep(app: Arc<App>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(SWEEP_EVERY) => {}
        }
        while !*stop.borrow() {
            // All, so that none waits for the others' end.
            match tokio::try_join!(app.sweep(SWEEP), app.sweep_inbox(SWEEP), app.sweep_webhooks(SWEEP)) {
                Ok((keys, messages, tries)) if keys.max(messages).max(tries) == SWEEP => {}
                Ok(_) => break,
                Err(error) => {
                    tracing::debug!(%error, "cannot delete old idempotency keys, what was consumed or tried long ago");
                    break;
                }
            }
        }
    }
}
