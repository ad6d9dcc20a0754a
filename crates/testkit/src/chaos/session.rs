//! What a protocol makes of the bytes of a connection.

use super::amqp::Amqp;
use super::kafka::Kafka;
use super::postgres::Postgres;
use super::redis::Redis;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Whoever connected.
    Client,
    /// The server behind.
    Server,
}

impl Side {
    pub(super) fn index(self) -> usize {
        match self {
            Self::Client => 0,
            Self::Server => 1,
        }
    }
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Bytes, whatever they mean. Of what the server sends, the frame that ends with this byte, counted from 1, is named
    /// `mark`.
    Bytes(usize),
    /// PostgreSQL's, version 3. A client's frames are named by the text of their statement (`COMMIT`), the server's by the tag of
    /// the command that they complete; others by the letter of their type. They are [`of`](Frame::of) the statements of the
    /// transaction so far.
    Postgres,
    /// AMQP 0-9-1. Methods are named as in `basic.ack`, those of no interest by their numbers (`60.20`).
    Amqp,
    /// Kafka's. Requests and their answers are named by what is asked for (`Produce`), those of no interest by its number. The
    /// broker's address is this way's in all that it says of itself.
    Kafka,
    /// Redis'. Requests are named by their command (`SET`), answers by what they answer.
    Redis,
}

impl Protocol {
    pub(super) fn session(self, server: SocketAddr, port: u16) -> Arc<Mutex<dyn Session>> {
        match self {
            Self::Bytes(mark) => Arc::new(Mutex::new(Bytes { mark, sent: 0 })),
            Self::Postgres => Arc::new(Mutex::new(Postgres::default())),
            Self::Amqp => Arc::new(Mutex::new(Amqp)),
            Self::Kafka => Arc::new(Mutex::new(Kafka::new(server, port))),
            Self::Redis => Arc::new(Mutex::new(Redis::default())),
        }
    }
}

/// A frame on its way.
#[derive(Debug)]
pub struct Frame<'f> {
    /// Who sent it.
    pub from: Side,
    /// What it is: see [`Protocol`].
    pub name: &'f str,
    /// What it belongs to, where the protocol tells.
    pub of: &'f [Arc<str>],
}

impl Frame<'_> {
    /// Whether it is this, from this side.
    pub fn is(&self, from: Side, name: &str) -> bool {
        self.from == from && self.name == name
    }

    /// Whether it belongs to something with this text in it.
    pub fn is_of(&self, text: &str) -> bool {
        self.of.iter().any(|one| one.contains(text))
    }
}

/// One connection.
pub(super) trait Session: Send {
    /// Length and name of the first frame, once it is whole. May change it, but not its length.
    fn frame(&mut self, from: Side, bytes: &mut [u8]) -> Option<(usize, String)>;

    /// What the last frame belongs to.
    fn of(&self) -> &[Arc<str>] {
        &[]
    }

    /// Whether the client has sent a frame with this in its name.
    fn has_said(&self, _text: &str) -> bool {
        false
    }
}

/// See [`Protocol::Bytes`].
struct Bytes {
    mark: usize,
    sent: usize,
}

impl Session for Bytes {
    fn frame(&mut self, from: Side, bytes: &mut [u8]) -> Option<(usize, String)> {
        if bytes.is_empty() {
            return None;
        }
        if from == Side::Client || self.sent >= self.mark {
            return Some((bytes.len(), "bytes".to_owned()));
        }
        let len = bytes.len().min(self.mark - self.sent);
        self.sent += len;
        Some((len, if self.sent == self.mark { "mark" } else { "bytes" }.to_owned()))
    }
}

/// A number of four bytes, the highest first.
pub(super) fn number(bytes: &[u8]) -> Option<usize> {
    let bytes: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(u32::from_be_bytes(bytes)).ok()
}
