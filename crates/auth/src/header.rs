//! The parts of a token, and what its header may say (RFC 7515 §4, RFC 8725). The claims are not looked at here: until
//! the signature holds, they are anybody's.

use crate::algorithm::Algorithm;
use crate::bad::Bad;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use order_core::json::{self, JsonLimits};
use serde_json::{Map, Value};

/// Longest token, in bytes.
pub(crate) const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest id of a key, in bytes.
const KID_BYTES_MAX: usize = 255;
const LIMITS: JsonLimits = JsonLimits { depth_max: 8, items_max: 256 };

/// Parameters that are refused whatever they say: keys and addresses of keys that the sender chose, extensions that
/// must be understood and are not, compression, and tokens within tokens.
const REFUSED: [&str; 9] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"];

/// A token taken apart.
#[derive(Debug)]
pub(crate) struct Parts<'t> {
    /// What the signature is over.
    pub(crate) signed: &'t str,
    /// The claims, still encoded.
    claims: &'t str,
    pub(crate) signature: Vec<u8>,
    pub(crate) header: Header,
}

#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) algorithm: Algorithm,
    pub(crate) kid: Option<String>,
    /// In lower case, without `application/`.
    pub(crate) typ: Option<String>,
}

impl<'t> Parts<'t> {
    pub(crate) fn read(token: &'t str) -> Result<Self, Bad> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Bad::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Bad::Form)?;
        let (header, claims) = signed.split_once('.').ok_or(Bad::Form)?;
        if claims.contains('.') || signature.is_empty() {
            return Err(Bad::Form);
        }
        let header = Header::read(&object(header, Bad::Header)?)?;
        Ok(Self { signed, claims, signature: decode(signature)?, header })
    }

    /// The claims, for whoever has checked the signature.
    pub(crate) fn claims(&self) -> Result<Map<String, Value>, Bad> {
        object(self.claims, Bad::Claims)
    }
}

impl Header {
    fn read(header: &Map<String, Value>) -> Result<Self, Bad> {
        if REFUSED.iter().any(|name| header.contains_key(*name)) {
            return Err(Bad::Parameter);
        }
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::from_name);
        let kid = text(header, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.is_empty() || kid.len() > KID_BYTES_MAX) {
            return Err(Bad::Parameter);
        }
        let typ = text(header, "typ")?.map(|typ| plain_type(&typ));
        Ok(Self { algorithm: algorithm.ok_or(Bad::Algorithm)?, kid, typ })
    }
}

/// A media type as it is compared: `application/` may be left out, and case does not count (RFC 7515 §4.1.9).
pub(crate) fn plain_type(typ: &str) -> String {
    let lower = typ.to_ascii_lowercase();
    lower.strip_prefix("application/").map(str::to_owned).unwrap_or(lower)
}

fn text(header: &Map<String, Value>, name: &str) -> Result<Option<String>, Bad> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Bad::Parameter),
    }
}

/// Strict: no padding, no line breaks, no bits to spare.
fn decode(part: &str) -> Result<Vec<u8>, Bad> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| Bad::Form)
}

/// An object in which no name is given twice.
fn object(part: &str, otherwise: Bad) -> Result<Map<String, Value>, Bad> {
    match json::parse(&decode(part)?, LIMITS) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err(otherwise),
    }
}
