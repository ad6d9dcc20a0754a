//! Whether those whom somebody registers want to be called: an endpoint is sent a word, and nothing else before it has said it
//! back. Else whoever has a key could have this server call strangers, again and again.

use super::body::Told;
use super::endpoint::{Dialect, Endpoint, EndpointAction, EndpointChange, EndpointId};
use super::parcel;
use super::sending::Answered;
use crate::app::App;
use crate::error::{Error, Fault, Rejection};
use crate::ids::{EventId, TenantId};
use serde_json::Value;
use std::time::Duration;

/// Longest wait for the word: whoever enables the endpoint waits with it.
const TIMEOUT: Duration = Duration::from_secs(10);

impl App {
    /// Whether endpoints of our own dialect have to be proven.
    pub(super) fn challenges(&self) -> bool {
        self.deliverer().is_some_and(|deliverer| deliverer.challenges())
    }

    /// Has an endpoint sent to, again or for the first time: one that is not proven yet is challenged, and what was paused or
    /// disabled goes on.
    ///
    /// # Errors
    /// [`Rejection::EndpointUnknown`], [`Rejection::EndpointUnproven`], [`Rejection::EndpointChanged`] if it is elsewhere by now;
    /// faults of storage.
    pub async fn enable_endpoint(
        &self,
        tenant: &TenantId,
        endpoint_id: EndpointId,
    ) -> Result<Endpoint, Error> {
        let found = self.storage.endpoint(tenant, endpoint_id).await?.ok_or(Rejection::EndpointUnknown)?;
        let action = if found.is_unproven() {
            self.challenge(&found).await?;
            EndpointAction::Prove { url: found.url, start: self.journal_end().await? }
        } else {
            EndpointAction::Enable
        };
        self.change_endpoint(tenant, endpoint_id, action).await
    }

    /// Changes what an endpoint says. Where endpoints have to be proven, one that is moves to no address that is not.
    ///
    /// # Errors
    /// As [`App::enable_endpoint`].
    pub async fn edit_endpoint(
        &self,
        tenant: &TenantId,
        endpoint_id: EndpointId,
        change: EndpointChange,
    ) -> Result<Endpoint, Error> {
        if let Some(url) = change.url.clone().filter(|_| self.challenges()) {
            let found =
                self.storage.endpoint(tenant, endpoint_id).await?.ok_or(Rejection::EndpointUnknown)?;
            if found.dialect == Dialect::V1 && url != found.url && !found.is_unproven() {
                self.challenge(&Endpoint { url, ..found }).await?;
            }
        }
        self.change_endpoint(tenant, endpoint_id, EndpointAction::Change(change)).await
    }

    async fn challenge(&self, endpoint: &Endpoint) -> Result<(), Error> {
        let deliverer =
            self.deliverer().ok_or_else(|| Fault::internal("this process has no way to deliver webhooks"))?;
        let at = self.clock.now();
        let word = self.ids.uuid_v4().simple().to_string();
        let event_id = EventId(self.ids.uuid_v7(at));
        let told = Told::Challenge { event_id, at, word: word.clone() };
        let mut sending = parcel::sending(self, endpoint, &told, at)?;
        sending.timeout = sending.timeout.min(TIMEOUT);
        let answered = deliverer.deliver(sending).await;
        lacks(&answered, &word).map_or(Ok(()), |lack| Err(Rejection::EndpointUnproven(lack).into()))
    }
}

/// What an answer to a challenge lacks, if anything. The word comes back alone, or as the member `challenge` of a JSON object.
fn lacks(answered: &Answered, word: &str) -> Option<String> {
    let Some(status) = answered.status else {
        return Some(format!("gave no answer: {}", answered.why.as_deref().unwrap_or("nobody knows why")));
    };
    if !answered.is_taken() {
        return Some(format!("answered {status}"));
    }
    let body = String::from_utf8_lossy(&answered.body);
    let said = || serde_json::from_str::<Value>(&body).ok()?["challenge"].as_str().map(str::to_owned);
    let is_it = body.trim() == word || said().as_deref() == Some(word);
    (!is_it).then(|| format!("answered {status} without the challenge"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lack(status: Option<u16>, body: &str) -> Option<String> {
        lacks(&Answered { status, body: body.as_bytes().to_vec(), ..Answered::default() }, "abc")
    }

    #[test]
    fn the_word_comes_back_alone_or_in_an_object() {
        for body in ["abc", "abc\n", r#"{"challenge":"abc"}"#, r#"{"challenge":"abc","more":1}"#] {
            assert_eq!(lack(Some(200), body), None, "{body}");
        }
        assert_eq!(lack(Some(204), "abc"), None);
    }

    #[test]
    fn anything_else_proves_nothing() {
        let without = Some("answered 200 without the challenge".to_owned());
        for body in ["", "ok", "abcd", "xabc", r#"{"challenge":"abcd"}"#, r#"{"other":"abc"}"#, r#"["abc"]"#]
        {
            assert_eq!(lack(Some(200), body), without, "{body}");
        }
        assert_eq!(lack(Some(302), "abc"), Some("answered 302".to_owned()));
        assert_eq!(lack(Some(500), "abc"), Some("answered 500".to_owned()));
        assert_eq!(lack(None, "abc"), Some("gave no answer: nobody knows why".to_owned()));
    }
}
