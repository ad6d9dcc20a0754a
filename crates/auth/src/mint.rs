//! Makes tokens from the shared secret.

use crate::secret::Secret;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge::Scopes;
use order_core::{TenantId, Timestamp};
use serde_json::json;
use std::time::Duration;

/// What a token is to say.
#[derive(Debug, Clone)]
pub struct Mint<'a> {
    /// Who uses it.
    pub subject: &'a str,
    /// Whose orders it opens; without, it names no tenant, as tokens of issuers that know of none.
    pub tenant: Option<&'a TenantId>,
    /// What it may do.
    pub scopes: Scopes,
    /// When it is made.
    pub now: Timestamp,
    /// How long it is good for, in whole seconds.
    pub lifetime: Duration,
    /// Who makes it, where that is checked.
    pub issuer: Option<&'a str>,
    /// Whom it is for, where that is checked.
    pub audience: Option<&'a str>,
}

/// A token, signed with HS256.
pub fn mint(secret: &Secret, mint: &Mint<'_>) -> String {
    let issued = mint.now.micros().div_euclid(1_000_000);
    let expires = issued.saturating_add(i64::try_from(mint.lifetime.as_secs()).unwrap_or(i64::MAX));
    let mut claims = json!({
        "sub": mint.subject,
        "scope": mint.scopes.to_string(),
        "iat": issued,
        "exp": expires,
    });
    let tenant = mint.tenant.map(TenantId::as_str);
    for (name, value) in [("tenant", tenant), ("iss", mint.issuer), ("aud", mint.audience)] {
        if let Some(value) = value {
            claims[name] = value.into();
        }
    }
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    let signature = encode(&secret.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
