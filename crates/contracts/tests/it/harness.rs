//! Both contracts over one storage, and what a client sees of them.

use crate::catalog::ScriptedCatalog;
use crate::marketplace_stores::ScriptedMarketplace;
use axum::Router;
use axum::body::Body;
use contracts::marketplace::{self, Login, Mock};
use contracts::orderstream::{self, AckWait};
use contracts::{oscarps, parspec, sales};
use edge::{Gate, Guard, Limits};
use http::header::{CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::BodyExt;
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::intake::Accepted;
use order_core::lane::LanePolicy;
use order_core::lease::{Backoff, LeasePolicy};
use order_core::marketplace::{Market, MarketPolicy};
use order_core::order::Content;
use order_core::process::{Worker, WorkerPolicy};
use order_core::sealing::Keyring;
use order_core::{App, OrderId, Reference, SourceId, TenantId};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use testkit::build::IntakeBuilder;
use testkit::receivers::ScriptedReceiver;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds};
use tower::ServiceExt;

/// Length of a lease in these tests.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// Longer than any pause between attempts in these tests.
pub(crate) const BACKOFF: Duration = Duration::from_secs(10);

/// Both contracts over one storage.
pub(crate) struct Fixture {
    pub(crate) app: Arc<App>,
    pub(crate) guard: Arc<Guard>,
    pub(crate) storage: MemoryStorage,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) processor: Arc<ScriptedProcessor>,
    pub(crate) worker: Worker,
    pub(crate) oscarps: Client,
    pub(crate) parspec: Client,
    pub(crate) sales: Client,
    pub(crate) catalog: Arc<ScriptedCatalog>,
    /// What stores are at.
    pub(crate) market: Arc<ScriptedMarketplace>,
    pub(crate) stores: Arc<Market>,
    /// What webhooks are delivered to.
    pub(crate) receiver: Arc<ScriptedReceiver>,
    /// With its mock marketplace.
    pub(crate) marketplace: Client,
    /// Does not wait for acknowledgements.
    pub(crate) orderstream: Client,
    /// Waits for them.
    pub(crate) patient: Client,
    /// `orderstream` over gRPC, waiting.
    pub(crate) grpc: Router,
}

impl Fixture {
    /// An empty one. Three attempts park an order.
    pub(crate) fn new() -> Self {
        let (storage, clock) = (MemoryStorage::new(), ManualClock::new());
        let app = App::start(storage.port(), clock.clone(), SeededIds::new(1), LanePolicy::default());
        let guard = Arc::new(Guard::new(Limits::default(), true, clock.clone(), SeededIds::new(2)));
        let gate: Arc<dyn Gate> = Arc::new(edge::Open::new(TenantId::default_tenant()));
        app.hold_keys(Arc::new(Keyring::parse(&Keyring::fresh_key(&*SeededIds::new(3))).unwrap()));
        let receiver = ScriptedReceiver::new();
        app.deliver_with(receiver.clone());
        let market = ScriptedMarketplace::new(clock.clone());
        let stores = Market::new(app.clone(), market.everywhere(), MarketPolicy::default());
        let catalog = ScriptedCatalog::new();
        let means = means(&catalog, sales::BrokerStates::default());
        let processor = ScriptedProcessor::new();
        let backoff = Backoff { base: Duration::from_secs(1), cap: BACKOFF };
        let lease = LeasePolicy { lease: LEASE, attempts_max: 3, backoff, ..LeasePolicy::default() };
        let policy = WorkerPolicy { lease, ..WorkerPolicy::default() };
        let (no_wait, wait) = (AckWait(Duration::ZERO), AckWait::default());
        Self {
            worker: Worker::new(app.clone(), processor.clone(), policy),
            oscarps: Client::new(oscarps::router(app.clone(), guard.clone(), gate.clone())),
            parspec: Client::new(parspec::router(app.clone(), guard.clone(), gate.clone())),
            sales: Client::new(sales::router(app.clone(), guard.clone(), gate.clone(), means)),
            catalog,
            market,
            receiver,
            marketplace: Client::new(marketplace::router(
                stores.clone(),
                guard.clone(),
                gate.clone(),
                marketplace::Means { mock: Some(mock()), webhook_secret: None },
            )),
            orderstream: Client::new(orderstream::router(app.clone(), guard.clone(), gate.clone(), no_wait)),
            patient: Client::new(orderstream::router(app.clone(), guard.clone(), gate.clone(), wait)),
            grpc: orderstream::grpc::router(app.clone(), guard.clone(), gate, wait),
            stores,
            app,
            guard,
            storage,
            clock,
            processor,
        }
    }

