//! Small replies that every API makes.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// A JSON reply; `body` is JSON text already.
pub fn json(status: StatusCode, body: String) -> Response {
    with_type(status, HeaderValue::from_static("application/json"), body)
}

/// A plain text reply.
pub fn text(status: StatusCode, body: impl Into<Body>) -> Response {
    with_type(status, HeaderValue::from_static("text/plain; charset=utf-8"), body)
}

/// A reply of the given content type.
pub fn with_type(status: StatusCode, content_type: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
