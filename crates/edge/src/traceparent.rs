//! The place in a trace that a request comes from.

use http::{HeaderMap, HeaderName};
use order_core::trace::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What the header `traceparent` says; nothing when it is malformed or there several times (W3C Trace Context §3.2, §4.2).
pub(crate) fn of(headers: &HeaderMap) -> Option<TraceContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    TraceContext::parse(value.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn one_header_that_is_well_formed_counts_and_nothing_else() {
        let good = HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers), None);
        headers.append(TRACEPARENT, good.clone());
        assert!(of(&headers).is_some());
        headers.append(TRACEPARENT, good);
        assert_eq!(of(&headers), None);
        for bad in [&b"00-4bf9"[..], b"", b"\xff\xfe"] {
            let value = HeaderValue::from_bytes(bad).map(|value| headers.insert(TRACEPARENT, value));
            assert!(value.is_ok());
            assert_eq!(of(&headers), None);
        }
    }
}
