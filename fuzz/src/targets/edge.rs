//! What the edge looks at before a request reaches its API. Where another parser reads the same, ours must agree.

use std::convert::Infallible;
use std::net::IpAddr;

use ::edge::{Limits, Line, Lines, Refusal};
use axum::body::Body;
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use percent_encoding::percent_decode_str;

use super::{Seen, accepted, magnitude, refused, text};

pub(super) const FRAMING: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\n",
    "Content-Length: 5\r\n",
    "content-length:0\r\n",
    "Transfer-Encoding: chunked\r\n",
    "transfer-encoding:chunked\r\n",
    "\r\n",
    "\r\n\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "5;x=y\r\n",
    "hello",
    ": ",
    " ",
    "\t",
    "0",
    "\n",
    "\r",
    "ffffffffffffffff",
    "18446744073709551615",
    "+5",
    "5, 5",
    "X: y\r\n",
];

/// Requests that are looked for in one input.
const REQUESTS_MAX: usize = 1_024;
const HEADERS_MAX: usize = 64;

/// Whatever the pieces in which the bytes come, the verdict is the same; and a head that the HTTP library takes is
/// ambiguous exactly when it announces both lengths.
pub(super) fn framing(data: &[u8]) -> Seen {
    let whole = ::edge::fuzzing::framing([data], REQUESTS_MAX);
    let bytewise = ::edge::fuzzing::framing(data.chunks(1), REQUESTS_MAX);
    assert_eq!(whole, bytewise, "whole and byte by byte");
    for size in [2, 3, 7, 64, 255, 256, 257] {
        assert_eq!(whole, ::edge::fuzzing::framing(data.chunks(size), REQUESTS_MAX), "in pieces of {size}");
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if !matches!(request.parse(data), Ok(httparse::Status::Complete(_))) {
        return refused((whole.0.map(|index| index.min(4)), whole.1));
    }
    let has = |name: &str| request.headers.iter().any(|header| header.name.eq_ignore_ascii_case(name));
    let both = has("content-length") && has("transfer-encoding");
    // A length that is none is refused by the library itself, unless it is there for nothing.
    if both {
        assert_eq!(whole.0, Some(0), "both are announced, and it goes unnoticed");
    } else if is_plain_length(request.headers)
        && data.split(|byte| *byte == b'\n').all(|line| line.len() <= 256)
    {
        assert_ne!(whole.0, Some(0), "one is announced, and two are seen");
    }
    accepted((whole.0.map(|index| index.min(8)), whole.1, both, request.headers.len()))
}

fn is_plain_length(headers: &[httparse::Header<'_>]) -> bool {
    let lengths = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("content-length"));
    lengths.into_iter().all(|header| {
        let digits = header.value.iter().all(u8::is_ascii_digit);
        digits && (1..=18).contains(&header.value.len())
    })
}

pub(super) const LINES: &[&str] =
    &["\n", "\r\n", "\r", "\n\n", " ", "\t", "{}", "0123456789", "0123456789\n", "0123456789\r\n"];

/// Tighter than the product's, so that short inputs reach them.
const LINE_BYTES_MAX: usize = 10;
const LINES_BYTES_MAX: usize = 200;

/// Whatever the pieces in which a body comes, its lines are the same: those that are there, within their limits.
pub(super) fn lines(data: &[u8]) -> Seen {
    let whole = read_lines(data, data.len().max(1));
    for size in [1, 2, 3, 7, 64] {
        assert_eq!(read_lines(data, size), whole, "in pieces of {size}");
    }
    let (read, end) = whole;
    let kept = &data[..data.len().min(LINES_BYTES_MAX)];
    // Behind the last line break is a line only when something is there; a body that is cut has no such line.
    let mut expected: Vec<_> = kept.split(|byte| *byte == b'\n').map(expected_line).collect();
    if kept.ends_with(b"\n") || kept.is_empty() || end.is_some() {
        expected.pop();
    }
    assert_eq!(read, expected);
    assert_eq!(end.is_some(), data.len() > LINES_BYTES_MAX, "{end:?}");
    let long = read.contains(&Line::TooLong);
    let seen = (magnitude(read.len()), long, read.contains(&Line::Blank));
    if end.is_some() || long { refused(seen) } else { accepted(seen) }
}

fn expected_line(line: &[u8]) -> Line {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.trim_ascii() {
        _ if line.len() > LINE_BYTES_MAX => Line::TooLong,
        b"" => Line::Blank,
        _ => Line::Text(line.to_vec().into()),
    }
}

/// All lines of a body that comes in pieces of this size, and how it ended early.
fn read_lines(data: &[u8], size: usize) -> (Vec<Line>, Option<String>) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    let limits =
        Limits { body_bytes_max: LINE_BYTES_MAX, bulk_bytes_max: LINES_BYTES_MAX, ..Limits::default() };
    let pieces: Vec<_> = data.chunks(size).map(|piece| Ok::<_, Infallible>(piece.to_vec())).collect();
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let mut lines = Lines::new(body, limits).expect("nothing is announced");
    let mut read = Vec::new();
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            loop {
                match lines.next().await {
                    Some(Ok(line)) => read.push(line),
                    Some(Err(refusal @ Refusal::BodyTooLarge { .. })) => {
                        return (read, Some(format!("{refusal:?}")));
                    }
                    Some(Err(other)) => panic!("{other:?}"),
                    None => return (read, None),
                }
            }
        })
    })
}

