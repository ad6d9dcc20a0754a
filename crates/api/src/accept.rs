//! What form of an answer a client would rather have (RFC 9110 §12.5.1).

use http::{HeaderMap, header};

/// The type of a stream of server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Whether the client would rather have a stream of events than JSON. Where it likes both as much, whether it names the
/// stream; who asks for neither gets JSON.
pub(crate) fn prefers_stream(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
    let ranges: Vec<Range<'_>> = lines.flat_map(|line| line.split(',')).filter_map(Range::read).collect();
    let (stream, json) = (best(&ranges, EVENT_STREAM), best(&ranges, JSON));
    let named = stream.1 == NAMED;
    stream.0 > json.0 || (named && stream.0 > 0 && stream.0 == json.0)
}

/// How precisely a range names a type.
const NAMED: u8 = 3;

/// A media range and its weight, in thousandths.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

impl<'a> Range<'a> {
    /// `None` for what is none.
    fn read(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let mut weight = 1_000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                weight = thousandths(value.trim())?;
            }
        }
        Some(Self { kind, subtype, weight })
    }

    /// How precisely it names `media_type`; 0 if not at all.
    fn precision(&self, media_type: &str) -> u8 {
        let Some((kind, subtype)) = media_type.split_once('/') else { return 0 };
        match (self.kind.eq_ignore_ascii_case(kind), self.subtype.eq_ignore_ascii_case(subtype)) {
            (true, true) => NAMED,
            (true, false) if self.subtype == "*" => 2,
            (false, _) if (self.kind, self.subtype) == ("*", "*") => 1,
            _ => 0,
        }
    }
}

/// The weight of a type, and how precisely it is named: the most precise range rules.
fn best(ranges: &[Range<'_>], media_type: &str) -> (u16, u8) {
    let fits = ranges.iter().map(|range| (range.precision(media_type), range.weight));
    let (precision, weight) = fits.filter(|(precision, _)| *precision > 0).max().unwrap_or((0, 0));
    (weight, precision)
}

/// A weight: 0 to 1 with at most three decimals.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    if !matches!(whole, "0" | "1")
        || decimals.len() > 3
        || !decimals.bytes().all(|byte| byte.is_ascii_digit())
    {
        return None;
    }
    let weight: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (weight <= 1_000).then_some(weight)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn asked(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        prefers_stream(&headers)
    }

    #[test]
    fn a_stream_is_for_who_would_rather_have_it() {
        for yes in [
            "text/event-stream",
            "Text/Event-Stream; q=0.5",
            "application/json, text/event-stream",
            "text/event-stream, */*",
            "text/event-stream;q=0.5, application/json;q=0.4",
            "text/event-stream;q=0.1, */*;q=0.01",
            "text/event-stream;q=0.9, application/json;q=0",
            "text/*",
        ] {
            assert!(asked(yes), "{yes}");
        }
        for no in [
            "*/*",
            "application/json",
            "text/event-stream;q=0",
            "application/json, text/event-stream;q=0.5",
            "*/*, text/event-stream;q=0.999",
            "text/event-stream;q=0.000, text/*;q=0.5, application/json;q=0.5",
            "text/event-stream;q=2",
            "text/event-stream;q=x",
            "text/html",
            "",
        ] {
            assert!(!asked(no), "{no}");
        }
        assert!(!prefers_stream(&HeaderMap::new()));
    }

    #[test]
    fn weights_have_three_decimals() {
        for (text, weight) in [("1", 1_000), ("0.5", 500), ("0.001", 1), ("1.000", 1_000), ("0.", 0)] {
            assert_eq!(thousandths(text), Some(weight), "{text}");
        }
        for bad in ["", "1.001", "0.0001", "2", "-1", ".5", "0,5", "1e0"] {
            assert_eq!(thousandths(bad), None, "{bad}");
        }
    }
}
