//! Sending spans to an OpenTelemetry collector: OTLP over HTTP, as protobuf.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{
    Method, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};

use crate::{
    BuildError, NoAnswer, Timeouts, Trust,
    client::{self, Client, Read},
    retry_after,
};

/// The longest answer that is read; what a collector says is short.
const ANSWER_BYTES: usize = 16 * 1024;

/// What a collector answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorAnswer {
    /// The status, 200–599.
    pub status: u16,
    /// The wait it asked for with `Retry-After`, 1 s to 24 h.
    pub retry_after: Option<Duration>,
    /// The start of its body.
    pub body: Bytes,
}

/// A client for one collector.
#[derive(Clone, Debug)]
pub struct CollectorClient {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

impl CollectorClient {
    /// A client that sends spans to `/v1/traces` below `endpoint` (OpenTelemetry, OTLP exporter specification: the
    /// endpoint is a base address), with `headers` besides.
    ///
    /// # Errors
    /// [`BuildError`] when `endpoint` is no `http` or `https` URL or the client cannot be made.
    pub fn new(
        endpoint: &str,
        headers: HeaderMap,
        trust: &Trust,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        let mut url = client::parse_address(endpoint)?;
        url.set_path(&format!("{}/v1/traces", url.path().trim_end_matches('/')));
        Ok(Self { client: Client::new(trust, timeouts)?, url, headers })
    }

    /// Sends an `ExportTraceServiceRequest` once.
    ///
    /// # Errors
    /// [`NoAnswer`] when nobody answered in time; every answer is a [`CollectorAnswer`].
    pub async fn send(&self, body: Vec<u8>) -> Result<CollectorAnswer, NoAnswer> {
        let mut request = self
            .client
            .http()
            .request(Method::POST, self.url.clone())
            .headers(self.headers.clone())
            .body(body)
            .build()
            .map_err(|_| NoAnswer::because("the request could not be made".to_owned()))?;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let mut answer = self.client.send(request).await?;
        let body = client::read_body(&mut answer, ANSWER_BYTES, Read::Start).await.unwrap_or_default();
        Ok(CollectorAnswer {
            status: answer.status().as_u16(),
            retry_after: retry_after::from_headers(answer.headers()),
            body,
        })
    }
}

/// Reads `name=value` pairs apart by commas, values percent-encoded, as `OTEL_EXPORTER_OTLP_HEADERS` has them; `None` when
/// it is no such list. The values are marked as secret.
pub fn collector_headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(&percent_decoded(value.trim())?).ok()?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Some(headers)
}

fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut decoded = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        decoded.push(u8::from_str_radix(byte, 16).ok()?);
        decoded.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::test_server::{Server, reply};

    #[tokio::test]
    async fn spans_go_below_the_endpoint_with_type_and_headers() {
        for (endpoint, path) in [("", "/v1/traces"), ("/", "/v1/traces"), ("/otlp/", "/otlp/v1/traces")] {
            let server = Server::answering(reply(503, &[("retry-after", "7")], "busy")).await;
            let headers = collector_headers("x-api-key=a%20b%3D,,x-other = c").unwrap();
            let client =
                CollectorClient::new(&server.url(endpoint), headers, &Trust::default(), Timeouts::default())
                    .unwrap();
            let answer = client.send(b"spans".to_vec()).await.unwrap();
            assert_eq!((answer.status, answer.retry_after), (503, Some(Duration::from_secs(7))));
            assert_eq!(&answer.body[..], b"busy");
            let request = server.request().await.to_lowercase();
            assert!(request.starts_with(&format!("post {path} http/1.1\r\n")), "{request}");
            assert_eq!(request.matches("content-type: application/x-protobuf\r\n").count(), 1, "{request}");
            assert!(request.contains("\r\nx-api-key: a b=\r\n"), "{request}");
            assert!(request.contains("\r\nx-other: c\r\n"), "{request}");
        }
    }

    #[test]
    fn what_is_no_list_of_headers_is_refused_and_values_are_never_shown() {
        for text in ["x", "x y=1", "=1", "x=%2", "x=%zz", "x=a%0db", "x=%+1"] {
            assert!(collector_headers(text).is_none(), "{text}");
        }
        assert!(collector_headers("").unwrap().is_empty());
        assert!(!format!("{:?}", collector_headers("x=hunter2").unwrap()).contains("hunter2"));
    }
}
