//! The routers of a server, and a bare server for benchmarks.

use crate::access::{self, Access};
use crate::config::{Limits, Mode, ProcessorKind, RateLimits, Role, Settings};
use crate::storage;
use crate::system::{SystemClock, SystemIds};
use crate::{redis, wire_up};
use anyhow::Context;
use axum::Router;
use contracts::orderstream::AckWait;
use contracts::sales::{BrokerStates, Means};
use edge::{Guard, Proxies, Rate, RatePolicy, ReadPolicy, ShareKey};
use metrics_exporter_prometheus::PrometheusHandle;
use order_core::catalog::Catalog;
use order_core::desk::Desks;
use order_core::json::JsonLimits;
use order_core::lane::LanePolicy;
use order_core::lease::LeasePolicy;
use order_core::marketplace::Market;
use order_core::ports::Storage;
use order_core::trace::Tracer;
use order_core::{App, TenantId};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// The contracts of this version.
pub(crate) const CONTRACTS: [&str; 5] = [
    contracts::oscarps::NAME,
    contracts::parspec::NAME,
    contracts::sales::NAME,
    contracts::marketplace::NAME,
    contracts::orderstream::NAME,
];
/// Connections that may wait to be accepted, where the system allows as many. One that finds no room tries again after a
/// second; with the usual 128, a crowd that comes at once does.
const BACKLOG: u32 = 4_096;
/// Longest that the health of the contract `sales` waits to hear of brokers.
const BROKERS_WAIT: Duration = Duration::from_secs(1);
/// Contracts that have a route `/metrics` of their own at their root.
const TAKES_METRICS: [&str; 2] = [contracts::parspec::NAME, contracts::sales::NAME];

/// The guard of a server's mounts.
pub(crate) fn guard(mode: Mode, settings: &Settings, app: &Arc<App>, tracer: Tracer) -> Arc<Guard> {
    let lanes = app.lanes.clone();
    let share = redis::share_key(settings, app.storage.install());
    let guard = outer_guard(mode, settings, share).traced(tracer, settings.telemetry.trust_incoming);
    Arc::new(guard.under(Arc::new(move || lanes.room())))
}

/// The guard of what is served while there is no storage.
pub(crate) fn waiting_guard(mode: Mode, settings: &Settings) -> Arc<Guard> {
    Arc::new(outer_guard(mode, settings, None))
}

fn outer_guard(mode: Mode, settings: &Settings, share: Option<ShareKey>) -> Guard {
    let transport = &settings.transport;
    let proxies = Proxies { networks: transport.trusted_proxies.clone(), header: transport.proxy_header };
    let guard = bare_guard(&settings.limits, mode == Mode::Dev)
        .limiting(rates(&settings.rates, share))
        .reading(reads(&settings.limits))
        .behind(proxies);
    if transport.tls_cert.is_some() { guard.https_only() } else { guard }
}

fn reads(limits: &Limits) -> ReadPolicy {
    ReadPolicy {
        at_once: limits.reads_at_once,
        lists_at_once: limits.lists_at_once,
        wait: limits.read_wait,
        answers_bytes_max: limits.answers_bytes,
    }
}

fn rates(rates: &RateLimits, shared: Option<ShareKey>) -> RatePolicy {
    let per_second = |count: u32| (count > 0).then(|| Rate::per_second(count, rates.burst));
    let logins = rates.failed_logins_per_minute;
    RatePolicy {
        key: per_second(rates.key_per_second),
        tenant: per_second(rates.tenant_per_second),
        address: per_second(rates.address_per_second),
        failed_login: (logins > 0).then(|| Rate::new(logins, Duration::from_secs(60), logins)),
        tracked_max: rates.tracked_max,
        shared,
    }
}

/// A guard that holds requests to the limits and does nothing else.
fn bare_guard(limits: &Limits, loopback_only: bool) -> Guard {
    let limits = edge::Limits {
        body_bytes_max: limits.body_bytes,
        bulk_bytes_max: limits.bulk_bytes,
        headers_max: limits.headers_max,
        header_bytes_max: limits.header_bytes,
        uri_bytes_max: limits.uri_bytes,
        header_timeout: limits.header_timeout,
        body_timeout: limits.body_timeout,
        request_timeout: limits.request_timeout,
        stall_timeout: limits.stall_timeout,
        connections_max: limits.connections_max,
        json: JsonLimits { depth_max: limits.json_depth, items_max: limits.json_items },
    };
    let (clock, ids) = (Arc::new(SystemClock::default()), Arc::new(SystemIds));
    Guard::new(limits, loopback_only, clock, ids)
}

