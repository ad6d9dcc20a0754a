//! The receiver of effects: what a processor does to the world outside, counted by idempotency key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::http::server::{Answer, Request, Server};

/// What was delivered under one idempotency key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    pub(crate) order_id: String,
    /// Deliveries that we took (answered 200, whether or not the answer arrived).
    pub(crate) taken: usize,
    /// Deliveries that we refused with a 500.
    pub(crate) refused: usize,
    /// Something about a delivery that must not be.
    pub(crate) wrong: Option<String>,
}

/// How the receiver behaves.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Mostly at once; some slowly; some fail at their first delivery.
    Mixed,
    /// Every tenth first delivery is held for so long, everything else is at once.
    Hold(Duration),
}

#[derive(Default)]
struct Ledger {
    by_key: Mutex<HashMap<String, Effect>>,
    taken_keys: AtomicUsize,
}

/// The running receiver.
pub(crate) struct Effects {
    ledger: Arc<Ledger>,
    server: Server,
}

impl Effects {
    pub(crate) fn start(manner: Manner) -> Result<Self> {
        let ledger = Arc::new(Ledger::default());
        let shared = Arc::clone(&ledger);
        let server =
            Server::start(move |request| receive(&shared, manner, request)).context("effect receiver")?;
        Ok(Self { ledger, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/effects", self.server.address())
    }

    /// Number of different keys that were taken.
    pub(crate) fn taken(&self) -> usize {
        self.ledger.taken_keys.load(Ordering::Relaxed)
    }

    /// Everything received so far, by key.
    pub(crate) fn snapshot(&self) -> HashMap<String, Effect> {
        self.ledger.lock().clone()
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Effect>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(ledger: &Ledger, manner: Manner, request: &Request) -> Answer {
    let key = request.headers.get("idempotency-key").unwrap_or_default().to_owned();
    let named = request.headers.get("wellorder-order-id").unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let luck = luck(&key);
    let (newly_taken, delay, status) = {
        let mut ledger = ledger.lock();
        let effect = ledger.entry(key.clone()).or_default();
        let first = effect.taken + effect.refused == 0;
        if request.method != "POST" || request.path != "/effects" {
            effect.wrong = Some(format!("{} {}", request.method, request.path));
        } else if key.is_empty() {
            effect.wrong = Some("no Idempotency-Key".to_owned());
        } else if body["order_id"] != *named {
            effect.wrong = Some(format!("header names order {named}, body {}", body["order_id"]));
        } else if !first && effect.order_id != named {
            effect.wrong = Some(format!("one key for the orders {} and {named}", effect.order_id));
        }
        effect.order_id = named;
        let (delay, status) = behaviour(manner, first, luck);
        if status == 200 {
            effect.taken += 1;
        } else {
            effect.refused += 1;
        }
        (effect.taken == 1 && status == 200, delay, status)
    };
    if newly_taken {
        ledger.taken_keys.fetch_add(1, Ordering::Relaxed);
    }
    thread::sleep(delay);
    Answer::new(status, b"{}".to_vec())
}

/// How long to wait and what to answer.
fn behaviour(manner: Manner, first: bool, luck: u64) -> (Duration, u16) {
    match manner {
        Manner::Mixed if luck < 4 && first => (Duration::ZERO, 500),
        Manner::Mixed if luck < 10 => (Duration::from_millis(100 * (luck + 1)), 200),
        Manner::Hold(held) if luck < 10 && first => (held, 200),
        Manner::Mixed | Manner::Hold(_) => (Duration::ZERO, 200),
    }
}

/// A number in 0..100 that belongs to the key, whatever happens around it.
fn luck(key: &str) -> u64 {
    let digest = Sha256::digest(key.as_bytes());
    (u64::from(digest[0]) * 256 + u64::from(digest[1])) % 100
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::client::Client;
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::TcpStream;

    fn deliver(effects: &Effects, key: &str, order: &str) -> u16 {
        let body = format!("{{\"order_id\":\"{order}\"}}");
        let mut stream = TcpStream::connect(effects.server.address()).unwrap();
        write!(
            stream,
            "POST /effects HTTP/1.1\r\nIdempotency-Key: {key}\r\nWellorder-Order-Id: {order}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        stream.get_ref().set_nonblocking(true).unwrap();
        stream.read_to_end(&mut Vec::new()).ok();
        line.split(' ').nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn deliveries_are_counted_by_key() {
        let effects = Effects::start(Manner::Hold(Duration::ZERO)).unwrap();
        assert_eq!(deliver(&effects, "k1", "o1"), 200);
        assert_eq!(deliver(&effects, "k1", "o1"), 200);
        assert_eq!(deliver(&effects, "k2", "o2"), 200);
        assert_eq!(effects.taken(), 2);
        let all = effects.snapshot();
        assert_eq!((all["k1"].taken, all["k2"].taken), (2, 1));
        assert!(all["k1"].wrong.is_none());
        deliver(&effects, "k1", "o2");
        assert!(effects.snapshot()["k1"].wrong.is_some(), "one key, two orders");
    }

    #[test]
    fn a_delivery_without_a_key_is_wrong() {
        let effects = Effects::start(Manner::Mixed).unwrap();
        let mut client = Client::new(effects.server.address(), Duration::from_secs(5));
        client.post("/effects", b"{}").unwrap();
        assert!(effects.snapshot()[""].wrong.is_some());
    }

    #[test]
    fn a_key_fails_only_at_its_first_delivery() {
        let (mut refused, mut slow) = (0, 0);
        for luck in 0..100 {
            let (delay, status) = behaviour(Manner::Mixed, true, luck);
            refused += usize::from(status == 500);
            slow += usize::from(delay > Duration::ZERO);
            assert_eq!(behaviour(Manner::Mixed, false, luck).1, 200);
        }
        assert_eq!((refused, slow), (4, 6));
    }
}
