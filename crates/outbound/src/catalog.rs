//! Asking a product catalogue how many of a product there are.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url, header::ACCEPT, header::HeaderValue};
use serde_json::Value;

use crate::{
    BuildError, NoAnswer, Timeouts, Trust,
    client::{self, Client, Read},
    retry_after,
};

/// Longest answer that is read.
const ANSWER_BYTES: usize = 64 * 1024;

/// Why there is no answer that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogTrouble {
    /// In a few words, without the address.
    pub why: String,
    /// Whether it may be asked again at once.
    pub again: bool,
    /// The wait that it asked for, 1 s to 24 h.
    pub retry_after: Option<Duration>,
}

impl CatalogTrouble {
    fn useless(why: impl Into<String>) -> Self {
        Self { why: why.into(), again: false, retry_after: None }
    }
}

impl From<NoAnswer> for CatalogTrouble {
    fn from(NoAnswer { why, untrusted }: NoAnswer) -> Self {
        // A certificate does not get better by looking at it again.
        Self { why, again: untrusted.is_none(), retry_after: None }
    }
}

/// A client for one catalogue.
#[derive(Clone, Debug)]
pub struct CatalogClient {
    client: Client,
    url: Url,
}

impl CatalogClient {
    /// A client of the catalogue at `url`, below which its products lie (`http` or `https`; a name and password in it become
    /// basic authentication).
    ///
    /// # Errors
    /// [`BuildError`] when `url` is no such address or the client cannot be made.
    pub fn new(url: &str, trust: &Trust, timeouts: Timeouts) -> Result<Self, BuildError> {
        Ok(Self { url: client::parse_address(url)?, client: Client::new(trust, timeouts)? })
    }

    /// Where it is, without a name or password.
    #[must_use]
    pub fn address(&self) -> String {
        let mut shown = self.url.clone();
        let nameless = shown.set_username("").is_ok() && shown.set_password(None).is_ok();
        shown.set_query(None);
        if nameless { shown.to_string() } else { String::new() }
    }

    /// How many of the product there are: `GET /products/{id}`, once. `None` when there is no such product.
    ///
    /// # Errors
    /// No answer, or one that says nothing about the product.
    pub async fn quantity(&self, product_id: &str) -> Result<Option<u64>, CatalogTrouble> {
        let mut url = self.url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push("products").push(product_id);
        }
        let request = self.client.http().request(Method::GET, url);
        let request = request.header(ACCEPT, HeaderValue::from_static("application/json")).build();
        let request = request.map_err(|_| CatalogTrouble::useless("the address cannot be called"))?;
        let mut answer = self.client.send(request).await?;
        let (status, retry_after) = (answer.status(), retry_after::from_headers(answer.headers()));
        match status {
            StatusCode::OK => {
                let body = client::read_body(&mut answer, ANSWER_BYTES, Read::All).await?;
                read(&body, product_id).map(Some)
            }
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            _ => {
                let comes_again = matches!(status.as_u16(), 408 | 425 | 429 | 500..=599);
                // One that says when is not asked before.
                let again = comes_again && retry_after.is_none();
                let why = format!("the answer was {}", status.as_u16());
                Err(CatalogTrouble { why, again, retry_after })
            }
        }
    }
}

/// The quantity in an answer `{product_id, quantity}`.
fn read(body: &[u8], product_id: &str) -> Result<u64, CatalogTrouble> {
    let no = || CatalogTrouble::useless("the answer is not {product_id, quantity}");
    let answer: Value = serde_json::from_slice(body).map_err(|_| no())?;
    let about = answer.get("product_id").and_then(Value::as_str).ok_or_else(no)?;
    if !about.eq_ignore_ascii_case(product_id) {
        return Err(CatalogTrouble::useless("the answer is about another product"));
    }
    answer.get("quantity").and_then(Value::as_u64).ok_or_else(no)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::test_server::{Server, reply};

    const ID: &str = "16fd2706-8baf-433b-82eb-8c7fada847da";

    async fn ask(answer: String) -> Result<Option<u64>, CatalogTrouble> {
        let server = Server::answering(answer).await;
        let client =
            CatalogClient::new(&server.url("/shop/"), &Trust::default(), Timeouts::default()).unwrap();
        let asked = client.quantity(ID).await;
        let request = server.request().await;
        assert!(request.starts_with(&format!("GET /shop/products/{ID} HTTP/1.1\r\n")), "{request}");
        asked
    }

    #[tokio::test]
    async fn an_answer_says_how_many_there_are() {
        let answer = |quantity: &str| {
            reply(200, &[], &format!(r#"{{"product_id":"{}","quantity":{quantity}}}"#, ID.to_uppercase()))
        };
        assert_eq!(ask(answer("7")).await, Ok(Some(7)));
        assert_eq!(ask(answer("0")).await, Ok(Some(0)));
        assert_eq!(ask(reply(404, &[], "")).await, Ok(None));
        assert_eq!(ask(reply(410, &[], "gone")).await, Ok(None));
    }

    #[tokio::test]
    async fn what_says_nothing_about_the_product_is_no_answer() {
        for body in [
            "",
            "<html>",
            "[]",
            "{}",
            r#"{"product_id":"16fd2706-8baf-433b-82eb-8c7fada847da"}"#,
            r#"{"product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":"7"}"#,
            r#"{"product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":-7}"#,
            r#"{"product_id":"16fd2706-8baf-433b-82eb-8c7fada847da","quantity":1.5}"#,
            r#"{"product_id":"00000000-0000-0000-0000-000000000000","quantity":7}"#,
            r#"{"quantity":7}"#,
        ] {
            let trouble = ask(reply(200, &[], body)).await.unwrap_err();
            assert!(!trouble.again, "{body}: {trouble:?}");
        }
        let endless = ask(reply(200, &[], &" ".repeat(ANSWER_BYTES + 1))).await.unwrap_err();
        assert!(endless.why.contains("longer than"), "{endless:?}");
    }

    #[tokio::test]
    async fn it_is_asked_again_when_that_may_help_and_nobody_said_when() {
        for (status, again) in
            [(500, true), (503, true), (429, true), (408, true), (400, false), (401, false), (302, false)]
        {
            let trouble = ask(reply(status, &[], "")).await.unwrap_err();
            assert_eq!((trouble.again, trouble.retry_after), (again, None), "{status}");
        }
        let told = ask(reply(503, &[("retry-after", "7")], "")).await.unwrap_err();
        assert_eq!((told.again, told.retry_after), (false, Some(Duration::from_secs(7))));
    }

    #[tokio::test]
    async fn silence_ends_and_may_be_broken_by_asking_again() {
        let server = Server::silent().await;
        let timeouts = Timeouts { total: Duration::from_millis(50), ..Timeouts::default() };
        let client = CatalogClient::new(&server.url("/"), &Trust::default(), timeouts).unwrap();
        let trouble = client.quantity(ID).await.unwrap_err();
        assert!(trouble.again && trouble.why.starts_with("no answer in time"), "{trouble:?}");
    }

    #[test]
    fn the_address_is_shown_without_its_password() {
        let url = "https://shop:secret@catalog.example/v2?key=secret";
        let client = CatalogClient::new(url, &Trust::default(), Timeouts::default()).unwrap();
        assert_eq!(client.address(), "https://catalog.example/v2");
    }
}
