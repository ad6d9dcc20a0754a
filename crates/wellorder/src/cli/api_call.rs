//! Calling our own API: over HTTP, or in this process.

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use outbound::{ApiClient, BuildError, Timeouts};
use serde_json::Value;
use tower::ServiceExt as _;

use super::failure::{Exit, Failure};
use crate::config::Hidden;

/// The longest answer that is taken.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Nobody answered.
#[derive(Debug)]
pub(crate) struct Unreachable {
    /// Who was asked.
    pub(crate) server: String,
    pub(crate) why: String,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(crate) struct ApiReply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl ApiReply {
    /// The answer as JSON if it is a success.
    ///
    /// # Errors
    /// The answer itself if it is a refusal; a fault if it is a success and no JSON.
    pub(crate) fn success(self) -> Result<(Self, Value), Failure> {
        if Exit::of_status(self.status) != Exit::Ok {
            return Err(self.into());
        }
        match serde_json::from_slice(&self.body) {
            Ok(value) => Ok((self, value)),
            Err(_) => Err(Failure::here(Exit::Fault, "the server's answer is no JSON", "check --url")),
        }
    }
}

/// A call of our API.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) path_and_query: &'a str,
    /// Sent as JSON, byte for byte.
    pub(crate) body: Option<Bytes>,
    pub(crate) headers: &'a [(&'a str, String)],
}

/// Someone who speaks our API.
#[async_trait]
pub(crate) trait ApiCall: Send + Sync {
    /// Sends the call and waits for its answer.
    ///
    /// # Errors
    /// Nobody answered. A refusal is an answer.
    async fn send(&self, call: Call<'_>) -> Result<ApiReply, Unreachable>;

    /// The same, with the parts of the call one by one.
    ///
    /// # Errors
    /// As [`ApiCall::send`].
    async fn call(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Bytes>,
        headers: &[(&str, String)],
    ) -> Result<ApiReply, Unreachable> {
        self.send(Call { method, path_and_query, body, headers }).await
    }

    /// Whether someone goes on working when this process has ended.
    fn is_server(&self) -> bool;
}

impl dyn ApiCall + '_ {
    /// `GET`, and only a success.
    pub(crate) async fn get(&self, path_and_query: &str) -> Result<(ApiReply, Value), Failure> {
        self.call(Method::GET, path_and_query, None, &[]).await?.success()
    }

    /// `POST` with a JSON body, and only a success.
    pub(crate) async fn post(&self, path: &str, body: Option<&Value>) -> Result<(ApiReply, Value), Failure> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        self.call(Method::POST, path, body, &[]).await?.success()
    }
}

/// A server's API, over HTTP.
pub(crate) struct HttpCall {
    client: ApiClient,
    server: String,
    key: Hidden,
}

impl HttpCall {
    /// `url` as `--url` or the lock file names it; `key` is what to log in with, if anything.
    ///
    /// # Errors
    /// It is no `http` or `https` URL.
    pub(crate) fn new(url: &str, key: &Hidden) -> Result<Self, Failure> {
        let client = ApiClient::new(url, Timeouts::default()).map_err(|error| match error {
            BuildError::Address => Failure::here(
                Exit::Usage,
                "that is no URL of a server",
                "use one such as http://127.0.0.1:3000",
            ),
            other => Failure::Fault(other.into()),
        })?;
        // Name and password, if any, are nobody's business in a message.
        let server = url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned();
        Ok(Self { client, server, key: key.clone() })
    }
}

#[async_trait]
impl ApiCall for HttpCall {
    async fn send(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let Call { method, path_and_query, body, headers } = call;
        let mut headers = headers.to_vec();
        headers.extend(self.key.text().map(|key| ("authorization", format!("Bearer {key}"))));
        match self.client.call(method, path_and_query, body, &headers).await {
            Ok(answer) => Ok(ApiReply { status: answer.status, headers: answer.headers, body: answer.body }),
            Err(no_answer) => Err(Unreachable { server: self.server.clone(), why: no_answer.why }),
        }
    }

    fn is_server(&self) -> bool {
        true
    }
}

/// The API in this process.
pub(crate) struct InProcess(pub(crate) Router);

#[async_trait]
impl ApiCall for InProcess {
    async fn send(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let Call { method, path_and_query, body, headers } = call;
        let unreachable = |why: String| Unreachable { server: "the data folder".to_owned(), why };
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(header::HOST, HeaderValue::from_static("localhost"));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(body.unwrap_or_default()));
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let reply = self.0.clone().oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = reply.into_parts();
        let body = axum::body::to_bytes(body, ANSWER_BYTES).await;
        let body = body.map_err(|error| unreachable(error.to_string()))?;
        Ok(ApiReply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    fn is_server(&self) -> bool {
        false
    }
}

/// A path with its query; values are encoded, those that are not given are left out.
pub(crate) fn with_query(path: &str, query: &[(&str, Option<&str>)]) -> String {
    let mut separator = '?';
    let mut address = path.to_owned();
    for (name, value) in query {
        if let Some(value) = value {
            address.push(separator);
            address.push_str(&format!("{name}={}", encode(value)));
            separator = '&';
        }
    }
    address
}

/// Percent-encodes all but the unreserved characters (RFC 3986 §2.3), for one segment of a path or one value of a query.
pub(crate) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use axum::routing::post;

    use super::*;

    #[test]
    fn queries_are_encoded() {
        let query = [("a", Some("x y&z=1/ü")), ("b", None), ("c", Some(""))];
        assert_eq!(with_query("/v1/orders", &query), "/v1/orders?a=x%20y%26z%3D1%2F%C3%BC&c=");
        assert_eq!(with_query("/v1/orders", &[]), "/v1/orders");
    }

    #[tokio::test]
    async fn in_process_calls_reach_the_router_as_they_are() {
        let echo = post(async |request: Request<Body>| {
            let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
            let kind = request.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
            let key = request.headers()["idempotency-key"].to_str().unwrap().to_owned();
            let uri = request.uri().to_string();
            let body = axum::body::to_bytes(request.into_body(), 100).await.unwrap();
            format!("{host} {kind} {key} {uri} {}", String::from_utf8_lossy(&body))
        });
        let api = InProcess(Router::new().route("/v1/orders", echo));
        let body = Some(Bytes::from_static(b"{\"total\":1.10}"));
        let headers = [("Idempotency-Key", "k".to_owned())];
        let reply = api.call(Method::POST, "/v1/orders?x=1", body, &headers).await.unwrap();
        assert_eq!(reply.status, 200);
        assert_eq!(reply.body, "localhost application/json k /v1/orders?x=1 {\"total\":1.10}");
        let reply = api.call(Method::GET, "/nowhere", None, &[]).await.unwrap();
        assert_eq!(reply.status, 404);
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable_and_names_no_password() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let api = HttpCall::new(&format!("http://me:secret@127.0.0.1:{port}"), &Hidden::default()).unwrap();
        let Unreachable { server, .. } = api.call(Method::GET, "/readyz", None, &[]).await.unwrap_err();
        assert_eq!(server, format!("127.0.0.1:{port}"));
        assert_eq!(
            HttpCall::new("nonsense", &Hidden::default()).err().map(|failure| failure.exit()),
            Some(Exit::Usage)
        );
    }
}
