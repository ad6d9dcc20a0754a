//! The receiver of effects: what a processor does to the world outside, counted by idempotency key.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

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
    hands: Mutex<Hands>,
}

/// Who has which effect in hand.
#[derive(Default)]
struct Hands {
    /// Worker and key of what was not answered yet; how often.
    open: HashMap<(String, String), usize>,
    /// The keys that a worker had in hand when it died, and how long it took until another one came with them.
    left: HashMap<String, Option<Duration>>,
    dead: Option<(String, Instant)>,
}

impl Hands {
    fn take(&mut self, worker: &str, key: &str) {
        *self.open.entry((worker.to_owned(), key.to_owned())).or_default() += 1;
        if let Some((_, since)) = self.dead.as_ref().filter(|(dead, _)| dead != worker)
            && let Some(after) = self.left.get_mut(key).filter(|after| after.is_none())
        {
            *after = Some(since.elapsed());
        }
    }

    fn answer(&mut self, worker: &str, key: &str) {
        let place = (worker.to_owned(), key.to_owned());
        if let Some(times) = self.open.get_mut(&place) {
            *times -= 1;
            if *times == 0 {
                self.open.remove(&place);
            }
        }
    }

    fn of<'a>(&'a self, worker: &'a str) -> impl Iterator<Item = &'a String> {
        self.open.keys().filter(move |(of, _)| of == worker).map(|(_, key)| key)
    }
}

/// What became of the work that a dead worker had in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TakenOver {
    pub(crate) taken: usize,
    /// Nobody came with these yet.
    pub(crate) open: usize,
    /// The longest that anything of it waited for another worker.
    pub(crate) longest: Duration,
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

    /// The same for a worker of this name.
    pub(crate) fn url_of(&self, worker: &str) -> String {
        format!("{}/{worker}", self.url())
    }

    /// How many effects of this worker wait for their answer.
    pub(crate) fn in_hand(&self, worker: &str) -> usize {
        self.ledger.hands().of(worker).count()
    }

    /// This worker was killed just now: what it has in hand is watched.
    pub(crate) fn died(&self, worker: &str) {
        let mut hands = self.ledger.hands();
        hands.left = hands.of(worker).map(|key| (key.clone(), None)).collect();
        hands.dead = Some((worker.to_owned(), Instant::now()));
    }

    /// What became of that.
    pub(crate) fn taken_over(&self) -> TakenOver {
        let hands = self.ledger.hands();
        let taken: Vec<Duration> = hands.left.values().copied().flatten().collect();
        let longest = taken.iter().max().copied().unwrap_or_default();
        TakenOver { taken: taken.len(), open: hands.left.len() - taken.len(), longest }
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
    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Effect>> {
        self.by_key.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(ledger: &Ledger, manner: Manner, request: &Request) -> Answer {
    let key = request.headers.get("idempotency-key").unwrap_or_default().to_owned();
    let named = request.headers.get("wellorder-order-id").unwrap_or_default().to_owned();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let luck = luck(&key);
    let worker = request.path.strip_prefix("/effects/").unwrap_or_default();
    ledger.hands().take(worker, &key);
    let (newly_taken, delay, status) = {
        let mut ledger = ledger.lock();
        let effect = ledger.entry(key.clone()).or_default();
        let first = effect.taken + effect.refused == 0;
        if request.method != "POST" || !request.path.starts_with("/effects") {
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
    ledger.hands().answer(worker, &key);
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
    fn what_a_dead_worker_had_in_hand_is_watched_until_another_comes_with_it() {
        let mut hands = Hands::default();
        hands.take("w-1", "a");
        hands.take("w-1", "b");
        hands.answer("w-1", "b");
        hands.take("w-2", "c");
        assert_eq!(hands.of("w-1").collect::<Vec<_>>(), ["a"]);
        hands.left = HashMap::from([("a".to_owned(), None)]);
        hands.dead = Some(("w-1".to_owned(), Instant::now()));
        hands.take("w-1", "a");
        assert!(hands.left["a"].is_none(), "that was the dead one");
        hands.take("w-2", "a");
        assert!(hands.left["a"].is_some());
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
