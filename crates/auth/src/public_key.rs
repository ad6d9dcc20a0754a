//! Public keys as issuers publish them (RFC 7517, RFC 7518 §6, RFC 8037 §2).

use crate::algorithm::Algorithm;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::{Map, Value};

/// Shortest and longest RSA modulus, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// A key that checks signatures, of one of the three kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// Modulus and exponent, big-endian, without leading zeros.
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point of P-256, uncompressed.
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// Reads the key in a JSON Web Key; `None` when it is of a kind that is not used here, too short, or no key at all.
    pub(crate) fn read(key: &Map<String, Value>) -> Option<Self> {
        // What was published with its private part is nobody's signature any more.
        if ["d", "p", "q", "k"].iter().any(|name| key.contains_key(*name)) {
            return None;
        }
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let bytes = |name: &str| BASE64_URL_SAFE_NO_PAD.decode(text(name)?).ok();
        match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let modulus = without_zeros(bytes("n")?);
                let exponent = without_zeros(bytes("e")?);
                let bits = modulus.len() * 8 - usize::try_from(modulus.first()?.leading_zeros()).ok()?;
                let odd = exponent.last()? & 1 == 1 && exponent != [1];
                (RSA_BITS.contains(&bits) && odd && exponent.len() <= 4)
                    .then_some(Self::Rsa { modulus, exponent })
            }
            ("EC", Some("P-256")) => {
                let mut point = [4_u8; 65];
                point[1..33].copy_from_slice(&<[u8; 32]>::try_from(bytes("x")?).ok()?);
                point[33..].copy_from_slice(&<[u8; 32]>::try_from(bytes("y")?).ok()?);
                Some(Self::P256(point))
            }
            ("OKP", Some("Ed25519")) => Some(Self::Ed25519(bytes("x")?.try_into().ok()?)),
            _ => None,
        }
    }

    /// Whether a signature by `algorithm` can be this key's.
    pub(crate) fn fits(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => matches!(algorithm, Algorithm::Rs256 | Algorithm::Ps256),
            Self::P256(_) => algorithm == Algorithm::Es256,
            Self::Ed25519(_) => algorithm == Algorithm::EdDsa,
        }
    }

    /// Whether `signature` is this key's, by `algorithm`, of `text`.
    pub(crate) fn signed(&self, algorithm: Algorithm, text: &[u8], signature: &[u8]) -> bool {
        let checked = match (self, algorithm) {
            (Self::Rsa { modulus, exponent }, Algorithm::Rs256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PKCS1_2048_8192_SHA256,
                    text,
                    signature,
                )
            }
            (Self::Rsa { modulus, exponent }, Algorithm::Ps256) => {
                RsaPublicKeyComponents { n: modulus, e: exponent }.verify(
                    &RSA_PSS_2048_8192_SHA256,
                    text,
                    signature,
                )
            }
            (Self::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature)
            }
            (Self::Ed25519(key), Algorithm::EdDsa) => {
                UnparsedPublicKey::new(&ED25519, key).verify(text, signature)
            }
            _ => return false,
        };
        checked.is_ok()
    }
}

fn without_zeros(bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes[zeros..].to_vec()
}
