//! What a mount logs: ids and causes, and nothing that clients put into paths and queries. Alone in its process: what
//! is logged at all is decided once for all threads.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use edge::{Guard, Limits, LoggedOrder, Mount, Refusal, Refused, RequestId};
use http::Request;
use order_core::{Fault, OrderId};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::http::Client;
use testkit::{ManualClock, SeededIds};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt;

fn style(refusal: &Refusal, _: &RequestId) -> Response {
    edge::respond::text(refusal.status(), refusal.detail())
}

async fn thing() -> Response {
    let mut response = "a thing".into_response();
    response
        .extensions_mut()
        .insert(LoggedOrder(OrderId("230e0945-205f-8eaa-8fef-55ebf134b616".parse().unwrap())));
    response
}

fn router() -> Router {
    let routes = Router::new()
        .route("/things/{id}", get(thing))
        .route("/broken", get(async || Refused(Refusal::Fault(Fault::internal("row 17 is torn")))))
        .route("/full", get(async || Refused(Refusal::Fault(Fault::overloaded()))))
        .route(
            "/panic",
            get(async || {
                if true {
                    panic!("on purpose")
                }
            }),
        );
    Router::new().nest("/in", edge::mount(routes, Mount { name: "test", style }, guard()))
}

fn guard() -> Arc<Guard> {
    Arc::new(Guard::new(Limits::default(), false, ManualClock::new(), SeededIds::new(1)))
}

async fn ask(router: &Router, path: &str) {
    let request = Request::builder().uri(path).header("x-request-id", "my-id");
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
}

/// Lines of a log, for a test to look at.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is logged meanwhile, none of it by a client that says `canary`.
fn logged(asking: impl Future<Output = ()>) -> Vec<serde_json::Value> {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(asking);
    });
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains("canary"), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_fails_is_logged_with_its_request_and_nothing_that_clients_put_in() {
    let lines = logged(async {
        let router = router();
        for path in ["/in/things/canary?canary", "/in/broken?canary", "/in/full", "/in/panic", "/in/canary"] {
            ask(&router, path).await;
        }
    });
    let seen: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["span"]["request_id"], "my-id", "{line}");
            (line["level"].as_str().unwrap(), line["fields"]["message"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("DEBUG", "answered"),
        ("ERROR", "failed"),
        ("DEBUG", "refused"),
        ("ERROR", "a handler panicked"),
        ("WARN", "failed"),
        ("DEBUG", "answered"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(lines[0]["fields"]["order_id"], "230e0945-205f-8eaa-8fef-55ebf134b616");
    assert_eq!(lines[1]["fields"]["fault"], "internal: row 17 is torn");
    assert_eq!(lines[1]["span"]["route"], "/in/broken");
}

#[test]
fn what_cannot_be_parsed_is_logged_once_with_the_id_of_its_reply() {
    let mut id = String::new();
    let lines = logged(async {
        let router = edge::mount(Router::new(), Mount { name: "test", style }, guard());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::new(listener.local_addr().unwrap());
        let (_stop, stopped) = watch::channel(false);
        tokio::spawn(edge::serve(listener, router, guard(), stopped, Duration::ZERO));
        let mut connection = client.connect().await;
        connection.write(b"GET /canary HTTP/1.1\r\ncanary\r\n\r\n").await;
        id = connection.reply().await.unwrap().header("x-request-id").unwrap().to_owned();
    });
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line["level"].as_str(), line["span"]["request_id"].as_str()), (Some("DEBUG"), Some(&*id)));
    assert_eq!((&line["fields"]["status"], &line["span"]["route"]), (&400.into(), &"unmatched".into()));
}
