//! P9: look-ups, lists, searches, feed and metrics over many orders. One client, one request after the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::figure::{Goal, Report};
use super::fill::{CUSTOMERS, PARKED_EVERY};
use super::start::start;
use super::{Bench, quietly, wrk};
use crate::http::client::Client;
use crate::procfs::resident_mib;
use crate::rng::Rng;
use crate::server::Launch;
use crate::stats::{percentile, sorted};

/// What P9 allows.
const P95_MS: f64 = 50.0;

/// A request and how often it is made; `{n}` is the number of some order, `{p}` of some parked one, `{c}` some
/// customer, `{id}` some order's id.
struct Ask {
    what: &'static str,
    path: &'static str,
    times: usize,
}

const ASKS: &[Ask] = &[
    Ask { what: "order by id", path: "/v1/orders/{id}", times: 2_000 },
    Ask { what: "its timeline", path: "/v1/orders/{id}/timeline", times: 500 },
    Ask { what: "list by reference", path: "/v1/orders?reference=fill-{n}", times: 2_000 },
    Ask { what: "list by customer", path: "/v1/orders?customer=c-{c}", times: 500 },
    Ask { what: "search: start of a reference", path: "/v1/orders?q=fill-{n}", times: 500 },
    Ask { what: "search: start of every reference", path: "/v1/orders?q=fill", times: 200 },
    Ask { what: "search: start of a customer", path: "/v1/orders?q=c-{c}", times: 500 },
    Ask { what: "search: nothing begins so", path: "/v1/orders?q=nobody", times: 500 },
    Ask { what: "parked, first page", path: "/v1/parked", times: 200 },
    Ask { what: "parked, with a text", path: "/v1/parked?error_contains=hopeless", times: 200 },
    Ask { what: "parked, with a text that none has", path: "/v1/parked?error_contains=nothing", times: 100 },
    Ask { what: "list, first page", path: "/v1/orders", times: 500 },
    Ask { what: "list of queued: there is none", path: "/v1/orders?processing=queued", times: 100 },
    Ask { what: "list of shipped: there is none", path: "/v1/orders?fulfilment=shipped", times: 100 },
    Ask {
        what: "list before all: there is none",
        path: "/v1/orders?accepted_to=2020-01-01T00:00:00Z",
        times: 100,
    },
    Ask { what: "`/metrics`", path: "/metrics", times: 100 },
    Ask { what: "parspec's metrics", path: "/parspec/metrics", times: 100 },
];

/// Pages that are read one after the other.
const WALKS: &[(&str, &str, &str, usize)] = &[
    ("list, 200 a page, deep", "/v1/orders?limit=200", "orders", 200),
    ("parked, 200 a page, deep", "/v1/parked?limit=200", "orders", 100),
    ("what changed since, 200 a page", "/v1/orders?limit=200&updated_since=beginning", "orders", 200),
    ("feed, 1,000 events a page", "/v1/events?limit=1000", "events", 100),
];

/// Measures over the filled folder.
pub(crate) fn measure(bench: &Bench, launch: &Launch, report: &mut Report) -> Result<()> {
    let part = bench.part("P9");
    println!("{part}: reads over {} orders, one in {PARKED_EVERY} parked", bench.fill);
    let (mut server, _) = start(launch)?;
    let mut client = Client::new(server.address, Duration::from_secs(30));
    let ids = some_ids(&mut client, bench.fill)?;
    for ask in ASKS {
        let mut rng = Rng::new(9);
        let once = quietly(|| timed(&mut client, ask, bench.fill, &ids, &mut rng))?;
        let goal = Goal::AtMost(P95_MS);
        report.add(part, format!("{}: p95", ask.what), "ms", vec![once.value], goal, once.noisy);
    }
    for (what, path, list, pages) in WALKS {
        let once = quietly(|| walk(&mut client, path, list, *pages))?;
        let (p95, per_second) = once.value;
        report.add(part, format!("{what}: p95"), "ms", vec![p95], Goal::AtMost(P95_MS), once.noisy);
        report.add(part, format!("{what}: rate"), "/s", vec![per_second], Goal::None, once.noisy);
    }
    let path = format!("/v1/orders/{}", ids[0]);
    let once = quietly(|| wrk::get(server.address, &path, bench.seconds()))?;
    let load = once.value;
    report.add(part, "look-ups, 64 connections", "/s", vec![load.per_second], Goal::None, once.noisy);
    report.add(part, "… their p99", "ms", vec![load.p99_ms], Goal::None, once.noisy);
    let mib = resident_mib(server.pid());
    report.add(part, "resident memory after all that", "MiB", vec![mib], Goal::None, false);
    server.terminate(Duration::from_secs(30))?;
    Ok(())
}

/// Ids of orders from all over the folder.
pub(crate) fn some_ids(client: &mut Client, orders: usize) -> Result<Vec<String>> {
    let mut rng = Rng::new(7);
    let id = |n: u64, client: &mut Client| -> Result<String> {
        let page = client.get_json(&format!("/v1/orders?reference=fill-{n}"))?;
        let id = page["orders"][0]["order_id"].as_str().context("an order that was placed is not there")?;
        Ok(id.to_owned())
    };
    (0..500).map(|_| id(rng.between(0, orders as u64 - 1), client)).collect()
}

/// The 95th percentile of the times that `ask` takes, in milliseconds.
fn timed(client: &mut Client, ask: &Ask, orders: usize, ids: &[String], rng: &mut Rng) -> Result<f64> {
    let mut times = Vec::with_capacity(ask.times);
    for _ in 0..ask.times {
        let mut below = |count: usize| rng.between(0, count as u64 - 1);
        let (number, id) = (below(orders), below(ids.len()));
        let path = ask
            .path
            .replace("{n}", &number.to_string())
            .replace("{c}", &format!("{:06}", below(CUSTOMERS)))
            .replace("{id}", &ids[id as usize]);
        let began = Instant::now();
        let reply = client.get(&path)?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        if reply.status != 200 {
            bail!("GET {path}: {} {}", reply.status, reply.text());
        }
    }
    Ok(percentile(&sorted(times), 95.0))
}

/// Reads pages from the first one on: the 95th percentile of a page in milliseconds, and entries a second.
fn walk(client: &mut Client, path: &str, list: &str, pages: usize) -> Result<(f64, f64)> {
    let (mut times, mut entries) = (Vec::new(), 0);
    let mut at = path.to_owned();
    for _ in 0..pages {
        let began = Instant::now();
        let reply = client.get(&at)?;
        times.push(began.elapsed().as_secs_f64() * 1000.0);
        let page: Value = reply.json()?;
        entries += page[list].as_array().with_context(|| format!("GET {at}: {}", reply.text()))?.len();
        let Some(next) = page["next"].as_str() else { break };
        at = match path.strip_suffix("updated_since=beginning") {
            Some(start) => format!("{start}updated_since={next}"),
            None => format!("{path}&after={next}"),
        };
    }
    let seconds = times.iter().sum::<f64>() / 1000.0;
    Ok((percentile(&sorted(times), 95.0), entries as f64 / seconds))
}
