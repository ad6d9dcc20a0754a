//! `token`: a token from the secret of the settings, for people who try things out.

use super::{
    args::TokenArgs,
    failure::{Exit, Failure},
};
use crate::{config::Settings, dev_secret, output::Output};
use auth::{Mint, Secret, is_subject, mint, weakness};
use edge::{Scope, Scopes};
use order_core::{TenantId, Timestamp};
use serde_json::json;

/// Prints a token.
///
/// # Errors
/// There is no secret, or something cannot be in a token.
pub(crate) fn token(
    args: &TokenArgs,
    settings: &Settings,
    now: Timestamp,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let usage = |what: String, fix: &str| Failure::here(Exit::Usage, what, fix);
    let auth = &settings.auth;
    let made = dev_secret::found(&settings.data).filter(|_| auth.jwt_secret.text().is_none());
    let secret = made.as_ref().unwrap_or(&auth.jwt_secret).text().ok_or_else(|| {
        usage("auth.jwt_secret is not set".to_owned(), "set it, or JWT_SECRET, to the secret of the server")
    })?;
    if let Some(weak) = weakness(secret) {
        out.note(&format!("warning: auth.jwt_secret {weak}; `wellorder serve` refuses it"));
    }
    let tenant =
        TenantId::new(&args.tenant).map_err(|error| usage(format!("the tenant {error}"), "name another"))?;
    if !is_subject(&args.subject) {
        let fix = "name somebody else: key:…, local and public are what histories call others";
        return Err(usage(format!("{} cannot be the subject of a token", args.subject.escape_debug()), fix));
    }
    let unknown = |name: &String| Scope::from_name(name).is_none();
    if let Some(name) = args.scope.iter().find(|name| unknown(name)) {
        let all: Vec<&str> = Scope::ALL.iter().map(|scope| scope.name()).collect();
        return Err(usage(format!("{name} is no scope"), &format!("there are {}", all.join(", "))));
    }
    if auth.token_lifetime_max.is_some_and(|most| args.lifetime > most) {
        let what = "the server takes no token that lives so long".to_owned();
        return Err(usage(what, "make it shorter, or raise auth.token_lifetime_max_ms"));
    }
    let scopes: Scopes = args.scope.iter().filter_map(|name| Scope::from_name(name)).collect();
    let text = mint(
        &Secret::new(secret.as_bytes()),
        &Mint {
            subject: &args.subject,
            tenant: Some(&tenant),
            scopes,
            now,
            lifetime: args.lifetime,
            issuer: auth.jwt_issuer.as_deref(),
            audience: auth.jwt_audience.as_deref(),
        },
    );
    if out.json {
        let expires_at = now.plus(args.lifetime).to_string();
        out.json(json!({ "token": text, "expires_at": expires_at }).to_string().as_bytes())?;
    } else {
        out.line(&text)?;
    }
    Ok(Exit::Ok)
}
