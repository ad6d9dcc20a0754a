//! The gate of a server.

use crate::bad::{Bad, Denied};
use crate::failed::FailedLogins;
use crate::keys::ApiKeys;
use crate::tokens::Tokens;
use async_trait::async_trait;
use edge::{Caller, ClientAddress, Gate, Refusal};
use http::header::AUTHORIZATION;
use http::request::Parts;
use order_core::TenantId;
use order_core::api_key::PREFIX;
use std::sync::Arc;

/// Counts credentials that were not good, by why.
const REFUSED: &str = "wellorder_logins_refused_total";

/// Reads `Authorization: Bearer …`: an API key, or a token of an issuer. Clones share what they know.
#[derive(Clone)]
pub struct Login {
    keys: Arc<ApiKeys>,
    tokens: Arc<Tokens>,
    nobody: Option<Caller>,
    operators: TenantId,
    failed: Arc<FailedLogins>,
}

impl Login {
    /// A login that everybody needs.
    pub fn new(keys: ApiKeys, tokens: Tokens) -> Self {
        metrics::describe_counter!(REFUSED, "Credentials that were not good, by why");
        Self {
            keys: Arc::new(keys),
            tokens: Arc::new(tokens),
            nobody: None,
            operators: TenantId::default_tenant(),
            failed: Arc::default(),
        }
    }

    /// The same, of an installation that `tenant` runs.
    #[must_use]
    pub fn run_by(self, tenant: TenantId) -> Self {
        Self { operators: tenant, ..self }
    }

    /// The credentials that were not good, for whoever keeps them. No credential at all is none.
    pub fn failed(&self) -> Arc<FailedLogins> {
        Arc::clone(&self.failed)
    }

    /// The same, but who brings no credential at all is `caller`. A credential that is not good is refused all the
    /// same: whoever sends one means to be somebody.
    #[must_use]
    pub fn or(&self, caller: Caller) -> Self {
        Self { nobody: Some(caller), ..self.clone() }
    }

    async fn caller(&self, head: &Parts) -> Result<Caller, Denied> {
        let mut given = head.headers.get_all(AUTHORIZATION).iter();
        let credential = match (given.next(), given.next()) {
            (None, _) => return Ok(self.nobody.clone().ok_or(Bad::Absent)?),
            (Some(only), None) => only.to_str().ok().and_then(bearer).ok_or(Bad::Scheme)?,
            (Some(_), Some(_)) => return Err(Bad::Scheme.into()),
        };
        if credential.starts_with(PREFIX) {
            self.keys.check(credential).await
        } else {
            self.tokens.check(credential).await
        }
    }
}

#[async_trait]
impl Gate for Login {
    async fn admit(&self, head: &Parts) -> Result<Caller, Refusal> {
        let admitted = self.caller(head).await;
        if let Err(Denied::Bad(bad)) = &admitted {
            metrics::counter!(REFUSED, "why" => bad.word()).increment(1);
            tracing::debug!(why = bad.word(), "a credential was refused");
            if *bad != Bad::Absent {
                let address = head.extensions.get::<ClientAddress>().map(|client| client.network());
                self.failed.note(address, bad.word(), self.keys.now());
            }
        }
        Ok(admitted?)
    }

    /// Of the operators' tenant is whose credential says so: a token of an issuer that knows of no tenants is of the tenant
    /// `default`, which is the operators' too unless they say otherwise. Whoever brings no credential where none is needed
    /// sits at the machine itself.
    fn is_operator(&self, caller: &Caller) -> bool {
        (caller.tenant_said && caller.tenant == self.operators) || self.nobody.as_ref() == Some(caller)
    }
}

/// The credential of `Bearer CREDENTIAL` (RFC 6750 §2.1; the scheme in any case, RFC 9110 §11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, credential) = value.split_once(' ')?;
    let credential = credential.trim_start_matches(' ');
    let fits = !credential.is_empty() && credential.bytes().all(|byte| byte.is_ascii_graphic());
    (scheme.eq_ignore_ascii_case("bearer") && fits).then_some(credential)
}
