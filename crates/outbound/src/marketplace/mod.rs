//! Marketplaces behind [`order_core::ports::Marketplace`].

mod mock;
#[cfg(test)]
mod mock_tests;
mod shopify;
mod shopify_answer;
mod shopify_notification;
#[cfg(test)]
mod shopify_tests;

pub use mock::{MockLogin, MockMarketplace};
pub use shopify::{ShopifyClient, ShopifyOptions};

use std::time::Duration;

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::retry_after;

/// Longest reason that is passed on, in characters.
const WHY_CHARS: usize = 200;

/// What others say, as it is kept: short, on one line.
fn said(text: &str) -> String {
    let line = text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty());
    line.collect::<Vec<_>>().join(" ").chars().take(WHY_CHARS).collect()
}

/// The wait that `headers` ask for; a fraction of a second, which is no `delay-seconds` but is sent, is a whole one.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    if let Some((whole, part)) =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.split_once('.'))
        && [whole, part]
            .iter()
            .all(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
    {
        let more = u64::from(part.bytes().any(|byte| byte != b'0'));
        let seconds = whole.parse::<u64>().map_or(u64::MAX, |whole| whole.saturating_add(more));
        let wait = Duration::from_secs(seconds);
        return Some(wait.clamp(retry_after::MIN_RETRY_AFTER, retry_after::MAX_RETRY_AFTER));
    }
    retry_after::from_headers(headers)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use reqwest::header::HeaderValue;

    #[test]
    fn a_wait_with_a_fraction_is_read_too() {
        for (text, seconds) in [
            ("2.0", Some(2)),
            ("2.1", Some(3)),
            ("0.5", Some(1)),
            ("7", Some(7)),
            ("99999999999999999999.0", Some(86_400)),
            (".5", None),
            ("2.", None),
            ("-2.0", None),
            ("2.0.0", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]);
            assert_eq!(wait(&headers), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn what_others_say_is_one_short_line() {
        assert_eq!(said(" a\r\n\tb\u{0}c \u{1b}[1m"), "a b c [1m");
        assert_eq!(said(&"é".repeat(1_000)).chars().count(), WHY_CHARS);
    }
}
