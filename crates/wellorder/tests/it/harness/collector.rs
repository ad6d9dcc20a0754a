//! An OpenTelemetry collector: takes spans (OTLP over HTTP, protobuf) and remembers them.

use super::eventually;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[derive(Default)]
struct Taken {
    spans: Vec<Span>,
    bodies: Vec<Vec<u8>>,
    services: Vec<String>,
}

/// A collector; dropping it ends it.
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    taken: Arc<Mutex<Taken>>,
    _serving: JoinSet<()>,
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into()).await
    }

    /// Takes nothing and answers everything with this status.
    pub(crate) async fn refusing(status: u16) -> Self {
        let answer = StatusCode::from_u16(status).unwrap();
        Self::serve(([127, 0, 0, 1], 0).into(), Router::new().route("/v1/traces", post(async move || answer)))
            .await
    }

    /// A collector at this address.
    pub(crate) async fn start_at(address: SocketAddr) -> Self {
        let taken = Arc::<Mutex<Taken>>::default();
        let router = Router::new().route("/v1/traces", post(take)).with_state(Arc::clone(&taken));
        Self { taken, ..Self::serve(address, router).await }
    }

    async fn serve(address: SocketAddr, router: Router) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, taken: Arc::default(), _serving: serving }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.taken.lock().unwrap().spans.clone()
    }

    /// The names of the services so far, one for each request.
    pub(crate) fn services(&self) -> Vec<String> {
        self.taken.lock().unwrap().services.clone()
    }

    /// Whether anything that came holds this text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let taken = self.taken.lock().unwrap();
        taken.bodies.iter().any(|body| body.windows(text.len()).any(|window| window == text.as_bytes()))
    }

    /// Waits for spans among which `find` finds something.
    pub(crate) async fn until<T>(&self, what: &str, find: impl Fn(&[Span]) -> Option<T>) -> T {
        eventually(what, async || find(&self.spans())).await
    }
}

async fn take(State(taken): State<Arc<Mutex<Taken>>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(&body[..]) else { return StatusCode::BAD_REQUEST };
    let mut taken = taken.lock().unwrap();
    taken.bodies.push(body.to_vec());
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        taken.services.extend(text(&resource.attributes, "service.name"));
        taken.spans.extend(of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    StatusCode::OK
}

/// The text, or the number as text, of an attribute.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        Any::IntValue(number) => Some(number.to_string()),
        other => panic!("{key} is neither text nor a number: {other:?}"),
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut all, byte| {
        write!(all, "{byte:02x}").unwrap();
        all
    })
}
