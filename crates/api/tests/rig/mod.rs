//! The API over a storage in memory, asked without a socket.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by tests, each with its own share"
)]

use api::Options;
use axum::Router;
use axum::body::Body;
use edge::{Guard, Limits};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use order_core::desk::Desks;
use order_core::lane::LanePolicy;
use order_core::lease::LeasePolicy;
use order_core::ports::Storage;
use order_core::process::{Worker, WorkerPolicy};
use order_core::{App, OrderId, TenantId};
use serde_json::Value;
use std::sync::{Arc, LazyLock};
use testkit::processors::Act;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, ScriptedReceiver, SeededIds};
use tower::ServiceExt;

pub(crate) struct Rig {
    pub(crate) storage: MemoryStorage,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) app: Arc<App>,
    pub(crate) router: Router,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The kind of a problem, after a look at what every problem has.
    pub(crate) fn problem(&self) -> String {
        let problem = self.json();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text);
        assert_eq!(problem["status"], self.status, "{problem}");
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"), "{problem}");
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        let kind = problem["type"].as_str().and_then(|kind| kind.strip_prefix("urn:wellorder:problem:"));
        kind.unwrap_or_else(|| panic!("no kind: {problem}")).to_owned()
    }

    /// Places and codes of what is wrong.
    pub(crate) fn errors(&self) -> Vec<String> {
        let problem = self.json();
        let text = |error: &Value, name: &str| error[name].as_str().map(str::to_owned);
        let show = |error: &Value| {
            assert!(error["message"].is_string(), "{problem}");
            let place = text(error, "pointer").or_else(|| text(error, "parameter")).unwrap();
            format!("{place} {}", text(error, "code").unwrap())
        };
        problem["errors"].as_array().map(|errors| errors.iter().map(show).collect()).unwrap_or_default()
    }
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::over(MemoryStorage::new())
    }

    /// Over a storage that may hold something already.
    pub(crate) fn over(storage: MemoryStorage) -> Self {
        let port = storage.port();
        Self::built(storage, port, |_| {}, TenantId::default_tenant())
    }

    /// What another tenant sees of a storage.
    pub(crate) fn of(storage: MemoryStorage, tenant: TenantId) -> Self {
        let port = storage.port();
        Self::built(storage, port, |_| {}, tenant)
    }

    /// The same installation with another gate: what another caller sees.
    pub(crate) fn seen_by(&self, gate: Arc<dyn edge::Gate>) -> Self {
        let pepper = order_core::Pepper::new([5; 32]);
        let (metrics, root_taken, serves_metrics) = (None, false, false);
        let streams = api::Streams::default();
        let options = Options {
            gate,
            pepper,
            metrics,
            root_taken,
            serves_metrics,
            tells_checks: true,
            streams,
            lease: LeasePolicy::default(),
            pulled: Desks::ALL,
            backups: None,
            market: None,
        };
        let guard = Arc::new(Guard::new(Limits::default(), false, self.clock.clone(), SeededIds::new(2)));
        let router = api::router(Arc::clone(&self.app), guard, options);
        let (storage, clock, app) = (self.storage.clone(), self.clock.clone(), Arc::clone(&self.app));
        Self { storage, clock, app, router }
    }

    /// With something around the storage.
    pub(crate) fn behind(wrap: impl FnOnce(Arc<dyn Storage>) -> Arc<dyn Storage>) -> Self {
        let storage = MemoryStorage::new();
        let port = wrap(storage.port());
        Self::built(storage, port, |_| {}, TenantId::default_tenant())
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options), tenant: TenantId) -> Self {
        let storage = MemoryStorage::new();
        let port = storage.port();
        Self::built(storage, port, change, tenant)
    }

    fn built(
        storage: MemoryStorage,
        port: Arc<dyn Storage>,
        change: impl FnOnce(&mut Options),
        tenant: TenantId,
    ) -> Self {
        let clock = ManualClock::new();
        let ids = SeededIds::new(1);
        let app = App::start(port, clock.clone(), ids.clone(), LanePolicy::default());
        app.deliver_with(ScriptedReceiver::new());
        let gate = Arc::new(edge::Open::new(tenant));
        let mut options = Options {
            gate,
            pepper: order_core::Pepper::new([5; 32]),
            metrics: None,
            root_taken: false,
            serves_metrics: false,
            tells_checks: true,
            lease: LeasePolicy::default(),
            pulled: Desks::ALL,
            streams: api::Streams::default(),
            backups: None,
            market: None,
        };
        change(&mut options);
        let guard = Arc::new(Guard::new(Limits::default(), false, clock.clone(), ids));
        let router = api::router(Arc::clone(&app), guard, options);
        Self { storage, clock, app, router }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Said {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        described(method, path, parts.status.as_u16());
        Said {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8(body.to_vec()).unwrap(),
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Said {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn delete(&self, path: &str) -> Said {
        self.ask("DELETE", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Said {
        self.ask("POST", path, &[("content-type", "application/json")], body).await
    }

    /// Posts an order that must be new; returns it.
    pub(crate) async fn order(&self, body: &str) -> Value {
        self.clock.tick();
        let said = self.post("/v1/orders", body).await;
        assert_eq!(said.status, 201, "{}", said.text);
        said.json()
    }

    /// Works on everything that is due, once; the orders in `hopeless` are parked.
    pub(crate) async fn work(&self, hopeless: &[(&Value, &str)]) {
        let processor = ScriptedProcessor::new();
        for (order, why) in hopeless {
            processor.script(order_id(order), [Act::hopeless(why)]);
        }
        self.clock.tick();
        Worker::new(Arc::clone(&self.app), processor, WorkerPolicy::default()).step().await.unwrap();
    }
}

/// What any request may get, whatever it asks for; the description has one entry for all of it.
const ANYWHERE: [u16; 6] = [405, 408, 414, 431, 501, 504];

/// Holds the status of an answer against the description of its operation.
#[track_caller]
fn described(method: &str, path: &str, status: u16) {
    static DOCUMENT: LazyLock<Value> = LazyLock::new(|| api::described::openapi()["paths"].take());
    let path = path.split('?').next().unwrap();
    let fits = |template: &str| {
        let (ours, theirs): (Vec<_>, Vec<_>) = (template.split('/').collect(), path.split('/').collect());
        let same = |(ours, theirs): (&&str, &&str)| ours.starts_with('{') || ours == theirs;
        ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)
    };
    let templates = DOCUMENT.as_object().unwrap();
    // A path as it stands goes before one with a name in it.
    let found =
        templates.get_key_value(path).or_else(|| templates.iter().find(|(template, _)| fits(template)));
    let Some((template, item)) = found.filter(|(template, _)| template.starts_with("/v1/")) else { return };
    let Some(operation) = item.get(method.to_lowercase()) else { return };
    let told = operation["responses"].get(status.to_string()).is_some() || ANYWHERE.contains(&status);
    assert!(told, "{method} {template} answers {status}, which is not described");
}

pub(crate) fn order_id(order: &Value) -> OrderId {
    OrderId(order["order_id"].as_str().unwrap().parse().unwrap())
}
