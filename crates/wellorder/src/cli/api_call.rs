//! Calling our own API: over HTTP, or in this process.

use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use axum::{
    Router,
    body::{Body, Bytes},
};
use futures_util::{
    StreamExt as _,
    stream::{BoxStream, unfold},
};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use outbound::{ApiClient, BuildError, NoAnswer, Timeouts, Trust, Untrusted};
use serde_json::Value;
use tokio::sync::mpsc;
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
    /// What is wrong with its certificate, if that is why.
    pub(crate) untrusted: Option<Untrusted>,
}

impl Unreachable {
    pub(crate) fn because(server: &str, why: impl Into<String>) -> Self {
        Self { server: server.to_owned(), why: why.into(), untrusted: None }
    }

    fn of(server: String, NoAnswer { why, untrusted }: NoAnswer) -> Self {
        Self { server, why, untrusted }
    }
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

/// Longest wait for what a server does before it answers, marketplaces being asked among others: longer than it may take
/// (see `edge`'s limits), so that nobody is said to be away who is at work.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

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

    /// The same, for what takes its time: waits for [`PATIENCE`].
    ///
    /// # Errors
    /// As [`ApiCall::send`].
    async fn send_patiently(&self, call: Call<'_>) -> Result<ApiReply, Unreachable>;

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

    /// Sends the call with a body that goes out while it comes from `body` (the body of the call itself must be none),
    /// for an answer that is read while it comes.
    ///
    /// # Errors
    /// Nobody answered. A refusal is an answer.
    async fn open(&self, call: Call<'_>, body: Option<Lines>) -> Result<Streamed, Unreachable>;

    /// Whether someone goes on working when this process has ended.
    fn is_server(&self) -> bool;

    /// Whether nobody else writes while this lives, and no server can start: it holds the data folder.
    fn holds_folder(&self) -> bool {
        false
    }
}

/// Why nobody waits for what comes in a folder that this process holds.
pub(super) fn nothing_comes() -> Failure {
    Failure::here(
        Exit::Unreachable,
        "no server runs on this data folder: nothing comes until one does, and none could start meanwhile",
        "start one first (`wellorder dev` or `wellorder serve`)",
    )
}

/// A body as it comes.
pub(crate) type Lines = mpsc::Receiver<Bytes>;

/// An answer that comes bit by bit. Dropping it ends the call.
pub(crate) struct Streamed {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// An error is the last thing that comes.
    pub(crate) chunks: BoxStream<'static, Result<Bytes, Unreachable>>,
}

impl Streamed {
    /// The answer if it is a success.
    ///
    /// # Errors
    /// The whole answer if it is a refusal, or that it broke off.
    pub(crate) async fn success(mut self) -> Result<Self, Failure> {
        if Exit::of_status(self.status) == Exit::Ok {
            return Ok(self);
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunks.next().await {
            body.extend_from_slice(&chunk?);
            // Ours are far shorter.
            if body.len() > ANSWER_BYTES {
                break;
            }
        }
        Err(ApiReply { status: self.status, headers: self.headers, body: body.into() }.into())
    }
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

    /// The same, for what takes its time.
    pub(crate) async fn post_patiently(
        &self,
        path_and_query: &str,
        body: Option<&Value>,
    ) -> Result<(ApiReply, Value), Failure> {
        let body = body.map(|body| Bytes::from(body.to_string()));
        let call = Call { method: Method::POST, path_and_query, body, headers: &[] };
        self.send_patiently(call).await?.success()
    }
}

/// A server's API, over HTTP.
pub(crate) struct HttpCall {
    client: ApiClient,
    server: String,
    key: Hidden,
}

impl HttpCall {
    /// `url` as `--url` or the lock file names it; `key` is what to log in with, if anything; `trust` whose certificates are
    /// believed.
    ///
    /// # Errors
    /// It is no `http` or `https` URL.
    pub(crate) fn new(url: &str, key: &Hidden, trust: &Trust) -> Result<Self, Failure> {
        let client = ApiClient::new(url, trust, Timeouts::default()).map_err(|error| match error {
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

    async fn send_within(&self, within: Option<Duration>, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let Call { method, path_and_query, body, headers } = call;
        let headers = self.with_login(headers);
        match self.client.call_within(within, method, path_and_query, body, &headers).await {
            Ok(answer) => Ok(ApiReply { status: answer.status, headers: answer.headers, body: answer.body }),
            Err(no_answer) => Err(Unreachable::of(self.server.clone(), no_answer)),
        }
    }

    fn with_login<'h>(&self, headers: &[(&'h str, String)]) -> Vec<(&'h str, String)> {
        let login = self.key.text().map(|key| ("authorization", format!("Bearer {key}")));
        headers.iter().cloned().chain(login).collect()
    }
}

#[async_trait]
impl ApiCall for HttpCall {
    async fn send(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        self.send_within(None, call).await
    }

    async fn send_patiently(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        self.send_within(Some(PATIENCE), call).await
    }

    async fn open(&self, call: Call<'_>, body: Option<Lines>) -> Result<Streamed, Unreachable> {
        let Call { method, path_and_query, headers, .. } = call;
        let server = self.server.clone();
        let unreachable = move |no_answer| Unreachable::of(server.clone(), no_answer);
        let opened = self.client.open(method, path_and_query, body, &self.with_login(headers)).await;
        let stream = opened.map_err(&unreachable)?;
        let (status, headers) = (stream.status, stream.headers.clone());
        let chunks = unfold(Some(stream), move |stream| {
            let unreachable = unreachable.clone();
            async move {
                let mut stream = stream?;
                match stream.chunk().await {
                    Ok(chunk) => chunk.map(|chunk| (Ok(chunk), Some(stream))),
                    Err(no_answer) => Some((Err(unreachable(no_answer)), None)),
                }
            }
        });
        Ok(Streamed { status, headers, chunks: chunks.boxed() })
    }

    fn is_server(&self) -> bool {
        true
    }
}

/// The API in this process.
pub(crate) struct InProcess {
    pub(crate) router: Router,
    /// Of a data folder, not of a database on a server.
    pub(crate) holds_folder: bool,
}

impl InProcess {
    async fn reply(&self, call: Call<'_>, body: Body) -> Result<http::Response<Body>, Unreachable> {
        let Call { method, path_and_query, headers, .. } = call;
        let mut request = Request::builder()
            .method(method)
            .uri(path_and_query)
            .header(header::HOST, HeaderValue::from_static("localhost"));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(body).map_err(|error| broken(&error))?;
        Ok(self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {}))
    }
}

fn broken(why: &dyn std::error::Error) -> Unreachable {
    Unreachable::because("the data folder", why.to_string())
}

#[async_trait]
impl ApiCall for InProcess {
    async fn send(&self, mut call: Call<'_>) -> Result<ApiReply, Unreachable> {
        let body = call.body.take();
        let described = body.is_some().then_some(("content-type", "application/json".to_owned()));
        let headers: Vec<_> = described.into_iter().chain(call.headers.iter().cloned()).collect();
        let call = Call { headers: &headers, ..call };
        let (parts, body) = self.reply(call, Body::from(body.unwrap_or_default())).await?.into_parts();
        let body = axum::body::to_bytes(body, ANSWER_BYTES).await;
        let body = body.map_err(|error| broken(&error))?;
        Ok(ApiReply { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    async fn send_patiently(&self, call: Call<'_>) -> Result<ApiReply, Unreachable> {
        self.send(call).await
    }

    async fn open(&self, call: Call<'_>, body: Option<Lines>) -> Result<Streamed, Unreachable> {
        let body = body.map_or_else(Body::empty, |body| {
            Body::from_stream(unfold(body, async |mut body: Lines| {
                let bytes = body.recv().await?;
                Some((Ok::<_, Infallible>(bytes), body))
            }))
        });
        let (parts, body) = self.reply(call, body).await?.into_parts();
        let chunks = body.into_data_stream().map(|chunk| chunk.map_err(|error| broken(&error)));
        Ok(Streamed { status: parts.status.as_u16(), headers: parts.headers, chunks: chunks.boxed() })
    }

    fn is_server(&self) -> bool {
        false
    }

    fn holds_folder(&self) -> bool {
        self.holds_folder
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
        let api = InProcess { router: Router::new().route("/v1/orders", echo), holds_folder: true };
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
        let api = HttpCall::new(
            &format!("http://me:secret@127.0.0.1:{port}"),
            &Hidden::default(),
            &Trust::default(),
        )
        .unwrap();
        let Unreachable { server, .. } = api.call(Method::GET, "/readyz", None, &[]).await.unwrap_err();
        assert_eq!(server, format!("127.0.0.1:{port}"));
        assert_eq!(
            HttpCall::new("nonsense", &Hidden::default(), &Trust::default())
                .err()
                .map(|failure| failure.exit()),
            Some(Exit::Usage)
        );
    }
}
