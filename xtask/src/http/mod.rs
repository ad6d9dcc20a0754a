//! A small HTTP/1.1 of our own: the driver must not share code, or bugs, with what it checks.

pub(crate) mod client;
pub(crate) mod server;

use std::io::{self, BufRead, Read};

/// Longest line and longest body that we are ready to read.
const LINE_BYTES_MAX: u64 = 64 * 1024;
const BODY_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Header fields in the order they came; names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Headers(Vec<(String, String)>);

impl Headers {
    /// These, with names in lower case.
    #[cfg(test)]
    pub(crate) fn of(headers: &[(&str, &str)]) -> Self {
        Self(headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    /// The first value of `name` (given in lower case).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn closes(&self) -> bool {
        self.get("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

pub(crate) fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// One line without its end. An end of the stream before any byte is `UnexpectedEof`.
fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    stream.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a line"));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| bad("a header is not UTF-8"))
}

fn read_headers(stream: &mut impl BufRead) -> io::Result<Headers> {
    let mut headers = Headers::default();
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            return Ok(headers);
        }
        let (name, value) = line.split_once(':').ok_or_else(|| bad("a header without a colon"))?;
        headers.0.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
}

/// Adds `len` bytes to `body`; where the stream ends before, what came of them.
fn read_exactly(stream: &mut impl BufRead, len: usize, body: &mut Vec<u8>) -> io::Result<()> {
    if body.len() + len > BODY_BYTES_MAX {
        return Err(bad("a body over our limit"));
    }
    if stream.take(len as u64).read_to_end(body)? < len {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a body"));
    }
    Ok(())
}

/// A body by its length or in chunks; without either it is empty.
fn read_body(stream: &mut impl BufRead, headers: &Headers) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    read_body_into(stream, headers, &mut body)?;
    Ok(body)
}

/// As [`read_body`]; after an error `body` holds what came before it.
fn read_body_into(stream: &mut impl BufRead, headers: &Headers, body: &mut Vec<u8>) -> io::Result<()> {
    if headers.get("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        return read_chunks(stream, body);
    }
    match headers.get("content-length") {
        Some(len) => read_exactly(stream, len.parse().map_err(|_| bad("content-length is no number"))?, body),
        None => Ok(()),
    }
}

fn read_chunks(stream: &mut impl BufRead, body: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = read_line(stream)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| bad("a chunk without a size"))?;
        if size == 0 {
            read_headers(stream)?; // trailers, and the empty line behind them
            return Ok(());
        }
        read_exactly(stream, size, body)?;
        read_line(stream)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_by_length_and_in_chunks() {
        let mut wire = &b"Content-Length: 3\r\n\r\nabcREST"[..];
        let headers = read_headers(&mut wire).unwrap();
        assert_eq!(read_body(&mut wire, &headers).unwrap(), b"abc");
        assert_eq!(wire, b"REST");

        let mut wire =
            &b"transfer-encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nt: 1\r\n\r\nREST"[..];
        let headers = read_headers(&mut wire).unwrap();
        assert_eq!(read_body(&mut wire, &headers).unwrap(), b"abc0123456789");
        assert_eq!(wire, b"REST");
    }

    #[test]
    fn a_torn_message_is_an_error() {
        assert!(read_headers(&mut &b"content-le"[..]).is_err());
        let mut wire = &b"content-length: 5\r\n\r\nabc"[..];
        let headers = read_headers(&mut wire).unwrap();
        assert!(read_body(&mut wire, &headers).is_err());
        let mut wire = &b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n9\r\ndef"[..];
        let (headers, mut came) = (read_headers(&mut wire).unwrap(), Vec::new());
        assert!(read_body_into(&mut wire, &headers, &mut came).is_err());
        assert_eq!(came, b"abcdef", "what came before it broke off");
    }
}