/// The contract `name`, under its documented paths.
pub(crate) fn contract(
    name: &str,
    settings: &Settings,
    app: &Arc<App>,
    guard: &Arc<Guard>,
    access: &Access,
    beside: &Beside,
) -> Option<Router> {
    let Beside { means, market } = beside;
    let (app, guard, gate) = (Arc::clone(app), Arc::clone(guard), access.gate_of(name));
    match name {
        contracts::oscarps::NAME => Some(contracts::oscarps::router(app, guard, gate)),
        contracts::parspec::NAME => Some(contracts::parspec::router(app, guard, gate)),
        contracts::sales::NAME => Some(contracts::sales::router(app, guard, gate, means.clone())),
        contracts::marketplace::NAME => {
            let means = settings.marketplace.means();
            Some(contracts::marketplace::router(Arc::clone(market), guard, gate, means))
        }
        contracts::orderstream::NAME => {
            Some(contracts::orderstream::router(app, guard, gate, ack_wait(settings)))
        }
        _ => None,
    }
}

/// What contracts need besides the core.
pub(crate) struct Beside {
    /// Of the contract `sales`.
    pub(crate) means: Means,
    /// Stores at marketplaces.
    pub(crate) market: Arc<Market>,
}

/// What the contract `sales` needs besides the core.
pub(crate) fn means(app: &Arc<App>, metrics: &PrometheusHandle, catalog: Arc<dyn Catalog>) -> Means {
    let (looking, telling, metrics) = (Arc::clone(app), Arc::clone(app), metrics.clone());
    Means {
        catalog,
        brokers: Arc::new(move || {
            let app = Arc::clone(&looking);
            Box::pin(async move {
                // Whoever asks for health has little patience, and no broker that is away keeps an order out.
                let known = app.remotes.can_be_had(&["rabbitmq", "kafka"], BROKERS_WAIT).await;
                let state =
                    |name| known.iter().find(|(known, _)| *known == name).map(|(_, is_there)| *is_there);
                BrokerStates { rabbitmq: state("rabbitmq"), kafka: state("kafka") }
            })
        }),
        metrics: Arc::new(move || {
            let (app, metrics) = (Arc::clone(&telling), metrics.clone());
            Box::pin(async move { api::metrics_page(&app, Some(&metrics)).await })
        }),
    }
}

fn ack_wait(settings: &Settings) -> AckWait {
    AckWait(settings.orderstream.ack_wait)
}

/// What is served over HTTP/2: gRPC, where orders are served at all.
#[cfg(feature = "grpc")]
pub(crate) fn grpc(
    settings: &Settings,
    app: &Arc<App>,
    guard: &Arc<Guard>,
    access: &Access,
) -> Option<Router> {
    let gate = access.gate_of(contracts::orderstream::NAME);
    let router =
        || contracts::orderstream::grpc::router(Arc::clone(app), Arc::clone(guard), gate, ack_wait(settings));
    settings.has_role(Role::Api).then(router)
}

/// Nothing: this build has no gRPC.
#[cfg(not(feature = "grpc"))]
pub(crate) fn grpc(_: &Settings, _: &Arc<App>, _: &Arc<Guard>, _: &Access) -> Option<Router> {
    None
}

/// What is served over HTTP/2 while there is no storage.
#[cfg(feature = "grpc")]
pub(crate) fn waiting_grpc(guard: &Arc<Guard>) -> Option<Router> {
    let mount = contracts::orderstream::grpc::MOUNT;
    Some(edge::mount_unable(api::not_yet(), mount, Arc::clone(guard)))
}

/// Nothing: this build has no gRPC.
#[cfg(not(feature = "grpc"))]
pub(crate) fn waiting_grpc(_: &Arc<Guard>) -> Option<Router> {
    None
}

/// Whether the main port serves our `/metrics`: not where a contract takes the path, nor where others come.
pub(crate) fn metrics_are_here(mode: Mode, settings: &Settings) -> bool {
    let taken = settings.mounted.as_deref().is_some_and(|name| TAKES_METRICS.contains(&name));
    !taken && mode != Mode::Serve
}

