//! `Retry-After`: how long the other side asks us to stay away (RFC 9110 §10.2.3).

use std::time::{Duration, SystemTime};

use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};
use time::{OffsetDateTime, format_description::well_known::Rfc2822};

/// The shortest wait that is taken from an answer: nobody can make us call in a tight loop.
pub const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);
/// The longest wait that is taken from an answer: nobody can make us forget an order.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The wait that `headers` ask for, within [`MIN_RETRY_AFTER`] and [`MAX_RETRY_AFTER`]; `None` when there is none or
/// it cannot be read.
///
/// A date counts from the answer's own `Date`, so that neither side's wrong clock matters; without one, from ours.
pub(crate) fn from_headers(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match seconds(value) {
        Some(wait) => wait,
        None => {
            let until = http_date(value)?;
            let from = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or_else(now);
            Duration::try_from(until - from).unwrap_or(Duration::ZERO)
        }
    };
    Some(wait.clamp(MIN_RETRY_AFTER, MAX_RETRY_AFTER))
}

/// Digits only (a sign, a fraction or a unit is no `delay-seconds`); more than fits is as long as can be.
fn seconds(value: &str) -> Option<Duration> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(value.parse().map_or(Duration::MAX, Duration::from_secs))
}

/// The date form that senders must use (`Sun, 06 Nov 1994 08:49:37 GMT`); the two obsolete ones are not read.
fn http_date(value: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(value.trim(), &Rfc2822).ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "only for an answer that has a date to wait for and no Date of its own"
)]
fn now() -> OffsetDateTime {
    SystemTime::now().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn asked(pairs: &[(&'static str, &str)]) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, value.parse().unwrap());
        }
        from_headers(&headers)
    }

    #[test]
    fn seconds_are_taken_and_clamped() {
        for (value, wait) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("0", Some(1)),
            ("86400", Some(86_400)),
            ("86401", Some(86_400)),
            ("99999999999999999999999999", Some(86_400)),
            ("-5", None),
            ("1.5", None),
            ("10s", None),
            ("", None),
            ("soon", None),
        ] {
            assert_eq!(asked(&[("retry-after", value)]), wait.map(Duration::from_secs), "{value:?}");
        }
        assert_eq!(asked(&[]), None);
    }

    #[test]
    fn a_date_counts_from_the_answers_own_date() {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let wait = |until| asked(&[("retry-after", until), ("date", date)]);
        assert_eq!(wait("Sun, 06 Nov 1994 08:51:37 GMT"), Some(Duration::from_secs(120)));
        assert_eq!(wait("Sun, 06 Nov 1994 08:00:00 GMT"), Some(MIN_RETRY_AFTER), "in the past");
        assert_eq!(wait("Sun, 06 Nov 2094 08:49:37 GMT"), Some(MAX_RETRY_AFTER), "too far");
        assert_eq!(wait("1994-11-06T08:51:37Z"), None, "another form of date");
    }

    #[test]
    fn a_date_without_a_date_counts_from_our_clock() {
        assert_eq!(asked(&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")]), Some(MIN_RETRY_AFTER));
        assert_eq!(asked(&[("retry-after", "Fri, 01 Jan 2100 00:00:00 GMT")]), Some(MAX_RETRY_AFTER));
    }
}
