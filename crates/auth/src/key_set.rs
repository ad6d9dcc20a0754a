//! A set of keys as an issuer publishes it (RFC 7517 §5).

use crate::algorithm::Algorithm;
use crate::public_key::PublicKey;
use order_core::json::{self, JsonLimits};
use serde_json::{Map, Value};

/// Longest set, in bytes.
pub(crate) const SET_BYTES_MAX: usize = 64 * 1024;
/// Most keys of a set.
const KEYS_MAX: usize = 50;
const LIMITS: JsonLimits = JsonLimits { depth_max: 8, items_max: 256 };

#[derive(Debug, Clone)]
struct Listed {
    kid: Option<String>,
    /// The only algorithm that it is for, where it says so.
    algorithm: Option<Algorithm>,
    key: PublicKey,
}

/// The keys of a set that can check signatures.
#[derive(Debug, Clone)]
pub(crate) struct KeySet(Vec<Listed>);

impl KeySet {
    /// Reads a set; keys of other kinds and for other uses are left out.
    ///
    /// # Errors
    /// When it is no set, too large, or holds no key that can be used.
    pub(crate) fn read(body: &[u8]) -> Result<Self, String> {
        if body.len() > SET_BYTES_MAX {
            return Err(format!("the key set is longer than {SET_BYTES_MAX} bytes"));
        }
        let set = json::parse(body, LIMITS).map_err(|error| format!("the key set is no JSON: {error}"))?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or("the key set has no list `keys`")?;
        if keys.len() > KEYS_MAX {
            return Err(format!("the key set has more than {KEYS_MAX} keys"));
        }
        let listed: Vec<Listed> = keys.iter().filter_map(Value::as_object).filter_map(listed).collect();
        if listed.is_empty() {
            return Err("the key set has no key that can be used here".to_owned());
        }
        Ok(Self(listed))
    }

    /// What its keys are called.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn names(&self) -> Vec<Option<String>> {
        self.0.iter().map(|listed| listed.kid.clone()).collect()
    }

    /// The key for a token with this header. Without a `kid` there must be only one that it can be.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&PublicKey> {
        let fits = |listed: &&Listed| {
            listed.key.fits(algorithm) && listed.algorithm.is_none_or(|only| only == algorithm)
        };
        let mut fitting = self.0.iter().filter(fits);
        match kid {
            Some(kid) => fitting.find(|listed| listed.kid.as_deref() == Some(kid)).map(|listed| &listed.key),
            None => match (fitting.next(), fitting.next()) {
                (Some(only), None) => Some(&only.key),
                _ => None,
            },
        }
    }
}

fn listed(key: &Map<String, Value>) -> Option<Listed> {
    let signs = key.get("use").is_none_or(|used| used == "sig");
    let verifies = key.get("key_ops").is_none_or(|operations| {
        operations.as_array().is_some_and(|operations| operations.iter().any(|one| one == "verify"))
    });
    if !signs || !verifies {
        return None;
    }
    let algorithm = match key.get("alg") {
        None => None,
        // For an algorithm that is not read here: not for us.
        Some(name) => Some(Algorithm::from_name(name.as_str()?)?),
    };
    let kid = key.get("kid").and_then(Value::as_str).map(str::to_owned);
    Some(Listed { kid, algorithm, key: PublicKey::read(key)? })
}
