//! Serves an API's own description: the OpenAPI document and a page to read and try it, without any other host.

use crate::refusal::{Refusal, Refused};
use crate::respond;
use axum::Router;
use axum::extract::{FromRequestParts, NestedPath, Path};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::{OpenApi, PathItem, RefOr, Schema, Server};

/// Lets the page use nothing but what this server gives it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The files of Swagger UI that the page needs.
const FILES: [&str; 4] = ["swagger-ui.css", "swagger-ui-bundle.js", "favicon-16x16.png", "favicon-32x32.png"];

/// Makes a document. It is made when it is first asked for: it takes megabytes, and few processes are ever asked.
pub type MakeDocument = Arc<dyn Fn() -> OpenApi + Send + Sync>;

/// Routes for the page at `page_path` (such as `/docs`) and for the document itself at `json_path` (such as
/// `/docs/json`). Works under any prefix that the routes are nested at: the document names it as its server.
pub fn docs(page_path: &'static str, make: MakeDocument, json_path: &'static str) -> Router {
    let document = Arc::new(Description { make, made: OnceLock::new() });
    let (titled, same_titled) = (Arc::clone(&document), Arc::clone(&document));
    // Relative, so that it needs no prefix.
    let folder = format!("{}/", page_path.rsplit('/').next().unwrap_or_default());
    at(document, json_path)
        .route(page_path, get(async move |prefix: Prefix| page(titled.title(&prefix.0), &folder)))
        .route(
            &format!("{page_path}/"),
            get(async move |prefix: Prefix| page(same_titled.title(&prefix.0), "./")),
        )
        .route(&format!("{page_path}/start.js"), get(async move |prefix: Prefix| start(json_path, &prefix.0)))
        .route(&format!("{page_path}/{{file}}"), get(async |Path(name): Path<String>| file(&name)))
}

/// The document alone, at `json_path`.
pub fn description(make: MakeDocument, json_path: &'static str) -> Router {
    at(Arc::new(Description { make, made: OnceLock::new() }), json_path)
}

fn at(document: Arc<Description>, json_path: &'static str) -> Router {
    Router::new().route(json_path, get(async move |prefix: Prefix| document.give(&prefix.0)))
}

/// Makes a document what is given out by a server whose routes are nested at `prefix`: empty at the root, else such as
/// `/oscarps`.
pub fn finish(document: &mut OpenApi, prefix: &str) {
    document.paths.paths.values_mut().for_each(no_null_headers);
    document.servers = Some(vec![Server::new(if prefix.is_empty() { "/" } else { prefix })]);
}

/// A header is absent or a text: what is optional in Rust is described as if it could be `null` besides.
fn no_null_headers(item: &mut PathItem) {
    let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
    for parameter in
        operations.into_iter().flatten().flat_map(|operation| &mut operation.parameters).flatten()
    {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Header
            && let Some(RefOr::T(Schema::Object(object))) = &mut parameter.schema
            && let SchemaType::Array(types) = &object.schema_type
            && let Some(one) = types.iter().find(|one| **one != Type::Null)
        {
            object.schema_type = SchemaType::Type(one.clone());
        }
    }
}

/// What the routes are nested at: empty at the root, else such as `/v1`.
struct Prefix(String);

impl<S: Sync> FromRequestParts<S> for Prefix {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let nested = parts.extensions.get::<NestedPath>();
        Ok(Self(nested.map_or_else(String::new, |nested| nested.as_str().trim_end_matches('/').to_owned())))
    }
}

/// A document, as it was made where it was asked for first, which is where it is always asked for.
struct Description {
    make: MakeDocument,
    made: OnceLock<Made>,
}

#[derive(Clone)]
struct Made {
    prefix: String,
    title: Arc<str>,
    json: Bytes,
}

impl Description {
    fn give(&self, prefix: &str) -> Response {
        match self.made(prefix) {
            Ok(made) => {
                respond::with_type(StatusCode::OK, HeaderValue::from_static("application/json"), made.json)
            }
            Err(refused) => refused.into_response(),
        }
    }

    fn title(&self, prefix: &str) -> Result<Arc<str>, Refused> {
        self.made(prefix).map(|made| made.title)
    }

    fn made(&self, prefix: &str) -> Result<Made, Refused> {
        if let Some(made) = self.made.get().filter(|made| made.prefix == prefix) {
            return Ok(made.clone());
        }
        let mut document = (self.make)();
        finish(&mut document, prefix);
        let fault = |error: serde_json::Error| Refused(Refusal::Fault(order_core::Fault::internal(error)));
        let json = Bytes::from(document.to_json().map_err(fault)?);
        let made = Made { prefix: prefix.to_owned(), title: document.info.title.into(), json };
        // Another request may have made the same meanwhile.
        self.made.get_or_init(|| made.clone());
        Ok(made)
    }
}

/// The page; its files lie in `folder`, which is relative, so that the page can stand beside it or in it.
fn page(title: Result<Arc<str>, Refused>, folder: &str) -> Response {
    let title = match title {
        Ok(title) => title,
        Err(refused) => return refused.into_response(),
    };
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let html = format!(
        r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<link rel="stylesheet" href="{folder}swagger-ui.css">
<link rel="icon" type="image/png" href="{folder}favicon-32x32.png" sizes="32x32">
<link rel="icon" type="image/png" href="{folder}favicon-16x16.png" sizes="16x16">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{folder}swagger-ui-bundle.js"></script>
<script src="{folder}start.js"></script>
</body>
</html>
"#
    );
    let mut response =
        respond::with_type(StatusCode::OK, HeaderValue::from_static("text/html; charset=utf-8"), html);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn start(json_path: &str, prefix: &str) -> Response {
    let url = serde_json::Value::from(format!("{prefix}{json_path}"));
    // Without `validatorUrl: null` the page would send the document to a service on the internet.
    let script = format!(
        "window.ui = SwaggerUIBundle({{ url: {url}, dom_id: '#swagger-ui', deepLinking: true, validatorUrl: null, \
         tryItOutEnabled: true, presets: [SwaggerUIBundle.presets.apis] }});\n"
    );
    respond::with_type(StatusCode::OK, HeaderValue::from_static("text/javascript; charset=utf-8"), script)
}

fn file(name: &str) -> Response {
    let config = Arc::new(utoipa_swagger_ui::Config::from("unused"));
    let found =
        if FILES.contains(&name) { utoipa_swagger_ui::serve(name, config).ok().flatten() } else { None };
    let Some(file) = found else { return Refused(Refusal::RouteUnknown).into_response() };
    let content_type = HeaderValue::from_str(&file.content_type);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    // A client that takes it slowly holds nothing of its own.
    let bytes = match file.bytes {
        Cow::Borrowed(bytes) => Bytes::from_static(bytes),
        Cow::Owned(bytes) => Bytes::from(bytes),
    };
    let mut response = respond::with_type(StatusCode::OK, content_type, bytes);
    let headers = response.headers_mut();
    if file.gzpipped {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response
}
