//! Signatures, so that a receiver knows who sent what it got: Standard Webhooks
//! (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>), and that of the contract
//! `marketplace` beside it.

use crate::action_log::chain::hex;
use crate::api_key::chance;
use crate::ids::Ids;
use crate::sealing::Secret;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// What the text of our secrets begins with.
pub const PREFIX: &str = "whsec_";
/// Fewest and most bytes of a key that somebody brings along.
pub const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// A fresh secret: `whsec_` and 32 bytes of chance in base64.
pub fn fresh(ids: &dyn Ids) -> Secret {
    Secret::new([PREFIX, &BASE64_STANDARD.encode(chance(ids))].concat().into_bytes())
}

/// Whether a secret that somebody brings along has as many bytes of key as [`KEY_BYTES`] says; one that begins as ours do is base64.
pub fn is_long_enough(secret: &Secret) -> bool {
    let coded = secret.text().and_then(|text| text.strip_prefix(PREFIX));
    coded.is_none_or(|coded| BASE64_STANDARD.decode(coded).is_ok()) && KEY_BYTES.contains(&key(secret).len())
}

/// `v1,` and the signature in base64, over id, moment and body.
pub fn standard(secret: &Secret, id: &str, seconds: i64, body: &[u8]) -> String {
    let mut mac = keyed(&key(secret));
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    ["v1,", &BASE64_STANDARD.encode(mac.finalize().into_bytes())].concat()
}

/// `sha256=` and the signature over the body in hexadecimal digits; the key is the secret's text.
pub fn of_marketplace(secret: &Secret, body: &[u8]) -> String {
    let mut mac = keyed(secret.bytes());
    mac.update(body);
    ["sha256=", &hex(&mac.finalize().into_bytes())].concat()
}

/// The key of Standard Webhooks: what lies in base64 behind `whsec_`, else the very bytes.
fn key(secret: &Secret) -> zeroize::Zeroizing<Vec<u8>> {
    let coded = secret.text().and_then(|text| text.strip_prefix(PREFIX));
    let decoded = coded.and_then(|coded| BASE64_STANDARD.decode(coded).ok());
    zeroize::Zeroizing::new(decoded.unwrap_or_else(|| secret.bytes().to_vec()))
}

fn keyed(key: &[u8]) -> Hmac<Sha256> {
    // A key longer than a block is hashed first, a shorter one is padded with zeros (RFC 2104): done here, it cannot fail.
    let mut block = [0_u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    <Hmac<Sha256> as KeyInit>::new(&block.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_signature_is_that_of_the_reference() {
        let secret = Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec());
        let body = br#"{"test": 2432232314}"#;
        let signature = standard(&secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// RFC 4231, test case 2; and case 6, whose key is longer than a block.
    #[test]
    fn the_contracts_signature_is_hmac_of_the_body() {
        let signed = |key: &[u8], body: &[u8]| of_marketplace(&Secret::new(key.to_vec()), body);
        assert_eq!(
            signed(b"Jefe", b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            signed(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "sha256=60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_secret_without_the_prefix_is_its_own_key() {
        let (plain, coded) = (Secret::new(b"abc".to_vec()), Secret::new(b"whsec_YWJj".to_vec()));
        assert_eq!(standard(&plain, "id", 1, b"{}"), standard(&coded, "id", 1, b"{}"));
    }
}
