//! Posting an order to the user's own URL, which does the work.

use std::time::Duration;

use reqwest::{
    Method, StatusCode, Url,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};

use crate::{
    BuildError, NoAnswer, Timeouts, Trust,
    client::{self, Client, Read},
    retry_after,
};

/// How much of an answer is read: enough for the reason of a refusal.
const ANSWER_BYTES: usize = 16 * 1024;

/// What came of a post.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PostOutcome {
    /// The other side answered.
    Answered {
        /// The status, 200–599.
        status: u16,
        /// The wait it asked for with `Retry-After`, 1 s to 24 h.
        retry_after: Option<Duration>,
        /// The first 16 KiB of the body as text; bytes that are no UTF-8 are replaced. Data from outside: escape it
        /// wherever it is shown.
        body_start: String,
    },
    /// No answer came; the work may or may not have been done.
    NoAnswer {
        /// The cause, without the address.
        why: String,
    },
}

/// What an outcome means for the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// Try again, not before `after` if the other side asked for a wait.
    Retry {
        /// 1 s to 24 h.
        after: Option<Duration>,
    },
    /// Hopeless as it stands: an operator must look.
    Park,
}

impl PostOutcome {
    /// The rule: 2xx is done; 408, 425, 429, 5xx and no answer are tried again; every other answer parks. A redirect
    /// is such an answer: the address in the settings is wrong, and orders are sent nowhere else.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match *self {
            Self::NoAnswer { .. } => Verdict::Retry { after: None },
            Self::Answered { status, retry_after, .. } => match status {
                200..=299 => Verdict::Done,
                408 | 425 | 429 | 500..=599 => Verdict::Retry { after: retry_after },
                _ => Verdict::Park,
            },
        }
    }

    /// One line for the order's history, such as `503 Service Unavailable: out of stock`; at most `limit` characters
    /// of the body, its line breaks as spaces.
    #[must_use]
    pub fn summary(&self, limit: usize) -> String {
        match self {
            Self::NoAnswer { why } => why.clone(),
            Self::Answered { status, body_start, .. } => {
                let name = StatusCode::from_u16(*status).ok().and_then(|status| status.canonical_reason());
                let head = name.map_or_else(|| status.to_string(), |name| format!("{status} {name}"));
                let mut body: String = body_start.split_whitespace().collect::<Vec<_>>().join(" ");
                if body.is_empty() {
                    return head;
                }
                if let Some((end, _)) = body.char_indices().nth(limit) {
                    body.truncate(end);
                    body.push('…');
                }
                format!("{head}: {body}")
            }
        }
    }
}

/// A client for one address that takes orders.
#[derive(Clone, Debug)]
pub struct ProcessorClient {
    client: Client,
    url: Url,
}

impl ProcessorClient {
    /// A client that posts to `url` (`http` or `https`; a name and password in it become basic authentication).
    ///
    /// # Errors
    /// [`BuildError`] when `url` is no such address or the client cannot be made.
    pub fn new(url: &str, trust: &Trust, timeouts: Timeouts) -> Result<Self, BuildError> {
        Ok(Self { url: client::parse_address(url)?, client: Client::new(trust, timeouts)? })
    }

    /// Posts `body` (JSON) once, with `headers` besides. Never fails: a fault of ours (a header that cannot be sent)
    /// is no answer either.
    pub async fn post(&self, body: Vec<u8>, headers: &[(&str, String)]) -> PostOutcome {
        match self.try_post(body, headers).await {
            Ok(outcome) => outcome,
            Err(NoAnswer { why, .. }) => PostOutcome::NoAnswer { why },
        }
    }

