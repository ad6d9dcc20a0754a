//! Reads beyond what is done at once wait, and are refused when it takes too long; nothing else is.
#![expect(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use edge::{Guard, Limits, Mount, Need, Open, ReadPolicy, Refusal, RequestId, Routes, Scope};
use http::{Method, Request};
use order_core::TenantId;
use std::sync::Arc;
use std::time::Duration;
use testkit::{ManualClock, SeededIds};
use tokio::sync::Semaphore;
use tower::ServiceExt;

fn style(refusal: &Refusal, _: &RequestId) -> Response {
    edge::respond::text(refusal.status(), refusal.detail())
}

/// Lists that wait for a permit of `gate`, and whatever else there is.
fn router(gate: &Arc<Semaphore>) -> Router {
    let gate = Arc::clone(gate);
    let list = async move || {
        let Ok(permit) = gate.acquire().await else { return "closed" };
        permit.forget();
        "a list"
    };
    let need = Need::Scope(Scope::OrdersRead);
    let routes = Routes::new(Arc::new(Open::new(TenantId::default_tenant())))
        .route(Method::GET, "/things", need, list)
        .route(Method::GET, "/things/{id}", need, async || "a thing")
        .route(Method::POST, "/things", need, async || "written")
        .route(Method::GET, "/health", Need::Nothing, async || "well");
    let policy = ReadPolicy { at_once: 4, lists_at_once: 2, ..ReadPolicy::default() };
    let guard = Guard::new(Limits::default(), false, ManualClock::new(), SeededIds::new(1)).reading(policy);
    edge::mount(routes.into_router(), Mount { name: "test", style }, Arc::new(guard))
}

async fn ask(router: &Router, method: &str, path: &str) -> (u16, Option<String>) {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let retry = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    (response.status().as_u16(), retry)
}

#[tokio::test(start_paused = true)]
async fn a_list_that_waits_too_long_is_refused_and_nothing_else_is() {
    let gate = Arc::new(Semaphore::new(0));
    let router = router(&gate);
    let hanging: Vec<_> = (0..2)
        .map(|_| {
            let router = router.clone();
            tokio::spawn(async move { ask(&router, "GET", "/things").await })
        })
        .collect();
    tokio::task::yield_now().await;
    let began = tokio::time::Instant::now();
    assert_eq!(ask(&router, "GET", "/things").await, (503, Some("1".to_owned())));
    assert_eq!(began.elapsed(), Duration::from_secs(1), "its deadline, not that of requests");
    for (method, path) in [("GET", "/things/1"), ("POST", "/things"), ("GET", "/health")] {
        assert_eq!(ask(&router, method, path).await, (200, None), "{method} {path}");
    }
    gate.add_permits(3);
    assert_eq!(ask(&router, "GET", "/things").await, (200, None));
    for answered in hanging {
        assert_eq!(answered.await.unwrap(), (200, None));
    }
}
