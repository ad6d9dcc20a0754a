//! Limits on real sockets: what a client may send, and what becomes of its connection.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use axum::Router;
use axum::routing::{get, post};
use edge::{Guard, Limits, Mount, RawBody, Refusal, RequestId};
use std::sync::Arc;
use std::time::Duration;
use testkit::http::{Client, Connection};
use testkit::{ManualClock, SeededIds};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

fn style(refusal: &Refusal, _: &RequestId) -> axum::response::Response {
    edge::respond::text(refusal.status(), refusal.detail())
}

struct Server {
    client: Client,
    stop: watch::Sender<bool>,
    served: JoinHandle<usize>,
    /// Lets `/slow` answer.
    go: Arc<Notify>,
    /// Says that `/slow` was reached.
    reached: Arc<Notify>,
}

async fn server(change: impl FnOnce(&mut Limits)) -> Server {
    let mut limits = Limits { body_bytes_max: 1_000, ..Limits::default() };
    change(&mut limits);
    let guard = Arc::new(Guard::new(limits, true, ManualClock::new(), SeededIds::new(1)));
    let (go, reached) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = {
        let (go, reached) = (Arc::clone(&go), Arc::clone(&reached));
        async move || {
            reached.notify_one();
            go.notified().await;
            "slow"
        }
    };
    let routes = Router::new()
        .route("/echo", post(async |RawBody(body): RawBody| body).get(async || "hello"))
        .route("/deaf", post(async || "heard nothing"))
        .route(
            "/panic",
            get(async || {
                if true {
                    panic!("on purpose")
                }
            }),
        )
        .route("/slow", get(slow));
    let router = edge::mount(routes, Mount { name: "test", style }, Arc::clone(&guard));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(edge::serve(listener, router, guard, stopped, Duration::from_secs(30)));
    Server { client, stop, served, go, reached }
}

async fn raw(client: Client, request: &str) -> Connection {
    let mut connection = client.connect().await;
    connection.write(request.as_bytes()).await;
    connection
}

