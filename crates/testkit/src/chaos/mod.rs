//! A way to a server that does harm on demand: it cuts connections, hangs, lets nobody in, and keeps back the very answer
//! that a test names.
//!
//! What passes is split into the frames of the server's [`Protocol`]; each has a name, and a rule says which of them come to
//! harm. Nothing is encrypted here, and nothing happens by chance or after a time: a test says what, and waits until it has
//! happened ([`Chaos::harmed`]).

mod amqp;
mod kafka;
mod postgres;
mod redis;
mod session;
#[cfg(test)]
mod tests;

pub use session::{Frame, Protocol, Side};

use session::Session;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What a frame comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It does not arrive, and the connection is cut.
    Cut,
    /// It arrives, and the connection is cut right behind it.
    CutBehind,
    /// It alone does not arrive.
    Swallow,
    /// It waits, with all that its side sends behind it over this connection, for [`Chaos::release`].
    Hang,
}

type Judge = dyn Fn(&Frame<'_>) -> Option<Harm> + Send + Sync;

/// Which frames come to harm, and how many more.
struct Rule {
    judge: Box<Judge>,
    left: usize,
}

struct Connection {
    cut: watch::Sender<bool>,
    session: Arc<Mutex<dyn Session>>,
}

struct Shared {
    server: SocketAddr,
    protocol: Protocol,
    admits: watch::Sender<bool>,
    /// Whether what clients, and what the server sends, passes.
    flows: watch::Sender<[bool; 2]>,
    /// Counts [`Chaos::release`].
    released: watch::Sender<u64>,
    harmed: watch::Sender<usize>,
    rule: Mutex<Option<Rule>>,
    connections: Mutex<BTreeMap<u64, Connection>>,
    numbers: AtomicU64,
}

/// See the module. Dropping it cuts everything.
pub struct Chaos {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Chaos {
    /// A way to `server`, which does no harm yet.
    pub async fn before(server: SocketAddr, protocol: Protocol) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            server,
            protocol,
            admits: watch::Sender::new(true),
            flows: watch::Sender::new([true; 2]),
            released: watch::Sender::new(0),
            harmed: watch::Sender::new(0),
            rule: Mutex::default(),
            connections: Mutex::default(),
            numbers: AtomicU64::new(0),
        });
        let accepting = tokio::spawn(accept(Arc::clone(&shared), listener));
        Self { address, shared, accepting }
    }

    /// A way to the server that a URL names by its address, and the URL that leads there by this way.
    pub async fn on_the_way(url: &str, protocol: Protocol) -> (Self, String) {
        let (scheme, rest) = url.split_once("://").expect("a URL");
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (login, server) = authority.rsplit_once('@').map_or(("", authority), |(login, at)| (login, at));
        let server = tokio::net::lookup_host(server).await.expect("an address").next().expect("an address");
        let way = Self::before(server, protocol).await;
        let at = if login.is_empty() { "" } else { "@" };
        let through = format!("{scheme}://{login}{at}{}{path}", way.address);
        (way, through)
    }

    /// Where clients find it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Does what `judge` says to the next `times` frames of which it says something. Takes the place of the rule before.
    pub fn harm(&self, times: usize, judge: impl Fn(&Frame<'_>) -> Option<Harm> + Send + Sync + 'static) {
        *locked(&self.shared.rule) = Some(Rule { judge: Box::new(judge), left: times });
    }

    /// Does no more harm.
    pub fn spare(&self) {
        locked(&self.shared.rule).take();
    }

    /// How many frames came to harm.
    pub fn harms(&self) -> usize {
        *self.shared.harmed.borrow()
    }

    /// Waits until so many frames came to harm.
    pub async fn harmed(&self, count: usize) {
        let mut harmed = self.shared.harmed.subscribe();
        drop(harmed.wait_for(|harmed| *harmed >= count).await);
    }

    /// Cuts every connection; how many there were.
    pub fn cut(&self) -> usize {
        self.cut_those_that_said("")
    }

    /// Cuts the connections of clients that have sent a frame with `text` in its name; how many there were.
    pub fn cut_those_that_said(&self, text: &str) -> usize {
        let connections = locked(&self.shared.connections);
        let said = |one: &&Connection| text.is_empty() || locked(&one.session).has_said(text);
        let cut = connections.values().filter(said).map(|one| one.cut.send_replace(true));
        cut.filter(|was_cut| !was_cut).count()
    }

    /// Lets nobody in any more: whoever comes is cut off at once. Who is in stays.
    pub fn close(&self) {
        self.shared.admits.send_replace(false);
    }

    /// Lets everybody in again.
    pub fn open(&self) {
        self.shared.admits.send_replace(true);
    }

    /// From now on nothing passes that these sides send, also over new connections, until [`Self::release`].
    pub fn hang(&self, sides: &[Side]) {
        self.shared.flows.send_modify(|flows| sides.iter().for_each(|side| flows[side.index()] = false));
    }

    /// Lets all pass that waits, and all that comes.
    pub fn release(&self) {
        self.shared.flows.send_replace([true; 2]);
        self.shared.released.send_modify(|times| *times += 1);
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    // Ends them with this task.
    let mut carrying = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while carrying.try_join_next().is_some() {}
        if *shared.admits.borrow() {
            carrying.spawn(Arc::clone(&shared).carry(client));
        }
    }
}

