//! HTTP/2 beside HTTP/1.1 on one listener: its own router, the same guard, and peers that abuse it.

#![expect(
    clippy::unwrap_used,
    reason = "what is not as expected here is a failed test, and must say so at once"
)]

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use edge::{Guard, Limits, Listening, Mount, RawBody, Refusal, RequestId, Transport};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use testkit::{ManualClock, SeededIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The error code of RFC 9113 §7.
const ENHANCE_YOUR_CALM: u8 = 0xb;

fn style(refusal: &Refusal, _: &RequestId) -> Response {
    (refusal.status(), refusal.detail()).into_response()
}

struct Server {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    running: JoinHandle<usize>,
}

async fn server(limits: Limits, http2: bool) -> Server {
    let guard = Arc::new(Guard::new(limits, true, ManualClock::new(), SeededIds::new(1)));
    let one = Router::new().route("/", get(async || "one"));
    let two = Router::new().route("/", post(async |RawBody(body): RawBody| body).get(async || "two"));
    let mounted = |name, router| edge::mount(router, Mount { name, style }, Arc::clone(&guard));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let http2 = http2.then(|| mounted("two", two));
    let listening = Listening { listener, transport: Transport::Plain, http2 };
    let (stop, stopped) = watch::channel(false);
    let router = mounted("one", one);
    let running = tokio::spawn(edge::serve(listening, router, guard, stopped, Duration::from_secs(5)));
    Server { address, stop, running }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The head of a request for `/` of `host` (RFC 7541: all from the static table but the authority).
fn head(method: u8, host: &str) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x84, 0x01, u8::try_from(host.len()).unwrap()];
    block.extend(host.as_bytes());
    block
}

const GET: u8 = 0x82;
const POST: u8 = 0x83;

struct Peer(TcpStream);

impl Peer {
    async fn greet(server: &Server) -> Self {
        let mut peer = Self(TcpStream::connect(server.address).await.unwrap());
        // In pieces: what it is must not depend on how it arrives.
        for piece in [&PREFACE[..3], &PREFACE[3..16], &PREFACE[16..]] {
            peer.0.write_all(piece).await.unwrap();
            peer.0.flush().await.unwrap();
        }
        peer.send(frame(SETTINGS, 0, 0, &[])).await;
        peer
    }

    async fn send(&mut self, frames: Vec<u8>) {
        // It may have hung up already; what it said is read.
        drop(self.0.write_all(&frames).await);
    }

    /// The next frame: kind, stream, payload; none at the end.
    async fn frame(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// The next frame of that kind; none when it does not come.
    async fn next(&mut self, kind: u8) -> Option<Vec<u8>> {
        loop {
            match self.frame().await? {
                (found, _, payload) if found == kind => return Some(payload),
                _ => {}
            }
        }
    }

    async fn asks(&mut self, stream: u32, method: u8, host: &str, body: Option<&[u8]>) -> Option<Vec<u8>> {
        let flags = if body.is_some() { END_HEADERS } else { END_HEADERS | END_STREAM };
        self.send(frame(HEADERS, flags, stream, &head(method, host))).await;
        if let Some(body) = body {
            self.send(frame(DATA, END_STREAM, stream, body)).await;
        }
        self.next(DATA).await
    }
}

async fn http1(server: &Server) -> String {
    let mut peer = TcpStream::connect(server.address).await.unwrap();
    peer.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut reply = String::new();
    peer.read_to_string(&mut reply).await.unwrap();
    reply
}

#[tokio::test]
async fn each_is_answered_by_its_own_router() {
    let server = server(Limits::default(), true).await;
    let reply = http1(&server).await;
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("one"), "{reply}");
    let mut peer = Peer::greet(&server).await;
    assert_eq!(peer.asks(1, GET, "localhost", None).await.unwrap(), b"two");
    assert_eq!(peer.asks(3, POST, "localhost", Some(b"body")).await.unwrap(), b"body");
}

