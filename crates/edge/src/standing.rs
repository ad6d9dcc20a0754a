//! Whether a caller may still do what it was let in for: asked again by whatever goes on after the gate was passed.

use crate::access::{Caller, Gate, Need};
use crate::refusal::{Refusal, Refused};
use axum::extract::FromRequestParts;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, header};
use order_core::Fault;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two questions. What a gate remembers of a key may be 3 seconds old: with this, whoever is shut out has
/// nothing open any more within 5 seconds.
const ASKED_EVERY: Duration = Duration::from_millis(1_500);

/// The gate that let a request in, and for what: left in the request by its route.
#[derive(Clone)]
pub(crate) struct Admitted {
    pub(crate) gate: Arc<dyn Gate>,
    pub(crate) need: Need,
}

/// A caller's right to go on. Handlers that wait or stream take it as an argument and ask it before they read or write
/// anything more for the caller.
pub struct Standing {
    admitted: Admitted,
    caller: Caller,
    /// What the gate is shown, and nothing else. Most requests end before it is asked again: the head that holds it is
    /// made then.
    credentials: Vec<HeaderValue>,
    asked_at: Instant,
}

impl Standing {
    /// That of `caller`, whom `gate` has just let in with these headers for what needs `need`.
    pub fn new(gate: Arc<dyn Gate>, need: Need, caller: Caller, headers: &HeaderMap) -> Self {
        let credentials = headers.get_all(header::AUTHORIZATION).iter().cloned().collect();
        Self { admitted: Admitted { gate, need }, caller, credentials, asked_at: Instant::now() }
    }

    /// Whether the caller is of those who run the installation.
    pub fn is_operator(&self) -> bool {
        self.admitted.gate.is_operator(&self.caller)
    }

    /// When it is to be asked again; whoever waits wakes up then.
    pub fn due_at(&self) -> Instant {
        self.asked_at + ASKED_EVERY
    }

    /// Asks the gate, unless that was done a moment ago.
    ///
    /// # Errors
    /// As [`Standing::ask`].
    pub async fn ask_if_due(&mut self) -> Result<(), Refusal> {
        if Instant::now() < self.due_at() {
            return Ok(());
        }
        self.ask().await
    }

    /// Asks the gate.
    ///
    /// # Errors
    /// [`Refusal::Unauthenticated`] when the credential is no longer good, or means somebody else; a fault when that
    /// cannot be found out: then nobody goes on either.
    pub async fn ask(&mut self) -> Result<(), Refusal> {
        let (mut head, ()) = Request::new(()).into_parts();
        for credential in &self.credentials {
            head.headers.append(header::AUTHORIZATION, credential.clone());
        }
        let caller = self.admitted.gate.admit(&head).await?;
        let gate = self.admitted.gate.as_ref();
        if caller.tenant != self.caller.tenant || self.admitted.need.refuse(gate, &caller).is_err() {
            return Err(Refusal::Unauthenticated);
        }
        self.asked_at = Instant::now();
        Ok(())
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Standing {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refused> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let admitted = parts.extensions.get::<Admitted>().cloned();
        let admitted = admitted.ok_or_else(|| {
            Refused(Refusal::Fault(Fault::internal(
                "a handler asks who let the caller in, its route does not",
            )))
        })?;
        Ok(Self::new(admitted.gate, admitted.need, caller, &parts.headers))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::access::{Scope, Scopes};
    use async_trait::async_trait;
    use order_core::TenantId;
    use std::sync::Mutex;

    /// Lets in whoever it is told to, if they show the right thing.
    struct Told(Mutex<Result<Caller, Refusal>>);

    #[async_trait]
    impl Gate for Told {
        async fn admit(&self, head: &Parts) -> Result<Caller, Refusal> {
            assert_eq!(head.headers.get(header::AUTHORIZATION).unwrap(), "Bearer x");
            self.0.lock().unwrap().clone()
        }
    }

    fn caller(tenant: &str, scopes: &str) -> Caller {
        let tenant = TenantId::new(tenant).unwrap();
        Caller { tenant, subject: "somebody".into(), scopes: Scopes::parse(scopes), tenant_said: true }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_would_not_be_let_in_again_does_not_go_on() {
        let gate = Arc::new(Told(Mutex::new(Ok(caller("acme", "events:read")))));
        let request = Request::get("/").header(header::AUTHORIZATION, "Bearer x").body(()).unwrap();
        let (mut parts, ()) = request.into_parts();
        assert!(Standing::from_request_parts(&mut parts, &()).await.is_err());
        parts.extensions.insert(caller("acme", "events:read"));
        assert!(Standing::from_request_parts(&mut parts, &()).await.is_err());
        let need = Need::Scope(Scope::EventsRead);
        parts.extensions.insert(Admitted { gate: Arc::clone(&gate) as Arc<dyn Gate>, need });
        let mut standing = Standing::from_request_parts(&mut parts, &()).await.unwrap();
        standing.ask().await.unwrap();
        for now in [
            Err(Refusal::Unauthenticated),
            Err(Refusal::Fault(Fault::overloaded())),
            Ok(caller("other", "events:read")),
            Ok(caller("acme", "orders:read")),
        ] {
            *gate.0.lock().unwrap() = now;
            // A moment ago all was well.
            standing.ask_if_due().await.unwrap();
            tokio::time::advance(ASKED_EVERY).await;
            assert!(standing.ask_if_due().await.is_err());
            *gate.0.lock().unwrap() = Ok(caller("acme", "events:read orders:read"));
            standing.ask().await.unwrap();
        }
    }
}
