//! Programs of others that speak `orderstream`. One writes events of its own orders to Kafka, some of them twice, some before
//! those that came first, some that nobody can read; it does not know what arrived, and need not: the topic tells. One places
//! orders over HTTP and goes on when an answer fails to come.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Names, sinks};
use crate::crash::clients::Stage;
use crate::crash::order::uuid;
use crate::crash::streamed::{Said, Streamed};
use crate::http::client::Client;
use crate::rng::Rng;
use crate::shell::wait_until;

/// Between two turns of the writer, and of who places orders.
const EVERY: Duration = Duration::from_millis(200);
/// An event comes again so many turns later.
const AGAIN: usize = 15;
/// New orders of a turn of the writer.
const ORDERS: u64 = 4;
/// How long Kafka may take to take what a turn wrote; what it has not taken then never was.
const WRITE_MS: &str = "4000";
/// Longer than requests wait for their acknowledgement here.
const ANSWER: Duration = Duration::from_secs(10);
/// How long what was heard may take to be acknowledged once nothing else is to be done.
const ACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(60);

/// What is read back.
#[derive(Default)]
struct Placed {
    /// Order and user, of those that were acknowledged.
    placed: HashMap<String, String>,
    /// Users of all that were asked for.
    asked: HashSet<String>,
}

pub(super) struct Stream {
    stop: Arc<AtomicBool>,
    writer: JoinHandle<()>,
    caller: JoinHandle<Placed>,
}

impl Stream {
    pub(super) fn start(kafka: String, names: &Names, addresses: Vec<SocketAddr>, rng: &Rng) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, topic, mut writing) = (Arc::clone(&stop), names.orders.clone(), rng.fork(2));
        let writer = thread::spawn(move || {
            let (mut turn, mut before) = (0, VecDeque::new());
            while !stopped.load(Ordering::Relaxed) {
                let mut new = lines(turn, &mut writing);
                before.push_back(new[0].clone());
                // What was worked on long ago, and is acknowledged at once.
                new.extend(if turn < AGAIN { None } else { before.pop_front() });
                write(&kafka, &topic, &new);
                turn += 1;
                thread::sleep(EVERY);
            }
        });
        let (stopped, mut calling) = (Arc::clone(&stop), rng.fork(3));
        let caller = thread::spawn(move || {
            let mut placed = Placed::default();
            while !stopped.load(Ordering::Relaxed) {
                let at = calling.between(0, addresses.len().saturating_sub(1) as u64) as usize;
                if let Some(address) = addresses.get(at) {
                    place(*address, &mut placed, &mut calling);
                }
                thread::sleep(EVERY);
            }
            placed
        });
        Self { stop, writer, caller }
    }

    /// Ends them, and waits until what they said is acknowledged, or time is up: then the checks say so. So it is when nothing came for
    /// `stall`.
    pub(super) fn end(self, kafka: &str, names: &Names, stall: Duration) -> Result<Streamed> {
        self.stop.store(true, Ordering::Relaxed);
        self.writer.join().map_err(|_| anyhow!("the writer of events panicked"))?;
        let placed = self.caller.join().map_err(|_| anyhow!("who places orders panicked"))?;
        let mut streamed = read(kafka, names)?;
        (streamed.placed, streamed.asked) = (placed.placed, placed.asked);
        let mut came = (usize::MAX, Instant::now());
        wait_until(ACKNOWLEDGED_LIMIT, Duration::from_millis(500), || {
            match acknowledgements(kafka, names) {
                Ok(acks) => streamed.acks = acks,
                Err(_) => return false, // it is asked again
            }
            let open = streamed.unacknowledged().len();
            if open < came.0 {
                came = (open, Instant::now());
            }
            open == 0 || came.1.elapsed() > stall
        });
        Ok(streamed)
    }
}

/// The events of some new orders, a line each, as they are written in this turn.
fn lines(turn: usize, rng: &mut Rng) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..ORDERS {
        let (order_id, user_id) = (uuid(rng), uuid(rng));
        let mut events = vec![event(&order_id, &user_id, 0, "new")];
        if rng.chance(50) {
            events.push(event(&order_id, &user_id, 1, "new"));
        }
        if rng.chance(20) {
            events.push(event(&order_id, &user_id, 2, if rng.chance(50) { "deleted" } else { "cancelled" }));
        }
        if rng.chance(20) {
            events.reverse();
        }
        if rng.chance(20) {
            events.push(events[0].clone());
        }
        lines.extend(events);
    }
    if turn.is_multiple_of(4) {
        lines.push(format!("{{\"no event {turn} {:x}", rng.next()));
    }
    lines
}