#[tokio::test]
async fn the_guard_is_the_same() {
    let server = server(Limits { body_bytes_max: 8, ..Limits::default() }, true).await;
    let mut peer = Peer::greet(&server).await;
    let foreign = peer.asks(1, GET, "example.com", None).await.unwrap();
    assert!(String::from_utf8(foreign).unwrap().to_lowercase().contains("host"));
    let large = peer.asks(3, POST, "localhost", Some(b"more than eight")).await.unwrap();
    assert_eq!(large, b"Body larger than 8 bytes");
    assert_eq!(peer.asks(5, GET, "localhost", None).await.unwrap(), b"two", "the connection goes on");
}

#[tokio::test]
async fn a_flood_of_resets_ends_the_connection_and_no_other() {
    let server = server(Limits::default(), true).await;
    let mut peer = Peer::greet(&server).await;
    let mut other = Peer::greet(&server).await;
    let flood = (0..2_000).map(|nth| nth * 2 + 1).flat_map(|stream| {
        let opened = frame(HEADERS, END_HEADERS, stream, &head(POST, "localhost"));
        [opened, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    peer.send(flood.collect()).await;
    let told = peer.next(GOAWAY).await.unwrap();
    assert_eq!(told[7], ENHANCE_YOUR_CALM);
    assert_eq!(other.asks(1, GET, "localhost", None).await.unwrap(), b"two");
}

#[tokio::test]
async fn without_anything_to_serve_it_is_refused() {
    let server = server(Limits::default(), false).await;
    let mut peer = TcpStream::connect(server.address).await.unwrap();
    peer.write_all(PREFACE).await.unwrap();
    let mut reply = Vec::new();
    peer.read_to_end(&mut reply).await.unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&reply));
}

#[tokio::test]
async fn a_stop_lets_connections_end() {
    let server = server(Limits::default(), true).await;
    let mut peer = Peer::greet(&server).await;
    assert_eq!(peer.asks(1, GET, "localhost", None).await.unwrap(), b"two");
    let silent = TcpStream::connect(server.address).await.unwrap();
    server.stop.send_replace(true);
    assert_eq!(peer.next(GOAWAY).await.unwrap()[7], 0);
    // A client with nothing open hangs up then.
    drop(peer);
    assert_eq!(server.running.await.unwrap(), 0, "none was cut off");
    drop(silent);
}

/// Reads what comes and answers pings, until the server hangs up; the kinds of what came.
async fn until_cut(mut peer: Peer) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let Some((kind, _, payload)) = peer.frame().await {
        kinds.push(kind);
        assert!(kinds.len() < 50, "it goes on for ever: {kinds:?}");
        if kind == PING {
            peer.send(frame(PING, ACK, 0, &payload)).await;
        }
    }
    kinds
}

/// To answer pings is not to ask for anything, nor is a head that does not end.
#[tokio::test(start_paused = true)]
async fn who_has_nothing_open_does_not_keep_its_place() {
    let server = server(Limits::default(), true).await;
    let silent = Peer::greet(&server).await;
    let mut dribbling = Peer::greet(&server).await;
    dribbling.send(frame(HEADERS, END_STREAM, 1, &head(GET, "localhost"))).await;
    for peer in [silent, dribbling] {
        assert!(until_cut(peer).await.contains(&GOAWAY));
    }
    let mut deaf = Peer::greet(&server).await;
    while deaf.frame().await.is_some() {}
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_keeps_it() {
    let limits = Limits::default();
    assert!(limits.body_timeout > 2 * limits.header_timeout, "else this shows nothing");
    let server = server(limits, true).await;
    let mut peer = Peer::greet(&server).await;
    peer.send(frame(HEADERS, END_HEADERS, 1, &head(POST, "localhost"))).await;
    // The body never comes: that it was waited for in vain is said, and then the connection may end.
    let kinds = until_cut(peer).await;
    let at = |kind| kinds.iter().position(|found| *found == kind);
    assert!(at(HEADERS).is_some() && at(HEADERS) < at(GOAWAY), "{kinds:?}");
}
