//! Who may call this server: the login that the settings ask for, and the gate of each API.

use crate::config::{Mode, Settings};
use crate::trust;
use anyhow::Context;
use auth::{ApiKeys, FailedLogins, Issuer, Jwks, LIFETIME_MAX_OF_JWKS, Login, Secret, Tokens};
use edge::{Caller, Gate, Scope, Scopes};
use order_core::query::Install;
use order_core::{App, Pepper, TenantId};
use std::sync::Arc;
use std::time::Duration;

/// Longest set of published keys that is taken.
const JWKS_BYTES_MAX: usize = 64 * 1024;
/// How long fetching it may take.
const JWKS_TIMEOUTS: outbound::Timeouts =
    outbound::Timeouts { connect: Duration::from_secs(3), total: Duration::from_secs(5) };

/// The gates of a server.
pub(crate) struct Access {
    mode: Mode,
    login: Login,
    operators: TenantId,
    settings: Settings,
    pub(crate) pepper: Pepper,
}

impl Access {
    /// What the settings ask for.
    ///
    /// # Errors
    /// When the address of published keys cannot be used.
    pub(crate) fn new(mode: Mode, settings: &Settings, app: &Arc<App>) -> anyhow::Result<Self> {
        let pepper = pepper(settings, app);
        let keys = ApiKeys::new(Arc::clone(app), pepper.clone());
        let tokens = Tokens::new(issuers(settings, app)?, Arc::clone(&app.clock));
        let operators = TenantId::new(&settings.auth.operator_tenant).context("auth.operator_tenant")?;
        Ok(Self {
            mode,
            login: Login::new(keys, tokens).run_by(operators.clone()),
            operators,
            settings: settings.clone(),
            pepper,
        })
    }

    /// The tenant that runs the installation.
    pub(crate) fn operators(&self) -> TenantId {
        self.operators.clone()
    }

    /// The credentials that were not good.
    pub(crate) fn failed_logins(&self) -> Arc<FailedLogins> {
        self.login.failed()
    }

    /// The gate of our own API.
    pub(crate) fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(match self.mode {
            Mode::Dev => self.login.or(local()),
            Mode::Serve | Mode::Client => self.login.clone(),
        })
    }

    /// The gate of a contract.
    pub(crate) fn gate_of(&self, contract: &str) -> Arc<dyn Gate> {
        if self.mode == Mode::Serve && self.settings.public.contains(contract) {
            return Arc::new(self.login.or(public(contract)));
        }
        // This contract asks for a token in `dev` too.
        if contract == contracts::sales::NAME { Arc::new(self.login.clone()) } else { self.gate() }
    }
}

/// Whoever sits at the machine.
fn local() -> Caller {
    let (tenant, scopes) = (TenantId::default_tenant(), Scopes::all());
    Caller { tenant, subject: "local".into(), scopes, tenant_said: true }
}

/// Whoever comes to a contract that asks for no login.
fn public(contract: &str) -> Caller {
    let orders = [Scope::OrdersRead, Scope::OrdersWrite];
    let stores = [Scope::StoresRead, Scope::StoresWrite]
        .into_iter()
        .filter(|_| contract == contracts::marketplace::NAME);
    let scopes = orders.into_iter().chain(stores).collect();
    let (tenant, subject) = (TenantId::default_tenant(), format!("contract:{contract}").into());
    Caller { tenant, subject, scopes, tenant_said: false }
}

/// What API keys are hashed with.
pub(crate) fn pepper(settings: &Settings, app: &App) -> Pepper {
    pepper_of(settings, app.storage.install())
}

/// The same, of a database that is not served.
pub(crate) fn pepper_of(settings: &Settings, install: &Install) -> Pepper {
    match settings.auth.key_pepper.text() {
        Some(text) => Pepper::from_text(text),
        None => install.key_pepper.clone(),
    }
}

fn issuers(settings: &Settings, app: &Arc<App>) -> anyhow::Result<Vec<Issuer>> {
    let auth = &settings.auth;
    let mut issuers = Vec::new();
    if let Some(secret) = auth.jwt_secret.text() {
        let secret = Secret::new(secret.as_bytes());
        let issuer = Issuer::sharing(secret, auth.jwt_issuer.clone(), auth.jwt_audience.clone());
        issuers.push(match auth.token_lifetime_max {
            Some(lifetime) => issuer.living_at_most(lifetime),
            None => issuer,
        });
    }
    if let (Some(url), Some(iss), Some(aud)) = (&auth.jwks_url, &auth.jwks_issuer, &auth.jwks_audience) {
        let client = outbound::DocumentClient::new(
            url,
            auth.jwks_reach(),
            JWKS_BYTES_MAX,
            &trust::of(settings)?,
            JWKS_TIMEOUTS,
        );
        let client = client.context("auth.jwks_url")?;
        let fetch: auth::Fetch = Box::new(move || {
            let client = client.clone();
            Box::pin(async move { client.get().await.map_err(|no| no.why) })
        });
        let jwks = Jwks::new(fetch, Arc::clone(&app.clock));
        jwks.warm();
        let issuer = Issuer::publishing(jwks, &auth.jwks_algorithms, iss.clone(), aud.clone());
        let issuer = issuer.living_at_most(auth.token_lifetime_max.unwrap_or(LIFETIME_MAX_OF_JWKS));
        issuers.push(match &auth.jwks_type {
            Some(typ) => issuer.of_type(typ),
            None => issuer,
        });
    }
    Ok(issuers)
}