impl Shared {
    /// Carries one connection to its end.
    async fn carry(self: Arc<Self>, client: TcpStream) {
        let Ok(server) = TcpStream::connect(self.server).await else { return };
        for stream in [&client, &server] {
            drop(stream.set_nodelay(true));
        }
        let session = self.protocol.session(self.server, client.local_addr().expect("an address").port());
        let (number, cut) = (self.numbers.fetch_add(1, Ordering::Relaxed), watch::Sender::new(false));
        let mut is_cut = cut.subscribe();
        locked(&self.connections).insert(number, Connection { cut, session: Arc::clone(&session) });
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::select! {
            () = self.pump(&session, Side::Client, from_client, to_server) => {}
            () = self.pump(&session, Side::Server, from_server, to_client) => {}
            _ = is_cut.wait_for(|is_cut| *is_cut) => {}
        }
        locked(&self.connections).remove(&number);
    }

    /// Passes on what one side sends; returns when the connection is at its end.
    async fn pump(
        &self,
        session: &Mutex<dyn Session>,
        from: Side,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
    ) {
        let (mut bytes, mut passing) = (Vec::new(), Vec::new());
        loop {
            let mut at = 0;
            while let Some((len, harm)) = self.next(session, from, &mut bytes[at..]) {
                let frame = &bytes[at..at + len];
                at += len;
                match harm {
                    None => passing.extend_from_slice(frame),
                    Some(Harm::Swallow) => {}
                    Some(Harm::CutBehind) => {
                        passing.extend_from_slice(frame);
                        self.pass(from, &mut writer, &mut passing).await;
                        return self.count();
                    }
                    Some(Harm::Cut) => {
                        self.pass(from, &mut writer, &mut passing).await;
                        return self.count();
                    }
                    Some(Harm::Hang) => {
                        self.pass(from, &mut writer, &mut passing).await;
                        let mut released = self.released.subscribe();
                        self.count();
                        drop(released.changed().await);
                        passing.extend_from_slice(frame);
                    }
                }
                if harm == Some(Harm::Swallow) {
                    self.count();
                }
            }
            bytes.drain(..at);
            if !self.pass(from, &mut writer, &mut passing).await {
                return;
            }
            if !reader.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
                return;
            }
        }
    }

    /// The length of the first frame, once it is whole, and what it comes to.
    fn next(
        &self,
        session: &Mutex<dyn Session>,
        from: Side,
        bytes: &mut [u8],
    ) -> Option<(usize, Option<Harm>)> {
        let mut session = locked(session);
        let (len, name) = session.frame(from, bytes)?;
        let frame = Frame { from, name: &name, of: session.of() };
        let mut rule = locked(&self.rule);
        let harm = rule.as_mut().filter(|rule| rule.left > 0).and_then(|rule| {
            let harm = (rule.judge)(&frame)?;
            rule.left -= 1;
            Some(harm)
        });
        Some((len, harm))
    }

    fn count(&self) {
        self.harmed.send_modify(|harmed| *harmed += 1);
    }

    /// Writes what passes, as soon as anything does; false at the end of the connection.
    async fn pass(&self, from: Side, writer: &mut OwnedWriteHalf, passing: &mut Vec<u8>) -> bool {
        let mut flows = self.flows.subscribe();
        drop(flows.wait_for(|flows| flows[from.index()]).await);
        let written = writer.write_all(passing).await;
        passing.clear();
        written.is_ok()
    }
}

fn locked<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
