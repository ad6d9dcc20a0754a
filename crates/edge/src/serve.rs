//! Accepts connections and serves them, within limits that hold before a request is understood.

use crate::framing::{AmbiguousFraming, Verdict};
use crate::guard::{Guard, Limits};
use crate::socket::Socket;
use axum::Router;
use axum::body::Body;
use axum::routing::future::RouteFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

/// First and longest wait after `accept` failed for want of something (descriptors, memory).
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Header fields that the HTTP library reads without an allocation of its own.
const HEADERS_ON_STACK: usize = 100;

/// Serves `router` on `listener` until `stop` says so (or its sender is gone). Then takes no more connections, lets
/// requests that have begun end for at most `drain`, and returns how many connections were cut off all the same.
///
/// HTTP/1.1 only. Over `connections_max`, connections wait to be accepted.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    guard: Arc<Guard>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) -> usize {
    let connection =
        Connection { http: http(&guard.limits), router: router.with_state(()), guard, stop: stop.clone() };
    let room =
        Arc::new(Semaphore::new(connection.guard.limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, permit)) = stream else { break };
        while running.try_join_next().is_some() {}
        running.spawn(connection.clone().run(stream, permit));
    }
    drop(listener);
    let deadline = tokio::time::sleep(drain);
    tokio::pin!(deadline);
    loop {
        tokio::select! {
            biased;
            ended = running.join_next() => if ended.is_none() { return 0 },
            () = &mut deadline => break,
        }
    }
    let cut = running.len();
    running.shutdown().await;
    cut
}

fn http(limits: &Limits) -> http1::Builder {
    // The checks of a mount refuse heads over the limits in that API's words; beyond twice the limits the library
    // answers 431 itself, without a body.
    let head_bytes_max = 2 * (limits.uri_bytes_max + limits.header_bytes_max) + 8 * 1024;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(head_bytes_max)
        .max_buf_size(head_bytes_max.max(64 * 1024));
    // Not `pipeline_flush`: a reply is then held back while anything lies behind its request, half a request or the
    // bytes that made it fail, and lost when the connection ends there.
    if limits.headers_max > HEADERS_ON_STACK {
        http.max_headers(limits.headers_max + 1);
    }
    http
}

/// The next connection, once there is room for it.
async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, permit)),
            // The client went away while it waited.
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections; trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(ACCEPT_PAUSE_MAX);
            }
        }
    }
}

fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[derive(Clone)]
struct Connection {
    http: http1::Builder,
    router: Router,
    guard: Arc<Guard>,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        if stream.set_nodelay(true).is_err() {
            // It is gone already.
            return;
        }
        let verdict = Arc::new(Verdict::default());
        let socket = Socket::new(stream, Arc::clone(&verdict), self.guard.limits.request_timeout);
        let service = Routed { router: self.router, verdict };
        let mut connection = self.http.serve_connection(TokioIo::new(socket), service);
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
                _ = self.stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        if ended.is_err_and(|error| error.is_timeout()) {
            // A head that dribbles in gets no more time.
            return;
        }
        connection.into_parts().io.into_inner().close().await;
        drop(permit);
    }
}

/// The router as the HTTP library calls it.
struct Routed {
    router: Router,
    verdict: Arc<Verdict>,
}

impl hyper::service::Service<Request<Incoming>> for Routed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if self.verdict.next_is_ambiguous() {
            request.extensions_mut().insert(AmbiguousFraming);
        }
        // A router is a handle: its clone shares everything, and is always ready.
        self.router.clone().call(request)
    }
}
