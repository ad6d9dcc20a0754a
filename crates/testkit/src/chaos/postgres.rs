//! PostgreSQL's protocol, version 3.

use super::session::{Session, Side, number};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// What a client asks before it begins: whether TLS, or GSSAPI, is spoken. It is answered with one byte.
const ASKS: [usize; 2] = [80_877_103, 80_877_104];

#[derive(Default)]
pub(super) struct Postgres {
    began: bool,
    /// Answers of one byte that are yet to come.
    asked: usize,
    statements: HashMap<Vec<u8>, Arc<str>>,
    transaction: Vec<Arc<str>>,
    said: BTreeSet<Arc<str>>,
}

impl Session for Postgres {
    fn frame(&mut self, from: Side, bytes: &mut [u8]) -> Option<(usize, String)> {
        match from {
            Side::Client if !self.began => self.begin(bytes),
            Side::Server if self.asked > 0 && !bytes.is_empty() => {
                self.asked -= 1;
                Some((1, "answer".to_owned()))
            }
            _ => {
                let len = 1 + number(bytes.get(1..)?)?;
                let body = bytes.get(5..len)?;
                let name = match (from, bytes[0]) {
                    (Side::Client, kind) => self.asks(kind, body),
                    (Side::Server, b'C') => text(body).into_owned(),
                    (Side::Server, kind) => char::from(kind).to_string(),
                };
                Some((len, name))
            }
        }
    }

    fn of(&self) -> &[Arc<str>] {
        &self.transaction
    }

    fn has_said(&self, text: &str) -> bool {
        self.said.iter().any(|said| said.contains(text))
    }
}

impl Postgres {
    /// What comes before all else has no letter.
    fn begin(&mut self, bytes: &[u8]) -> Option<(usize, String)> {
        let len = number(bytes)?;
        let code = number(bytes.get(4..len)?)?;
        match ASKS.contains(&code) {
            true => self.asked += 1,
            false => self.began = true,
        }
        Some((len, "startup".to_owned()))
    }

    fn asks(&mut self, kind: u8, body: &[u8]) -> String {
        let statement: Arc<str> = match kind {
            b'Q' => text(body).into(),
            b'P' => {
                let name = until_zero(body);
                let statement: Arc<str> = text(&body[name.len() + 1..]).into();
                self.statements.insert(name.to_vec(), Arc::clone(&statement));
                return statement.to_string();
            }
            b'B' => {
                let portal = until_zero(body);
                let name = until_zero(&body[portal.len() + 1..]);
                self.statements.get(name).cloned().unwrap_or_default()
            }
            _ => return char::from(kind).to_string(),
        };
        if &*statement == "BEGIN" {
            self.transaction.clear();
        }
        self.transaction.push(Arc::clone(&statement));
        self.said.insert(Arc::clone(&statement));
        statement.to_string()
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(until_zero(bytes))
}
