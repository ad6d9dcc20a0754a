//! Wraps the routes of one API. One service does it all, so that a request pays for one layer.

use crate::check::check;
use crate::framing::Stalled;
use crate::guard::Guard;
use crate::metering::{Metering, method_label, route_label};
use crate::reads;
use crate::refusal::{Refusal, Refused, RequestId, Style, Worded};
use crate::request_id::{self, X_REQUEST_ID};
use crate::traceparent;
use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use axum::routing::Route;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use order_core::trace::{self, Attribute, Span, SpanName};
use order_core::{Fault, OrderId, fault_point};
use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::time::Instant;
use tower::{Layer, Service};
use tracing::Instrument;

/// The name of the mount of health and metrics.
const OPS: &str = "ops";

/// How one API is mounted.
#[derive(Debug, Clone, Copy)]
pub struct Mount {
    /// Its name in metrics.
    pub name: &'static str,
    /// How it words its refusals.
    pub style: Style,
}

/// Says which order a request was about (a response extension), for the log.
#[derive(Debug, Clone, Copy)]
pub struct LoggedOrder(pub OrderId);

/// The routes of one API, wrapped, with its own 404 for paths that it does not know. The result may be nested under a
/// prefix or merged at the root (at most one such router can be at the root).
pub fn mount(router: Router, mount: Mount, guard: Arc<Guard>) -> Router {
    mount_routes(router.fallback(route_unknown), mount, guard)
}

/// The routes of one API, wrapped, without a say about other paths.
pub fn mount_routes(router: Router, mount: Mount, guard: Arc<Guard>) -> Router {
    reads::describe();
    let shared = Arc::new(Shared { style: mount.style, guard, metering: Metering::new(mount.name) });
    router.method_not_allowed_fallback(method_not_allowed).layer(MountLayer(shared)).with_state(())
}

/// `router` with what was [mounted](mount) under `prefix`, the bare prefix with and without a slash behind it included:
/// nesting alone leaves the former to whatever is at the root.
pub fn nest(router: Router, prefix: &str, mounted: Router) -> Router {
    let root = mounted.clone().into_service::<Body>();
    router.nest(prefix, mounted).route_service(&format!("{prefix}/"), root)
}

/// An API that cannot serve yet: whatever it is asked, it answers with `fault`, in its own form.
pub fn mount_unable(fault: Fault, mount: Mount, guard: Arc<Guard>) -> Router {
    let unable = move || std::future::ready(Refused(Refusal::Fault(fault.clone())));
    mount_routes(Router::new().fallback(unable), mount, guard)
}

async fn route_unknown() -> Refused {
    Refused(Refusal::RouteUnknown)
}

async fn method_not_allowed() -> Refused {
    Refused(Refusal::MethodNotAllowed)
}

struct Shared {
    style: Style,
    guard: Arc<Guard>,
    metering: Metering,
}

#[derive(Clone)]
struct MountLayer(Arc<Shared>);

impl Layer<Route> for MountLayer {
    type Service = Mounted;

    fn layer(&self, route: Route) -> Mounted {
        Mounted { route, shared: Arc::clone(&self.0) }
    }
}

#[derive(Clone)]
struct Mounted {
    route: Route,
    shared: Arc<Shared>,
}

impl Service<Request> for Mounted {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // A route is always ready, so its clone may be called.
        let (route, shared) = (self.route.clone(), Arc::clone(&self.shared));
        Box::pin(async move { Ok(shared.handle(route, request).await) })
    }
}

impl Shared {
    async fn handle(&self, route: Route, request: Request) -> Response {
        let began = Instant::now();
        let (request_id, id_header) = request_id::of(request.headers(), &self.guard);
        let method = method_label(request.method());
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let route_name = route_label(matched.as_ref());
        let _in_flight = self.metering.begin();
        let mut traced = self.begin_span(request.headers());
        let at = traced.context();
        let trace_id = at.map(|at| tracing::field::display(at.trace_id_hex()));
        let span = tracing::info_span!(
            "request",
            request_id = request_id.0.as_str(),
            method,
            route = route_name,
            trace_id
        );
        let connection = request.extensions().get::<Stalled>().cloned();
        let answering = self.answer(route, request, &request_id);
        let answered = trace::within(at, answering).instrument(span.clone()).await;
        let (mut response, refusal) = self.styled(answered, &request_id);
        finish(response.headers_mut(), id_header, self.guard.https_only);
        if let (Some(connection), true) = (connection, refusal.as_ref().is_some_and(comes_again)) {
            connection.pause(self.guard.pacer.pause(self.guard.clock.now()));
        }
        if method != "GET" && response.status().is_success() {
            // What was asked for is done; the client has not heard of it yet.
            fault_point::pass("api.mid_reply");
        }
        let took = began.elapsed();
        self.metering.record(route_name, method, response.status(), took);
        span.in_scope(|| log(&response, refusal.as_ref(), took));
        tell(&mut traced, method, route_name, &response);
        response
    }

