//! A page of links at `/`, for whoever opens the port in a browser.

use crate::problem::Failure;
use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

/// The style of this very page is named by its hash; nothing else may run or load.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'sha256-Q0eMWhOCdbY0EF6BrlQpAOmVBM+YKWCiuOWTfuBuEDs='; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'";

const PAGE: &str = include_str!("index.html");

pub(crate) fn routes() -> Router {
    Router::new().route("/", get(page))
}

async fn page() -> Result<Response, Failure> {
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    let mut response = edge::respond::with_type(StatusCode::OK, html, PAGE);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    Ok(response.into_response())
}
