//! Receivers of webhooks, as other programs are. One checks what comes with Standard Webhooks' rules, written here anew, refuses some
//! deliveries once, and keeps what it took in the order in which it did; one takes nothing; one never answers.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::gather::{Event, SinkLine, digest_of};
use super::hooked::{Hooked, StoreLine};
use crate::http::client::Client;
use crate::http::server::{Answer, Request, Server};
use crate::shell::wait_until;

const TIMEOUT: Duration = Duration::from_secs(10);
/// One delivery in so many is refused when it comes first.
const REFUSED_ONE_IN: u8 = 16;
/// Those that take nothing, and how many deliveries a second each wants.
const BAD: [(&str, u32); 2] = [("fails", 10), ("hangs", 10)];
/// Longer than anybody waits for an answer.
const HANG: Duration = Duration::from_secs(40);
/// How long everything may take to arrive once nothing else is to be done: a dead node's leases run out after 30 s.
const ARRIVED_LIMIT: Duration = Duration::from_secs(120);

#[derive(Default)]
struct Ledger {
    /// Known once the endpoint is made.
    key: OnceLock<Vec<u8>>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    lines: Vec<SinkLine>,
    stores: Vec<StoreLine>,
    /// Ids of deliveries that were taken, and of those that were refused once.
    ids: HashSet<String>,
    refused: HashSet<String>,
    /// By endpoint that takes nothing and by order: the versions that came.
    bad: BTreeMap<&'static str, HashMap<String, BTreeSet<u64>>>,
}

/// All of them, at one address.
pub(crate) struct Receiver {
    ledger: Arc<Ledger>,
    server: Server,
}

impl Receiver {
    pub(crate) fn start() -> Result<Self> {
        let ledger = Arc::<Ledger>::default();
        let shared = Arc::clone(&ledger);
        let server =
            Server::start(move |request| receive(&shared, request)).context("receiver of webhooks")?;
        Ok(Self { ledger, server })
    }

    /// Has every event sent here from now on.
    pub(crate) fn listen(&self, address: SocketAddr) -> Result<()> {
        for (name, rate) in BAD {
            self.endpoint(address, name, &json!({ "events": ["order.*"], "rate": rate }))?;
        }
        let made = self.endpoint(address, "hook", &json!({ "events": ["*"] }))?;
        let secret = made["secret"].as_str().and_then(|secret| secret.strip_prefix("whsec_"));
        let key = STANDARD.decode(secret.context("an endpoint without its secret")?)?;
        self.ledger.key.set(key).ok().context("there is an endpoint already")
    }

    fn endpoint(&self, address: SocketAddr, name: &str, said: &Value) -> Result<Value> {
        let mut endpoint = said.clone();
        endpoint["url"] = json!(format!("http://{}/{name}", self.server.address()));
        let answer = Client::new(address, TIMEOUT).post("/v1/endpoints", endpoint.to_string().as_bytes())?;
        if answer.status != 201 {
            bail!("POST /v1/endpoints: {} {}", answer.status, answer.text());
        }
        Ok(answer.json()?)
    }

    /// Waits until so many different deliveries were taken, or time is up; `stall` is how long nothing may come before it is.
    pub(crate) fn wait(&self, due: usize, stall: Duration) {
        let mut came = (0, Instant::now());
        wait_until(ARRIVED_LIMIT, Duration::from_millis(100), || {
            let ids = self.ledger.lock().ids.len();
            if ids > came.0 {
                came = (ids, Instant::now());
            }
            ids >= due || came.1.elapsed() > stall
        });
    }

