//! A client for our own HTTP API.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream::unfold;
use reqwest::{
    Body, Method, Request, Response, Url,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use tokio::sync::mpsc;

use crate::{
    BuildError, NoAnswer, Timeouts, Trust,
    client::{self, Client, Read},
};

/// The longest answer that is taken; pages are bounded far below it.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A whole answer of the API, whatever its status.
#[derive(Debug, Clone)]
pub struct ApiAnswer {
    /// The status, 200–599.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, at most 64 MiB.
    pub body: Bytes,
}

/// How long a stream may be silent before it counts as broken off; the server says something every 15 s.
const SILENCE: Duration = Duration::from_secs(60);

/// An answer that comes bit by bit.
#[derive(Debug)]
pub struct ApiStream {
    /// The status, 200–599.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    answer: Response,
}

impl ApiStream {
    /// What comes next; `None` at the orderly end.
    ///
    /// # Errors
    /// [`NoAnswer`] when it breaks off, or nothing comes for a minute.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, NoAnswer> {
        self.answer.chunk().await.map_err(client::no_answer)
    }
}

/// A client for the API at one address.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: Client,
    streaming: Client,
    base: Url,
}

impl ApiClient {
    /// A client for the API at `address`, such as `http://127.0.0.1:3000`; a path in it is kept as a prefix.
    ///
    /// # Errors
    /// [`BuildError`] when `address` is no `http` or `https` URL or the client cannot be made.
    pub fn new(address: &str, trust: &Trust, timeouts: Timeouts) -> Result<Self, BuildError> {
        let base = client::parse_address(address)?;
        let streaming = Client::streaming(trust, timeouts.connect, SILENCE)?;
        Ok(Self { client: Client::new(trust, timeouts)?, streaming, base })
    }

    /// Calls `path_and_query` (starting with `/`), with `body` as JSON if there is one.
    ///
    /// # Errors
    /// [`NoAnswer`] when nobody answered in time; every answer, refusals included, is an [`ApiAnswer`].
    pub async fn call(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Bytes>,
        headers: &[(&str, String)],
    ) -> Result<ApiAnswer, NoAnswer> {
        self.call_within(None, method, path_and_query, body, headers).await
    }

