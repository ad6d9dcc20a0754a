//! What the fuzz targets see of this crate besides its interface.

use crate::claims::{self, Expected};
use crate::header::Parts;
use crate::key_set::KeySet;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use edge::Caller;
use order_core::Timestamp;

/// What tokens are held against.
pub const ISSUER: &str = "https://login.example";
/// The same.
pub const AUDIENCE: &str = "wellorder";

/// The algorithm and the key that a token names, before its signature is looked at; `None` when it is refused for its form.
pub fn token(text: &str) -> Option<(&'static str, Option<String>)> {
    let parts = Parts::read(text).ok()?;
    Some((parts.header.algorithm.name(), parts.header.kid))
}

/// The token with this header and these claims, unsigned.
pub fn unsigned(header: &[u8], claims: &[u8]) -> String {
    let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
    format!("{}.{}.{}", encode(header), encode(claims), encode(b"signature"))
}

/// Whom the claims of a token name at `now`, as if its signature held.
pub fn caller(text: &str, now: Timestamp) -> Option<Caller> {
    let claims = Parts::read(text).ok()?.claims().ok()?;
    let expected =
        Expected { issuer: Some(ISSUER.into()), audience: Some(AUDIENCE.into()), lifetime_max: None };
    claims::caller(&claims, &expected, now).ok()
}

/// The names of the keys of a set that can be used; `None` when it is refused.
pub fn key_set(body: &[u8]) -> Option<Vec<Option<String>>> {
    KeySet::read(body).ok().map(|set| set.names())
}
