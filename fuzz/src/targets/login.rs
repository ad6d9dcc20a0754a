//! What is read before anybody is known: credentials, published keys, who a proxy says is asking.

use std::net::IpAddr;

use ::edge::{Proxies, ProxyHeader};
use auth::fuzzing;
use http::{HeaderMap, HeaderValue, header};
use order_core::Timestamp;
use order_core::api_key::KeyText;
use serde_json::Value;

use super::{Seen, accepted, magnitude, refused, text};

pub(super) const JWT: &[&str] = &[
    "{\"alg\":\"HS256\"}\n",
    "{\"alg\":\"ES256\",\"kid\":\"a\",\"typ\":\"at+jwt\"}\n",
    "\"alg\":\"none\"",
    "\"kid\":\"../x\"",
    "\"crit\":[]",
    "\"exp\":1740219000",
    "\"exp\":-1",
    "\"exp\":1e400",
    "\"nbf\":9223372036854775808",
    "\"iss\":\"https://login.example\"",
    "\"aud\":[\"wellorder\"]",
    "\"sub\":\"key:1\"",
    "\"sub\":\"\\u0000\"",
    "\"tenant\":\"a\"",
    "\"scope\":\"orders:read\"",
    ",",
    "eyJhbGciOiJIUzI1NiJ9",
    ".",
    "=",
];

/// The moment at which tokens are looked at, in seconds.
const NOW: i64 = 1_740_218_400;
const REFUSED: [&str; 9] = ["jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"];