    /// The span of a request. Health and metrics are asked for all the time: they begin no traces of their own.
    fn begin_span(&self, headers: &HeaderMap) -> Span {
        let (tracer, mut parent) = (&self.guard.tracer, traceparent::of(headers));
        if !self.guard.trusts_traces {
            parent = parent.map(|parent| tracer.decide(parent));
        }
        if self.metering.mount() == OPS {
            tracer.child(SpanName::Request, parent)
        } else {
            tracer.begin(SpanName::Request, parent)
        }
    }

    /// Checks the request and lets its handler answer it, in time and without taking the process down.
    async fn answer(
        &self,
        mut route: Route,
        mut request: Request,
        request_id: &RequestId,
    ) -> Result<Response, Refusal> {
        check(&request, &self.guard)?;
        request.extensions_mut().insert(request_id.clone());
        request.extensions_mut().insert(Arc::clone(&self.guard));
        let handled = AssertUnwindSafe(async move { route.call(request).await }).catch_unwind();
        match tokio::time::timeout(self.guard.limits.request_timeout, handled).await {
            Ok(Ok(Ok(response))) => Ok(response),
            Ok(Err(panic)) => {
                tracing::error!(panic = message(panic.as_ref()), "a handler panicked");
                Err(Refusal::Panicked)
            }
            Err(_) => Err(Refusal::RequestTimeout),
        }
    }

    /// Lets the mount word a refusal, whether it was made here or by a handler.
    fn styled(
        &self,
        answered: Result<Response, Refusal>,
        request_id: &RequestId,
    ) -> (Response, Option<Refusal>) {
        let refusal = match answered {
            Err(refusal) => refusal,
            Ok(mut response) => match response.extensions_mut().remove::<Refusal>() {
                Some(refusal) => refusal,
                None => match response.extensions_mut().remove::<Worded>() {
                    Some(worded) => return (worded.word(request_id), None),
                    None => return (response, None),
                },
            },
        };
        let mut response = (self.style)(&refusal, request_id);
        if let Some(seconds) = refusal.retry_after_seconds() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(refusal, Refusal::Unauthenticated) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(refusal, Refusal::ContentCoded) {
            response.headers_mut().insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if ends_connection(&refusal) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        (response, Some(refusal))
    }
}

/// Whether who is refused is expected to ask for the same again, later.
fn comes_again(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::RateLimited { .. } | Refusal::Fault(Fault::Overloaded { .. }))
}

/// Whether the rest of the request is not read, so that no other can follow it.
fn ends_connection(refusal: &Refusal) -> bool {
    matches!(
        refusal,
        Refusal::BodyTooLarge { .. }
            | Refusal::BodyTimeout
            | Refusal::HostInvalid
            | Refusal::BadFraming
            | Refusal::CodingUnknown
            | Refusal::PlainHttp
    )
}

/// The headers that every reply has.
fn finish(headers: &mut HeaderMap, request_id: HeaderValue, https_only: bool) {
    headers.insert(X_REQUEST_ID, request_id);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if https_only {
        // RFC 6797 §6.1; a year.
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Says in its span what came of a request.
fn tell(span: &mut Span, method: &'static str, route: &str, response: &Response) {
    span.say(|| Attribute::Method(method));
    span.say(|| Attribute::Route(route.to_owned()));
    span.say(|| Attribute::Status(response.status().as_u16()));
    if let Some(order) = response.extensions().get::<LoggedOrder>() {
        span.say(|| Attribute::OrderId(order.0));
    }
    if response.status().is_server_error() {
        span.fail();
    }
}

/// One line a request, inside its span: what failed on our side as a warning, the rest for debugging. Never the path or the
/// query: they carry the clients' own data.
fn log(response: &Response, refusal: Option<&Refusal>, took: std::time::Duration) {
    let status = response.status().as_u16();
    let order_id = response.extensions().get::<LoggedOrder>().map(|order| tracing::field::display(order.0));
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    match refusal {
        // Expected under overload and at the end: a line each would be overload of its own. That the keys of an issuer
        // cannot be had is told once, when that begins; anybody can make up tokens.
        Some(Refusal::Fault(
            fault @ (Fault::Overloaded { .. } | Fault::ShuttingDown | Fault::LoginUnavailable { .. }),
        )) => {
            tracing::debug!(status, micros, order_id, %fault, "refused");
        }
        Some(Refusal::Fault(fault @ (Fault::Data { .. } | Fault::Internal { .. }))) => {
            tracing::error!(status, micros, order_id, %fault, "failed");
        }
        Some(Refusal::Fault(fault)) => tracing::warn!(status, micros, order_id, %fault, "failed"),
        _ if response.status() >= StatusCode::INTERNAL_SERVER_ERROR => {
            tracing::warn!(status, micros, order_id, "failed");
        }
        _ => tracing::debug!(status, micros, order_id, "answered"),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
