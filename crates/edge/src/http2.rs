//! Connections of HTTP/2, for gRPC alone: what is served there is a router of its own, under the same guard.

use crate::check::Doomed;
use crate::guard::Guard;
use crate::limit::ClientAddress;
use crate::preface::Sniffed;
use crate::refusal::Refusal;
use crate::stalling::Stalling;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, Response, header};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tower::Service;

/// Requests that one connection may have open.
const STREAMS_MAX: u32 = 100;
/// Streams that a peer opened and reset before they were looked at: with more, the connection ends (the flood of
/// CVE-2023-44487).
const RESETS_PENDING_MAX: usize = 20;
/// Streams that were reset because of what the peer did wrong: with more, the connection ends.
const RESETS_LOCAL_MAX: usize = 200;
/// Bytes of one body that a peer may send before they are read; bodies are small.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of replies that are kept for one stream while the peer takes none.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// Between two looks whether the peer is there, and how long it may take to answer.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_PATIENCE: Duration = Duration::from_secs(20);

/// How HTTP/2 is spoken, and what is served over it.
pub(crate) struct Http2 {
    http: http2::Builder<TokioExecutor>,
    router: Router,
    guard: Arc<Guard>,
}

impl Http2 {
    pub(crate) fn new(router: Router, guard: &Arc<Guard>) -> Self {
        let limits = &guard.limits;
        // The checks of a mount refuse heads over the limits in its words; over twice the limits they are not read.
        let head_bytes_max = 2 * (limits.uri_bytes_max + limits.header_bytes_max) + 8 * 1024;
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MAX)
            .max_pending_accept_reset_streams(RESETS_PENDING_MAX)
            .max_local_error_reset_streams(RESETS_LOCAL_MAX)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BYTES_MAX)
            .max_header_list_size(u32::try_from(head_bytes_max).unwrap_or(u32::MAX))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_PATIENCE);
        Self { http, router, guard: Arc::clone(guard) }
    }

    /// Serves requests until the connection ends; once `stop` says so, those that have begun. One that has no request open
    /// for as long as a head may take is told to end, and ended when it has not after as long again: whoever answers a ping
    /// now and then would have its place for ever.
    pub(crate) async fn serve<I>(&self, stream: Sniffed<I>, peer: IpAddr, stop: &mut watch::Receiver<bool>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = Stalling::new(stream, self.guard.limits.stall_timeout);
        let open = watch::Sender::new(0);
        let patience = self.guard.limits.header_timeout;
        let (idle, idle_still) = (idle(open.subscribe(), patience), idle(open.subscribe(), 2 * patience));
        let (mut idle, mut idle_still) = (std::pin::pin!(idle), std::pin::pin!(idle_still));
        let service = Routed { router: self.router.clone(), guard: Arc::clone(&self.guard), peer, open };
        let mut connection = std::pin::pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let mut stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = idle.as_mut(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = idle_still.as_mut() => return,
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection of HTTP/2 broke off");
        }
    }
}

/// Waits until no request has been open for `patience`. One whose head has not come whole is none.
async fn idle(mut open: watch::Receiver<usize>, patience: Duration) {
    // Its sender lives as long as the connection.
    while open.wait_for(|open| *open == 0).await.is_ok() {
        if tokio::time::timeout(patience, open.changed()).await.is_err() {
            return;
        }
    }
    std::future::pending().await
}

/// A request that is open until this is dropped.
struct Open(watch::Sender<usize>);

impl Open {
    fn of(open: &watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The body of a reply, whose request is open until it was sent.
struct Reply {
    body: Body,
    _open: Open,
}

impl hyper::body::Body for Reply {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The router as the HTTP library calls it.
struct Routed {
    router: Router,
    guard: Arc<Guard>,
    /// The other end of the connection.
    peer: IpAddr,
    /// How many requests are open.
    open: watch::Sender<usize>,
}

impl hyper::service::Service<Request<Incoming>> for Routed {
    type Response = Response<Reply>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Reply>, Infallible>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !name_host(&mut request) {
            request.extensions_mut().insert(Doomed(Refusal::HostInvalid));
        }
        let client: ClientAddress = self.guard.proxies.client(self.peer, request.headers());
        request.extensions_mut().insert(client);
        let (open, answer) = (Open::of(&self.open), self.router.clone().call(request));
        Box::pin(async move { Ok(answer.await?.map(|body| Reply { body, _open: open })) })
    }
}

/// Puts the authority of a request, which HTTP/2 sends beside its headers, where that of HTTP/1.1 is. Whether there is one.
fn name_host(request: &mut Request<Incoming>) -> bool {
    let Some(authority) = request.uri().authority() else {
        return request.headers().contains_key(header::HOST);
    };
    let Ok(host) = HeaderValue::from_str(authority.as_str()) else { return false };
    // Where both are given they must be the same (RFC 9113 §8.3.1).
    let mut given = request.headers().get_all(header::HOST).iter();
    if given.any(|given| given != host) {
        return false;
    }
    request.headers_mut().insert(header::HOST, host);
    true
}
