//! The other end of the processor `http`: takes orders and answers as it is told.

use super::eventually;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// One call, as it came.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// How many calls for the same order came before.
    pub(crate) before: usize,
    headers: Vec<(String, String)>,
    /// The order, as `/v1` shows it.
    pub(crate) order: Value,
    /// The very bytes.
    pub(crate) body: Vec<u8>,
}

/// What the path of a call is kept as.
const PATH: &str = ":path";

impl Call {
    pub(crate) fn path(&self) -> &str {
        self.header(PATH)
    }

    /// The value of a header (its name in lower case).
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or_else(|| panic!("no header {name}: {self:?}"), |(_, value)| value.as_str())
    }

    /// The value of a header that may be missing.
    pub(crate) fn find(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// The number of the attempt that it is.
    pub(crate) fn attempt(&self) -> &str {
        self.header("wellorder-attempt")
    }

    pub(crate) fn key(&self) -> &str {
        self.header("idempotency-key")
    }
}

/// What it answers.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// A status, and lines of the head besides, each ended by `\r\n`.
    Says(u16, &'static str),
    /// A status with this body.
    Tells(u16, &'static str),
    /// 200, with the challenge that it was asked for.
    SaysItBack,
    /// Nothing, for ever.
    Nothing,
    /// 200, once the gate is open.
    AtTheGate,
}

type Script = dyn Fn(&Call) -> Answer + Send + Sync;

/// Takes orders, each at its own time. Dropping it ends its connections.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    gate: watch::Sender<bool>,
    _serving: JoinSet<()>,
}

impl Receiver {
    /// Answers each call as `script` says.
    pub(crate) async fn start(script: impl Fn(&Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_at(([127, 0, 0, 1], 0).into(), script).await
    }

    /// The same, at this address.
    pub(crate) async fn start_at(
        address: SocketAddr,
        script: impl Fn(&Call) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::<Mutex<Vec<Call>>>::default();
        let gate = watch::Sender::new(false);
        let served = Served { calls: Arc::clone(&calls), gate: gate.subscribe(), script: Arc::new(script) };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(served.clone().serve(stream));
            }
        });
        Self { address, calls, gate, _serving: serving }
    }

    /// Holds every order until [`Self::open`].
    pub(crate) async fn gated() -> Self {
        Self::start(|_| Answer::AtTheGate).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/work", self.address)
    }

    /// Lets all go that wait at the gate, and all that will.
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }

    /// The calls so far.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    /// Waits until there were so many calls, and returns them.
    pub(crate) async fn until_calls(&self, count: usize) -> Vec<Call> {
        eventually(&format!("{count} calls of the processor"), async || {
            Some(self.calls()).filter(|calls| calls.len() >= count)
        })
        .await
    }
}

#[derive(Clone)]
struct Served {
    calls: Arc<Mutex<Vec<Call>>>,
    gate: watch::Receiver<bool>,
    script: Arc<Script>,
}

impl Served {
    async fn serve(mut self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some((headers, body)) = read(&mut stream).await {
            let call = self.record(headers, body);
            let reply = match (self.script)(&call) {
                Answer::Says(status, head) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n{head}\r\n")
                }
                Answer::Tells(status, body) => {
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                }
                Answer::SaysItBack => {
                    let body = call.order["data"]["challenge"].as_str().unwrap_or_default();
                    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                }
                Answer::Nothing => std::future::pending().await,
                Answer::AtTheGate => {
                    if self.gate.wait_for(|open| *open).await.is_err() {
                        return;
                    }
                    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned()
                }
            };
            if stream.get_mut().write_all(reply.as_bytes()).await.is_err() {
                return;
            }
        }
    }

    fn record(&self, headers: Vec<(String, String)>, body: Vec<u8>) -> Call {
        // Whoever only asks sends nothing.
        let order: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        let mut calls = self.calls.lock().unwrap();
        let before = calls.iter().filter(|call| call.order["order_id"] == order["order_id"]).count();
        let call = Call { before, headers, order, body };
        calls.push(call.clone());
        call
    }
}

/// One request; `None` at the end of the connection.
async fn read(stream: &mut BufReader<TcpStream>) -> Option<(Vec<(String, String)>, Vec<u8>)> {
    let mut headers = Vec::new();
    let mut line = String::new();
    let mut length = 0;
    loop {
        line.clear();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if let Some((name, value)) = text.split_once(':').filter(|(name, _)| !name.contains(' ')) {
            let (name, value) = (name.to_ascii_lowercase(), value.trim().to_owned());
            if name == "content-length" {
                length = value.parse().unwrap();
            }
            headers.push((name, value));
        } else if let Some(path) = text.split(' ').nth(1) {
            headers.push((PATH.to_owned(), path.to_owned()));
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((headers, body))
}