pub(super) const PATH: &[&str] =
    &["/", "%", "%00", "%2F", "%C3%A9", "%e2%82%ac", "%ff", "%c0%80", "%ed%a0%80", "%25", "%%30", "é"];

/// A path is text exactly when each `%` begins an escape, and it decodes to UTF-8 without U+0000.
pub(super) fn path(data: &[u8]) -> Seen {
    let text = text(data);
    let decoded = percent_decode_str(&text).decode_utf8();
    let escaped = text
        .split('%')
        .skip(1)
        .all(|part| part.len() >= 2 && part.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit));
    let is_text = escaped && decoded.as_ref().is_ok_and(|decoded| !decoded.contains('\0'));
    // A path without an escape is text by its type; U+0000 cannot be in one that was received.
    if text.contains('%') {
        assert_eq!(::edge::fuzzing::path_is_text(&text), is_text, "{text:?}");
    }
    if is_text {
        accepted(magnitude(text.len()))
    } else {
        refused((escaped, decoded.is_ok(), magnitude(text.len())))
    }
}

pub(super) const HOST: &[&str] = &[
    "localhost",
    "127.0.0.1",
    "[::1]",
    ":3000",
    "LOCALHOST",
    ".localhost",
    "localhost.",
    "example.com",
    "@",
    "0x7f.1",
    "2130706433",
    "[::ffff:127.0.0.1]",
    "\n",
    "http://",
    "null",
    "%6c",
];

/// A host, and behind a line break an origin. What counts as local names this machine and nothing else.
pub(super) fn host(data: &[u8]) -> Seen {
    let mut lines = data.splitn(2, |byte| *byte == b'\n');
    let value = HeaderValue::from_bytes(lines.next().unwrap_or_default());
    let origin = lines.next().map(HeaderValue::from_bytes).transpose();
    let (Ok(host), Ok(origin)) = (value, origin) else {
        return refused("no header");
    };
    let target = Uri::from_static("/v1/orders");
    let reads = ::edge::fuzzing::host_is_local(&Method::GET, &target, &host, origin.as_ref());
    let writes = ::edge::fuzzing::host_is_local(&Method::POST, &target, &host, origin.as_ref());
    assert!(reads || !writes, "a write may do what a read may not");
    if reads {
        assert!(names_this_machine(host.to_str().unwrap()), "{host:?} is taken for this machine");
    }
    if let Some(origin) = origin.filter(|_| writes) {
        let origin = origin.to_str().unwrap();
        let rest = origin.split_once("://").map_or(origin, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        assert!(names_this_machine(authority), "{origin:?} is taken for this machine");
    }
    if reads { accepted((writes, magnitude(host.len()))) } else { refused(magnitude(host.len())) }
}

fn names_this_machine(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port),
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let local = match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    };
    local && (port.is_empty() || is_port(port))
}

fn is_port(rest: &str) -> bool {
    rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

pub(super) const CONTENT_TYPE: &[&str] = &[
    "application/json",
    "application/problem+json",
    "application/",
    "+json",
    ";charset=utf-8",
    "; charset=\"UTF-8\"",
    "text/",
    "/",
    ";",
    "=",
    "latin1",
    "\"",
    "+",
];

/// What counts as JSON says so, and no other charset.
pub(super) fn content_type(data: &[u8]) -> Seen {
    let Ok(value) = HeaderValue::from_bytes(data) else {
        return refused("no header");
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, value);
    if !::edge::content_type_is_json(&headers) {
        return refused(magnitude(data.len()));
    }
    let text = text(data).to_ascii_lowercase();
    let essence = text.split(';').next().unwrap_or_default().trim().to_owned();
    assert!(essence.starts_with("application/") && essence.ends_with("json"), "{text}");
    let charset = text.split(';').find_map(|part| part.trim().strip_prefix("charset="));
    assert!(charset.is_none_or(|charset| charset.trim().trim_matches('"') == "utf-8"), "{text}");
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(!::edge::content_type_is_json(&headers), "what is compressed is no JSON");
    accepted((text.matches(';').count().min(4), magnitude(text.len())))
}
