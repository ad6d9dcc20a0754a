//! Gets one document at a fixed address, such as the published keys of an issuer of tokens.

use crate::{
    BuildError, NoAnswer, Reach, Timeouts, Trust,
    client::{self, Client, Read},
    guard,
};
use reqwest::{
    Method, StatusCode, Url,
    header::{ACCEPT, HeaderValue},
};

/// Gets the document at one address. Clones share the connections.
#[derive(Clone, Debug)]
pub struct DocumentClient {
    client: Client,
    url: Url,
    bytes_max: usize,
}

impl DocumentClient {
    /// For the document at `address`, which may be `bytes_max` long. Where only public addresses are in `reach`, every
    /// connection goes to one.
    ///
    /// # Errors
    /// [`BuildError`] when `address` is no `http` or `https` URL, or out of reach (see [`crate::check`]), or the client cannot be made.
    pub fn new(
        address: &str,
        reach: Reach,
        bytes_max: usize,
        trust: &Trust,
        timeouts: Timeouts,
    ) -> Result<Self, BuildError> {
        if reach == Reach::Public {
            guard::check(address, reach)?;
        }
        let client = Client::reaching(reach, trust, timeouts)?;
        Ok(Self { client, url: client::parse_address(address)?, bytes_max })
    }

    /// The document as it is now.
    ///
    /// # Errors
    /// [`NoAnswer`] when nobody answered 200 in time, or with more than is taken; the address is not in it.
    pub async fn get(&self) -> Result<Vec<u8>, NoAnswer> {
        let request = self.client.http().request(Method::GET, self.url.clone());
        let request = request.header(ACCEPT, HeaderValue::from_static("application/json")).build();
        let request = request.map_err(|_| NoAnswer::because("the address cannot be called".to_owned()))?;
        let mut answer = self.client.send(request).await?;
        if answer.status() != StatusCode::OK {
            return Err(NoAnswer::because(format!("the answer was {}", answer.status().as_u16())));
        }
        Ok(client::read_body(&mut answer, self.bytes_max, Read::All).await?.to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::test_server::{Server, reply};
    use std::time::Duration;

    async fn get(answer: String) -> Result<Vec<u8>, NoAnswer> {
        let server = Server::answering(answer).await;
        let url = server.url("/keys?of=us");
        let got = DocumentClient::new(&url, Reach::Anywhere, 16, &Trust::default(), Timeouts::default())
            .unwrap()
            .get()
            .await;
        assert!(server.request().await.starts_with("GET /keys?of=us HTTP/1.1\r\n"));
        got
    }

    #[tokio::test]
    async fn the_document_is_what_was_sent() {
        assert_eq!(get(reply(200, &[], "{\"keys\": []}")).await, Ok(b"{\"keys\": []}".to_vec()));
    }

    #[tokio::test]
    async fn anything_but_a_short_success_is_no_document() {
        for (answer, why) in [
            (reply(404, &[], "{}"), "the answer was 404"),
            (reply(204, &[], ""), "the answer was 204"),
            (reply(302, &[("location", "https://elsewhere.example/")], ""), "the answer was 302"),
            (reply(200, &[], "12345678901234567"), "the answer is longer than 16 bytes"),
        ] {
            assert_eq!(get(answer).await, Err(NoAnswer::because(why.to_owned())));
        }
    }

    #[tokio::test]
    async fn what_is_inside_is_not_reached_from_outside() {
        let server = Server::silent().await;
        let inside = server.url("/").replace("http://", "https://");
        for refused in [server.url("/"), inside.clone()] {
            let built =
                DocumentClient::new(&refused, Reach::Public, 16, &Trust::default(), Timeouts::default());
            assert!(matches!(built, Err(BuildError::Forbidden(_))), "{refused}");
        }
        let named = inside.replace("127.0.0.1", "localhost");
        let client =
            DocumentClient::new(&named, Reach::Public, 16, &Trust::default(), Timeouts::default()).unwrap();
        let why = client.get().await.unwrap_err().why;
        assert!(why.contains("not public"), "{why}");
        assert_eq!(server.connections(), 0);
    }

    #[tokio::test]
    async fn silence_ends() {
        let server = Server::silent().await;
        let timeouts = Timeouts { total: Duration::from_millis(50), ..Timeouts::default() };
        let got = DocumentClient::new(
            &server.url("/secret-path"),
            Reach::Anywhere,
            16,
            &Trust::default(),
            timeouts,
        )
        .unwrap()
        .get()
        .await;
        let why = got.unwrap_err().why;
        assert!(why.starts_with("no answer in time") && !why.contains("secret-path"), "{why}");
    }
}
