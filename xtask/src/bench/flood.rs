//! Load by the clock from thousands of clients in one thread: requests leave when they are due, whether or not the server
//! keeps up, as long as some client has nothing under way. One thread, because client and server share the cores: what the
//! load costs is taken from what is measured.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;

use super::latency::order;

/// Requests that leave before answers are looked at.
const ROUND: u64 = 32;
/// Answers that are looked at before requests leave.
const EVENTS: usize = 256;
/// Digits of a request's number.
const DIGITS: usize = 9;

/// What is offered.
pub(crate) struct Flood<'a> {
    pub(crate) address: SocketAddr,
    /// Clients, each with a connection of its own and at most one request under way.
    pub(crate) clients: usize,
    /// Requests a second, all clients together.
    pub(crate) rate: f64,
    pub(crate) length: Duration,
    /// Whether a client that is refused stays away as long as `Retry-After` says.
    pub(crate) obeys: bool,
    /// Begins the references; new for each flood on a data folder.
    pub(crate) run: &'a str,
}

/// What became of it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Due by the clock.
    pub(crate) offered: u64,
    /// Left a client.
    pub(crate) sent: u64,
    /// Answered with 201 before the end.
    pub(crate) taken: u64,
    /// Answered with 429.
    pub(crate) limited: u64,
    /// Answered with 503.
    pub(crate) unavailable: u64,
    /// Answered with anything else.
    pub(crate) other: u64,
    /// Refusals without `Retry-After`.
    pub(crate) unexplained: u64,
    /// Connections that the server closed or that broke.
    pub(crate) broken: u64,
}

struct Client {
    stream: TcpStream,
    /// What has come of an answer.
    got: Vec<u8>,
}

/// A whole answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    retry_after: Option<u64>,
}

struct Flooding<'a> {
    flood: &'a Flood<'a>,
    epoll: OwnedFd,
    clients: Vec<Client>,
    idle: VecDeque<usize>,
    away: BinaryHeap<Reverse<(Instant, usize)>>,
    head: Vec<u8>,
    /// Where the number of a request stands in it.
    number_at: usize,
    outcome: Outcome,
}

impl Flood<'_> {
    /// Floods, and says what became of it.
    pub(crate) fn run(&self) -> Result<Outcome> {
        let mut flooding = self.connect()?;
        let start = Instant::now();
        let (mut events, mut skipped) = (Vec::with_capacity(EVENTS), 0);
        loop {
            let elapsed = start.elapsed();
            if elapsed >= self.length {
                flooding.outcome.offered = (self.rate * self.length.as_secs_f64()) as u64;
                return Ok(flooding.outcome);
            }
            flooding.come_back(Instant::now());
            let due = (self.rate * elapsed.as_secs_f64()) as u64;
            let mut late = due.saturating_sub(flooding.outcome.sent + skipped);
            for _ in 0..late.min(ROUND) {
                if !flooding.send()? {
                    // Nobody is free: what is due now leaves never.
                    skipped += late;
                    break;
                }
                late -= 1;
            }
            flooding.receive(&mut events, late == 0)?;
        }
    }

    fn connect(&self) -> Result<Flooding<'_>> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?;
        let mut clients = Vec::with_capacity(self.clients);
        for id in 0..self.clients {
            let stream = TcpStream::connect(self.address)
                .with_context(|| format!("client {id} of {}: see ulimit -n", self.clients))?;
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            epoll::add(&epoll, &stream, epoll::EventData::new_u64(id as u64), epoll::EventFlags::IN)?;
            clients.push(Client { stream, got: Vec::new() });
        }
        let (head, number_at) = request(self.address, self.run)?;
        let idle = (0..self.clients).collect();
        let (away, outcome) = (BinaryHeap::new(), Outcome::default());
        Ok(Flooding { flood: self, epoll, clients, idle, away, head, number_at, outcome })
    }
}

