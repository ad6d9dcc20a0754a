//! A blocking client with one kept connection. It never repeats a request by itself: whether an unanswered
//! request took effect is exactly what the crash driver wants to find out.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use super::{Headers, bad, read_body, read_headers, read_line};

/// One answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
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

    pub(crate) fn get(&mut self, path: &str) -> io::Result<Reply> {
        self.request("GET", path, None)
    }

    pub(crate) fn post(&mut self, path: &str, json: &[u8]) -> io::Result<Reply> {
        self.request("POST", path, Some(json))
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
    pub(crate) fn request(&mut self, method: &str, path: &str, json: Option<&[u8]>) -> io::Result<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        self.out.clear();
        write!(self.out, "{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address)?;
        if let Some(json) = json {
            write!(self.out, "content-type: application/json\r\ncontent-length: {}\r\n", json.len())?;
        }
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(json.unwrap_or_default());
        connection.get_mut().write_all(&self.out)?;
        let reply = read_reply(&mut connection)?;
        if !reply.headers.closes() {
            self.connection = Some(connection);
        }
        Ok(reply)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        Ok(BufReader::new(stream))
    }
}

fn read_reply(connection: &mut BufReader<TcpStream>) -> io::Result<Reply> {
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
        let body = read_body(connection, &headers)?;
        return Ok(Reply { status, headers, body });
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
