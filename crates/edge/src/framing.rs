//! Watches the bytes of a connection for heads that announce both `Content-Length` and `Transfer-Encoding`. The HTTP
//! library lets the latter win and drops the former before anybody can see it (RFC 9112 §6.3 allows that); a request
//! that a proxy in front may have understood otherwise is refused here.

use crate::bare::Withheld;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What a connection's socket tells its service: which request is ambiguous, and what could not be parsed. The first is
/// also the last: the library closes the connection behind it. And whether the client was given up because it took
/// nothing of a reply.
#[derive(Debug)]
pub(crate) struct Verdict {
    ambiguous: AtomicU64,
    served: AtomicU64,
    /// What the library wanted to reply by itself.
    pub(crate) withheld: Withheld,
    stalled: AtomicBool,
    /// Microseconds for which nothing is to be read; taken by the socket.
    pause: AtomicU64,
}

/// Tells whether the client was given up because it took nothing of its reply for too long (a request extension).
#[derive(Debug, Clone)]
pub struct Stalled(Arc<Verdict>);

impl Stalled {
    /// Whether it was.
    pub fn is_so(&self) -> bool {
        self.0.is_stalled()
    }

    /// Nothing more is read from the client for so long; the reply to this request goes out.
    pub(crate) fn pause(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.0.pause.fetch_max(micros, Ordering::Relaxed);
    }
}

const NONE: u64 = u64::MAX;

impl Default for Verdict {
    fn default() -> Self {
        Self {
            ambiguous: AtomicU64::new(NONE),
            served: AtomicU64::new(0),
            withheld: Withheld::default(),
            stalled: AtomicBool::new(false),
            pause: AtomicU64::new(0),
        }
    }
}

impl Verdict {
    /// Tells requests of it.
    pub(crate) fn stalled(self: &Arc<Self>) -> Stalled {
        Stalled(Arc::clone(self))
    }

    /// The client takes nothing any more.
    pub(crate) fn give_up(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Whether it was given up.
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    /// How long nothing is to be read, told once.
    pub(crate) fn take_pause(&self) -> Option<Duration> {
        // Looked at before each read: mostly there is none.
        if self.pause.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(Duration::from_micros(self.pause.swap(0, Ordering::Relaxed)))
    }

    /// Counts a request that reaches the service; tells whether it is the ambiguous one.
    pub(crate) fn next_is_ambiguous(&self) -> bool {
        let index = self.served.fetch_add(1, Ordering::Relaxed);
        self.ambiguous.load(Ordering::Relaxed) == index
    }
}

/// Longest start of a line that is looked at. A length that is announced in a longer one is not believed: the peer
/// chooses where its bytes are cut into pieces, and must not choose thereby what is seen of them.
const LINE_BYTES_MAX: usize = 256;

#[derive(Debug)]
enum State {
    /// In a head; `begun` once its request line was seen. `refused` when it announces both, or a length that is none:
    /// behind `Transfer-Encoding` the library does not even look at that.
    Head { begun: bool, length: Option<u64>, chunked: bool, refused: bool },
    /// In a body of known length.
    Body(u64),
    /// Before a chunk.
    ChunkSize,
    /// In a chunk, or the line break behind it.
    Chunk(u64),
    /// Behind the last chunk.
    Trailers,
    /// Not HTTP as it is known here; the library refuses it too.
    Lost,
}

const HEAD: State = State::Head { begun: false, length: None, chunked: false, refused: false };

/// Follows the framing of one connection, request by request.
#[derive(Debug)]
pub(crate) struct Watch {
    state: State,
    /// A line that has not ended yet.
    line: Vec<u8>,
    /// Heads seen to their end.
    heads: u64,
}

impl Default for Watch {
    fn default() -> Self {
        Self { state: HEAD, line: Vec::new(), heads: 0 }
    }
}

impl Watch {
    /// Whether everything that was read belongs to whole requests.
    pub(crate) fn is_between_requests(&self) -> bool {
        matches!(self.state, State::Head { begun: false, .. }) && self.line.is_empty()
    }