impl Flooding<'_> {
    /// Clients that have been away long enough ask again.
    fn come_back(&mut self, now: Instant) {
        while let Some(Reverse((until, id))) = self.away.peek().copied() {
            if until > now {
                return;
            }
            self.away.pop();
            self.idle.push_back(id);
        }
    }

    /// Sends the next request; `false` when no client is free.
    fn send(&mut self) -> Result<bool> {
        let Some(id) = self.idle.pop_front() else { return Ok(false) };
        let number = format!("{:0DIGITS$}", self.outcome.sent);
        self.head[self.number_at..self.number_at + DIGITS].copy_from_slice(number.as_bytes());
        self.outcome.sent += 1;
        // A request is far smaller than a socket's buffer, and there is one under way at most.
        match self.clients[id].stream.write(&self.head) {
            Ok(written) if written == self.head.len() => {}
            Ok(_) => bail!("a request did not fit into the socket's buffer"),
            Err(error) if is_end(&error) => self.reconnect(id)?,
            Err(error) => return Err(error).context("sending"),
        }
        Ok(true)
    }

    /// Takes the answers that are there; waits a moment for one when nothing is to be sent.
    fn receive(&mut self, events: &mut Vec<epoll::Event>, waits: bool) -> Result<()> {
        let moment = Timespec { tv_sec: 0, tv_nsec: if waits { 200_000 } else { 0 } };
        events.clear();
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(events), Some(&moment)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("epoll"),
        }
        for event in events.iter() {
            let id = usize::try_from(event.data.u64())?;
            self.receive_from(id)?;
        }
        Ok(())
    }

    fn receive_from(&mut self, id: usize) -> Result<()> {
        let mut bytes = [0; 4096];
        let client = &mut self.clients[id];
        match client.stream.read(&mut bytes) {
            Ok(0) => return self.reconnect(id),
            Ok(count) => client.got.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(error) if is_end(&error) => return self.reconnect(id),
            Err(error) => return Err(error).context("receiving"),
        }
        let Some(answer) = answer(&client.got)? else { return Ok(()) };
        client.got.clear();
        let outcome = &mut self.outcome;
        match answer.status {
            201 => outcome.taken += 1,
            429 => outcome.limited += 1,
            503 => outcome.unavailable += 1,
            _ => outcome.other += 1,
        }
        let refused = matches!(answer.status, 429 | 503);
        outcome.unexplained += u64::from(refused && answer.retry_after.is_none());
        match answer.retry_after.filter(|_| refused && self.flood.obeys) {
            Some(seconds) => self.away.push(Reverse((Instant::now() + Duration::from_secs(seconds), id))),
            None => self.idle.push_back(id),
        }
        Ok(())
    }

    /// A client whose connection ended has another one, and whatever was under way is gone.
    fn reconnect(&mut self, id: usize) -> Result<()> {
        self.outcome.broken += 1;
        let stream = TcpStream::connect(self.flood.address).context("connecting again")?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(id as u64), epoll::EventFlags::IN)?;
        self.clients[id] = Client { stream, got: Vec::new() };
        self.idle.push_back(id);
        Ok(())
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted)
}

/// A request, and where its number stands.
fn request(address: SocketAddr, run: &str) -> Result<(Vec<u8>, usize)> {
    let zeros = "0".repeat(DIGITS);
    let body = order(run, 0).replace(&format!("\"{run}-0\""), &format!("\"{run}-{zeros}\""));
    let text = format!(
        "POST /v1/orders HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let at = text.find(&zeros).context("a request without a number")?;
    Ok((text.into_bytes(), at))
}

/// The answer that `bytes` hold, once they hold all of it.
fn answer(bytes: &[u8]) -> Result<Option<Answer>> {
    let Some(head_end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..head_end]).context("a head that is no text")?;
    let (mut length, mut retry_after) = (None, None);
    for line in head.split("\r\n").skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("retry-after") {
            retry_after = value.trim().parse().ok();
        }
    }
    let length = length.with_context(|| format!("an answer without a length: {head}"))?;
    if bytes.len() < head_end + 4 + length {
        return Ok(None);
    }
    let status =
        head.get(9..12).and_then(|digits| digits.parse().ok()).context("an answer without a status")?;
    Ok(Some(Answer { status, retry_after }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::{Answer as Said, Server};

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let text = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nContent-Length: 2\r\n\r\n{}";
        for end in 0..text.len() {
            assert_eq!(answer(&text[..end]).unwrap(), None, "{end}");
        }
        assert_eq!(answer(text).unwrap(), Some(Answer { status: 503, retry_after: Some(2) }));
    }

    #[test]
    fn a_request_is_whole_wherever_its_number_stands() {
        let (bytes, at) = request("127.0.0.1:80".parse().unwrap(), "r").unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert_eq!(&text[at - 3..at + DIGITS], "\"r-000000000"[..].trim_start_matches('x'));
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok(), "{body}");
    }

    #[test]
    fn every_answer_is_counted_once() {
        let server = Server::start(|_| Said::new(201, b"{}".to_vec())).unwrap();
        let flood = Flood {
            address: server.address(),
            clients: 4,
            rate: 500.0,
            length: Duration::from_millis(200),
            obeys: true,
            run: "r",
        };
        let outcome = flood.run().unwrap();
        assert_eq!(outcome.offered, 100);
        assert!(outcome.taken > 0 && outcome.taken <= outcome.sent && outcome.sent <= outcome.offered);
        assert_eq!((outcome.limited, outcome.unavailable, outcome.other, outcome.unexplained), (0, 0, 0, 0));
    }
}
