//! Names requests.

use crate::guard::Guard;
use crate::refusal::RequestId;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries the id, both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id that a client may choose, in bytes.
const BYTES_MAX: usize = 128;

/// The client's id if it is one, else a fresh one.
pub(crate) fn of(headers: &HeaderMap, guard: &Guard) -> (RequestId, HeaderValue) {
    if let Some(value) = headers.get(X_REQUEST_ID)
        && let Some(text) = usable(value)
    {
        return (RequestId(text.to_owned()), value.clone());
    }
    let mut buffer = [0_u8; uuid::fmt::Simple::LENGTH];
    let fresh: &str = guard.ids.uuid_v7(guard.clock.now()).simple().encode_lower(&mut buffer);
    let value = HeaderValue::from_str(fresh).unwrap_or(HeaderValue::from_static("unnamed"));
    (RequestId(fresh.to_owned()), value)
}

/// The text of an id that is 1 to 128 printable ASCII characters: safe in a header, a log line and a page.
fn usable(value: &HeaderValue) -> Option<&str> {
    let printable = value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte));
    let text = value.to_str().ok().filter(|_| printable)?;
    (!text.is_empty() && text.len() <= BYTES_MAX).then_some(text)
}
