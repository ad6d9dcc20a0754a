//! What is looked at before a request reaches its API.

use crate::guard::Guard;
use crate::refusal::Refusal;
use axum::extract::{OriginalUri, Request};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri, header};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Marks a request that was refused before anybody looked at it (a request extension).
#[derive(Debug, Clone)]
pub(crate) struct Doomed(pub(crate) Refusal);

/// Finds a reason to refuse the request at once.
pub(crate) fn check(request: &Request, guard: &Guard) -> Result<(), Refusal> {
    if let Some(Doomed(refusal)) = request.extensions().get() {
        return Err(refusal.clone());
    }
    let limits = &guard.limits;
    // Under a prefix the router has shortened the target; what counts is what was sent.
    let uri = request.extensions().get::<OriginalUri>().map_or(request.uri(), |original| &original.0);
    let target = uri.path_and_query().map_or("", |target| target.as_str());
    if target.len() > limits.uri_bytes_max {
        return Err(Refusal::UriTooLong);
    }
    // A query that is no text says nothing to anybody; a path that is none names nothing.
    if !is_text(uri.path()) {
        return Err(Refusal::UriInvalid);
    }
    let headers = request.headers();
    if headers.len() > limits.headers_max || header_bytes(headers) > limits.header_bytes_max {
        return Err(Refusal::HeadersTooLarge);
    }
    let both =
        headers.contains_key(header::CONTENT_LENGTH) && headers.contains_key(header::TRANSFER_ENCODING);
    if both {
        return Err(Refusal::BadFraming);
    }
    coding(headers)?;
    if guard.loopback_only && !is_local(request.method(), uri, headers) {
        return Err(Refusal::ForeignHost);
    }
    Ok(())
}

/// The body is in no transfer coding, or in `chunked` once and in no other: the HTTP library takes what else is named
/// before that for nothing, and the body would be read without it being undone. Where `chunked` is named twice or not
/// last (RFC 9112 §6.1), or the field is given twice, a proxy in front may have read another body than is read here.
fn coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut fields = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(field) = fields.next() else { return Ok(()) };
    let mut codings: Vec<&[u8]> =
        field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).collect();
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let last = codings.pop().unwrap_or_default();
    if fields.next().is_some() || !is_chunked(last) || codings.iter().any(|coding| is_chunked(coding)) {
        return Err(Refusal::BadFraming);
    }
    if codings.is_empty() { Ok(()) } else { Err(Refusal::CodingUnknown) }
}

/// Whether there is one `Host` and it is `uri-host [":" port]` (RFC 9110 §7.2) with a host in it. Of two, a proxy in front
/// may have gone by the other one.
pub(crate) fn names_one_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    host.to_str().is_ok_and(|host| host.parse().is_ok_and(|host| port_of(&host).is_some()))
}

/// The port of `authority` as it is written, empty if there is none; `None` if it is no `host [":" port]`.
fn port_of(authority: &Authority) -> Option<&str> {
    let host = authority.host();
    // A comma may be in a name (RFC 3986 §3.2.2), and never is: two fields were made one.
    if host.contains(',') {
        return None;
    }
    // The type takes user information, and anything behind the colon.
    let rest = authority.as_str().strip_prefix(host).filter(|_| !host.is_empty())?;
    let port = if rest.is_empty() { rest } else { rest.strip_prefix(':')? };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(port)
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// Whether the percent-encoded `path` (RFC 3986 §2.1) decodes to UTF-8 without U+0000. A `%` that begins no escape is
/// malformed: whoever sent it meant something else than it would be read as.
pub(crate) fn is_text(path: &str) -> bool {
    if !path.contains('%') {
        return true;
    }
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] != b'%' {
            decoded.push(bytes[at]);
            at += 1;
            continue;
        }
        let digit = |place: usize| bytes.get(at + place).and_then(|digit| hex(*digit));
        let (Some(high), Some(low)) = (digit(1), digit(2)) else { return false };
        decoded.push(high << 4 | low);
        at += 3;
    }
    !decoded.contains(&0) && std::str::from_utf8(&decoded).is_ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

