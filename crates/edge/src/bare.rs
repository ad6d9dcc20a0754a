//! Bare refusals: what the HTTP library replies by itself to what it cannot parse, with a status, without a body and
//! without an `X-Request-Id`. The socket withholds such a reply, so that a mount can word it instead.

use crate::refusal::Refusal;
use crate::request_id::X_REQUEST_ID;
use http::StatusCode;
use std::sync::atomic::{AtomicU16, Ordering};

/// A bare refusal is shorter than this, in bytes: status line, `connection`, `content-length`, `date`.
const BYTES_MAX: usize = 256;

/// The bare refusal of a connection, from the moment when the library wants to write it to the end of that poll, which
/// tells whether it is one: the library writes it last and gives up with a parse error. Whatever else looked like one
/// goes its way unchanged.
#[derive(Debug, Default)]
pub(crate) struct Withheld(AtomicU16);

/// No status is one of these.
const NOTHING: u16 = 0;
const LET_THROUGH: u16 = 1;

impl Withheld {
    /// Whether what is to be written next is not to be written now; `begins` if a reply may begin with it and it is in
    /// one piece.
    pub(crate) fn keeps(&self, begins: Option<&[u8]>) -> bool {
        let goes_on = self.0.load(Ordering::Relaxed) == LET_THROUGH;
        let status = begins.filter(|_| !goes_on).and_then(bare_status);
        self.0.store(status.map_or(NOTHING, |status| status.as_u16()), Ordering::Relaxed);
        status.is_some()
    }

    /// Says that the library goes on: what is kept was no bare refusal and may be written. Whether there is anything.
    pub(crate) fn let_through(&self) -> bool {
        let keeps = self.status().is_some();
        if keeps {
            self.0.store(LET_THROUGH, Ordering::Relaxed);
        }
        keeps
    }

    /// Why the library refused what it could not parse, if it did and nobody has heard of it.
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        Some(match self.status()? {
            StatusCode::URI_TOO_LONG => Refusal::UriTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Refusal::HeadersTooLarge,
            _ => Refusal::BadFraming,
        })
    }

    fn status(&self) -> Option<StatusCode> {
        StatusCode::from_u16(self.0.load(Ordering::Relaxed)).ok()
    }
}

/// The status of the reply, if it is the library's own: each reply of a mount has an `X-Request-Id`.
fn bare_status(reply: &[u8]) -> Option<StatusCode> {
    // The version is that of the last request.
    let code = reply.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    let status = StatusCode::from_bytes(code).ok().filter(StatusCode::is_client_error)?;
    let whole = reply.len() <= BYTES_MAX && reply.ends_with(b"\r\n\r\n");
    let name = X_REQUEST_ID;
    let named = reply.windows(name.as_str().len()).any(|part| part == name.as_str().as_bytes());
    (whole && !named).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
        content-length: 0\r\ndate: Sat, 21 Nov 2026 04:20:00 GMT\r\n\r\n";

    #[test]
    fn only_a_whole_refusal_without_a_name_is_bare() {
        assert_eq!(bare_status(BARE), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        assert_eq!(bare_status(b"HTTP/1.0 400 Bad Request\r\n\r\n"), Some(StatusCode::BAD_REQUEST));
        for other in [
            &b""[..],
            b"HTTP/1.1 4",
            b"HTTP/1.1 100 Continue\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"{}HTTP/1.1 400 Bad Request\r\n\r\n",
            &[b"HTTP/1.1 400 Bad Request\r\nx: ", &[b'y'; BYTES_MAX][..], b"\r\n\r\n"].concat(),
        ] {
            assert_eq!(bare_status(other), None, "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn what_is_kept_goes_its_way_when_the_library_goes_on() {
        let withheld = Withheld::default();
        assert!(!withheld.keeps(Some(b"data")) && !withheld.let_through() && withheld.refusal().is_none());
        assert!(withheld.keeps(Some(BARE)) && withheld.keeps(Some(BARE)));
        assert!(matches!(withheld.refusal(), Some(Refusal::HeadersTooLarge)));
        for written in [Some(BARE), None] {
            assert!(withheld.keeps(Some(BARE)));
            assert!(withheld.let_through() && !withheld.let_through() && withheld.refusal().is_none());
            assert!(!withheld.keeps(written));
        }
        assert!(withheld.keeps(Some(BARE)), "each is let through once");
    }
}
