//! A small HTTP/1.1 client for tests of real sockets. It sends exactly what it is given, wrong things included.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends requests to one server, each on a connection of its own.
#[derive(Debug, Clone, Copy)]
pub struct Client {
    address: SocketAddr,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// Names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, freed of its chunks.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of the first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.text()))
    }
}

impl Client {
    /// A client of the server at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    /// GET without further headers.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"").await
    }

    /// POST of JSON.
    pub async fn post(&self, path: &str, json: &str) -> Reply {
        self.send("POST", path, &[("content-type", "application/json")], json.as_bytes()).await
    }

    /// Any request; `host`, `connection` and `content-length` are added.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        let mut connection = self.connect().await;
        connection.write_request(method, path, headers, body, false).await;
        connection.reply().await.expect("a reply before the end of the connection")
    }

    /// A connection for several requests, or for wrong ones.
    pub async fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        Connection { stream, ahead: Vec::new() }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    ahead: Vec<u8>,
}

impl Connection {
    /// Sends these very bytes. A server that has hung up already is no failure.
    pub async fn write(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes).await);
    }

    /// Sends a request; `keep` asks to keep the connection.
    pub async fn write_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        keep: bool,
    ) {
        let connection = if keep { "keep-alive" } else { "close" };
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\n");
        if !body.is_empty() || matches!(method, "POST" | "PUT" | "PATCH") {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        let mut bytes = request.into_bytes();
        bytes.extend_from_slice(body);
        self.write(&bytes).await;
    }

    /// Sends the head of a request whose body comes in chunks: [`Connection::write_chunk`].
    pub async fn write_head(&mut self, method: &str, path: &str, headers: &[(&str, &str)]) {
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.write(head.as_bytes()).await;
    }

    /// Sends a chunk; an empty one is the last.
    pub async fn write_chunk(&mut self, chunk: &[u8]) {
        self.write(&[format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()).await;
    }

    /// The head of the next reply, whose body comes in chunks: [`Connection::text_until`].
    pub async fn reply_head(&mut self) -> Option<Reply> {
        let reply = self.head().await?;
        if (100..200).contains(&reply.status) { self.head().await } else { Some(reply) }
    }

    /// The text of the next chunks, up to the first behind which `is_enough`; `None` when the body has ended before.
    pub async fn text_until(&mut self, is_enough: impl Fn(&str) -> bool) -> Option<String> {
        let mut text = String::new();
        while !is_enough(&text) {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return None;
            }
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
        }
        Some(text)
    }

    /// The text of all chunks to the orderly end of the body; `None` when it breaks off.
    pub async fn text_to_end(&mut self) -> Option<String> {
        let chunks = self.chunks().await?;
        Some(String::from_utf8(chunks).expect("text"))
    }

    /// The next reply; `None` when the server hung up without one. Interim replies (1xx) are passed over.
    pub async fn reply(&mut self) -> Option<Reply> {
        loop {
            let mut reply = self.head().await?;
            if (100..200).contains(&reply.status) {
                continue;
            }
            let chunked =
                reply.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
            let length = reply.header("content-length").and_then(|value| value.parse::<usize>().ok());
            reply.body = match (chunked, length, reply.status) {
                (_, _, 204 | 304) => Vec::new(),
                (true, _, _) => self.chunks().await?,
                (false, Some(length), _) => self.exactly(length).await?,
                (false, None, _) => self.rest().await,
            };
            return Some(reply);
        }
    }

    /// Everything up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.ahead)
    }

    async fn head(&mut self) -> Option<Reply> {
        let status_line = self.line().await?;
        let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
        let mut reply = Reply {
            status: status.unwrap_or_else(|| panic!("no status: {status_line}")),
            ..Reply::default()
        };
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                return Some(reply);
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no header: {line}"));
            reply.headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }

    async fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await?;
            if chunk.is_empty() {
                return Some(body);
            }
            body.extend(chunk);
        }
    }

    /// The next chunk; the last is empty.
    async fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.line().await?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no size of a chunk: {line}"));
        let chunk = self.exactly(size).await?;
        self.line().await?;
        Some(chunk)
    }

    async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.ahead.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.ahead[..end]).into_owned();
                self.ahead.drain(..end + 2);
                return Some(line);
            }
            if !self.more().await {
                return None;
            }
        }
    }

    async fn exactly(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.ahead.len() < length {
            if !self.more().await {
                return None;
            }
        }
        Some(self.ahead.drain(..length).collect())
    }

    async fn more(&mut self) -> bool {
        self.ahead.reserve(16 * 1024);
        self.stream.read_buf(&mut self.ahead).await.is_ok_and(|read| read > 0)
    }
}