/// Whether the request names a loopback host, and, if it writes, does not come from a page of another one.
pub(crate) fn is_local(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let named = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
    if !named.is_some_and(|host| is_loopback(&host)) || uri.authority().is_some_and(|host| !is_loopback(host))
    {
        return false;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    reads
        || headers.get_all(header::ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
            origin.as_ref().and_then(Uri::authority).is_some_and(is_loopback)
        })
}

fn is_loopback(authority: &Authority) -> bool {
    if port_of(authority).is_none() {
        return false;
    }
    let host = authority.host();
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback()),
        None => {
            host.eq_ignore_ascii_case("localhost")
                || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn local(method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        is_local(&method, &Uri::from_static("/orders"), &map)
    }

    #[test]
    fn only_loopback_names_are_hosts() {
        for good in ["localhost", "LOCALHOST:3000", "127.0.0.1:80", "127.1.2.3", "[::1]", "[::1]:3000"] {
            assert!(local(Method::GET, &[("host", good)]), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "localhost.example.com",
            "10.0.0.1",
            "[::2]",
            "::1",
            "x@localhost",
            "127.0.0.1.nip.io",
            "0.0.0.0",
            "localhost:[]",
            "127.0.0.1:3000x",
            "[::1]3000",
        ] {
            assert!(!local(Method::GET, &[("host", bad)]), "{bad}");
        }
        assert!(!local(Method::GET, &[]));
        assert!(!local(Method::GET, &[("host", "localhost"), ("host", "example.com")]));
    }

    #[test]
    fn a_write_from_a_foreign_page_is_refused() {
        let post = |origin| local(Method::POST, &[("host", "localhost:3000"), ("origin", origin)]);
        assert!(local(Method::POST, &[("host", "localhost:3000")]));
        assert!(post("http://localhost:3000") && post("http://127.0.0.1:9") && post("http://[::1]:3000"));
        assert!(!post("null") && !post("https://example.com") && !post("http://localhost.example.com"));
        assert!(local(Method::GET, &[("host", "localhost"), ("origin", "https://example.com")]));
    }

    #[test]
    fn an_absolute_target_must_be_loopback_too() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "localhost".parse().unwrap());
        assert!(!is_local(&Method::GET, &Uri::from_static("http://example.com/orders"), &headers));
        assert!(is_local(&Method::GET, &Uri::from_static("http://localhost/orders"), &headers));
    }

    #[test]
    fn chunked_is_the_one_transfer_coding() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::TRANSFER_ENCODING, value.parse().unwrap());
            }
            coding(&headers).err().map(|refusal| refusal.status().as_u16())
        };
        for fine in [&[] as &[_], &["chunked"], &[" Chunked "]] {
            assert_eq!(of(fine), None, "{fine:?}");
        }
        for unknown in ["gzip, chunked", "gzip,br , CHUNKED", ", chunked"] {
            assert_eq!(of(&[unknown]), Some(501), "{unknown}");
        }
        for ambiguous in [
            &["chunked, chunked"] as &[_],
            &["chunked", "chunked"],
            &["gzip", "chunked"],
            &["chunked,gzip,chunked"],
            &["chunked, gzip"],
            &["chunked,"],
            &["identity"],
            &[""],
        ] {
            assert_eq!(of(ambiguous), Some(400), "{ambiguous:?}");
        }
    }

    #[test]
    fn one_host_is_named() {
        let named = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::HOST, value.parse().unwrap());
            }
            names_one_host(&headers)
        };
        for good in ["a", "a.example:80", "a:", "127.0.0.1:3000", "[::1]", "[2001:db8::1]:443", "a_b"] {
            assert!(named(&[good]), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a/b", "http://a", "x@a", "@", "a:80x", "a:b:c", "[::1", "::1", "a,b", "a\t",
            "a?", "a#",
        ] {
            assert!(!named(&[bad]), "{bad}");
        }
        assert!(!named(&[]) && !named(&["a", "a"]));
    }

    #[test]
    fn targets_decode_to_text() {
        assert!(is_text("/a%20b?q=%C3%A9&p=100%25") && is_text("/%e2%82%ac") && is_text("/plain"));
        assert!(!is_text("/%ff") && !is_text("/%C3") && !is_text("/?q=%00") && !is_text("/%c0%80"));
        assert!(!is_text("/%") && !is_text("/a%2") && !is_text("/100%/b") && !is_text("/%zz"));
    }
}