    /// The same, with another time for the whole of it than [`Timeouts::total`].
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn call_within(
        &self,
        within: Option<Duration>,
        method: Method,
        path_and_query: &str,
        body: Option<Bytes>,
        headers: &[(&str, String)],
    ) -> Result<ApiAnswer, NoAnswer> {
        let json = ("content-type", "application/json".to_owned());
        let described = body.is_some().then_some(json);
        let headers: Vec<_> = described.into_iter().chain(headers.iter().cloned()).collect();
        let mut request = self.request(method, path_and_query, body.map(Body::from), &headers)?;
        if let Some(total) = within {
            *request.timeout_mut() = Some(total);
        }
        let mut answer = self.client.send(request).await?;
        let body = client::read_body(&mut answer, ANSWER_BYTES, Read::All).await?;
        Ok(ApiAnswer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
    }

    /// Calls `path_and_query` with a body that is sent while it comes from `body`, for an answer that is read while it
    /// comes. Dropping the answer ends the call.
    ///
    /// # Errors
    /// As [`ApiClient::call`].
    pub async fn open(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<mpsc::Receiver<Bytes>>,
        headers: &[(&str, String)],
    ) -> Result<ApiStream, NoAnswer> {
        let stream = |body| {
            unfold(body, async |mut body: mpsc::Receiver<Bytes>| {
                let bytes = body.recv().await?;
                Some((Ok::<_, Infallible>(bytes), body))
            })
        };
        let body = body.map(|body| Body::wrap_stream(stream(body)));
        let answer = self.streaming.send(self.request(method, path_and_query, body, headers)?).await?;
        Ok(ApiStream { status: answer.status().as_u16(), headers: answer.headers().clone(), answer })
    }

    fn request(
        &self,
        method: Method,
        path_and_query: &str,
        body: Option<Body>,
        headers: &[(&str, String)],
    ) -> Result<Request, NoAnswer> {
        let unfit = || NoAnswer::because(format!("{path_and_query} cannot be called"));
        let mut request = Request::new(method, self.address(path_and_query).ok_or_else(unfit)?);
        *request.body_mut() = body;
        for (name, value) in headers {
            let unfit = || NoAnswer::because(format!("the value of header {name} cannot be sent"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(|_| unfit())?);
        }
        Ok(request)
    }

    /// The base with its own path before `path_and_query`.
    fn address(&self, path_and_query: &str) -> Option<Url> {
        let (path, query) =
            path_and_query.split_once('?').map_or((path_and_query, None), |(p, q)| (p, Some(q)));
        if !path.starts_with('/') {
            return None;
        }
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url.set_fragment(None);
        Some(url)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::test_server::{Server, reply};

    async fn call(server: &Server, path: &str) -> Result<ApiAnswer, NoAnswer> {
        let client = ApiClient::new(&server.url(""), &Trust::default(), Timeouts::default()).unwrap();
        client.call(Method::GET, path, None, &[]).await
    }

    #[tokio::test]
    async fn refusals_are_answers() {
        let server =
            Server::answering(reply(404, &[("content-type", "application/problem+json")], "{}")).await;
        let answer = call(&server, "/v1/orders?reference=A%201").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (404, &b"{}"[..]));
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert!(server.request().await.starts_with("GET /v1/orders?reference=A%201 HTTP/1.1\r\n"));
    }

    #[tokio::test]
    async fn a_body_goes_out_as_it_is() {
        let server = Server::answering(reply(201, &[], "")).await;
        let client =
            ApiClient::new(&server.url("/behind/a/proxy/"), &Trust::default(), Timeouts::default()).unwrap();
        let body = Bytes::from_static(b"{\"total\": 19.90}");
        client
            .call(Method::POST, "/v1/orders", Some(body), &[("prefer", "wait=1".to_owned())])
            .await
            .unwrap();
        let request = server.request().await;
        assert!(request.starts_with("POST /behind/a/proxy/v1/orders HTTP/1.1\r\n"), "{request}");
        assert!(
            request.contains("prefer: wait=1\r\n") && request.ends_with("{\"total\": 19.90}"),
            "{request}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_none() {
        let server = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nonly".to_owned()).await;
        let error = call(&server, "/v1/orders").await.unwrap_err();
        assert!(error.why.starts_with("the exchange broke off"), "{}", error.why);
    }

    #[tokio::test]
    async fn a_body_goes_out_while_it_comes_and_an_answer_is_read_while_it_comes() {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nonly".to_owned();
        let server = Server::answering(answer).await;
        let client = ApiClient::new(&server.url(""), &Trust::default(), Timeouts::default()).unwrap();
        let (lines, body) = mpsc::channel(1);
        // With a length the server knows when it has everything.
        let headers = [("content-type", "application/x-ndjson"), ("content-length", "6")];
        let headers = headers.map(|(name, value)| (name, value.to_owned()));
        let opening = client.open(Method::POST, "/v1/orders/bulk", Some(body), &headers);
        let sending = async {
            for line in ["{}\n", "[]\n"] {
                lines.send(Bytes::from_static(line.as_bytes())).await.unwrap();
            }
            drop(lines);
        };
        let (opened, ()) = tokio::join!(opening, sending);
        let mut stream = opened.unwrap();
        assert_eq!((stream.status, stream.chunk().await.unwrap().as_deref()), (200, Some(&b"only"[..])));
        let broken = stream.chunk().await.unwrap_err();
        assert!(broken.why.starts_with("the exchange broke off"), "{}", broken.why);
        let request = server.request().await;
        assert!(request.contains("content-type: application/x-ndjson\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{}\n[]\n"), "{request}");
    }

    #[test]
    fn a_path_must_be_absolute() {
        let client = ApiClient::new("http://127.0.0.1:1", &Trust::default(), Timeouts::default()).unwrap();
        assert!(client.address("@elsewhere/").is_none());
        assert_eq!(client.address("//elsewhere/x").unwrap().host_str(), Some("127.0.0.1"));
    }

    #[tokio::test]
    async fn a_call_may_have_a_time_of_its_own() {
        let silent = Server::silent().await;
        let timeouts = Timeouts { total: Duration::from_secs(3_600), ..Timeouts::default() };
        let client = ApiClient::new(&silent.url(""), &Trust::default(), timeouts).unwrap();
        let within = Some(Duration::from_millis(1));
        let NoAnswer { why, .. } =
            client.call_within(within, Method::POST, "/v1/syncs", None, &[]).await.unwrap_err();
        assert!(why.contains("in time"), "{why}");
    }
}
