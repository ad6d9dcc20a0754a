//! Who calls. [`Login`] is the [`edge::Gate`] of a server: it reads the credential of a request and says whose it is.
//!
//! * [`ApiKeys`]: keys that wellorder makes itself; looked up by id, compared in constant time, cached for seconds.
//! * [`Tokens`]: JSON Web Tokens (RFC 7519) of pinned [`Issuer`]s: one that shares a secret with us, or one that
//!   publishes its keys ([`Jwks`]). What a token may say of itself is judged in `header` and `claims`, before and after
//!   its signature.
//! * [`mint`] makes a token from the secret, for people who try things out and for tests.
//!
//! A client is told nothing but that its credential is not good. Why is counted and logged by [`Bad`], never with a
//! part of the credential.

mod algorithm;
mod bad;
mod claims;
mod failed;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod header;
mod jwks;
mod key_set;
mod keys;
mod login;
mod mint;
mod public_key;
mod secret;
mod tokens;

pub use algorithm::Algorithm;
pub use bad::{Bad, Denied};
pub use claims::is_subject;
pub use failed::{FAILED_LOGINS_APART, FailedLogin, FailedLogins};
pub use jwks::{Fetch, Jwks};
pub use keys::ApiKeys;
pub use login::Login;
pub use mint::{Mint, mint};
pub use secret::{SECRET_BYTES_MIN, Secret, weakness};
pub use tokens::{Issuer, LIFETIME_MAX_OF_JWKS, Tokens};
