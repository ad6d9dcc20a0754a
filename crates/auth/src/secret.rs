//! A secret that is shared with an issuer, and how one that anybody can guess is told.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt;

/// Fewest bytes of a strong secret: as many as its hash has (RFC 7518 §3.2).
pub const SECRET_BYTES_MIN: usize = 32;
/// Fewest different bytes among them. 32 random hexadecimal digits have 14 of 16 on average, and practically never
/// fewer than 8.
const DISTINCT_MIN: usize = 8;

/// What secrets in examples are called. Compared without regard to case, `-`, `_`, `.` and spaces.
const KNOWN: &[&str] = &[
    "yoursecret",
    "yourjwtsecret",
    "jwtsecret",
    "secretkey",
    "supersecret",
    "mysecret",
    "thesecret",
    "changeme",
    "changethis",
    "changeit",
    "replaceme",
    "replacethis",
    "placeholder",
    "example",
    "default",
    "insecure",
    "notsecure",
    "donotuse",
    "password",
    "qwerty",
    "letmein",
    "keyboardcat",
    "shhhh",
    "todo",
    "test",
    "0123456789abcdef",
    "1234567890",
    "abcdefghijklmnop",
];

/// A secret for HMAC.
#[derive(Clone)]
pub struct Secret(Hmac<Sha256>);

impl Secret {
    /// Of any length; see [`weakness`].
    pub fn new(secret: &[u8]) -> Self {
        // A longer key is hashed first, a shorter one padded (RFC 2104): neither can fail.
        let mut block = [0_u8; 64];
        if secret.len() > block.len() {
            use sha2::Digest;
            block[..32].copy_from_slice(&Sha256::digest(secret));
        } else {
            block[..secret.len()].copy_from_slice(secret);
        }
        Self(<Hmac<Sha256> as KeyInit>::new(&block.into()))
    }

    /// The signature of `text`.
    pub(crate) fn sign(&self, text: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    /// Whether `signature` is that of `text`, whole; takes the same time whatever differs where.
    pub(crate) fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let mut mac = self.0.clone();
        mac.update(text);
        mac.verify_slice(signature).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What is weak about a secret, if anything; never the secret itself.
pub fn weakness(secret: &str) -> Option<&'static str> {
    let plain: String = secret
        .chars()
        .filter(|letter| !matches!(letter, '-' | '_' | '.' | ' '))
        .flat_map(char::to_lowercase)
        .collect();
    if KNOWN.iter().any(|known| plain.contains(known)) || plain == "secret" || repeats(&plain, "secret") {
        return Some("is one of the examples that everybody knows");
    }
    if secret.len() < SECRET_BYTES_MIN {
        return Some("has fewer than 32 bytes");
    }
    let mut seen = [false; 256];
    secret.bytes().for_each(|byte| seen[usize::from(byte)] = true);
    if seen.iter().filter(|seen| **seen).count() < DISTINCT_MIN {
        return Some("has too few different characters to be random");
    }
    None
}

fn repeats(text: &str, word: &str) -> bool {
    text.strip_prefix(word).is_some_and(|rest| rest.is_empty() || repeats(rest, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_knows_or_can_guess_is_weak() {
        for weak in [
            "",
            "secret",
            "Secret",
            "your-secret-key",
            "your_secret_key",
            "your-256-bit-secret-your-256-bit-secret-changeme",
            "CHANGEME",
            "change-me-change-me-change-me-change-me",
            "please.change.this.please.change.this.now",
            "secretsecretsecretsecretsecretsecret",
            "password-password-password-password-password",
            "0123456789abcdef0123456789abcdef",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abababababababababababababababababababab",
            "jwt-secret-of-the-production-server-2026",
            "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sL",
        ] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for strong in [
            "k3Jx9vQ2mZ7pR5tW8yB4nC6dF1gH0sLa",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "correct horse battery staple and some more words",
        ] {
            assert_eq!(weakness(strong), None, "{strong}");
        }
    }

    #[test]
    fn a_secret_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2")), "Secret(hidden)");
    }
}
