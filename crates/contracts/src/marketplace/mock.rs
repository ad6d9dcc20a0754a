//! The mock marketplace: what it says of a receipt, and who may ask. Pure rules; no receipt is kept.
//!
//! In this order: an unknown marketplace, no receipt, a bad login, too many requests (the last two digits sum up to a multiple
//! of six), an order (the last character is an odd digit), no order (anything else).

use super::wire::Marketplace;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use std::fmt;
use subtle::ConstantTimeEq;

/// Digits whose sum is a multiple of this are of a receipt that is refused for now.
const RATE_MODULUS: u32 = 6;
/// Amounts are at least this, and less than this and [`AMOUNT_SPREAD`].
const AMOUNT_MIN: u32 = 10;
/// How many amounts there are.
const AMOUNT_SPREAD: u32 = 1_000;
/// Begins what order ids are hashed from.
const ORDER_ID_DOMAIN: &[u8] = b"wellorder/mock-order/1\0";

/// A name and a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// The name; a colon ends it in the header, so there is none in it (RFC 7617 §2).
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The mock marketplaces, and who may ask each.
#[derive(Debug, Clone, Default)]
pub struct Mock {
    /// At `etsy`; nobody gets in without one.
    pub etsy: Option<Login>,
    /// At `shopify`.
    pub shopify: Option<Login>,
    /// At `amazon`.
    pub amazon: Option<Login>,
}

impl Mock {
    fn login(&self, marketplace: Marketplace) -> Option<&Login> {
        match marketplace {
            Marketplace::Etsy => self.etsy.as_ref(),
            Marketplace::Shopify => self.shopify.as_ref(),
            Marketplace::Amazon => self.amazon.as_ref(),
        }
    }

    /// Whether a request shows this marketplace's name and password (RFC 7617); the scheme's name is of any case.
    pub(super) fn admits(&self, marketplace: Marketplace, headers: &HeaderMap) -> bool {
        let (Some(login), Some(shown)) = (self.login(marketplace), shown(headers)) else {
            return false;
        };
        let right = format!("{}:{}", login.user, login.password);
        // Hashes are of one length, so that the comparison tells nothing of the length either.
        Sha256::digest(&shown).ct_eq(&Sha256::digest(right.as_bytes())).into()
    }
}

/// Name and password of the one `Authorization: Basic`.
fn shown(headers: &HeaderMap) -> Option<Vec<u8>> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    if values.next().is_some() || !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    BASE64_STANDARD.decode(token.trim()).ok()
}

/// What the mock marketplace says of a receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Ask later.
    RateLimited,
    /// There is such an order.
    Found {
        /// Its id there.
        order_id: String,
        /// What it costs, in whole units.
        amount: u32,
    },
    /// There is none.
    Unknown,
}

/// What is said of a receipt: the same each time.
pub(super) fn verdict(receipt: &str) -> Verdict {
    if is_rate_limited(receipt) {
        return Verdict::RateLimited;
    }
    let last = receipt.chars().next_back().and_then(|last| last.to_digit(10));
    if last.is_some_and(|digit| digit % 2 == 1) {
        return Verdict::Found { order_id: order_id(receipt), amount: amount(receipt) };
    }
    Verdict::Unknown
}

/// Whether both of the last two characters are digits, and their sum is a multiple of six (0 is).
fn is_rate_limited(receipt: &str) -> bool {
    let mut ends = receipt.chars().rev().map(|end| end.to_digit(10));
    matches!((ends.next(), ends.next()), (Some(Some(last)), Some(Some(other)))
        if (last + other) % RATE_MODULUS == 0)
}

fn amount(receipt: &str) -> u32 {
    let sum = receipt.encode_utf16().fold(0_u32, |sum, unit| (sum + u32::from(unit)) % AMOUNT_SPREAD);
    sum + AMOUNT_MIN
}

fn order_id(receipt: &str) -> String {
    let hash = Sha256::new().chain_update(ORDER_ID_DOMAIN).chain_update(receipt.as_bytes()).finalize();
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("mock-{digits}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use http::HeaderValue;

    fn found(receipt: &str) -> Option<(String, u32)> {
        match verdict(receipt) {
            Verdict::Found { order_id, amount } => Some((order_id, amount)),
            Verdict::RateLimited | Verdict::Unknown => None,
        }
    }

    #[test]
    fn the_last_two_digits_decide_before_the_last_one_does() {
        for limited in ["RL15", "test24", "00", "x00", "51", "06", "60", "33", "99", "a-42", "115115"] {
            assert_eq!(verdict(limited), Verdict::RateLimited, "{limited}");
        }
        for success in ["test1", "1", "x3", "11", "order-101", "13", "é7", "5"] {
            assert!(found(success).is_some(), "{success}");
        }
        for failure in ["test2", "0", "x0", "12", "order-102", "abc", "1x", "order-1 ", "٣", "１", "3b"] {
            assert_eq!(verdict(failure), Verdict::Unknown, "{failure}");
        }
    }

    #[test]
    fn amount_and_order_id_are_the_same_each_time() {
        // t e s t 1 = 116 + 101 + 115 + 116 + 49 = 497.
        assert_eq!(found("test1").unwrap(), ("mock-b821e075c812619d".to_owned(), 507));
        assert_ne!(found("test1").unwrap().0, found("test3").unwrap().0);
        // Two units of UTF-16: 0xd83d + 0xde00 + 49 = 112 238.
        assert_eq!(found("😀1").unwrap().1, 248);
        assert_eq!(amount(&"\u{ffff}".repeat(200_000)), (65_535 * 200_000_u64 % 1_000) as u32 + 10);
        assert!(found(&"9".repeat(255)).is_none(), "18 is a multiple of six");
    }

    #[test]
    fn a_login_is_one_header_of_its_marketplace() {
        let login = |user: &str, password: &str| Some(Login { user: user.into(), password: password.into() });
        let mock = Mock { etsy: login("etsy_user", "a:b"), shopify: login("é", ""), amazon: None };
        let admits = |marketplace, values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
            }
            mock.admits(marketplace, &headers)
        };
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let good = basic("etsy_user:a:b");
        assert!(admits(Marketplace::Etsy, &[&good]));
        assert!(admits(Marketplace::Etsy, &[&good.replace("Basic", "bAsIc ")]));
        assert!(admits(Marketplace::Shopify, &[&basic("é:")]));
        assert!(!admits(Marketplace::Shopify, &[&good]));
        assert!(!admits(Marketplace::Amazon, &[&basic(":")]), "nobody gets in where nobody may");
        for bad in [
            "",
            "Basic",
            "Basic ",
            "Basic !!",
            &good.replace("Basic", "Bearer"),
            &basic("etsy_user:a"),
            &basic("etsy_user"),
            &basic("ETSY_USER:a:b"),
        ] {
            assert!(!admits(Marketplace::Etsy, &[bad]), "{bad}");
        }
        assert!(!admits(Marketplace::Etsy, &[]));
        assert!(!admits(Marketplace::Etsy, &[&good, &good]));
        assert!(!format!("{mock:?}").contains("a:b"));
    }
}