/// Each is a second younger than the one before: the newest counts, whenever it is read.
fn event(order_id: &str, user_id: &str, number: u64, status: &str) -> String {
    let at = OffsetDateTime::now_utc() + Duration::from_secs(number);
    let at = at.format(&Rfc3339).unwrap_or_default();
    let payload = json!({ "id": format!("ext-{order_id}"), "amount": format!("{number}.10"), "n": number });
    let event = json!({
        "order_id": order_id, "external_id": format!("ext-{order_id}"), "user_id": user_id,
        "payload": payload, "status": status, "timestamp": at,
    });
    event.to_string()
}

/// Writes without a key, as existing programs do. Whether it arrives nobody here knows.
fn write(kafka: &str, topic: &str, lines: &[String]) {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-q", "-b", kafka, "-t", topic, "-X", &format!("message.timeout.ms={WRITE_MS}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Ok(mut child) = kcat.spawn() else { return };
    if let Some(mut input) = child.stdin.take() {
        for line in lines {
            drop(writeln!(input, "{line}")); // it may have given up
        }
    }
    drop(child.wait());
}

fn place(address: SocketAddr, placed: &mut Placed, rng: &mut Rng) {
    let user_id = uuid(rng);
    let payload = json!({ "id": format!("ext-{user_id}"), "amount": "7.25" });
    let body = json!({ "user_id": user_id, "payload": payload });
    placed.asked.insert(user_id.clone());
    let answer = Client::new(address, ANSWER).post("/orderstream/orders", body.to_string().as_bytes());
    // What is not answered may be there or not.
    let Ok(answer) = answer else { return };
    if let (201 | 202, Ok(shown)) = (answer.status, answer.json())
        && let Some(order_id) = shown["order_id"].as_str()
    {
        placed.placed.insert(order_id.to_owned(), user_id);
    }
}

/// What lies in the topics.
fn read(kafka: &str, names: &Names) -> Result<Streamed> {
    let mut streamed = Streamed::default();
    for record in sinks::records(kafka, &names.orders)? {
        let text = record["payload"].as_str().unwrap_or_default();
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        let order_id = value["order_id"].as_str().unwrap_or_default().to_owned();
        let headers = record["headers"].as_array().map(Vec::as_slice).unwrap_or_default();
        if headers.iter().step_by(2).any(|name| name == "wellorder-installation") {
            streamed.told.insert(order_id);
        } else if order_id.is_empty() {
            streamed.poison.push(text.to_owned());
        } else {
            let number = value["payload"]["n"].as_u64().context("an event of nobody")?;
            let is_end = value["status"] != "new";
            streamed.said.entry(order_id).or_default().push(Said { number, is_end });
        }
    }
    Ok(streamed)
}

/// By order: what its acknowledgements say.
fn acknowledgements(kafka: &str, names: &Names) -> Result<HashMap<String, Vec<String>>> {
    let mut acks: HashMap<String, Vec<String>> = HashMap::new();
    for record in sinks::records(kafka, &names.acks)? {
        let ack: Value = serde_json::from_str(record["payload"].as_str().unwrap_or_default())?;
        let text = |name: &str| ack[name].as_str().unwrap_or_default().to_owned();
        acks.entry(text("order_id")).or_default().push(text("status"));
    }
    Ok(acks)
}

/// What was parked of the events, and how each order is shown.
pub(super) fn look(stage: &Stage, kafka: &str, names: &Names, streamed: &mut Streamed) -> Result<()> {
    for record in sinks::records(kafka, &format!("{}.parked", names.orders))? {
        streamed.parked.push(record["payload"].as_str().unwrap_or_default().to_owned());
    }
    let mut client = Client::new(stage.address(), ANSWER);
    let ids: Vec<String> = streamed.said.keys().chain(streamed.placed.keys()).cloned().collect();
    for order_id in ids {
        let path = format!("/orderstream/orders/{order_id}");
        let answer = client.get(&path).with_context(|| format!("GET {path}"))?;
        let shown = match answer.status {
            200 => Some(answer.json()?["order"].clone()),
            404 => None,
            status => return Err(anyhow!("GET {path}: {status} {}", answer.text())),
        };
        streamed.shown.insert(order_id, shown);
    }
    Ok(())
}
