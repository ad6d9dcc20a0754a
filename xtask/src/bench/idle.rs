//! P5: from accepted to processed on an idle system, 100 orders a second, a processor that does nothing.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::figure::{Goal, Report};
use super::latency::order;
use super::{Bench, quietly};
use crate::http::client::Client;
use crate::server::log_tail;
use crate::stats::{percentile, sorted};

const PER_SECOND: usize = 100;
const SENDERS: usize = 8;

/// Two views of 500 orders each: the journal's, and that of a client who asks until it is done.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    let part = bench.part("P5");
    println!("{part}: accepted → processed, idle");
    let orders = if bench.quick { 200 } else { 500 };
    let mut figures: [Vec<f64>; 4] = Default::default();
    let mut noisy = false;
    for run in 0..bench.runs {
        let once = quietly(|| once(bench, &format!("p5-{run}"), orders))?;
        noisy |= once.noisy;
        let (journal, client) = once.value;
        for (figure, (values, percent)) in
            figures.iter_mut().zip([(&journal, 50.0), (&journal, 99.0), (&client, 50.0), (&client, 99.0)])
        {
            figure.push(percentile(values, percent));
        }
    }
    let [journal_p50, journal_p99, client_p50, client_p99] = figures;
    report.add(part, "accepted → processed by the journal, p50", "ms", journal_p50, Goal::AtMost(2.0), noisy);
    report.add(part, "accepted → processed by the journal, p99", "ms", journal_p99, Goal::AtMost(8.0), noisy);
    report.add(part, "sent → seen as done by a polling client, p50", "ms", client_p50, Goal::None, noisy);
    report.add(part, "sent → seen as done by a polling client, p99", "ms", client_p99, Goal::None, noisy);
    Ok(())
}

fn once(bench: &Bench, name: &str, orders: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let launch = bench.launch(name, &[], &[("WELLORDER_SIMULATE_DELAY_MS", "0")])?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(20)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    let warm_up = paced(server.address, &format!("{name}-w"), 50, by_journal);
    let journal = warm_up.and_then(|_| paced(server.address, &format!("{name}-j"), orders, by_journal));
    let client = paced(server.address, &format!("{name}-c"), orders, by_asking);
    server.terminate(Duration::from_secs(20))?;
    bench.discard(&launch)?;
    Ok((journal?, client?))
}

/// How one order is timed, in milliseconds.
type Timing = fn(&mut Client, &str, Instant) -> Result<f64>;

/// Places orders by the clock and times each; sorted.
fn paced(address: SocketAddr, run: &str, orders: usize, timing: Timing) -> Result<Vec<f64>> {
    let start = Instant::now() + Duration::from_millis(100);
    let parts: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                scope.spawn(move || {
                    let mut client = Client::new(address, Duration::from_secs(10));
                    (id..orders).step_by(SENDERS).map(|n| one(&mut client, run, n, start, timing)).collect()
                })
            })
            .collect();
        senders.into_iter().map(|s| s.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked")))).collect()
    });
    let mut times = Vec::new();
    for part in parts {
        times.extend(part?);
    }
    Ok(sorted(times))
}

fn one(client: &mut Client, run: &str, n: usize, start: Instant, timing: Timing) -> Result<f64> {
    let due = start + Duration::from_micros(1_000_000 / PER_SECOND as u64 * n as u64);
    if let Some(early) = due.checked_duration_since(Instant::now()) {
        thread::sleep(early);
    }
    let sent = Instant::now();
    let reply = client.post("/v1/orders", order(run, n).as_bytes())?;
    if reply.status != 201 {
        bail!("an order was answered with {}: {}", reply.status, reply.text());
    }
    let answer = reply.json()?;
    let id = answer["order_id"].as_str().context("no order_id")?;
    timing(client, id, sent)
}

/// `processed_at - accepted_at`; asks only once the system has had ample time, so as not to disturb it.
fn by_journal(client: &mut Client, id: &str, _sent: Instant) -> Result<f64> {
    let mut pause = Duration::from_millis(25);
    for _ in 0..8 {
        thread::sleep(pause);
        pause *= 2;
        let order = client.get_json(&format!("/v1/orders/{id}"))?;
        if let (Some(accepted), Some(processed)) =
            (order["accepted_at"].as_str(), order["processed_at"].as_str())
        {
            let lasted =
                OffsetDateTime::parse(processed, &Rfc3339)? - OffsetDateTime::parse(accepted, &Rfc3339)?;
            return Ok(lasted.as_seconds_f64() * 1000.0);
        }
    }
    bail!("the order {id} is not processed after seconds")
}

/// From sending the order until a client that asks every half millisecond sees that it is done.
fn by_asking(client: &mut Client, id: &str, sent: Instant) -> Result<f64> {
    let path = format!("/v1/orders/{id}");
    while sent.elapsed() < Duration::from_secs(10) {
        if client.get_json(&path)?["processing"] == "done" {
            return Ok(sent.elapsed().as_secs_f64() * 1000.0);
        }
        thread::sleep(Duration::from_micros(500));
    }
    bail!("the order {id} is not processed after 10 s")
}
