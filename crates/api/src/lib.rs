//! Our own HTTP API: `/v1`, its description, health and metrics. Handlers are thin: read → core → answer.
//!
//! * [`router`] makes the routes; [`ops_router`] those of a listener for operators alone.
//! * [`waiting_router`] answers until there is a storage.
//! * [`resume_redrives`] takes up the jobs that an earlier process left unfinished.
//! * [`schema`] describes what goes over the wire, [`described`] makes documents of it; `problem` words every refusal
//!   (RFC 9457).

mod accept;
mod action_log;
mod actions;
mod api_keys;
mod backups;
mod bulk;
mod carry_out;
mod changing;
mod create;
mod cursor;
mod deliveries;
pub mod described;
mod endpoints;
mod erase;
mod events;
mod exposition;
mod facts;
mod followers;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guides;
mod health;
mod if_match;
mod imports;
mod index;
mod list;
mod merge_patch;
mod meters;
mod object;
mod openapi;
mod order;
mod params;
mod prefer;
mod problem;
mod process_stats;
mod redrives;
mod revise;
pub mod schema;
mod seats;
mod secrets;
mod sse;
mod stores;
mod streams;
mod timeline;
mod waiting;
mod work;

pub use carry_out::{adopt_redrives, resume_redrives};
pub use meters::page as metrics_page;
pub use problem::style;
pub use waiting::{Waiting, not_yet, waiting_router};

use axum::Router;
use axum::routing::get;
use backups::Backups;
use edge::{Answers, Declared, Gate, Guard, Mount, Need, Routes, Scope};
use http::Method;
use metrics_exporter_prometheus::PrometheusHandle;
use order_core::desk::Desks;
use order_core::lease::LeasePolicy;
use order_core::marketplace::{Connectors, Market, MarketPolicy};
use order_core::state::ChangeName;
use order_core::{App, Pepper};
use seats::Seats;
use std::path::PathBuf;
use std::sync::Arc;

/// How this API is served.
#[derive(Clone)]
pub struct Options {
    /// Says who calls.
    pub gate: Arc<dyn Gate>,
    /// What API keys are hashed with; the gate knows the same.
    pub pepper: Pepper,
    /// Where `/metrics` comes from.
    pub metrics: Option<PrometheusHandle>,
    /// Whether a contract has the root of the port: then the index, `/docs` and the answer for unknown paths are its own.
    pub root_taken: bool,
    /// Whether `/metrics` is served here.
    pub serves_metrics: bool,
    /// Whether `/readyz?verbose` names its checks here; else it answers like `/readyz`.
    pub tells_checks: bool,
    /// How work is leased and retried that workers outside do.
    pub lease: LeasePolicy,
    /// The desks at which they work.
    pub pulled: Desks,
    /// How many streams there may be.
    pub streams: Streams,
    /// Where copies of the database go; nobody can have one made without.
    pub backups: Option<PathBuf>,
    /// Stores at marketplaces; over nothing where there are none.
    pub market: Option<Arc<Market>>,
}

/// How many requests may stream at once; more are refused. One tenant has half of them at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Streams {
    /// Readers of the feed.
    pub readers_max: usize,
    /// Bulk requests.
    pub bulks_max: usize,
}

impl Default for Streams {
    fn default() -> Self {
        Self { readers_max: 1_000, bulks_max: 32 }
    }
}

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) app: Arc<App>,
    pub(crate) pepper: Pepper,
    /// Stores at marketplaces.
    pub(crate) market: Arc<Market>,
    pub(crate) metrics: Option<PrometheusHandle>,
    pub(crate) lease: LeasePolicy,
    /// Where workers outside work.
    pub(crate) pulled: Desks,
    /// Room for readers of the feed.
    pub(crate) readers: Arc<Seats>,
    /// Room for bulk requests.
    pub(crate) bulks: Arc<Seats>,
    /// What was read for clients that have not taken it.
    pub(crate) answers: Arc<Answers>,
    /// Copies of the database.
    pub(crate) backups: Option<Backups>,
    /// Whether whoever asks about readiness may be told of each check.
    pub(crate) tells_checks: bool,
}

impl Api {
    #[expect(clippy::too_many_arguments, reason = "each is handed over once")]
    fn new(
        app: Arc<App>,
        pepper: Pepper,
        metrics: Option<PrometheusHandle>,
        (lease, pulled): (LeasePolicy, Desks),
        streams: Streams,
        backups: Option<PathBuf>,
        tells_checks: bool,
        (answers, market): (Arc<Answers>, Option<Arc<Market>>),
    ) -> Arc<Self> {
        let market = market
            .unwrap_or_else(|| Market::new(Arc::clone(&app), Connectors::new(), MarketPolicy::default()));
        let (readers, bulks) = (Seats::new(streams.readers_max), Seats::new(streams.bulks_max));
        let backups = backups.map(Backups::new);
        Arc::new(Self {
            app,
            pepper,
            market,
            metrics,
            lease,
            pulled,
            readers,
            bulks,
            answers,
            backups,
            tells_checks,
        })
    }
}

