//! A blocking client with one kept connection. It never repeats a request by itself: whether an unanswered
//! request took effect is exactly what the crash driver wants to find out.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{Headers, bad, read_body_into, read_headers, read_line};

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    pub(crate) fn json(&self) -> io::Result<Value> {
        serde_json::from_slice(&self.body)
            .map_err(|fault| bad(&format!("not JSON: {fault}: {}", self.text())))
    }

    /// The body as text, cut to a length that fits a message.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(400).collect()
    }
}

/// A body to send.
#[derive(Clone, Copy)]
struct Content<'a> {
    bytes: &'a [u8],
    media_type: &'static str,
    /// A field of the head besides.
    header: Option<(&'static str, &'a str)>,
}

/// A client of one server.
pub(crate) struct Client {
    address: SocketAddr,
    timeout: Duration,
    connection: Option<BufReader<TcpStream>>,
    out: Vec<u8>,
}

impl Client {
    /// `timeout` bounds connecting and every read.
    pub(crate) fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, timeout, connection: None, out: Vec::new() }
    }

    /// The next request gets a connection of its own.
    pub(crate) fn hang_up(&mut self) {
        self.connection = None;
    }

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.request("GET", path, None)
    }

    pub(crate) fn post(&mut self, path: &str, json: &[u8]) -> io::Result<Reply> {
        self.post_with(None, path, json)
    }

    /// Posts with one more field in the head.
    pub(crate) fn post_with(
        &mut self,
        header: Option<(&'static str, &str)>,
        path: &str,
        json: &[u8],
    ) -> io::Result<Reply> {
        self.request("POST", path, Some(Content { bytes: json, media_type: "application/json", header }))
    }

    /// Posts one thing a line. Returns the answer as far as it came, and whether that is all of it.
    pub(crate) fn post_lines(&mut self, path: &str, lines: &[u8]) -> io::Result<(Reply, bool)> {
        let content = Content { bytes: lines, media_type: "application/x-ndjson", header: None };
        let mut connection = self.send("POST", path, Some(content))?;
        let (status, headers) = read_head(&mut connection)?;
        let mut body = Vec::new();
        let whole = read_body_into(&mut connection, &headers, &mut body).is_ok();
        if whole && !headers.closes() {
            self.connection = Some(connection);
        }
        Ok((Reply { status, body }, whole))
    }

    /// GET, 200 and JSON, else an error that tells what came instead.
    pub(crate) fn get_json(&mut self, path: &str) -> io::Result<Value> {
        let reply = self.get(path)?;
        if reply.status != 200 {
            return Err(bad(&format!("GET {path}: {} {}", reply.status, reply.text())));
        }
        reply.json()
    }

    /// Sends one request and reads its answer. After any error the connection is dropped; the outcome of the
    /// request is then unknown.
    fn request(&mut self, method: &str, path: &str, content: Option<Content<'_>>) -> io::Result<Reply> {
        let mut connection = self.send(method, path, content)?;
        let (status, headers) = read_head(&mut connection)?;
        let mut body = Vec::new();
        read_body_into(&mut connection, &headers, &mut body)?;
        if !headers.closes() {
            self.connection = Some(connection);
        }
        Ok(Reply { status, body })
    }

    fn send(
        &mut self,
        method: &str,
        path: &str,
        content: Option<Content<'_>>,
    ) -> io::Result<BufReader<TcpStream>> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        self.out.clear();
        write!(self.out, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address)?;
        if let Some(content) = content {
            let (media_type, len) = (content.media_type, content.bytes.len());
            write!(self.out, "content-type: {media_type}\r\ncontent-length: {len}\r\n")?;
            if let Some((name, value)) = content.header {
                write!(self.out, "{name}: {value}\r\n")?;
            }
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(content.map_or(&[], |content| content.bytes));
        connection.get_mut().write_all(&self.out)?;
        Ok(connection)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

/// Status and header fields of the next answer.
fn read_head(connection: &mut BufReader<TcpStream>) -> io::Result<(u16, Headers)> {
    loop {
        let line = read_line(connection)?;
        let mut words = line.split(' ');
        if !words.next().is_some_and(|version| version.starts_with("HTTP/1.")) {
            return Err(bad("not an HTTP/1 answer"));
        }
        let status: u16 = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or_else(|| bad("an answer without a status"))?;
        let headers = read_headers(connection)?;
        if status < 200 {
            continue; // 1xx: the real answer follows
        }
        return Ok((status, headers));
    }
}

#[cfg(test)]
mod tests {
    use super::super::server::{Answer, Server};
    use super::*;

    #[test]
    fn one_connection_carries_many_requests() {
        let server = Server::start(|request| {
            let echo =
                format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(&request.body));
            Answer::new(201, echo.into_bytes())
        })
        .unwrap();
        let mut client = Client::new(server.address(), Duration::from_secs(5));
        let port = {
            client.get("/first").unwrap();
            client.connection.as_ref().unwrap().get_ref().local_addr().unwrap().port()
        };
        let reply = client.post("/second", b"{}").unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (201, "POST /second {}"));
        assert_eq!(client.connection.as_ref().unwrap().get_ref().local_addr().unwrap().port(), port);
    }

    #[test]
    fn a_server_that_hangs_up_is_an_error_and_the_next_request_connects_anew() {
        let server = Server::start(|request| match request.path.as_str() {
            "/hang-up" => Answer::hang_up(),
            _ => Answer::new(200, b"{\"n\":19.90}".to_vec()),
        })
        .unwrap();
        let mut client = Client::new(server.address(), Duration::from_secs(5));
        assert!(client.get("/hang-up").is_err());
        let json = client.get_json("/").unwrap();
        assert_eq!(json["n"].to_string(), "19.90", "numbers keep their digits");
    }
}