    /// The events of orders that were taken, in that order; and the rest.
    pub(crate) fn all(&self) -> (Vec<SinkLine>, Hooked) {
        let taken = self.ledger.lock();
        let bad = BAD.map(|(name, _)| (name, taken.bad.get(name).cloned().unwrap_or_default()));
        let hooked = Hooked { stores: taken.stores.clone(), bad: bad.into(), due: BTreeMap::new() };
        (taken.lines.clone(), hooked)
    }
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn receive(ledger: &Ledger, request: &Request) -> Answer {
    if let Some((name, _)) = BAD.iter().find(|(name, _)| request.path == format!("/{name}")) {
        let event: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let order = event["order_id"].as_str().unwrap_or_default().to_owned();
        let version = event["version"].as_u64().unwrap_or_default();
        ledger.lock().bad.entry(name).or_default().entry(order).or_default().insert(version);
        if *name == "hangs" {
            thread::sleep(HANG);
        }
        return Answer::new(500, b"never".to_vec());
    }
    let header = |name: &str| request.headers.get(name).unwrap_or_default();
    let id = header("webhook-id").to_owned();
    let mut taken = ledger.lock();
    if Sha256::digest(&id)[0].is_multiple_of(REFUSED_ONE_IN) && taken.refused.insert(id.clone()) {
        return Answer::new(500, b"not now".to_vec());
    }
    let key = ledger.key.get().map(Vec::as_slice).unwrap_or_default();
    let place = format!("delivery {}", taken.lines.len() + taken.stores.len() + 1);
    let bytes = digest_of(&request.body);
    let said = checked(key, header, &request.body);
    taken.ids.insert(id.clone());
    match said {
        Ok(said) if said["store_id"].is_string() => {
            taken.stores.push(StoreLine::read(&said, &id, place, bytes));
        }
        said => {
            let event = said.and_then(|said| Event::parse(&said).map_err(|fault| format!("{fault:#}")));
            let event = match event {
                Ok(event) if event.event_id != id => {
                    Err(format!("the event {} comes as {id}", event.event_id))
                }
                event => event,
            };
            taken.lines.push(SinkLine { place, event, bytes });
        }
    }
    Answer::new(204, Vec::new())
}

/// What is said, if its signature is right (Standard Webhooks, "Signature scheme").
fn checked<'h>(key: &[u8], header: impl Fn(&str) -> &'h str, body: &[u8]) -> Result<Value, String> {
    let mut signed = format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).into_bytes();
    signed.extend_from_slice(body);
    let expected = format!("v1,{}", STANDARD.encode(hmac(key, &signed)));
    let signatures = header("webhook-signature");
    if !signatures.split(' ').any(|signature| signature == expected) {
        return Err(format!("the signature {signatures:?} is wrong"));
    }
    serde_json::from_slice(body).map_err(|fault| format!("the body: {fault}"))
}

/// HMAC-SHA-256 (RFC 2104), of keys that are no longer than a block.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0_u8; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    let with = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new_with_prefix(with(0x36)).chain_update(text).finalize();
    Sha256::new_with_prefix(with(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Headers;

    const KEY: &[u8] = b"a key of this very test";

    fn request(path: &str, id: &str, signature: &str, body: &Value) -> Request {
        let headers = [("webhook-id", id), ("webhook-timestamp", "7"), ("webhook-signature", signature)];
        Request {
            method: "POST".to_owned(),
            path: path.to_owned(),
            headers: Headers::of(&headers),
            body: body.to_string().into_bytes(),
        }
    }

    fn event(id: &str) -> Value {
        json!({"event_id": id, "order_id": "o", "version": 1, "shard": 3, "position": 1, "type": "order.accepted",
            "data": {"source": "api", "reference": "r"}})
    }

    fn signature(id: &str, body: &Value) -> String {
        format!("v1,{}", STANDARD.encode(hmac(KEY, format!("{id}.7.{body}").as_bytes())))
    }

    /// Ids that are taken at once.
    fn ids() -> impl Iterator<Item = String> {
        (0..).map(|n| format!("e{n}")).filter(|id| !Sha256::digest(id)[0].is_multiple_of(REFUSED_ONE_IN))
    }

    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.key.set(KEY.to_vec()).unwrap();
        ledger
    }

    #[test]
    fn the_code_is_that_of_rfc_4231() {
        let code: String =
            hmac(b"Jefe", b"what do ya want for nothing?").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(code, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn what_is_signed_wrongly_or_comes_under_another_id_is_told() {
        let ledger = ledger();
        let id = ids().next().unwrap();
        let (good, other) = (event(&id), event("another"));
        receive(&ledger, &request("/hook", &id, &format!("v1,x {}", signature(&id, &good)), &good));
        receive(&ledger, &request("/hook", &id, &signature("e", &good), &good));
        receive(&ledger, &request("/hook", &id, &signature(&id, &other), &other));
        let lines = ledger.lock().lines.clone();
        assert!(lines[0].event.is_ok());
        assert!(lines[1].event.as_ref().unwrap_err().contains("signature"));
        assert!(lines[2].event.as_ref().unwrap_err().contains("comes as"));
    }

    #[test]
    fn events_of_stores_are_kept_apart() {
        let ledger = ledger();
        let id = ids().next().unwrap();
        let told = json!({"event_id": id, "store_id": "s", "version": 2, "type": "sync.started", "data": {}});
        receive(&ledger, &request("/hook", &id, &signature(&id, &told), &told));
        let taken = ledger.lock();
        assert_eq!((taken.lines.len(), taken.stores.len(), taken.stores[0].version), (0, 1, 2));
    }

    #[test]
    fn some_are_refused_when_they_come_first() {
        let ledger = ledger();
        for n in 0..200 {
            let id = format!("e{n}");
            receive(&ledger, &request("/hook", &id, "", &event(&id)));
        }
        let refused = ledger.lock().refused.len();
        assert!((1..100).contains(&refused), "{refused}");
        assert_eq!(ledger.lock().ids.len(), 200 - refused);
    }

    #[test]
    fn one_that_takes_nothing_notes_what_came() {
        let ledger = ledger();
        assert_eq!(receive(&ledger, &request("/fails", "e", "", &event("e"))).read().0, 500);
        assert_eq!(ledger.lock().bad["fails"]["o"], BTreeSet::from([1]));
    }
}