    /// Takes notice of what was read.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], verdict: &Verdict) {
        while !bytes.is_empty() {
            match &mut self.state {
                State::Lost => return,
                State::Body(left) | State::Chunk(left) => {
                    let here = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= here as u64;
                    bytes = &bytes[here..];
                    if *left == 0 {
                        self.state =
                            if matches!(self.state, State::Chunk(_)) { State::ChunkSize } else { HEAD };
                    }
                }
                State::Head { .. } | State::ChunkSize | State::Trailers => {
                    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
                        self.keep(bytes);
                        return;
                    };
                    if self.line.is_empty() {
                        self.line_ended(&bytes[..end.min(LINE_BYTES_MAX + 1)], verdict);
                    } else {
                        self.keep(&bytes[..end]);
                        let line = std::mem::take(&mut self.line);
                        self.line_ended(&line, verdict);
                    }
                    bytes = &bytes[end + 1..];
                }
            }
        }
    }

    /// Keeps the start of a line, and one byte more, by which a line that is too long is known.
    fn keep(&mut self, part: &[u8]) {
        let room = (LINE_BYTES_MAX + 1).saturating_sub(self.line.len()).min(part.len());
        self.line.extend_from_slice(&part[..room]);
    }

    /// The request that was or comes last is ambiguous. The first one counts: several may be read at once.
    fn refuse(&self, verdict: &Verdict) {
        verdict.ambiguous.fetch_min(self.heads, Ordering::Relaxed);
    }

    fn line_ended(&mut self, line: &[u8], verdict: &Verdict) {
        let whole = line.len() <= LINE_BYTES_MAX;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match &mut self.state {
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            State::Head { begun: false, .. } if line.is_empty() => {}
            State::Head { begun: begun @ false, .. } => *begun = true,
            State::Head { length, chunked, refused, .. } if !line.is_empty() => {
                if let Some(value) = field(line, b"content-length") {
                    *length = parse(value, 10).filter(|_| whole);
                    *refused |= *chunked || length.is_none();
                } else if field(line, b"transfer-encoding").is_some() {
                    *refused |= length.is_some();
                    *chunked = true;
                }
            }
            State::Head { length, chunked, refused, .. } => {
                let next = match (*chunked, *length) {
                    (true, _) => State::ChunkSize,
                    // Where it ends is not known; the library refuses it too.
                    (false, None) if *refused => State::Lost,
                    (false, None | Some(0)) => HEAD,
                    (false, Some(length)) => State::Body(length),
                };
                if *refused {
                    self.refuse(verdict);
                }
                self.heads += 1;
                self.state = next;
            }
            State::ChunkSize => {
                let mut parts = line.split(|byte| *byte == b';');
                let size = parts.next().and_then(|size| parse(size, 16));
                let known = whole || parts.next().is_some();
                self.state = match size.filter(|_| known) {
                    // The line break behind the data counts too.
                    Some(size @ 1..) => State::Chunk(size.saturating_add(2)),
                    Some(0) => State::Trailers,
                    None => State::Lost,
                };
                if matches!(self.state, State::Lost) {
                    // Whatever the library makes of it: what follows cannot be vouched for.
                    self.refuse(verdict);
                }
            }
            State::Trailers if line.is_empty() => self.state = HEAD,
            State::Trailers | State::Body(_) | State::Chunk(_) | State::Lost => {}
        }
    }
}

/// The value of a header line, if it is of that name (given in lower case).
fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = line.split_at_checked(name.len())?;
    if head.eq_ignore_ascii_case(name) { rest.strip_prefix(b":") } else { None }
}

fn parse(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits.trim_ascii()).ok()?;
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(text, radix).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The index of the ambiguous request, fed whole and byte by byte, and whether the end is between requests.
    fn watch(bytes: &str) -> (Option<u64>, bool) {
        let run = |pieces: std::slice::Chunks<'_, u8>| {
            let (mut watch, verdict) = (Watch::default(), Verdict::default());
            pieces.for_each(|piece| watch.feed(piece, &verdict));
            let found = verdict.ambiguous.load(Ordering::Relaxed);
            ((found != NONE).then_some(found), watch.is_between_requests())
        };
        let whole = run(bytes.as_bytes().chunks(bytes.len().max(1)));
        assert_eq!(whole, run(bytes.as_bytes().chunks(1)), "{bytes}");
        whole
    }

    #[test]
    fn both_announcements_are_seen_in_either_order() {
        let te_first = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n";
        let cl_first =
            "POST / HTTP/1.1\r\nCONTENT-LENGTH:5\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(watch(te_first), (Some(0), true));
        assert_eq!(watch(cl_first), (Some(0), true));
    }

    #[test]
    fn bodies_are_not_mistaken_for_heads() {
        let fixed = "POST / HTTP/1.1\r\nContent-Length: 24\r\n\r\na\nTransfer-Encoding: xyz\n";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                       13;x=y\r\na\nContent-Length: 5\r\nB\r\nhello world\r\n0\r\nContent-Length: 9\r\n\r\n";
        let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(watch(&[fixed, chunked, get, fixed, "\r\n", get].concat()), (None, true));
        let ambiguous = "POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 5\n\n";
        assert_eq!(watch(&[fixed, chunked, get, ambiguous].concat()), (Some(3), false));
    }

    #[test]
    fn the_middle_of_a_request_is_known() {
        assert!(!watch("GET / HT").1);
        assert!(!watch("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc").1);
        assert!(watch("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabcde").1);
        assert!(!watch("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc").1);
        assert!(watch("").1);
    }

    #[test]
    fn what_is_not_understood_ends_the_watch() {
        assert_eq!(watch("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), (Some(0), false));
        assert_eq!(watch("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n"), (Some(1), false));
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "y".repeat(1_000));
        assert_eq!(watch(&long), (None, true));
    }

    #[test]
    fn a_length_that_is_none_is_one_announcement_too() {
        for length in ["", "x", "+5", "5, 5", "0x5", "18446744073709551616"] {
            for head in [
                format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
                format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            ] {
                let request = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n0\r\n\r\n");
                assert_eq!(watch(&request), (Some(0), true), "{request:?}");
            }
        }
    }

    #[test]
    fn of_several_ambiguous_requests_read_at_once_the_first_counts() {
        let ambiguous = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n";
        assert_eq!(watch(&ambiguous.repeat(3)), (Some(0), true));
    }

    #[test]
    fn no_length_hides_behind_the_end_of_what_is_looked_at() {
        let zeros = "0".repeat(LINE_BYTES_MAX);
        let long = format!("POST / HTTP/1.1\r\nContent-Length: {zeros}5\r\n\r\nhello");
        assert_eq!(watch(&long), (Some(0), false));
        let chunked = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{zeros}5\r\nhello\r\n");
        assert_eq!(watch(&chunked), (Some(1), false));
        let extended =
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;{zeros}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(watch(&extended), (None, true));
    }
}
