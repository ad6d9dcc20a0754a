//! Accepts connections and serves them, within limits that hold before a request is understood.

use crate::check::{Doomed, names_one_host};
use crate::framing::Verdict;
use crate::guard::{Guard, Limits};
use crate::http2::Http2;
use crate::metering::Counted;
use crate::preface::Sniffed;
use crate::refusal::Refusal;
use crate::socket::Socket;
use crate::tls::{self, Begun, Tls};
use axum::Router;
use axum::body::Body;
use axum::routing::future::RouteFuture;
use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tower::Service;

/// First and longest wait after `accept` failed for want of something (descriptors, memory).
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(20);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);
/// Header fields that the HTTP library reads without an allocation of its own.
const HEADERS_ON_STACK: usize = 100;
/// What is asked in place of what cannot be parsed. No route has this path, so that the fallback of what is mounted at
/// the root answers.
const UNKNOWN_REQUEST: &[u8] = b"UNKNOWN * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";

/// What connections are spoken over.
#[derive(Clone)]
pub enum Transport {
    /// TCP as it is.
    Plain,
    /// The same, from loopback and from the proxies of the guard alone: they speak TLS to whoever comes from elsewhere.
    PlainFromProxies,
    /// TLS.
    Tls(Arc<Tls>),
}

/// Where connections come from, and how they speak.
pub struct Listening {
    /// Where.
    pub listener: TcpListener,
    /// How.
    pub transport: Transport,
    /// What is served to those who begin with HTTP/2 (prior knowledge, RFC 9113 §3.3); they are refused without it.
    pub http2: Option<Router>,
}

impl From<TcpListener> for Listening {
    fn from(listener: TcpListener) -> Self {
        Self { listener, transport: Transport::Plain, http2: None }
    }
}

