//! Credentials for tests of servers that ask for one.

use crate::harness::{Builder, Ended, Home, Server};
use auth::{Mint, Secret, mint};
use edge::{Scope, Scopes};
use order_core::{TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use testkit::http::Reply;

pub(crate) const SECRET: &str = "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLaPq";
/// A key for secrets at rest.
pub(crate) const SECRETS_KEY: &str = "tk6Rut5jFn7485x3gVa8IGE+9gBLff6u1avibb8SQzc=";
pub(crate) const ISSUER: &str = "https://login.example";
pub(crate) const AUDIENCE: &str = "wellorder";

#[expect(clippy::disallowed_methods, reason = "the program under test goes by the machine's clock")]
pub(crate) fn now() -> Timestamp {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(now.as_micros()).unwrap())
}

/// A server for others that takes tokens of [`SECRET`].
pub(crate) fn serving(home: &Arc<Home>) -> Builder {
    home.server()
        .serving()
        .env("JWT_SECRET", SECRET)
        .env("WELLORDER_AUTH_JWT_ISSUER", ISSUER)
        .env("WELLORDER_AUTH_JWT_AUDIENCE", AUDIENCE)
}

/// A token in all its parts.
#[derive(Clone)]
pub(crate) struct Token {
    /// `None` names none.
    pub(crate) tenant: Option<&'static str>,
    pub(crate) scopes: Scopes,
    pub(crate) audience: &'static str,
    /// When it was made, in seconds before now.
    pub(crate) ago: u64,
    pub(crate) secret: &'static str,
}

impl Token {
    /// A good one.
    pub(crate) fn of(tenant: &'static str, scopes: Scopes) -> Self {
        Self { tenant: Some(tenant), scopes, audience: AUDIENCE, ago: 0, secret: SECRET }
    }

    pub(crate) fn all(tenant: &'static str) -> Self {
        Self::of(tenant, Scopes::all())
    }

    /// As a header's value.
    pub(crate) fn bearer(&self) -> String {
        let made = now().micros() - i64::try_from(self.ago * 1_000_000).unwrap();
        let tenant = self.tenant.map(|tenant| TenantId::new(tenant).unwrap());
        let token = mint(
            &Secret::new(self.secret.as_bytes()),
            &Mint {
                subject: "tester",
                tenant: tenant.as_ref(),
                scopes: self.scopes,
                now: Timestamp::from_micros(made),
                lifetime: Duration::from_secs(600),
                issuer: Some(ISSUER),
                audience: Some(self.audience),
            },
        );
        format!("Bearer {token}")
    }
}

/// All scopes but one.
pub(crate) fn without(scope: Scope) -> Scopes {
    Scopes::all().iter().filter(|other| *other != scope).collect()
}

/// Sends JSON (or lines of it, where those are taken; or nothing) with a credential (or none).
pub(crate) async fn ask(
    server: &Server,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: Option<&str>,
) -> Reply {
    let mut headers = Vec::new();
    headers.extend(bearer.map(|bearer| ("authorization", bearer)));
    let content_type = match method {
        "PATCH" => "application/merge-patch+json",
        _ if path.ends_with("/bulk") => "application/x-ndjson",
        _ => "application/json",
    };
    // Whatever version it has.
    headers.extend((method == "PATCH").then_some(("if-match", "*")));
    headers.extend(body.map(|_| ("content-type", content_type)));
    server.send(method, path, &headers, body.unwrap_or_default().as_bytes()).await
}

/// A key made on a data folder that no server holds.
pub(crate) fn offline_key(home: &Home, tenant: &str, scopes: &[&str]) -> String {
    let mut args = vec!["keys", "create", "--name", "first", "--tenant", tenant];
    scopes.iter().for_each(|scope| args.extend(["--scope", scope]));
    let made: Ended = home.run(&args);
    assert_eq!(made.code(), 0, "{made:?}");
    made.stdout.trim().to_owned()
}
