//! JSON Web Tokens of issuers that we know.

use crate::algorithm::Algorithm;
use crate::bad::{Bad, Denied};
use crate::claims::{self, Expected};
use crate::header::{Parts, plain_type};
use crate::jwks::Jwks;
use crate::secret::Secret;
use edge::Caller;
use order_core::clock::Clock;
use std::sync::Arc;
use std::time::Duration;

/// Longest life of a token of an issuer that publishes its keys, unless said.
pub const LIFETIME_MAX_OF_JWKS: Duration = Duration::from_secs(24 * 3600);

/// Types of token that are taken where none is asked for: others (of logout tokens, of proofs) mean something else.
const PLAIN_TYPES: [&str; 2] = ["jwt", "at+jwt"];

enum Keys {
    Secret(Secret),
    Published(Jwks),
}

/// Someone whose tokens we take, pinned to a kind of key and its algorithms.
pub struct Issuer {
    keys: Keys,
    algorithms: Vec<Algorithm>,
    typ: Option<String>,
    expected: Expected,
}

impl Issuer {
    /// An issuer that shares `secret` with us: HS256 and nothing else. What it is called and whom its tokens are for is
    /// checked where it is given.
    pub fn sharing(secret: Secret, issuer: Option<String>, audience: Option<String>) -> Self {
        let expected = Expected { issuer, audience, lifetime_max: None };
        Self { keys: Keys::Secret(secret), algorithms: vec![Algorithm::Hs256], typ: None, expected }
    }

    /// An issuer that publishes its keys, pinned to `algorithms`, of which HS256 is never one.
    pub fn publishing(jwks: Jwks, algorithms: &[Algorithm], issuer: String, audience: String) -> Self {
        let mut algorithms = algorithms.to_vec();
        algorithms.retain(|algorithm| *algorithm != Algorithm::Hs256);
        let expected = Expected {
            issuer: Some(issuer),
            audience: Some(audience),
            lifetime_max: Some(LIFETIME_MAX_OF_JWKS),
        };
        Self { keys: Keys::Published(jwks), algorithms, typ: None, expected }
    }

    /// Refuses tokens that are to live longer than this.
    #[must_use]
    pub fn living_at_most(mut self, lifetime_max: Duration) -> Self {
        self.expected.lifetime_max = Some(lifetime_max);
        self
    }

    /// Takes tokens of this type alone, such as `at+jwt` (RFC 9068).
    #[must_use]
    pub fn of_type(mut self, typ: &str) -> Self {
        self.typ = Some(plain_type(typ));
        self
    }

    fn takes_type(&self, typ: Option<&str>) -> bool {
        match (&self.typ, typ) {
            (Some(wanted), typ) => typ == Some(wanted),
            (None, None) => true,
            (None, Some(typ)) => PLAIN_TYPES.contains(&typ),
        }
    }

    async fn signed(&self, parts: &Parts<'_>) -> Result<(), Denied> {
        let (algorithm, text) = (parts.header.algorithm, parts.signed.as_bytes());
        let good = match &self.keys {
            Keys::Secret(secret) => secret.signed(text, &parts.signature),
            Keys::Published(jwks) => {
                let key = jwks.key(parts.header.kid.as_deref(), algorithm).await?;
                key.signed(algorithm, text, &parts.signature)
            }
        };
        if good { Ok(()) } else { Err(Bad::Signature.into()) }
    }
}

/// Checks the tokens of some issuers.
pub struct Tokens {
    issuers: Vec<Issuer>,
    clock: Arc<dyn Clock>,
}

impl Tokens {
    /// Tokens of `issuers`, no two of which have an algorithm in common. With none, no token is good.
    pub fn new(issuers: Vec<Issuer>, clock: Arc<dyn Clock>) -> Self {
        Self { issuers, clock }
    }

    /// Whose token it is.
    ///
    /// # Errors
    /// Why it is not good; unknown while the issuer's keys cannot be had.
    pub async fn check(&self, token: &str) -> Result<Caller, Denied> {
        let parts = Parts::read(token)?;
        // The pinned algorithm leads to the issuer, and so to the one kind of key that is tried.
        let pinned = |issuer: &&Issuer| issuer.algorithms.contains(&parts.header.algorithm);
        let issuer = self.issuers.iter().find(pinned).ok_or(Bad::Algorithm)?;
        if !issuer.takes_type(parts.header.typ.as_deref()) {
            return Err(Bad::Type.into());
        }
        issuer.signed(&parts).await?;
        Ok(claims::caller(&parts.claims()?, &issuer.expected, self.clock.now())?)
    }
}
