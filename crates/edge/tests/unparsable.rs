//! What is no HTTP that can be parsed, on real sockets: raw bytes in, the whole reply out.
#![expect(clippy::unwrap_used, reason = "tests")]

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edge::{Guard, Limits, Mount, RawBody, Refusal, RequestId};
use futures_util::stream;
use http::{StatusCode, header};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testkit::{ManualClock, SeededIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const GOOD: &str = "GET /in/echo HTTP/1.1\r\nHost: localhost\r\n\r\n";
const BAD_FRAMING: &str = "Not HTTP/1.1, or framed ambiguously or incompletely";
const TOO_LARGE: &str = "Too many or too large header fields";
const URI_TOO_LONG: &str = "Request target too long";
/// After this, nothing comes any more.
const PATIENCE: Duration = Duration::from_secs(30);
/// As the HTTP library words what it says by itself.
const BARE: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\
                    date: Sat, 21 Nov 2026 04:20:00 GMT\r\n\r\n";

fn root(refusal: &Refusal, id: &RequestId) -> Response {
    edge::respond::text(refusal.status(), format!("ROOT {} {}", refusal.detail(), id.0))
}

fn inner(refusal: &Refusal, id: &RequestId) -> Response {
    edge::respond::text(refusal.status(), format!("INNER {} {}", refusal.detail(), id.0))
}

/// A body of known length in pieces, each written before the next is there, one of which looks like a bare refusal.
async fn pieces() -> Response {
    let pieces = stream::iter(["before\n", BARE, "after\n"]);
    let body = Body::from_stream(futures_util::StreamExt::then(pieces, async |piece| {
        // The connection writes what it has when it is told that there is no more yet.
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(piece)
    }));
    let length = "before\n".len() + BARE.len() + "after\n".len();
    ([(header::CONTENT_LENGTH, length)], body).into_response()
}

struct Server {
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

/// One API at the root, another under `/in`, and a path that nobody mounted.
async fn server(limits: Limits) -> Server {
    let guard = Arc::new(Guard::new(limits, true, ManualClock::new(), SeededIds::new(1)));
    let routes = || {
        Router::new()
            .route("/", get(async || "root"))
            .route("/echo", post(async |RawBody(body): RawBody| body).get(async || "hello"))
            .route("/pieces", get(pieces))
    };
    let router = Router::new()
        .nest("/in", edge::mount(routes(), Mount { name: "inner", style: inner }, Arc::clone(&guard)))
        .merge(edge::mount(routes(), Mount { name: "root", style: root }, Arc::clone(&guard)))
        .route("/unmounted", get(async || StatusCode::IM_A_TEAPOT));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(edge::serve(listener, router, guard, stopped, Duration::ZERO));
    Server { address, _stop: stop }
}

/// Everything that comes back until the server hangs up.
async fn exchange(server: &Server, request: &[u8], half_closed: bool) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let mut replies = Vec::new();
    let send = async {
        // The server may stop reading before the end.
        drop(writing.write_all(request).await);
        if half_closed {
            drop(writing.shutdown().await);
        }
    };
    let whole = async { tokio::join!(reading.read_to_end(&mut replies), send).0 };
    tokio::time::timeout(PATIENCE, whole).await.unwrap().unwrap();
    String::from_utf8(replies).unwrap()
}

type Headers<'t> = Vec<(&'t str, &'t str)>;

/// The replies behind one another, each a status line, header lines and a body.
fn replies(mut text: &str) -> Vec<(&str, Headers<'_>, &str)> {
    let mut all = Vec::new();
    while !text.is_empty() {
        let (head, rest) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap();
        let headers: Headers<'_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
        let length = header(&headers, "content-length").unwrap().parse().unwrap();
        let (body, rest) = rest.split_at(length);
        all.push((status, headers, body));
        text = rest;
    }
    all
}

fn header<'h>(headers: &[(&str, &'h str)], name: &str) -> Option<&'h str> {
    let mut values = headers.iter().filter(|(header, _)| *header == name).map(|(_, value)| *value);
    let first = values.next();
    assert_eq!(values.next(), None, "{name} twice");
    first
}

/// The last reply is this refusal, in full; the server hung up behind it. The replies before it.
#[track_caller]
fn ends_refused<'t>(text: &'t str, style: &str, status: &str, detail: &str, what: &str) -> Vec<&'t str> {
    let mut replies = replies(text);
    assert!(!replies.is_empty(), "{what}: no reply");
    let (line, headers, body) = replies.pop().unwrap();
    assert_eq!(line, format!("HTTP/1.1 {status}"), "{what}: {text}");
    let id = header(&headers, "x-request-id").unwrap();
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{what}: {text}");
    assert_eq!(body, format!("{style} {detail} {id}"), "{what}");
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("connection", "close"),
        ("x-content-type-options", "nosniff"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(header(&headers, name), Some(value), "{what}: {text}");
    }
    assert!(header(&headers, "date").is_some(), "{what}: {text}");
    assert_eq!(header(&headers, "server"), None, "{what}: {text}");
    assert_eq!(header(&headers, "allow"), None, "{what}: {text}");
    replies.into_iter().map(|(_, _, body)| body).collect()
}

