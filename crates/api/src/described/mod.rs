//! What describes this API to programs: the OpenAPI document, the AsyncAPI document, a JSON Schema for each type of
//! event. All of it is made from the code; what is checked in under `docs/api` is a copy that a test holds against it.

mod asyncapi;
mod event_schemas;

use crate::problem::Failure;
use axum::Router;
use axum::extract::Path;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use edge::{Refusal, Refused};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Where a client is assumed to reach the server when its request does not tell.
const HOST_UNLESS_SAID: &str = "localhost";

/// The OpenAPI document of `/v1`.
#[must_use]
pub fn openapi() -> Value {
    let mut document = crate::openapi::document(&crate::declared());
    edge::finish(&mut document, "");
    serde_json::to_value(document).unwrap_or_default()
}

/// The AsyncAPI document, for a server that is reached at `host`, such as `127.0.0.1:3000`, by TLS or without.
#[must_use]
pub fn asyncapi(host: &str, tls: bool) -> Value {
    asyncapi::document(host, tls, &crate::declared())
}

/// The JSON Schema of a type of event, such as `order.accepted`, or of all of them, `envelope`.
#[must_use]
pub fn event_schema(name: &str) -> Option<Value> {
    event_schemas::document(name)
}

/// The names that [`event_schema`] knows.
#[must_use]
pub fn event_schema_names() -> Vec<String> {
    event_schemas::names()
}

/// `/asyncapi.json`, `/schemas/events` and what it lists. They are for anybody, like the OpenAPI document.
pub(crate) fn routes(tls: bool) -> Router {
    // Made when one is first asked for: most processes are never asked.
    let schemas = Arc::new(LazyLock::new(schema_files));
    Router::new()
        .route(
            "/asyncapi.json",
            get(async move |headers: HeaderMap| json(asyncapi(&host(&headers), tls).to_string())),
        )
        .route("/schemas/events", get(async || json(list().to_string())))
        .route(
            "/schemas/events/{file}",
            get(async move |Path(file): Path<String>| {
                let schema = schemas.get(&file).ok_or(Failure::Refused(Refused(Refusal::RouteUnknown)))?;
                let kind = HeaderValue::from_static("application/schema+json");
                Ok::<_, Failure>(edge::respond::with_type(StatusCode::OK, kind, schema.clone()))
            }),
        )
}

/// The schemas by the names of their files.
fn schema_files() -> BTreeMap<String, Bytes> {
    let file = |name: String| Some((format!("{name}.json"), event_schema(&name)?.to_string().into()));
    event_schemas::names().into_iter().filter_map(file).collect()
}

fn json(body: String) -> Response {
    edge::respond::json(StatusCode::OK, body)
}

fn list() -> Value {
    let schema = |name: String| json!({ "name": name, "href": format!("/schemas/events/{name}.json") });
    json!({ "schemas": event_schemas::names().into_iter().map(schema).collect::<Vec<_>>() })
}

/// How the client reaches this server, as far as that can stand in a document.
fn host(headers: &HeaderMap) -> String {
    let said = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    said.filter(|host| !host.is_empty() && host.chars().all(plain)).unwrap_or(HOST_UNLESS_SAID).to_owned()
}
