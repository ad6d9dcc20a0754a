//! What a mount counts: its labels are bounded, whatever clients put into paths, queries and methods.
#![expect(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use edge::{Guard, Limits, Mount, Refusal, RequestId};
use futures_util::FutureExt;
use http::Request;
use metrics_exporter_prometheus::PrometheusBuilder;
use std::sync::Arc;
use std::time::Duration;
use testkit::http::Client;
use testkit::{ManualClock, SeededIds};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

fn style(refusal: &Refusal, _: &RequestId) -> Response {
    edge::respond::text(refusal.status(), refusal.detail())
}

fn guard() -> Arc<Guard> {
    Arc::new(Guard::new(Limits::default(), false, ManualClock::new(), SeededIds::new(1)))
}

fn mounted() -> Router {
    let routes = Router::new().route("/things/{id}", get(async || "a thing"));
    edge::mount(routes, Mount { name: "test", style }, guard())
}

fn router() -> Router {
    Router::new().nest("/in", mounted())
}

async fn ask(router: &Router, method: &str, path: &str) {
    let request = Request::builder().method(method).uri(path);
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
}

fn blocking<T>(asking: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(asking)
}

#[test]
fn labels_are_bounded() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        blocking(async {
            let router = router();
            for index in 0..3 {
                ask(&router, "GET", &format!("/in/things/canary-{index}?canary={index}")).await;
                ask(&router, "GET", &format!("/in/canary-{index}")).await;
                ask(&router, &format!("CANARY{index}"), "/in/things/1").await;
            }
        });
    });
    let text = handle.render();
    for line in [
        r#"wellorder_http_requests_total{mount="test",method="GET",route="/in/things/{id}",status="200"} 3"#,
        r#"wellorder_http_requests_total{mount="test",method="GET",route="unmatched",status="404"} 3"#,
        r#"wellorder_http_requests_total{mount="test",method="other",route="/in/things/{id}",status="405"} 3"#,
        r#"wellorder_http_request_duration_seconds_count{mount="test",route="/in/things/{id}"} 6"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.to_lowercase().contains("canary"), "{text}");
}

#[test]
fn what_cannot_be_parsed_is_counted_once_by_what_is_at_the_root() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        blocking(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let client = Client::new(listener.local_addr().unwrap());
            let (_stop, stopped) = watch::channel(false);
            tokio::spawn(edge::serve(listener, mounted(), guard(), stopped, Duration::ZERO));
            for garbage in ["CANARY\r\n\r\n", "GET /canary HTTP/1.1\r\ncanary\r\n\r\n"] {
                let mut connection = client.connect().await;
                connection.write(garbage.as_bytes()).await;
                assert_eq!(connection.reply().await.unwrap().status, 400);
            }
        });
    });
    let text = handle.render();
    let lines: Vec<&str> =
        text.lines().filter(|line| line.starts_with("wellorder_http_requests_total")).collect();
    let line =
        r#"wellorder_http_requests_total{mount="test",method="other",route="unmatched",status="400"} 2"#;
    assert_eq!(lines, [line]);
    assert!(!text.to_lowercase().contains("canary"), "{text}");
}

#[test]
fn a_request_is_in_flight_until_it_is_answered_or_given_up() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let count = |at: &str| {
        let line = format!("wellorder_http_requests_in_flight{{mount=\"test\"}} {at}\n");
        assert!(handle.render().contains(&line), "{line} in {}", handle.render());
    };
    metrics::with_local_recorder(&recorder, || {
        blocking(async {
            let routes = Router::new().route("/never", get(async || std::future::pending::<()>().await));
            let guard = Guard::new(Limits::default(), false, ManualClock::new(), SeededIds::new(1));
            let router = edge::mount(routes, Mount { name: "test", style }, Arc::new(guard));
            count("0");
            let mut asking = Box::pin(ask(&router, "GET", "/never"));
            assert!(asking.as_mut().now_or_never().is_none());
            count("1");
            drop(asking);
            count("0");
        });
    });
}