/// Everything that the main port serves.
pub(crate) fn main_router(
    mode: Mode,
    settings: &Settings,
    app: &Arc<App>,
    guard: &Arc<Guard>,
    metrics: &PrometheusHandle,
    access: &Access,
    beside: &Beside,
) -> Router {
    let mounted = settings.mounted.as_deref();
    if !settings.has_role(Role::Api) {
        let metrics = (mode != Mode::Serve).then(|| metrics.clone());
        return api::ops_router(Arc::clone(app), Arc::clone(guard), metrics);
    }
    let options = api::Options {
        gate: access.gate(),
        pepper: access.pepper.clone(),
        metrics: Some(metrics.clone()),
        root_taken: mounted.is_some(),
        serves_metrics: metrics_are_here(mode, settings),
        tells_checks: mode != Mode::Serve,
        streams: api::Streams {
            readers_max: settings.feed_readers_max,
            bulks_max: settings.limits.bulk_requests_max,
        },
        lease: wire_up::lease_policy(settings),
        pulled: settings.desks_of(ProcessorKind::Pull),
        backups: storage::copies(settings),
        market: Some(Arc::clone(&beside.market)),
    };
    let mut router = api::router(Arc::clone(app), Arc::clone(guard), options);
    for name in CONTRACTS {
        if let Some(contract) = contract(name, settings, app, guard, access, beside) {
            router = edge::nest(router, &format!("/{name}"), contract);
        }
    }
    match mounted.and_then(|name| contract(name, settings, app, guard, access, beside)) {
        Some(contract) => router.merge(contract),
        None => router,
    }
}

/// What the main port serves while there is no storage: health, and refusals in the form of each API.
pub(crate) fn waiting_router(settings: &Settings, guard: &Arc<Guard>, waiting: api::Waiting) -> Router {
    let root = settings.mounted.as_deref().filter(|name| CONTRACTS.contains(name));
    let mut router = api::waiting_router(waiting, guard, root.is_some());
    for name in CONTRACTS {
        router = edge::nest(router, &format!("/{name}"), waiting_contract(name, guard));
    }
    match root {
        Some(name) => router.merge(waiting_contract(name, guard)),
        None => router,
    }
}

/// What the contract `name` serves while there is no storage: refusals in its form.
pub(crate) fn waiting_contract(name: &str, guard: &Arc<Guard>) -> Router {
    let mounts = [
        contracts::oscarps::MOUNT,
        contracts::parspec::MOUNT,
        contracts::sales::MOUNT,
        contracts::marketplace::MOUNT,
        contracts::orderstream::MOUNT,
    ];
    let mount = mounts.into_iter().find(|mount| mount.name == name);
    mount.map_or_else(Router::new, |mount| edge::mount_unable(api::not_yet(), mount, Arc::clone(guard)))
}

/// Health and metrics alone.
pub(crate) fn ops_router(app: &Arc<App>, guard: &Arc<Guard>, metrics: &PrometheusHandle) -> Router {
    api::ops_router(Arc::clone(app), Arc::clone(guard), Some(metrics.clone()))
}

/// Our API over `storage`, without a server: for commands on a folder that no server holds.
pub(crate) fn offline_router(
    settings: &Settings,
    app: &Arc<App>,
    tenant: TenantId,
    market: Arc<Market>,
) -> Router {
    let guard = Arc::new(bare_guard(&settings.limits, false));
    let options = api::Options {
        gate: Arc::new(edge::Open::new(tenant)),
        pepper: access::pepper(settings, app),
        metrics: None,
        root_taken: false,
        serves_metrics: false,
        tells_checks: true,
        streams: api::Streams::default(),
        lease: wire_up::lease_policy(settings),
        pulled: settings.desks_of(ProcessorKind::Pull),
        backups: storage::copies(settings),
        market: Some(market),
    };
    api::router(Arc::clone(app), guard, options)
}

/// Listens on `address`.
///
/// # Errors
/// When the address cannot be had; with how to choose another.
pub(crate) async fn listen(address: SocketAddr, flag: &str) -> anyhow::Result<TcpListener> {
    bind(address)
        .with_context(|| format!("cannot listen on {address}: free the port, or choose another with {flag}"))
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // An address can be had again at once after a server on it ended.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves our API over any storage, with no worker and no follower, for ever: the server of benchmarks, which measure
/// what a storage costs by leaving it out.
///
/// # Errors
/// When the address cannot be had.
pub async fn bare(storage: Arc<dyn Storage>, address: SocketAddr) -> anyhow::Result<()> {
    let app =
        App::start(storage, Arc::new(SystemClock::default()), Arc::new(SystemIds), LanePolicy::default());
    let limits = edge::Limits::default();
    let guard = Arc::new(Guard::new(limits, true, Arc::new(SystemClock::default()), Arc::new(SystemIds)));
    let options = api::Options {
        gate: Arc::new(edge::Open::new(TenantId::default_tenant())),
        pepper: app.storage.install().key_pepper.clone(),
        metrics: None,
        root_taken: false,
        serves_metrics: false,
        tells_checks: true,
        streams: api::Streams::default(),
        lease: LeasePolicy::default(),
        pulled: Desks::ALL,
        backups: None,
        market: None,
    };
    let router = api::router(app, Arc::clone(&guard), options);
    let listener = listen(address, "the argument").await?;
    let stop = watch::Sender::new(false);
    edge::serve(listener, router, guard, stop.subscribe(), Duration::ZERO).await;
    Ok(())
}