    async fn try_post(&self, body: Vec<u8>, headers: &[(&str, String)]) -> Result<PostOutcome, NoAnswer> {
        let mut request = self
            .client
            .http()
            .request(Method::POST, self.url.clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body)
            .build()
            .map_err(|_| NoAnswer::because("the request could not be made".to_owned()))?;
        for (name, value) in headers {
            let unfit = || NoAnswer::because(format!("the value of header {name} cannot be sent"));
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unfit())?;
            let value = HeaderValue::from_str(value).map_err(|_| unfit())?;
            request.headers_mut().insert(name, value);
        }
        let mut answer = self.client.send(request).await?;
        // The status is the answer; a body that then breaks off or stalls takes nothing away from it.
        let body = client::read_body(&mut answer, ANSWER_BYTES, Read::Start).await.unwrap_or_default();
        Ok(PostOutcome::Answered {
            status: answer.status().as_u16(),
            retry_after: retry_after::from_headers(answer.headers()),
            body_start: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;
    use crate::test_server::{Server, reply};

    fn answered(status: u16, retry_after: Option<u64>) -> PostOutcome {
        let retry_after = retry_after.map(Duration::from_secs);
        PostOutcome::Answered { status, retry_after, body_start: String::new() }
    }

    async fn post_to(server: &Server) -> PostOutcome {
        let client =
            ProcessorClient::new(&server.url("/orders"), &Trust::default(), Timeouts::default()).unwrap();
        client.post(b"{}".to_vec(), &[("Idempotency-Key", "e-1".to_owned())]).await
    }

    #[test]
    fn the_rule() {
        let retry = |after: Option<u64>| Verdict::Retry { after: after.map(Duration::from_secs) };
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(answered(status, None).verdict(), Verdict::Done, "{status}");
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(answered(status, None).verdict(), retry(None), "{status}");
            assert_eq!(answered(status, Some(9)).verdict(), retry(Some(9)), "{status}");
        }
        for status in [301, 302, 307, 308, 400, 401, 403, 404, 409, 410, 413, 422, 451] {
            assert_eq!(answered(status, Some(9)).verdict(), Verdict::Park, "{status}");
        }
        assert_eq!(PostOutcome::NoAnswer { why: String::new() }.verdict(), retry(None));
    }

    #[test]
    fn a_summary_is_one_bounded_line() {
        let body = |text: &str| PostOutcome::Answered {
            status: 503,
            retry_after: None,
            body_start: text.to_owned(),
        };
        assert_eq!(body("").summary(10), "503 Service Unavailable");
        assert_eq!(body(" out\nof \t stock ").summary(20), "503 Service Unavailable: out of stock");
        assert_eq!(body("ünïcödé text").summary(3), "503 Service Unavailable: ünï…");
    }

    #[tokio::test]
    async fn the_request_carries_body_type_and_headers() {
        let server = Server::answering(reply(200, &[], "ok")).await;
        let client =
            ProcessorClient::new(&server.url("/orders?x=1"), &Trust::default(), Timeouts::default()).unwrap();
        let outcome = client.post(br#"{"a":1}"#.to_vec(), &[("Idempotency-Key", "e-1".to_owned())]).await;
        assert_eq!(
            outcome,
            PostOutcome::Answered { status: 200, retry_after: None, body_start: "ok".to_owned() }
        );
        let request = server.request().await.to_lowercase();
        assert!(request.starts_with("post /orders?x=1 http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nidempotency-key: e-1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-type: application/json\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\n{\"a\":1}"), "{request}");
    }

    #[tokio::test]
    async fn a_wait_that_is_asked_for_is_reported() {
        let server = Server::answering(reply(429, &[("retry-after", "30")], "slow down")).await;
        let outcome = post_to(&server).await;
        assert_eq!(outcome.verdict(), Verdict::Retry { after: Some(Duration::from_secs(30)) });
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let elsewhere = Server::answering(reply(200, &[], "")).await;
        let server = Server::answering(reply(302, &[("location", &elsewhere.url("/"))], "")).await;
        let outcome = post_to(&server).await;
        assert_eq!(outcome.verdict(), Verdict::Park);
        assert_eq!(elsewhere.connections(), 0);
    }

    #[tokio::test]
    async fn a_huge_body_is_cut() {
        let server = Server::answering(reply(400, &[], &"x".repeat(1_000_000))).await;
        let PostOutcome::Answered { status, body_start, .. } = post_to(&server).await else {
            panic!("no answer")
        };
        assert_eq!((status, body_start.len()), (400, ANSWER_BYTES));
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_leaves_the_status() {
        let server =
            Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nonly this".to_owned()).await;
        assert_eq!(post_to(&server).await.verdict(), Verdict::Done);
    }

    #[tokio::test]
    async fn a_server_that_never_answers_times_out() {
        let server = Server::silent().await;
        let timeouts = Timeouts { total: Duration::from_millis(20), ..Timeouts::default() };
        let client = ProcessorClient::new(&server.url("/"), &Trust::default(), timeouts).unwrap();
        let PostOutcome::NoAnswer { why } = client.post(Vec::new(), &[]).await else { panic!("answered") };
        assert!(why.starts_with("no answer in time"), "{why}");
    }

    #[tokio::test]
    async fn nobody_there_is_no_answer_and_names_no_address() {
        // A port that was just free: its listener is closed before anybody calls.
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{address}/secret-path");
        let client = ProcessorClient::new(&url, &Trust::default(), Timeouts::default()).unwrap();
        let PostOutcome::NoAnswer { why } = client.post(Vec::new(), &[]).await else { panic!("answered") };
        assert!(
            why.contains("refused") && !why.contains("secret-path") && !why.contains("127.0.0.1"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn a_header_with_a_line_break_is_not_sent() {
        let server = Server::silent().await;
        let client = ProcessorClient::new(&server.url("/"), &Trust::default(), Timeouts::default()).unwrap();
        let outcome = client.post(Vec::new(), &[("Idempotency-Key", "a\r\nX: y".to_owned())]).await;
        assert!(matches!(outcome, PostOutcome::NoAnswer { .. }));
        assert_eq!(server.connections(), 0);
    }

    #[test]
    fn only_http_addresses_pass() {
        for url in ["ftp://host/", "file:///etc/passwd", "host:80", "", "http://"] {
            let error = ProcessorClient::new(url, &Trust::default(), Timeouts::default()).unwrap_err();
            assert!(matches!(error, BuildError::Address), "{url}");
        }
    }
}