/// A token as it is; and, when there is a line break, one with the header before it and the claims behind it. What is
/// taken has one algorithm of ours, no parameter that its sender could choose a key by, and a time that is not over.
pub(super) fn jwt(data: &[u8]) -> Seen {
    let raw = text(data);
    if let Some((algorithm, _)) = fuzzing::token(&raw) {
        let parts: Vec<&str> = raw.split('.').collect();
        assert_eq!(parts.len(), 3, "{raw}");
        // The claims between are not looked at before the signature holds.
        for part in [parts[0], parts[2]] {
            assert!(part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{raw}");
        }
        return accepted(algorithm);
    }
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (head, claims) = (&data[..at], data.get(at + 1..).unwrap_or_default());
    let token = fuzzing::unsigned(head, claims);
    let Some((algorithm, kid)) = fuzzing::token(&token) else { return refused(magnitude(head.len())) };
    let head: Value = serde_json::from_slice(head).unwrap();
    assert_eq!(head["alg"], algorithm);
    assert_eq!(head["kid"].as_str(), kid.as_deref());
    assert!(REFUSED.iter().all(|name| head.get(name).is_none()), "{head}");
    let Some(caller) = fuzzing::caller(&token, Timestamp::from_micros(NOW * 1_000_000)) else {
        return refused((algorithm, kid.is_some()));
    };
    let claims: Value = serde_json::from_slice(claims).unwrap();
    assert_eq!(claims["iss"], fuzzing::ISSUER);
    let audiences = claims["aud"].as_array().cloned().unwrap_or_else(|| vec![claims["aud"].clone()]);
    assert!(audiences.iter().any(|audience| audience == fuzzing::AUDIENCE), "{claims}");
    assert!(claims["exp"].as_i64().is_some_and(|exp| exp > NOW - 31), "{claims}");
    assert_eq!(claims["sub"], &*caller.subject);
    assert!(auth::is_subject(&caller.subject), "{claims}");
    accepted((algorithm, kid.is_some(), caller.tenant.as_str() == "default", caller.scopes.iter().count()))
}

pub(super) const JWKS: &[&str] = &[
    "{\"keys\":[",
    "]}",
    "},{",
    "\"kty\":\"RSA\"",
    "\"kty\":\"EC\",\"crv\":\"P-256\"",
    "\"kty\":\"OKP\",\"crv\":\"Ed25519\"",
    "\"kid\":\"a\"",
    "\"use\":\"enc\"",
    "\"alg\":\"ES256\"",
    "\"key_ops\":[\"verify\"]",
    "\"e\":\"AQAB\"",
    "\"x\":\"\"",
    "AAAAAAAAAAAAAAAA",
    ",",
];

/// A set that is taken has a list of at most 50 keys, and those that are used are among them, under their names.
pub(super) fn jwks(data: &[u8]) -> Seen {
    let Some(names) = fuzzing::key_set(data) else { return refused(magnitude(data.len())) };
    let set: Value = serde_json::from_slice(data).unwrap();
    let keys = set["keys"].as_array().unwrap();
    assert!(!names.is_empty() && names.len() <= keys.len() && keys.len() <= 50, "{set}");
    for name in names.iter().flatten() {
        assert!(keys.iter().any(|key| key["kid"].as_str() == Some(name)), "{name:?}: {set}");
    }
    accepted((names.len(), keys.len().min(8)))
}

pub(super) const API_KEY: &[&str] =
    &["wo_", "_", "0123456789abcdef", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "A", "-", "="];

/// A key is read from the very text that it is shown as.
pub(super) fn api_key(data: &[u8]) -> Seen {
    let text = text(data);
    match KeyText::parse(&text) {
        Some(key) => {
            assert_eq!(key.shown(), text);
            accepted(key.key_id.0[0] >> 5)
        }
        None => refused(magnitude(text.len())),
    }
}

pub(super) const FORWARDED: &[&str] = &[
    "for=",
    "for=\"[2001:db8::9]:80\"",
    "203.0.113.7",
    "10.0.0.2",
    "unknown",
    "_hidden",
    ";proto=https",
    ";host=\"",
    "\"",
    "\\",
    "\\\"",
    ",",
    ", ",
    "[",
    "]",
    "::ffff:10.0.0.1",
    ":80",
];

/// Whatever a client claims, who asks is whom its proxy saw; and a stranger is nobody but themselves.
pub(super) fn forwarded(data: &[u8]) -> Seen {
    let Ok(claim) = HeaderValue::from_bytes(data) else { return refused("no header") };
    let proxy: IpAddr = [10, 0, 0, 1].into();
    let (client, stranger): (IpAddr, IpAddr) = ([203, 0, 113, 9].into(), [198, 51, 100, 1].into());
    let mut alone = Vec::new();
    for (kind, name, saw) in [
        (ProxyHeader::XForwardedFor, header::HeaderName::from_static("x-forwarded-for"), "203.0.113.9"),
        (ProxyHeader::Forwarded, header::FORWARDED, "for=203.0.113.9"),
    ] {
        let proxies = Proxies { networks: vec!["10.0.0.0/8".parse().unwrap()], header: kind };
        let mut headers = HeaderMap::new();
        headers.append(&name, claim.clone());
        alone.push(proxies.client(proxy, &headers).0);
        assert_eq!(proxies.client(stranger, &headers).0, stranger, "{claim:?}");
        headers.append(&name, HeaderValue::from_static(saw));
        assert_eq!(proxies.client(proxy, &headers).0, client, "{claim:?} in a field of its own");
        let joined = [claim.as_bytes(), b", ", saw.as_bytes()].concat();
        headers.insert(&name, HeaderValue::from_bytes(&joined).unwrap());
        assert_eq!(proxies.client(proxy, &headers).0, client, "{claim:?} before it");
    }
    let named = alone.iter().filter(|address| **address != proxy).count();
    let seen = (named, alone.iter().any(IpAddr::is_ipv6), magnitude(data.len()));
    if named > 0 { accepted(seen) } else { refused(seen) }
}

pub(super) const IF_MATCH: &[&str] =
    &["*", "\"", "W/", "\"1\"", ",", ", ", "W/\"2\"", "\"\"", " ", "\t", "w/"];

/// The tags that are read stand in quotes in the header, and say the same when they are written again.
pub(super) fn if_match(data: &[u8]) -> Seen {
    let Ok(value) = HeaderValue::from_bytes(data) else { return refused("no header") };
    let mut headers = HeaderMap::new();
    headers.insert(header::IF_MATCH, value);
    match api::fuzzing::if_match(&headers) {
        None => refused(magnitude(data.len())),
        Some(None) => {
            assert_eq!(data.trim_ascii(), b"*");
            accepted("any")
        }
        Some(Some(tags)) => {
            for tag in &tags {
                let quoted = [b"\"", tag.as_slice(), b"\""].concat();
                assert!(data.windows(quoted.len()).any(|part| part == quoted), "{tag:?}");
            }
            if !tags.is_empty() {
                let list: Vec<_> = tags.iter().map(|tag| [b"\"", tag.as_slice(), b"\""].concat()).collect();
                headers.insert(header::IF_MATCH, HeaderValue::from_bytes(&list.join(&b", "[..])).unwrap());
                assert_eq!(api::fuzzing::if_match(&headers), Some(Some(tags.clone())));
            }
            accepted((tags.len().min(8), tags.first().map_or(0, |tag| magnitude(tag.len()))))
        }
    }
}
