//! What clients send beside the body, and what others answer to us.

use http::{HeaderMap, HeaderValue, Uri};
use order_core::journal::Cursor;
use outbound::{MAX_RETRY_AFTER, MIN_RETRY_AFTER};

use super::{Seen, accepted, magnitude, refused, text};

/// A text that is taken for a cursor, or bytes that are signed as one. What is read reads back from its own text; what
/// is good for one purpose is good for no other.
pub(super) fn cursor(data: &[u8]) -> Seen {
    let cursors = api::fuzzing::Cursors::default();
    let signed = cursors.signed(data, true);
    assert!(cursors.read_place(&signed).is_err(), "good for another purpose");
    assert!(cursors.read_journal(&cursors.signed(data, false)).is_err(), "good for another purpose");
    let inner = cursors.read_journal(&signed).ok();
    if let Some(cursor) = &inner {
        assert!(cursor.positions.len() < data.len().max(1), "more positions than bytes");
        same(&cursors, cursor);
    }
    let text = text(data);
    let place = cursors.read_place(&text);
    match cursors.read_journal(&text) {
        Ok(cursor) => {
            assert_eq!(cursors.journal(&cursor), text, "two texts for one cursor");
            accepted(("text", cursor.positions.len()))
        }
        Err(_) if place.is_ok() => accepted("place"),
        Err(_) => match inner {
            Some(cursor) => accepted(("bytes", cursor.positions.len().min(16))),
            None => refused(magnitude(data.len())),
        },
    }
}

fn same(cursors: &api::fuzzing::Cursors, cursor: &Cursor) {
    assert_eq!(cursors.read_journal(&cursors.journal(cursor)).as_ref(), Ok(cursor));
}

pub(super) const QUERY: &[&str] = &[
    "limit=",
    "customer=",
    "&",
    "=",
    "%",
    "%20",
    "%00",
    "%C3%A9",
    "%ff",
    "+",
    "200",
    "201",
    "-1",
    ";",
    "#",
    "[]",
];

/// Any query can be read as pairs, and written so that the same pairs are read again; what is accepted is in range.
pub(super) fn query(data: &[u8]) -> Seen {
    let Ok(uri) = format!("/v1/orders?{}", text(data)).parse::<Uri>() else {
        return refused("no target");
    };
    let pairs = api::fuzzing::query(&uri).expect("any query can be read as pairs");
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let written: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    if let Ok(again) = format!("/v1/orders?{}", written.join("&")).parse::<Uri>() {
        assert_eq!(api::fuzzing::query(&again).as_ref(), Some(&pairs), "other pairs are read again");
    }
    let count = pairs.len();
    match api::fuzzing::parameters(pairs) {
        Ok((limit, customer)) => {
            assert!((1..=200).contains(&limit));
            assert!(
                customer.as_ref().is_none_or(|text| (1..=255).contains(&text.len()) && !text.contains('\0'))
            );
            accepted((magnitude(limit as usize), customer.is_some(), count))
        }
        Err(problem) => {
            let errors = problem["errors"].as_array().expect("reasons");
            assert!(!errors.is_empty() && errors.len() <= 2 * count, "{problem}");
            let codes: Vec<_> = errors.iter().take(3).map(|error| error["code"].to_string()).collect();
            refused(codes)
        }
    }
}

pub(super) const RETRY_AFTER: &[&str] = &[
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "GMT",
    "+0000",
    "-2359",
    "\n",
    "120",
    "Sun, ",
    ":60",
    " ",
    "99999999999999999999",
];

/// A value, and behind a line break the answer's own date. What is read is within the limits; digits are always read.
pub(super) fn retry_after(data: &[u8]) -> Seen {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let value = HeaderValue::from_bytes(lines.next().unwrap_or_default());
    // Without the answer's date ours would count, and no run would be like another.
    let date = lines.next().unwrap_or(b"Sun, 06 Nov 1994 08:49:37 GMT");
    let (Ok(value), Ok(date)) = (value, HeaderValue::from_bytes(date)) else {
        return refused("no header");
    };
    let digits = !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    match outbound::fuzzing::retry_after(value, Some(date)) {
        Some(wait) => {
            assert!((MIN_RETRY_AFTER..=MAX_RETRY_AFTER).contains(&wait), "{wait:?}");
            accepted((digits, magnitude(usize::try_from(wait.as_secs()).unwrap())))
        }
        None => {
            assert!(!digits, "digits are a wait");
            refused(magnitude(data.len()))
        }
    }
}

pub(super) const PREFER: &[&str] = &[
    "wait=",
    "wait=10",
    "WAIT = \"5\"",
    "respond-async",
    ",",
    ";",
    "=",
    "\"",
    "\n",
    "99999999999999999999",
    "0",
    "51",
    "+1",
    " ",
];

/// Lines of the header `Prefer`. A wait is granted within its bounds, to one who says so with digits.
pub(super) fn prefer(data: &[u8]) -> Seen {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else {
            return refused("no header");
        };
        headers.append("prefer", value);
    }
    let Some(seconds) = api::fuzzing::wait(&headers) else {
        return refused(magnitude(data.len()));
    };
    assert!((1..=50).contains(&seconds), "{seconds} seconds");
    let said = text(data).to_ascii_lowercase();
    assert!(said.contains("wait"), "nobody asked to wait");
    assert!(seconds == 50 || said.contains(&seconds.to_string()), "{seconds} seconds of {said}");
    accepted((magnitude(usize::try_from(seconds).unwrap()), headers.len().min(4)))
}
