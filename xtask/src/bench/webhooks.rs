//! P7: webhooks to a receiver that answers at once, signed, each try recorded: what is delivered in a second over eight
//! endpoints, how long one takes at 200 a second, and what memory that takes. Beside it Svix, as it was measured before.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::figure::{Goal, Report};
use super::latency::order;
use super::{Bench, fill, quietly};
use crate::http::client::Client;
use crate::http::server::{Answer, Request, Server};
use crate::procfs::resident_mib;
use crate::server::{Launch, Wellorder, log_tail};
use crate::stats::{percentile, sorted};

/// Svix server 1.100.0 on the machine of the goals on another day, on PostgreSQL and Redis, with one endpoint: messages taken in and
/// delivered in a second.
const SVIX: f64 = 663.0;
const ENDPOINTS: usize = 8;
/// Orders a second whose deliveries are timed, and who places them.
const PER_SECOND: usize = 200;
const SENDERS: usize = 8;
/// Longest wait for everything to arrive.
const LIMIT: Duration = Duration::from_secs(300);
/// What references of orders stand behind in a body.
const REFERENCE: &[u8] = b"\"reference\":\"";

/// What the receiver got.
#[derive(Default)]
struct Got {
    count: AtomicUsize,
    /// Moments by what stands behind the last `-` of the reference; kept when timing alone.
    at: Mutex<Vec<(usize, Instant)>>,
}

impl Got {
    /// Takes deliveries; those without a signature are answered 401.
    fn receive(self: &Arc<Self>, is_timing: bool) -> Result<Server> {
        let got = Arc::clone(self);
        let take = move |request: &Request| {
            if request.headers.get("webhook-signature").is_none() {
                return Answer::new(401, Vec::new());
            }
            if let Some(number) = is_timing.then(|| number(&request.body)).flatten() {
                let now = Instant::now();
                got.at.lock().unwrap_or_else(PoisonError::into_inner).push((number, now));
            }
            got.count.fetch_add(1, Ordering::Relaxed);
            Answer::new(200, Vec::new())
        };
        Server::start(take).context("the receiver")
    }

    fn until(&self, count: usize) -> Result<()> {
        let began = Instant::now();
        while self.count.load(Ordering::Relaxed) < count {
            if began.elapsed() > LIMIT {
                bail!("{} of {count} deliveries arrived", self.count.load(Ordering::Relaxed));
            }
            thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }
}

/// The number at the end of the reference in an event.
fn number(body: &[u8]) -> Option<usize> {
    let at = body.windows(REFERENCE.len()).position(|part| part == REFERENCE)? + REFERENCE.len();
    let reference = body[at..].split(|byte| *byte == b'"').next()?;
    std::str::from_utf8(reference).ok()?.rsplit('-').next()?.parse().ok()
}

/// A server with endpoints that hear of new orders, all at one receiver.
struct Scene {
    launch: Launch,
    server: Wellorder,
    endpoints: Vec<String>,
}

impl Scene {
    fn begin(bench: &Bench, name: &str, receiver: SocketAddr, endpoints: usize) -> Result<Self> {
        let launch =
            bench.launch(name, &["--role", "api", "--role", "relay"], &[("WELLORDER_NDJSON_PATH", "")])?;
        let mut server = launch.start(&[])?;
        if !server.ready_within(Duration::from_secs(20)) {
            bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
        }
        let mut scene = Self { launch, server, endpoints: Vec::new() };
        for endpoint in 0..endpoints {
            let url = format!("http://{receiver}/{endpoint}");
            let made = scene.post("/v1/endpoints", &json!({ "url": url, "events": ["order.accepted"] }))?;
            scene.endpoints.push(made["endpoint_id"].as_str().context("no endpoint_id")?.to_owned());
        }
        Ok(scene)
    }

    /// A fresh connection: one that was idle while deliveries were awaited may be closed by now.
    fn client(&self) -> Client {
        Client::new(self.server.address, Duration::from_secs(30))
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let reply = self.client().post(path, body.to_string().as_bytes())?;
        if !(200..300).contains(&reply.status) {
            bail!("{path}: {} {}", reply.status, reply.text());
        }
        Ok(reply.json()?)
    }

    fn all(&self, verb: &str) -> Result<()> {
        let mut client = self.client();
        for endpoint in &self.endpoints {
            let reply = client.post(&format!("/v1/endpoints/{endpoint}/{verb}"), b"")?;
            if reply.status != 200 {
                bail!("{verb}: {} {}", reply.status, reply.text());
            }
        }
        Ok(())
    }

    /// Waits until every event lies in the streams of the endpoints.
    fn until_fanned_out(&self) -> Result<()> {
        self.until("/v1/followers/webhooks", "fan-out", |follower| follower["lag"] == 0)
    }

    /// Waits until each try is recorded, and nothing waits.
    fn until_settled(&self) -> Result<()> {
        let none = |page: &Value| page["deliveries"].as_array().is_some_and(Vec::is_empty);
        self.until("/v1/deliveries?state=waiting&limit=1", "the end of deliveries", none)
    }

