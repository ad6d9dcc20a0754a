//! What the claims of a token must say (RFC 7519 §4.1), once its signature holds.

use crate::bad::Bad;
use edge::{Caller, Scopes};
use order_core::ids::check_text;
use order_core::{TenantId, Timestamp};
use serde_json::{Map, Value};
use std::time::Duration;

/// How far clocks may differ.
const LEEWAY: Duration = Duration::from_secs(30);
/// The last second of the year 9999: what lies behind it is no time.
const SECONDS_MAX: i64 = 253_402_300_799;

/// What an issuer's tokens are held against.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expected {
    pub(crate) issuer: Option<String>,
    pub(crate) audience: Option<String>,
    pub(crate) lifetime_max: Option<Duration>,
}

/// Whom the claims name.
pub(crate) fn caller(
    claims: &Map<String, Value>,
    expected: &Expected,
    now: Timestamp,
) -> Result<Caller, Bad> {
    times(claims, expected.lifetime_max, now)?;
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    if expected.issuer.is_some() && text("iss") != expected.issuer.as_deref() {
        return Err(Bad::Issuer);
    }
    if let Some(audience) = &expected.audience
        && !claims.get("aud").is_some_and(|aud| names(aud, audience))
    {
        return Err(Bad::Audience);
    }
    let subject = text("sub").filter(|subject| is_subject(subject)).ok_or(Bad::Subject)?;
    let tenant = match claims.get("tenant") {
        None => TenantId::default_tenant(),
        Some(Value::String(tenant)) if !is_plain(tenant) => return Err(Bad::Tenant),
        Some(Value::String(tenant)) => TenantId::new(tenant).map_err(|_| Bad::Tenant)?,
        Some(_) => return Err(Bad::Tenant),
    };
    let scopes = match claims.get("scope") {
        None => Scopes::NONE,
        Some(Value::String(words)) => Scopes::parse(words),
        Some(_) => return Err(Bad::Scope),
    };
    let tenant_said = claims.contains_key("tenant");
    Ok(Caller { tenant, subject: subject.into(), scopes, tenant_said })
}

fn times(claims: &Map<String, Value>, lifetime_max: Option<Duration>, now: Timestamp) -> Result<(), Bad> {
    let expires = seconds(claims, "exp")?.ok_or(Bad::Time)?;
    let begins = seconds(claims, "nbf")?;
    let issued = seconds(claims, "iat")?;
    let leeway = i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
    let now = now.micros().div_euclid(1_000_000);
    if now >= expires + leeway {
        return Err(Bad::Expired);
    }
    if begins.into_iter().chain(issued).any(|at| at > now + leeway) {
        return Err(Bad::TooEarly);
    }
    if let Some(most) = lifetime_max {
        let most = i64::try_from(most.as_secs()).unwrap_or(SECONDS_MAX);
        // Without a word on when it was issued, it counts from now.
        if expires - issued.unwrap_or(now) > most.saturating_add(leeway) {
            return Err(Bad::Lifetime);
        }
    }
    Ok(())
}

/// A time as a whole number of seconds since 1970. RFC 7519 allows fractions; nobody needs them, and readers differ in
/// what they make of them.
fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Bad> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().filter(|seconds| (0..=SECONDS_MAX).contains(seconds));
    whole.map(Some).ok_or(Bad::Time)
}

/// Whether `aud` is `audience`, or a list of texts with it in it.
fn names(aud: &Value, audience: &str) -> bool {
    match aud {
        Value::String(one) => one == audience,
        Value::Array(list) => {
            list.iter().all(Value::is_string) && list.iter().any(|one| one.as_str() == Some(audience))
        }
        _ => false,
    }
}

/// Whether a text has no control characters and no blanks around it: two names that look the same are the same.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control) && text.trim() == text
}

/// A subject is kept in histories: what we call API keys, contracts without a login, what is no request at all, people at
/// the machine itself and those whom nobody knows is not for tokens to say.
pub fn is_subject(subject: &str) -> bool {
    check_text(subject).is_ok()
        && is_plain(subject)
        && !["key:", "contract:", "consumer:"].iter().any(|ours| subject.starts_with(ours))
        && !["local", "public", "nobody"].contains(&subject)
}
