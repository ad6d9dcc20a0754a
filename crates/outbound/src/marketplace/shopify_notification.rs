//! What Shopify tells of its own accord (webhooks): signed with the app's secret, over the very bytes of the body.
//!
//! Source: shopify.dev, `docs/apps/build/webhooks/subscribe/https` ("Validate the origin of your webhook").

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use order_core::Reference;
use order_core::json::{self, JsonLimits};
use order_core::marketplace::calls::{Heard, Notification};
use order_core::sealing::Secret;
use serde_json::Value;
use sha2::Sha256;

/// What a notification about the store of this name is worth.
pub(super) fn heard(secret: &Secret, shop: Option<&str>, told: &Notification<'_>) -> Heard {
    let domain =
        told.header("x-shopify-shop-domain").and_then(|domain| domain.strip_suffix(".myshopify.com"));
    let is_signed =
        told.header("x-shopify-hmac-sha256").is_some_and(|text| is_signed(secret, text, told.body));
    if !is_signed || shop.is_none() || domain != shop {
        return Heard::Stranger;
    }
    let of_order = told.header("x-shopify-topic").is_some_and(|topic| topic.starts_with("orders/"));
    let number = || {
        let body = json::parse(told.body, JsonLimits::default()).ok()?;
        let Value::Number(id) = &body["id"] else { return None };
        let is_number = id.as_str().bytes().all(|byte| byte.is_ascii_digit());
        Reference::new(id.as_str()).ok().filter(|_| is_number)
    };
    match number().filter(|_| of_order) {
        Some(receipt) => Heard::Order(receipt),
        // The listing finds what it was.
        None => Heard::Other,
    }
}

/// Whether the text is the signature of the body, in base64. The comparison takes the same time whatever differs.
fn is_signed(secret: &Secret, text: &str, body: &[u8]) -> bool {
    let Ok(signature) = BASE64_STANDARD.decode(text) else { return false };
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.bytes()) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const BODY: &[u8] = br#"{"id":820982911946154508,"updated_at":"2026-10-01T00:00:00-05:00"}"#;
    /// `openssl dgst -sha256 -hmac hush -binary | base64` of the body.
    const SIGNED: &str = "Vt/LsPGJ9wy5grmY8r7/okkOK0SCUhu5FddzUQ1SoFY=";

    fn secret() -> Secret {
        Secret::new(b"hush".to_vec())
    }

    fn said(headers: &[(&str, &str)], body: &[u8]) -> Heard {
        heard(&secret(), Some("my-shop"), &Notification { headers, body })
    }

    fn order() -> [(&'static str, &'static str); 3] {
        [
            ("x-shopify-hmac-sha256", SIGNED),
            ("x-shopify-shop-domain", "my-shop.myshopify.com"),
            ("x-shopify-topic", "orders/updated"),
        ]
    }

    #[test]
    fn what_shopify_signed_names_an_order() {
        let expected = Heard::Order(Reference::new("820982911946154508").unwrap());
        assert_eq!(said(&order(), BODY), expected);
    }

    #[test]
    fn what_is_not_signed_so_or_is_about_another_shop_is_a_strangers() {
        let with = |name: &str, value: &'static str| {
            order().map(|(known, was)| (known, if known == name { value } else { was }))
        };
        assert_eq!(said(&order(), b"{}"), Heard::Stranger, "other bytes");
        assert_eq!(said(&order()[1..], BODY), Heard::Stranger, "no signature");
        assert_eq!(said(&[&order()[..], &order()[..1]].concat(), BODY), Heard::Stranger, "two of them");
        for other in ["", "AAAA", "x", "x-shopify"] {
            assert_eq!(said(&with("x-shopify-hmac-sha256", other), BODY), Heard::Stranger, "{other}");
        }
        for shop in ["other.myshopify.com", "my-shop", "my-shop.myshopify.com.evil.example", ""] {
            assert_eq!(said(&with("x-shopify-shop-domain", shop), BODY), Heard::Stranger, "{shop}");
        }
        let told = Notification { headers: &order(), body: BODY };
        assert_eq!(heard(&secret(), None, &told), Heard::Stranger, "the store is none of Shopify's");
        assert_eq!(heard(&Secret::new(b"other".to_vec()), Some("my-shop"), &told), Heard::Stranger);
    }

    #[test]
    fn what_is_about_something_else_is_only_a_reason_to_look() {
        let mut headers = order();
        headers[2].1 = "app/uninstalled";
        assert_eq!(said(&headers, BODY), Heard::Other);
        assert_eq!(said(&order()[..2], BODY), Heard::Other, "no topic");
        for body in [&b"no JSON"[..], b"[]", br#"{"id":"7"}"#, br#"{"id":-7}"#, br#"{"id":7.5}"#] {
            let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(b"hush").unwrap();
            mac.update(body);
            let signature = BASE64_STANDARD.encode(mac.finalize().into_bytes());
            let headers = [("x-shopify-hmac-sha256", &*signature), order()[1], order()[2]];
            assert_eq!(said(&headers, body), Heard::Other, "{}", String::from_utf8_lossy(body));
        }
    }
}