    fn until(&self, path: &str, what: &str, is: impl Fn(&Value) -> bool) -> Result<()> {
        let (began, mut client) = (Instant::now(), self.client());
        while !is(&client.get_json(path)?) {
            if began.elapsed() > LIMIT {
                bail!("waited in vain for {what}");
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn end(mut self, bench: &Bench) -> Result<()> {
        self.server.terminate(Duration::from_secs(30))?;
        bench.discard(&self.launch)
    }
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let part = bench.part("P7");
    println!("{part}: webhooks, {ENDPOINTS} endpoints");
    let orders = if bench.quick { 1_000 } else { 10_000 };
    let (mut waiting, mut flowing, mut memory, mut p50, mut p99) =
        <(Vec<_>, Vec<_>, Vec<_>, Vec<_>, Vec<_>)>::default();
    let mut noisy = false;
    for run in 0..bench.runs {
        let once = quietly(|| backlog(bench, &format!("p7-{run}"), orders))?;
        noisy |= once.noisy;
        let (per_second, mib) = once.value;
        waiting.push(per_second);
        memory.push(mib);
        let once = quietly(|| flow(bench, &format!("p7-f{run}"), orders))?;
        noisy |= once.noisy;
        flowing.push(once.value);
        let once = quietly(|| latencies(bench, &format!("p7-l{run}")))?;
        noisy |= once.noisy;
        p50.push(percentile(&once.value, 50.0));
        p99.push(percentile(&once.value, 99.0));
    }
    let to_svix = flowing.iter().map(|ours: &f64| ours / SVIX).collect();
    let mut add = |what: &str, unit, values, goal| report.add(part, what, unit, values, goal, noisy);
    add("deliveries of what waited, 8 endpoints", "deliveries/s", waiting, Goal::AtLeast(5_000.0));
    add(
        "orders taken in, and all of it delivered, 8 endpoints",
        "deliveries/s",
        flowing,
        Goal::AtLeast(5_000.0),
    );
    add("… ÷ Svix (1 endpoint), as measured another day", "", to_svix, Goal::AtLeast(7.0));
    add("memory behind it", "MiB", memory, Goal::AtMost(60.0));
    add("200/s, order sent → delivery received, 1 endpoint, p50", "ms", p50, Goal::AtMost(2.2));
    add("200/s, order sent → delivery received, 1 endpoint, p99", "ms", p99, Goal::AtMost(7.0));
    Ok(())
}

/// Deliveries a second of what waits at paused endpoints, and the memory of the server afterwards.
fn backlog(bench: &Bench, name: &str, orders: usize) -> Result<(f64, f64)> {
    let got = Arc::new(Got::default());
    let receiver = got.receive(false)?;
    let scene = Scene::begin(bench, name, receiver.address(), ENDPOINTS)?;
    scene.all("pause")?;
    fill::place(scene.server.address, name, orders)?;
    scene.until_fanned_out()?;
    let began = Instant::now();
    scene.all("enable")?;
    got.until(orders * ENDPOINTS)?;
    let per_second = (orders * ENDPOINTS) as f64 / began.elapsed().as_secs_f64();
    scene.until_settled()?;
    let mib = resident_mib(scene.server.pid());
    scene.end(bench)?;
    Ok((per_second, mib))
}

/// Deliveries a second while orders come in as fast as they are taken.
fn flow(bench: &Bench, name: &str, orders: usize) -> Result<f64> {
    let got = Arc::new(Got::default());
    let receiver = got.receive(false)?;
    let scene = Scene::begin(bench, name, receiver.address(), ENDPOINTS)?;
    let began = Instant::now();
    fill::place(scene.server.address, name, orders)?;
    got.until(orders * ENDPOINTS)?;
    let per_second = (orders * ENDPOINTS) as f64 / began.elapsed().as_secs_f64();
    scene.until_settled()?;
    scene.end(bench)?;
    Ok(per_second)
}

/// Milliseconds from an order that is sent until its delivery is there, sorted; orders leave by the clock.
fn latencies(bench: &Bench, name: &str) -> Result<Vec<f64>> {
    let got = Arc::new(Got::default());
    let receiver = got.receive(true)?;
    let scene = Scene::begin(bench, name, receiver.address(), 1)?;
    let address = scene.server.address;
    // The first of all waits for the courier to begin.
    paced(address, &format!("{name}-w"), PER_SECOND / 4)?;
    got.until(PER_SECOND / 4)?;
    got.at.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let orders = PER_SECOND * usize::try_from(bench.seconds()).unwrap_or(usize::MAX);
    let sent = paced(address, name, orders)?;
    got.until(PER_SECOND / 4 + orders)?;
    scene.end(bench)?;
    let arrived = std::mem::take(&mut *got.at.lock().unwrap_or_else(PoisonError::into_inner));
    let took = |(number, at): (usize, Instant)| {
        let sent = sent.get(number).with_context(|| format!("order {number} was never sent"))?;
        Ok(at.saturating_duration_since(*sent).as_secs_f64() * 1000.0)
    };
    Ok(sorted(arrived.into_iter().map(took).collect::<Result<_>>()?))
}

/// Places orders by the clock; gives when each was to be sent: a stall is felt by every order that it delays.
fn paced(address: SocketAddr, run: &str, orders: usize) -> Result<Vec<Instant>> {
    let start = Instant::now() + Duration::from_millis(100);
    let due = |n: usize| start + Duration::from_micros((1_000_000 * n / PER_SECOND) as u64);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                scope.spawn(move || {
                    let mut client = Client::new(address, Duration::from_secs(10));
                    for n in (id..orders).step_by(SENDERS) {
                        if let Some(early) = due(n).checked_duration_since(Instant::now()) {
                            thread::sleep(early);
                        }
                        let reply = client.post("/v1/orders", order(run, n).as_bytes())?;
                        if reply.status != 201 {
                            bail!("an order was answered with {}: {}", reply.status, reply.text());
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|s| s.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked"))))
    })?;
    Ok((0..orders).map(due).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_order_is_read_from_what_arrives() {
        let body = format!(r#"{{"event_id":"e","data":{}}}"#, order("p7-l0", 42));
        assert_eq!(number(body.as_bytes()), Some(42));
        assert_eq!((number(b"{}"), number(br#"{"reference":"x"}"#)), (None, None));
    }
}