/// Serves `router` on `listening` until `stop` says so (or its sender is gone). Then takes no more connections, lets
/// requests that have begun end for at most `drain`, and returns how many connections were cut off all the same.
///
/// HTTP/1.1, and HTTP/2 where there is something for it; what cannot be parsed as the former is refused by the fallback of what is mounted at the root of `router`.
/// Over `connections_max`, connections wait to be accepted.
pub async fn serve(
    listening: impl Into<Listening>,
    router: Router,
    guard: Arc<Guard>,
    mut stop: watch::Receiver<bool>,
    drain: Duration,
) -> usize {
    let Listening { listener, transport, http2 } = listening.into();
    let connection = Connection {
        http: http(&guard.limits),
        router: router.with_state(()),
        http2: http2.map(|router| Arc::new(Http2::new(router.with_state(()), &guard))),
        guard,
        transport,
        stop: stop.clone(),
    };
    let room =
        Arc::new(Semaphore::new(connection.guard.limits.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    metrics::describe_gauge!("wellorder_http_connections", "Connections that are open");
    tls::describe();
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = stream else { break };
        while running.try_join_next().is_some() {}
        running.spawn(connection.clone().run(stream, peer, permit));
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
    // The checks of a mount refuse heads over the limits in that API's words; beyond twice the limits the head is not
    // read to its end, and what is mounted at the root refuses it.
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
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return Some((stream, peer.ip(), permit)),
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
    http2: Option<Arc<Http2>>,
    guard: Arc<Guard>,
    transport: Transport,
    stop: watch::Receiver<bool>,
}

impl Connection {
    async fn run(mut self, stream: TcpStream, peer: IpAddr, permit: OwnedSemaphorePermit) {
        let _open = Counted::by(metrics::gauge!("wellorder_http_connections"));
        if stream.set_nodelay(true).is_err() {
            // It is gone already.
            return;
        }
        match self.transport.clone() {
            Transport::Plain => self.talk(stream, peer, None).await,
            Transport::PlainFromProxies => {
                let served = peer.to_canonical().is_loopback() || self.guard.proxies.trusts(peer);
                self.talk(stream, peer, (!served).then_some(Refusal::PlainHttp)).await;
            }
            Transport::Tls(tls) => {
                let patience = self.guard.limits.header_timeout;
                let begun = tokio::select! {
                    biased;
                    _ = self.stop.wait_for(|stop| *stop) => return,
                    begun = tls.begin(stream, patience) => begun,
                };
                match begun {
                    Some(Begun::Tls(stream)) => Box::pin(self.talk(stream, peer, None)).await,
                    Some(Begun::Plain(stream)) => self.talk(stream, peer, Some(Refusal::PlainHttp)).await,
                    None => {}
                }
            }
        }
        drop(permit);
    }

    /// Serves requests until the connection ends; only one, which is refused, with a `refusal`.
    async fn talk<I>(&mut self, stream: I, peer: IpAddr, refusal: Option<Refusal>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut stream = Sniffed::new(stream);
        if let (Some(http2), None) = (&self.http2, &refusal) {
            let patience = self.guard.limits.header_timeout;
            match stream.begins_with_preface(patience, &mut self.stop).await {
                Some(true) => return http2.serve(stream, peer, &mut self.stop).await,
                Some(false) => {}
                None => return,
            }
        }
        let verdict = Arc::new(Verdict::default());
        let mut socket = Socket::new(stream, Arc::clone(&verdict), self.guard.limits.stall_timeout);
        let mut refused = refusal;
        if refused.is_none() {
            let ended;
            (socket, ended) = self.converse(socket, peer, &verdict, None).await;
            if ended.as_ref().is_err_and(hyper::Error::is_timeout) {
                // A head that dribbles in gets no more time.
                return;
            }
            refused = ended.err().and_then(|error| unparsed(&error, &verdict, &socket));
        }
        if let Some(refusal) = refused {
            // However it ends, the connection ends with it.
            (socket, _) = self.converse(socket.reading(UNKNOWN_REQUEST), peer, &verdict, Some(refusal)).await;
        }
        socket.close().await;
    }

    /// Serves requests until the connection is to end, all of them with `refusal` if there is one.
    async fn converse<I>(
        &mut self,
        socket: Socket<I>,
        peer: IpAddr,
        verdict: &Arc<Verdict>,
        refusal: Option<Refusal>,
    ) -> (Socket<I>, hyper::Result<()>)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, guard, verdict_of) = (self.router.clone(), Arc::clone(&self.guard), Arc::clone(verdict));
        let service = Routed { router, guard, peer, verdict: verdict_of, refusal };
        let mut connection = self.http.serve_connection(TokioIo::new(socket), service);
        let mut stopping = false;
        let ended = loop {
            let step = poll_fn(|cx| {
                let polled = connection.poll_without_shutdown(cx);
                if polled.is_pending() && verdict.withheld.let_through() {
                    cx.waker().wake_by_ref();
                }
                polled
            });
            tokio::select! {
                biased;
                ended = step => break ended,
                _ = self.stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    std::pin::Pin::new(&mut connection).graceful_shutdown();
                }
            }
        };
        (connection.into_parts().io.into_inner(), ended)
    }
}

/// Why a connection that ended with `error` has a reply to come: the library could not parse what it read.
fn unparsed<I>(error: &hyper::Error, verdict: &Verdict, socket: &Socket<I>) -> Option<Refusal>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    // HTTP/2 is the one thing to which the library does not even want to reply.
    if error.is_parse_version_h2() && socket.is_flushed() {
        return Some(Refusal::BadFraming);
    }
    verdict.withheld.refusal().filter(|_| error.is_parse())
}

/// The router as the HTTP library calls it.
struct Routed {
    router: Router,
    guard: Arc<Guard>,
    /// The other end of the connection.
    peer: IpAddr,
    verdict: Arc<Verdict>,
    /// What every request is refused with.
    refusal: Option<Refusal>,
}

impl hyper::service::Service<Request<Incoming>> for Routed {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let ambiguous = self.verdict.next_is_ambiguous();
        // What is made within the process has no connection, and nobody in front of it.
        let unnamed = request.version() == Version::HTTP_11 && !names_one_host(request.headers());
        let framed = ambiguous.then_some(Refusal::BadFraming).or(unnamed.then_some(Refusal::HostInvalid));
        if let Some(refusal) = self.refusal.clone().or(framed) {
            request.extensions_mut().insert(Doomed(refusal));
        }
        request.extensions_mut().insert(self.verdict.stalled());
        let client = self.guard.proxies.client(self.peer, request.headers());
        request.extensions_mut().insert(client);
        // A router is a handle: its clone shares everything, and is always ready.
        self.router.clone().call(request)
    }
}