/// Sends `request` alone and behind a good one, with and without an end of what is sent.
async fn is_refused(server: &Server, request: &[u8], style: &str, status: &str, detail: &str) {
    let what = String::from_utf8_lossy(&request[..request.len().min(80)]).into_owned();
    for half_closed in [false, true] {
        let alone = exchange(server, request, half_closed).await;
        assert!(ends_refused(&alone, style, status, detail, &what).is_empty(), "{what}: {alone}");
        let behind = exchange(server, &[GOOD.as_bytes(), request].concat(), half_closed).await;
        assert_eq!(ends_refused(&behind, style, status, detail, &what), ["hello"], "{what}: {behind}");
    }
}

fn with(target: &str, lines: &str) -> Vec<u8> {
    format!("POST {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").into_bytes()
}

#[tokio::test]
async fn what_is_no_request_line_is_refused_in_full() {
    let server = server(Limits::default()).await;
    for garbage in [
        &b"GARBAGE\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /in/echo\r\n\r\n",
        b"GET /in/echo HTTP/0.9\r\n\r\n",
        b"GET /in/echo HTTP/1.2\r\n\r\n",
        b"GET /in/echo HTTP/2.0\r\n\r\n",
        b"GET /in/echo http/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /in/echo HTTP/1.1 \r\nHost: localhost\r\n\r\n",
        b"GET /in/ec ho HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\xc3\xa9T /in/echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET in/echo HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        is_refused(&server, garbage, "ROOT", "400 Bad Request", BAD_FRAMING).await;
    }
    // Much of it, which nobody reads: the reply is not lost.
    let much = [b"GARBAGE\r\n\r\n".to_vec(), b"\n".repeat(3_000_000)].concat();
    is_refused(&server, &much, "ROOT", "400 Bad Request", BAD_FRAMING).await;
}

#[tokio::test]
async fn header_lines_that_cannot_be_parsed_are_refused_in_full() {
    let server = server(Limits::default()).await;
    for lines in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding : chunked\r\n",
        "no colon\r\n",
        "folded: a\r\n b\r\n",
        "nul: \0\r\n",
    ] {
        let request = [with("/in/echo", lines), b"hello!".to_vec()].concat();
        is_refused(&server, &request, "ROOT", "400 Bad Request", BAD_FRAMING).await;
    }
}

#[tokio::test]
async fn heads_far_over_the_limits_are_refused_in_full() {
    const TOO_LARGE_STATUS: &str = "431 Request Header Fields Too Large";
    let limits = Limits::default();
    let server = server(limits).await;
    let fields = |count: usize| (0..count).map(|index| format!("x-{index}: 1\r\n")).collect::<String>();
    let field = |bytes: usize| format!("x: {}\r\n", "y".repeat(bytes));
    // What can be parsed is refused by the API at that path.
    for (lines, style) in [
        (fields(limits.headers_max), "INNER"),
        (fields(101), "ROOT"),
        (field(limits.header_bytes_max), "INNER"),
        (field(3 * (limits.header_bytes_max + limits.uri_bytes_max)), "ROOT"),
        (field(3_000_000), "ROOT"),
    ] {
        let request = with("/in/echo", &format!("{lines}Connection: close\r\n"));
        is_refused(&server, &request, style, TOO_LARGE_STATUS, TOO_LARGE).await;
    }
    let target = |bytes: usize| with(&format!("/in/{}", "q".repeat(bytes)), "Connection: close\r\n");
    let long = target(3 * limits.uri_bytes_max);
    is_refused(&server, &long, "INNER", "414 URI Too Long", URI_TOO_LONG).await;
    is_refused(&server, &target(100_000), "ROOT", TOO_LARGE_STATUS, TOO_LARGE).await;
}

#[tokio::test]
async fn a_target_that_the_library_finds_too_long_is_refused_in_full() {
    let server = server(Limits { uri_bytes_max: 128 * 1024, ..Limits::default() }).await;
    let request = with(&format!("/in/{}", "q".repeat(70_000)), "");
    is_refused(&server, &request, "ROOT", "414 URI Too Long", URI_TOO_LONG).await;
}

#[tokio::test]
async fn a_body_that_cannot_be_parsed_is_refused_by_the_api_at_that_path() {
    let server = server(Limits::default()).await;
    for chunks in
        ["zz\r\nhello\r\n0\r\n\r\n", "-1\r\n\r\n", "5\r\nhello!\r\n0\r\n\r\n", "fffffffffffffffff\r\n"]
    {
        let request =
            [with("/in/echo", "Transfer-Encoding: chunked\r\n"), chunks.as_bytes().to_vec()].concat();
        is_refused(&server, &request, "INNER", "400 Bad Request", BAD_FRAMING).await;
    }
    // The first request is good, so its reply is; what lies behind it is none.
    let swallowed = [with("/in/echo", "Content-Length: 2\r\n"), b"hello!\r\n\r\n".to_vec()].concat();
    let text = exchange(&server, &swallowed, false).await;
    assert_eq!(ends_refused(&text, "ROOT", "400 Bad Request", BAD_FRAMING, "too long"), ["he"]);
}

#[tokio::test]
async fn what_only_looks_like_a_bare_refusal_goes_its_way() {
    let server = server(Limits::default()).await;
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let streamed = format!("before\n{BARE}after\n");
    let all = [ask("/in/pieces"), ask("/unmounted"), ask("/pieces"), "GARBAGE\r\n\r\n".to_owned()].concat();
    let text = exchange(&server, all.as_bytes(), false).await;
    let before = ends_refused(&text, "ROOT", "400 Bad Request", BAD_FRAMING, "all");
    assert_eq!(before, [streamed.as_str(), "", streamed.as_str()]);
    assert!(text.contains("HTTP/1.1 418 I'm a teapot\r\n"), "{text}");
}
