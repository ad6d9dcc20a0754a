//! A client for our own HTTP API.

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    BuildError, NoAnswer, Timeouts,
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

/// A client for the API at one address.
#[derive(Clone, Debug)]
pub struct ApiClient {
    client: Client,
    base: Url,
}

impl ApiClient {
    /// A client for the API at `address`, such as `http://127.0.0.1:3000`; a path in it is kept as a prefix.
    ///
    /// # Errors
    /// [`BuildError`] when `address` is no `http` or `https` URL or the client cannot be made.
    pub fn new(address: &str, timeouts: Timeouts) -> Result<Self, BuildError> {
        let base = client::parse_address(address)?;
        Ok(Self { client: Client::new(timeouts)?, base })
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
        let unfit = || NoAnswer { why: format!("{path_and_query} cannot be called") };
        let mut request = self.client.http().request(method, self.address(path_and_query).ok_or_else(unfit)?);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        }
        let mut request = request.build().map_err(|_| unfit())?;
        for (name, value) in headers {
            let unfit = || NoAnswer { why: format!("the value of header {name} cannot be sent") };
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            request.headers_mut().insert(name, HeaderValue::from_str(value).map_err(|_| unfit())?);
        }
        let mut answer = self.client.send(request).await?;
        let body = client::read_body(&mut answer, ANSWER_BYTES, Read::All).await?;
        Ok(ApiAnswer { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
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
        let client = ApiClient::new(&server.url(""), Timeouts::default()).unwrap();
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
        let client = ApiClient::new(&server.url("/behind/a/proxy/"), Timeouts::default()).unwrap();
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

    #[test]
    fn a_path_must_be_absolute() {
        let client = ApiClient::new("http://127.0.0.1:1", Timeouts::default()).unwrap();
        assert!(client.address("@elsewhere/").is_none());
        assert_eq!(client.address("//elsewhere/x").unwrap().host_str(), Some("127.0.0.1"));
    }
}