#[tokio::test]
async fn one_connection_serves_request_after_request_refused_ones_too() {
    let server = server(|_| {}).await;
    let mut connection = server.client.connect().await;
    let answers = [
        ("GET", "/echo", "", 200, "hello"),
        ("GET", "/nowhere", "", 404, "No such route"),
        ("POST", "/echo", "one", 200, "one"),
        ("DELETE", "/echo", "", 405, "Method not allowed"),
        ("POST", "/nowhere", "unread", 404, "No such route"),
        ("GET", "/%ff", "", 400, "Request target is not percent-encoded UTF-8"),
        ("GET", "/panic", "", 500, "Internal server error"),
        ("POST", "/echo", "two", 200, "two"),
    ];
    for (method, path, body, status, answer) in answers {
        connection.write_request(method, path, &[], body.as_bytes(), true).await;
        let reply = connection.reply().await.unwrap();
        assert_eq!((reply.status, reply.text()), (status, answer), "{method} {path}");
        assert_eq!(reply.header("x-request-id").map(str::len), Some(32));
        assert_eq!(reply.header("server"), None);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = server(|_| {}).await;
    let get = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let post = |body: &str| {
        format!("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let chunked = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut connection =
        raw(server.client, &[get, &post("a\nContent-Length: 1\n"), chunked, &post("b"), get].concat()).await;
    for answer in ["hello", "a\nContent-Length: 1\n", "abcde", "b", "hello"] {
        let reply = connection.reply().await.unwrap();
        assert_eq!((reply.status, reply.text()), (200, answer));
    }
}

#[tokio::test]
async fn half_a_request_holds_no_reply_back() {
    let server = server(|_| {}).await;
    let get = "GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut connection = raw(server.client, &format!("{get}{}", &get[..20])).await;
    assert_eq!(connection.reply().await.unwrap().text(), "hello");
    connection.write(&get.as_bytes()[20..]).await;
    assert_eq!(connection.reply().await.unwrap().text(), "hello");
}

#[tokio::test]
async fn a_large_body_is_refused_however_it_is_announced() {
    let server = server(|_| {}).await;
    let exact = "x".repeat(1_000);
    assert_eq!(server.client.send("POST", "/echo", &[], exact.as_bytes()).await.status, 200);
    // Announced, but not sent: the reply does not wait for it.
    let announced = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(raw(server.client, announced).await.reply().await.unwrap().status, 413);
    // Sent whole, and much of it: the reply is not lost.
    let huge = "x".repeat(3_000_000);
    let reply = server.client.send("POST", "/echo", &[], huge.as_bytes()).await;
    assert_eq!((reply.status, reply.text()), (413, "Body larger than 1000 bytes"));
    let reply = server.client.send("POST", "/deaf", &[], huge.as_bytes()).await;
    assert_eq!(reply.status, 200);
    // In chunks, without an end.
    let chunk = format!("1f4\r\n{}\r\n", "x".repeat(500));
    let chunked = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut connection = raw(server.client, &[chunked, &chunk, &chunk].concat()).await;
    connection.write(b"1\r\nx\r\n").await;
    assert_eq!(connection.reply().await.unwrap().status, 413);
    assert!(connection.rest().await.is_empty());
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_or_not() {
    let server = server(|_| {}).await;
    let ask = |length: usize| {
        format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let mut connection = raw(server.client, &ask(3)).await;
    connection.write(b"abc").await;
    assert_eq!(connection.reply().await.unwrap().text(), "abc");
    let reply = raw(server.client, &ask(2_000_000)).await.reply().await.unwrap();
    assert_eq!(reply.status, 413);
}

#[tokio::test]
async fn heads_over_the_limits_are_refused() {
    let server = server(|_| {}).await;
    let with = |target: &str, headers: &[(&str, &str)]| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n")
    };
    let names: Vec<String> = (0..200).map(|index| format!("x-{index}")).collect();
    let many = |count: usize| names.iter().take(count).map(|name| (name.as_str(), "1")).collect::<Vec<_>>();
    let status = async |request: String| raw(server.client, &request).await.reply().await.unwrap().status;
    assert_eq!(status(with("/echo", &many(63))).await, 200);
    assert_eq!(status(with("/echo", &many(64))).await, 431);
    assert_eq!(status(with("/echo", &many(199))).await, 431);
    assert_eq!(status(with("/echo", &[("x", &"y".repeat(15_000))])).await, 200);
    assert_eq!(status(with("/echo", &[("x", &"y".repeat(17_000))])).await, 431);
    assert_eq!(status(with("/echo", &[("x", &"y".repeat(1_000_000))])).await, 431);
    assert_eq!(status(with(&format!("/echo?{}", "q".repeat(8_000)), &[])).await, 200);
    assert_eq!(status(with(&format!("/echo?{}", "q".repeat(9_216)), &[])).await, 414);
    assert_eq!(status(with(&format!("/{}", "q".repeat(100_000)), &[])).await, 431);
}

#[tokio::test]
async fn ambiguous_framing_is_refused_and_ends_the_connection() {
    let server = server(|_| {}).await;
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let request = format!(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n0\r\n\r\nGET /echo HTTP/1.1\r\n\r\n"
        );
        let mut connection = raw(server.client, &request).await;
        assert_eq!(connection.reply().await.unwrap().status, 400, "{head}");
        assert!(connection.rest().await.is_empty(), "{head}");
    }
    for head in [
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: -1",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding : chunked",
    ] {
        let request = format!("POST /echo HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\nhello!");
        assert_eq!(raw(server.client, &request).await.reply().await.unwrap().status, 400, "{head}");
    }
}

#[tokio::test]
async fn a_body_that_ends_early_or_stalls_is_given_up() {
    let server = server(|limits| limits.body_timeout = Duration::from_millis(50)).await;
    let stalled = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf";
    let mut connection = raw(server.client, stalled).await;
    let reply = connection.reply().await.unwrap();
    assert_eq!((reply.status, reply.header("connection")), (408, Some("close")));
    assert!(connection.rest().await.is_empty());
    let broken = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n";
    assert_eq!(raw(server.client, broken).await.reply().await.unwrap().status, 400);
}

#[tokio::test]
async fn a_head_that_dribbles_in_and_an_idle_connection_are_closed() {
    let server = server(|limits| limits.header_timeout = Duration::from_millis(50)).await;
    assert!(server.client.connect().await.rest().await.is_empty());
    assert!(raw(server.client, "GET /echo HT").await.rest().await.is_empty());
    let mut idle = server.client.connect().await;
    idle.write_request("GET", "/echo", &[], b"", true).await;
    assert_eq!(idle.reply().await.unwrap().text(), "hello");
    assert!(idle.rest().await.is_empty());
}

#[tokio::test]
async fn a_request_that_takes_too_long_gets_an_answer() {
    let server = server(|limits| limits.request_timeout = Duration::from_millis(50)).await;
    let reply = server.client.get("/slow").await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn a_foreign_name_reaches_nothing() {
    let server = server(|_| {}).await;
    for host in ["Host: rebound.example", "X: y", "Host: localhost\r\nOrigin: https://rebound.example"] {
        let request = format!("POST /deaf HTTP/1.1\r\n{host}\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(raw(server.client, &request).await.reply().await.unwrap().status, 400, "{host}");
    }
}

#[tokio::test]
async fn connections_over_the_limit_wait_their_turn() {
    let server = server(|limits| limits.connections_max = 1).await;
    let mut first = server.client.connect().await;
    first.write_request("GET", "/slow", &[], b"", false).await;
    server.reached.notified().await;
    let second = tokio::spawn(async move { server.client.get("/echo").await });
    server.go.notify_one();
    assert_eq!(first.reply().await.unwrap().text(), "slow");
    assert!(first.rest().await.is_empty());
    assert_eq!(second.await.unwrap().text(), "hello");
}

#[tokio::test]
async fn stopping_lets_requests_end_and_closes_the_rest() {
    let server = server(|_| {}).await;
    let mut idle = server.client.connect().await;
    idle.write_request("GET", "/echo", &[], b"", true).await;
    idle.reply().await.unwrap();
    let mut busy = server.client.connect().await;
    busy.write_request("GET", "/slow", &[], b"", true).await;
    server.reached.notified().await;
    server.stop.send(true).unwrap();
    assert!(idle.rest().await.is_empty());
    server.go.notify_one();
    assert_eq!(busy.reply().await.unwrap().text(), "slow");
    assert_eq!(server.served.await.unwrap(), 0);
}

#[tokio::test]
async fn the_drain_has_an_end() {
    let guard = Arc::new(Guard::new(Limits::default(), true, ManualClock::new(), SeededIds::new(1)));
    let reached = Arc::new(Notify::new());
    let hang = {
        let reached = Arc::clone(&reached);
        async move || {
            reached.notify_one();
            std::future::pending::<()>().await;
        }
    };
    let router = edge::mount(
        Router::new().route("/hang", get(hang)),
        Mount { name: "test", style },
        Arc::clone(&guard),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    let served = tokio::spawn(edge::serve(listener, router, guard, stopped, Duration::from_millis(20)));
    let mut connection = client.connect().await;
    connection.write_request("GET", "/hang", &[], b"", true).await;
    reached.notified().await;
    stop.send(true).unwrap();
    assert_eq!(served.await.unwrap(), 1);
    assert!(connection.reply().await.is_none());
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_a_reply_is_given_up() {
    let limits = Limits { stall_timeout: Duration::from_millis(50), ..Limits::default() };
    let guard = Arc::new(Guard::new(limits, true, ManualClock::new(), SeededIds::new(1)));
    let (tell, mut told) = watch::channel(None);
    let flood = async move |axum::Extension(stalled): axum::Extension<edge::Stalled>| {
        tell.send_replace(Some(stalled));
        let piece = bytes::Bytes::from(vec![b'x'; 64 * 1024]);
        let pieces = futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
        axum::body::Body::from_stream(pieces)
    };
    let router = edge::mount(
        Router::new().route("/flood", get(flood)),
        Mount { name: "test", style },
        Arc::clone(&guard),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = Client::new(listener.local_addr().unwrap());
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(edge::serve(listener, router, guard, stopped, Duration::from_secs(30)));
    let mut connection = client.connect().await;
    connection.write_request("GET", "/flood", &[], b"", true).await;
    let stalled = told.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    while !stalled.is_so() {
        tokio::task::yield_now().await;
    }
    assert!(!connection.rest().await.is_empty(), "what was sent before is there, and then the end");
}