/// `/v1`, `/livez`, `/readyz`, `/metrics` if asked for, and, unless the root is taken, the index and the description.
pub fn router(app: Arc<App>, guard: Arc<Guard>, options: Options) -> Router {
    let metrics = options.metrics.filter(|_| options.serves_metrics);
    sse::describe();
    let (lease, streams, backups) = ((options.lease, options.pulled), options.streams, options.backups);
    let answers = Arc::clone(&guard.reads.answers);
    let beside = (answers, options.market);
    let api = Api::new(app, options.pepper, metrics, lease, streams, backups, options.tells_checks, beside);
    let tls = guard.https_only;
    let routes = v1_routes(options.gate);
    let (declared, has_metrics) = (routes.declared().to_vec(), api.metrics.is_some());
    let document: edge::MakeDocument = Arc::new(move || {
        let mut document = openapi::document(&declared);
        if !has_metrics {
            // A path of another listener, or of a contract.
            document.paths.paths.remove("/metrics");
        }
        document
    });
    let v1 = edge::mount(
        routes.into_router().with_state(Arc::clone(&api)),
        Mount { name: "v1", style },
        Arc::clone(&guard),
    );
    let beside = ops_routes(api.metrics.is_some()).with_state(api).merge(edge::docs(
        "/v1/docs",
        Arc::clone(&document),
        "/v1/openapi.json",
    ));
    let beside = beside.merge(guides::routes("/v1/docs/guides"));
    let mount = Mount { name: "ops", style };
    let beside = if options.root_taken {
        // No contract takes this path.
        let openapi = edge::description(document, "/openapi.json");
        edge::mount_routes(beside.merge(openapi).merge(described::routes(tls)), mount, guard)
    } else {
        let docs = edge::docs("/docs", document, "/openapi.json").merge(guides::routes("/docs/guides"));
        edge::mount(beside.merge(docs).merge(described::routes(tls)).merge(index::routes()), mount, guard)
    };
    edge::nest(Router::new(), "/v1", v1).merge(beside)
}

/// `/livez`, `/readyz` and, with a handle, `/metrics`: for a listener of their own. Only with a handle are checks named.
pub fn ops_router(app: Arc<App>, guard: Arc<Guard>, metrics: Option<PrometheusHandle>) -> Router {
    let serves_metrics = metrics.is_some();
    // Nobody logs in here, so nothing is hashed.
    let api = Api::new(
        app,
        Pepper::new([0; 32]),
        metrics,
        (LeasePolicy::default(), Desks::NONE),
        Streams::default(),
        None,
        serves_metrics,
        (Arc::clone(&guard.reads.answers), None),
    );
    edge::mount(ops_routes(serves_metrics).with_state(api), Mount { name: "ops", style }, guard)
}

/// What each route of `/v1` needs; paths without the prefix.
pub fn declared() -> Vec<Declared> {
    v1_routes(Arc::new(edge::Open::new(order_core::TenantId::default_tenant()))).declared().to_vec()
}

