//! A blocking server, a thread for each connection: the receiver of effects in the crash driver.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::{Headers, read_body, read_headers, read_line};

/// One request, read whole.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

/// What to answer.
pub(crate) struct Answer {
    status: u16,
    body: Vec<u8>,
    /// One more field of the head.
    header: Option<(&'static str, String)>,
}

impl Answer {
    pub(crate) fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, body, header: None }
    }

    /// The same with this field in its head.
    pub(crate) fn with(self, name: &'static str, value: &str) -> Self {
        Self { header: Some((name, value.to_owned())), ..self }
    }

    /// Status and JSON.
    #[cfg(test)]
    pub(crate) fn read(&self) -> (u16, serde_json::Value) {
        (self.status, serde_json::from_slice(&self.body).unwrap_or_default())
    }

    /// Closes the connection without a word.
    #[cfg(test)]
    pub(crate) fn hang_up() -> Self {
        Self { status: 0, body: Vec::new(), header: None }
    }
}

/// A server on a free port of loopback; it ends with the process.
pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    /// Starts listening; `handler` is called on the connection's own thread and may take its time.
    pub(crate) fn start(handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let handler = Arc::new(handler);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let handler = Arc::clone(&handler);
                // A connection that breaks concerns nobody but its client.
                thread::spawn(move || serve(stream, &*handler).ok());
            }
        });
        Ok(Self { address })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

fn serve(stream: TcpStream, handler: &dyn Fn(&Request) -> Answer) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let line = read_line(&mut stream)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = read_headers(&mut stream)?;
        let body = read_body(&mut stream, &headers)?;
        let answer = handler(&Request { method, path, headers, body });
        if answer.status == 0 {
            return Ok(());
        }
        let field = answer.header.map(|(name, value)| format!("{name}: {value}\r\n")).unwrap_or_default();
        let (status, len) = (answer.status, answer.body.len());
        let mut out = format!("HTTP/1.1 {status} -\r\ncontent-length: {len}\r\n{field}\r\n").into_bytes();
        out.extend(answer.body);
        stream.get_mut().write_all(&out)?;
    }
}

/// As many different ones.
pub(crate) fn free_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    // All are held until all are known.
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}

/// A port of loopback that nobody uses right now.
pub(crate) fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}