    /// Claims and processes what is due; returns how many orders that were.
    pub(crate) async fn step(&self) -> usize {
        self.worker.step().await.unwrap().claimed
    }

    /// Lets so many seconds pass.
    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Starts a worker that claims what is due and then hangs until the processor's `release`; returns once `tries`
    /// tries in all have begun.
    pub(crate) async fn step_until_begun(&self, tries: usize) -> tokio::task::JoinHandle<()> {
        let worker = self.worker.clone();
        let step = tokio::spawn(async move {
            worker.step().await.unwrap();
        });
        self.processor.began(tries).await;
        step
    }

    /// Takes an order in past the contracts.
    pub(crate) async fn accept(&self, intake: IntakeBuilder) -> order_core::Order {
        match self.app.accept(intake.build()).await.unwrap() {
            Accepted::New(order) | Accepted::Duplicate { order, .. } => *order,
        }
    }

    /// The order with this id of the core.
    pub(crate) async fn order(&self, order_id: OrderId) -> order_core::Order {
        let order = self.app.storage.order(&TenantId::default_tenant(), order_id).await.unwrap();
        order.expect("an order of that id")
    }

    /// Lets somebody ship an order past the contracts.
    pub(crate) async fn ship(&self, order_id: OrderId) {
        self.change(order_id, ChangeKind::Ship { shipped_at: None, tracking_number: None }).await;
    }

    /// Erases the data of an order past the contracts.
    pub(crate) async fn erase(&self, order_id: OrderId) {
        self.change(order_id, ChangeKind::Erase).await;
    }

    /// Lets somebody give an order new content past the contracts.
    pub(crate) async fn revise(&self, order_id: OrderId, content: Content) {
        self.change(order_id, ChangeKind::Revise { content: Box::new(content), requeue: true }).await;
    }

    async fn change(&self, order_id: OrderId, kind: ChangeKind) {
        let tenant = TenantId::default_tenant();
        let target = Target { tenant, source: None, order_id, expected_version: None };
        self.app.change(target, kind).await.unwrap();
    }

    /// The newest order of parspec.
    pub(crate) async fn order_by_number(&self, number: i64) -> order_core::Order {
        let order = self.app.storage.order_by_number(&TenantId::default_tenant(), number).await.unwrap();
        order.expect("an order of that number")
    }

    /// How many events were written in all.
    pub(crate) async fn events(&self) -> u64 {
        self.app.storage.heads().await.unwrap().iter().map(|head| head.position).sum()
    }
}

/// Mock marketplaces; nobody gets in at `amazon`.
fn mock() -> Mock {
    let login = |user: &str, password: &str| Some(Login { user: user.into(), password: password.into() });
    Mock {
        etsy: login("etsy_user", "etsy_pass"),
        shopify: login("shopify_user", "shopify_pass"),
        amazon: None,
    }
}

/// What the contract `sales` needs, with brokers in this state.
pub(crate) fn means(catalog: &Arc<ScriptedCatalog>, brokers: sales::BrokerStates) -> sales::Means {
    sales::Means {
        catalog: catalog.clone(),
        brokers: Arc::new(move || Box::pin(async move { brokers })),
        metrics: Arc::new(|| Box::pin(async { "wellorder_lane_queue_depth 0\nother 1\n".to_owned() })),
    }
}