/// Every route of `/v1`, with what it needs.
fn v1_routes(gate: Arc<dyn Gate>) -> Routes<Arc<Api>> {
    const READ: Need = Need::Scope(Scope::OrdersRead);
    const SEES_KEYS: Need = Need::Scope(Scope::KeysAdmin);
    const KEYS: Need = Need::KeyHolder(Scope::KeysAdmin);
    const FOLLOWERS: Need = Need::Operator(Scope::FollowersWrite);
    const SEES_FOLLOWERS: Need = Need::Operator(Scope::EventsRead);
    const REDRIVE: Need = Need::Scope(Scope::WorkRedrive);
    const BACKUPS: Need = Need::Operator(Scope::BackupsWrite);
    const SECRETS: Need = Need::Operator(Scope::KeysAdmin);
    const STORES: Need = Need::Scope(Scope::StoresWrite);
    const SEES_STORES: Need = Need::Scope(Scope::StoresRead);
    const WORK: Need = Need::Scope(Scope::WorkClaim);
    let routes = Routes::new(gate)
        .route(Method::GET, "/orders", READ, list::list)
        .route(Method::POST, "/orders", Need::Scope(Scope::OrdersWrite), create::create)
        .route(Method::POST, "/orders/bulk", Need::Scope(Scope::OrdersWrite), bulk::bulk)
        .route(Method::GET, "/orders/{order_id}", READ, order::get)
        .route(Method::GET, "/orders/{order_id}/events", READ, order::events)
        .route(Method::GET, "/orders/{order_id}/timeline", READ, timeline::timeline)
        .route(Method::GET, "/parked", READ, list::parked)
        .route(Method::POST, "/work/claim", WORK, work::claim)
        .route(Method::POST, "/work/heartbeat", WORK, work::heartbeat)
        .route(Method::POST, "/work/finish", WORK, work::finish)
        .route(Method::GET, "/events", Need::Scope(Scope::EventsRead), events::feed)
        .route(Method::GET, "/redrives/{redrive_id}", REDRIVE, redrives::get)
        .route(Method::GET, "/redrives/{redrive_id}/items", REDRIVE, redrives::items)
        .route(Method::GET, "/followers", SEES_FOLLOWERS, followers::list)
        .route(Method::GET, "/followers/{name}", SEES_FOLLOWERS, followers::get)
        .route(Method::POST, "/followers/{name}/pause", FOLLOWERS, followers::pause)
        .route(Method::POST, "/followers/{name}/resume", FOLLOWERS, followers::resume)
        .route(Method::POST, "/followers/{name}/replay", FOLLOWERS, followers::replay)
        .route(Method::GET, "/followers/{name}/parked", SEES_FOLLOWERS, streams::list)
        .route(Method::POST, "/followers/{name}/redrive", FOLLOWERS, streams::redrive)
        .route(Method::POST, "/keys", KEYS, api_keys::create)
        .route(Method::GET, "/keys", SEES_KEYS, api_keys::list)
        .route(Method::GET, "/keys/{key_id}", SEES_KEYS, api_keys::get)
        .route(Method::POST, "/keys/{key_id}/rotate", KEYS, api_keys::rotate)
        .route(Method::DELETE, "/keys/{key_id}", KEYS, api_keys::revoke)
        .route(Method::GET, "/actions", Need::Scope(Scope::AuditRead), action_log::list)
        .route(Method::GET, "/stores", SEES_STORES, stores::list)
        .route(Method::POST, "/stores", STORES, stores::register)
        .route(Method::GET, "/stores/{store_id}", SEES_STORES, stores::get)
        .route(Method::GET, "/stores/{store_id}/runs", SEES_STORES, stores::runs)
        // Who tells it signs it.
        .route(Method::POST, "/stores/{store_id}/notifications", Need::Nothing, stores::hear)
        .route(Method::POST, "/syncs", Need::Operator(Scope::StoresWrite), stores::sync)
        .route(Method::GET, "/imports", SEES_STORES, imports::list)
        .route(Method::POST, "/imports", STORES, imports::create)
        .route(Method::GET, "/imports/{store_id}/{receipt}", SEES_STORES, imports::get)
        .route(Method::POST, "/imports/{store_id}/{receipt}/retry", STORES, imports::retry)
        .route(Method::POST, "/backups", BACKUPS, backups::start)
        .route(Method::GET, "/backups/{backup}", BACKUPS, backups::get)
        .route(Method::GET, "/secrets", SECRETS, secrets::status)
        .route(Method::POST, "/secrets/rotate", SECRETS, secrets::rotate);
    let routes = webhook_routes(routes);
    // What an order's `actions` name.
    let routes = actions::route(routes, ChangeName::Revise, revise::revise);
    let routes = actions::route(routes, ChangeName::Withdraw, facts::withdraw);
    let routes = actions::route(routes, ChangeName::Ship, facts::ship);
    let routes = actions::route(routes, ChangeName::Deliver, facts::deliver);
    let routes = actions::route(routes, ChangeName::Redrive, redrives::start);
    actions::route(routes, ChangeName::Erase, erase::erase)
}

/// Endpoints of webhooks and what they are sent.
fn webhook_routes(routes: Routes<Arc<Api>>) -> Routes<Arc<Api>> {
    const READ: Need = Need::Scope(Scope::WebhooksRead);
    const WRITE: Need = Need::Scope(Scope::WebhooksWrite);
    routes
        .route(Method::POST, "/endpoints", WRITE, endpoints::create)
        .route(Method::GET, "/endpoints", READ, endpoints::list)
        .route(Method::GET, "/endpoints/{endpoint_id}", READ, endpoints::get)
        .route(Method::PATCH, "/endpoints/{endpoint_id}", WRITE, endpoints::change)
        .route(Method::DELETE, "/endpoints/{endpoint_id}", WRITE, endpoints::delete)
        .route(Method::POST, "/endpoints/{endpoint_id}/pause", WRITE, endpoints::pause)
        .route(Method::POST, "/endpoints/{endpoint_id}/enable", WRITE, endpoints::enable)
        .route(Method::POST, "/endpoints/{endpoint_id}/disable", WRITE, endpoints::disable)
        .route(Method::POST, "/endpoints/{endpoint_id}/rotate", WRITE, endpoints::rotate)
        .route(Method::POST, "/endpoints/{endpoint_id}/test", WRITE, endpoints::test)
        .route(Method::GET, "/deliveries", READ, deliveries::list)
        .route(Method::POST, "/deliveries/recover", WRITE, deliveries::recover)
        .route(Method::POST, "/deliveries/replay", WRITE, deliveries::replay)
        .route(Method::GET, "/deliveries/{delivery_id}", READ, deliveries::get)
        .route(Method::POST, "/deliveries/{delivery_id}/resend", WRITE, deliveries::resend)
}

fn ops_routes(serves_metrics: bool) -> Router<Arc<Api>> {
    let routes = Router::new().route("/livez", get(health::live)).route("/readyz", get(health::ready));
    if serves_metrics { routes.route("/metrics", get(meters::metrics)) } else { routes }
}