/// The core's id of an order of oscarps.
pub(crate) fn oscarps_id(order_id: &str) -> OrderId {
    let source = SourceId::new("oscarps").unwrap();
    OrderId::derived(&TenantId::default_tenant(), &source, &Reference::new(order_id).unwrap())
}

/// Sends requests to a contract.
#[derive(Clone)]
pub(crate) struct Client(Router);

impl Client {
    /// Sends them to these routes.
    pub(crate) fn new(router: Router) -> Self {
        Self(router)
    }

    /// The routes.
    pub(crate) fn router(&self) -> Router {
        self.0.clone()
    }

    /// GET.
    pub(crate) async fn get(&self, path: &str) -> Exchange {
        self.send(Request::get(path).body(Vec::new()).unwrap()).await
    }

    /// POST of JSON to `/orders`.
    pub(crate) async fn post(&self, json: impl Into<Vec<u8>>) -> Exchange {
        self.post_to("/orders", json).await
    }

    /// POST of JSON.
    pub(crate) async fn post_to(&self, path: &str, json: impl Into<Vec<u8>>) -> Exchange {
        let request = Request::post(path).header(CONTENT_TYPE, "application/json");
        self.send(request.body(json.into()).unwrap()).await
    }

    /// POST of JSON to the orders of `sales`.
    pub(crate) async fn sell(&self, json: impl Into<Vec<u8>>) -> Exchange {
        self.post_to("/api/v1/orders", json).await
    }

    /// POST of JSON to `/orders` with one more header.
    pub(crate) async fn post_with(&self, name: &str, value: impl AsRef<[u8]>, json: &str) -> Exchange {
        let value = HeaderValue::from_bytes(value.as_ref()).unwrap();
        let request = Request::post("/orders").header(CONTENT_TYPE, "application/json").header(name, value);
        self.send(request.body(json.as_bytes().to_vec()).unwrap()).await
    }

    /// Any request; `Host` and `X-Request-Id` are added.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Exchange {
        let (mut parts, body) = request.into_parts();
        let shown: Vec<String> = parts
            .headers
            .iter()
            .filter(|(name, _)| *name != CONTENT_TYPE)
            .map(|(name, value)| format!("{name}: {}", shortened(&String::from_utf8_lossy(value.as_bytes()))))
            .collect();
        let uri = shortened(&parts.uri.to_string());
        let mut asked = format!("{} {uri}\n", parts.method);
        for line in shown {
            asked.push_str(&format!("{line}\n"));
        }
        if !body.is_empty() {
            asked.push_str(&format!("{}\n", shortened(&String::from_utf8_lossy(&body))));
        }
        parts.headers.entry(HOST).or_insert(HeaderValue::from_static("localhost:3000"));
        parts.headers.insert("x-request-id", HeaderValue::from_static("test"));
        let reply = self.0.clone().oneshot(Request::from_parts(parts, Body::from(body))).await.unwrap();
        let (parts, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Exchange { asked, status: parts.status, headers: parts.headers, body }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 300 {
        text.to_owned()
    } else {
        format!("{}…", text.chars().take(60).collect::<String>())
    }
}

/// A request, and what came back.
pub(crate) struct Exchange {
    asked: String,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Exchange {
    /// The body as JSON, its numbers digit by digit.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}):\n{self}"))
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("ASCII"))
    }

    /// Panics unless the status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self
    }
}

impl fmt::Display for Exchange {
    /// As a person would write it down: request, `→` status, headers by name, body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}→ {}", self.asked, self.status)?;
        let mut headers: Vec<_> = self.headers.iter().collect();
        headers.sort_by_key(|(name, _)| name.as_str());
        for (name, value) in headers {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        match serde_json::from_slice::<Value>(&self.body) {
            Ok(json) => writeln!(f, "{json:#}"),
            Err(_) => writeln!(f, "{}", String::from_utf8_lossy(&self.body)),
        }
    }
}

/// Several exchanges as one text for a snapshot.
pub(crate) fn transcript(exchanges: &[Exchange]) -> String {
    exchanges.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
