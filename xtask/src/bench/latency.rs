//! Intake latency at half of P2's peak, open loop: requests leave by the clock, whether or not the answers to the
//! earlier ones are there, and each is timed from when it *should* have left. So a stall is felt by every request
//! that it delays (no coordinated omission).

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};

use super::figure::{Goal, Report};
use super::{Bench, quietly, wrk};
use crate::http::client::Client;
use crate::server::log_tail;
use crate::stats::{percentile, sorted};

/// pgbench's average latency at 64 clients on the machine of the goals: what P3 compares with.
const PGBENCH_MS: f64 = 5.4;
const SENDERS: usize = 64;

/// Measures at half of `peak` (which is found first when P2 was not measured).
pub(crate) fn measure(bench: &Bench, peak: Option<f64>, report: &mut Report) -> Result<()> {
    println!("latency: intake at half of the peak, open loop");
    let runs = runs(bench, "latency", peak)?;
    let mut add = |what: &str, unit, values: &[f64], goal| {
        report.add("latency", what, unit, values.to_vec(), goal, runs.noisy);
    };
    add("offered: half of the peak", "orders/s", &runs.rate, Goal::None);
    add("intake p50 (P3's goal, on SQLite)", "ms", &runs.p50, Goal::AtMost(0.3 * PGBENCH_MS));
    add("intake p99 (P3's goal, on SQLite)", "ms", &runs.p99, Goal::AtMost(1.5 * PGBENCH_MS));
    add("intake max", "ms", &runs.max, Goal::None);
    Ok(())
}

/// What each run gave; times in milliseconds.
#[derive(Default)]
pub(crate) struct Runs {
    pub(crate) rate: Vec<f64>,
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
    pub(crate) max: Vec<f64>,
    pub(crate) noisy: bool,
}

/// Runs at half of `peak`, else of what the warm-up reaches.
pub(crate) fn runs(bench: &Bench, name: &str, peak: Option<f64>) -> Result<Runs> {
    let mut runs = Runs::default();
    for run in 0..bench.runs {
        let once = quietly(|| once(bench, &format!("{name}-{run}"), peak))?;
        runs.noisy |= once.noisy;
        let (rate, latencies) = once.value;
        runs.rate.push(rate);
        runs.p50.push(percentile(&latencies, 50.0));
        runs.p99.push(percentile(&latencies, 99.0));
        runs.max.push(latencies.last().copied().unwrap_or_default());
    }
    Ok(runs)
}

fn once(bench: &Bench, name: &str, peak: Option<f64>) -> Result<(f64, Vec<f64>)> {
    let launch = bench.launch(name, &["--role", "api"], &[])?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(20)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    let warm_up = wrk::load(server.address, "/v1/orders", false, &format!("{name}-warm"), 2)?;
    let rate = peak.unwrap_or(warm_up.per_second) / 2.0;
    let latencies = open_loop(server.address, name, rate, Duration::from_secs(bench.seconds()))?;
    server.terminate(Duration::from_secs(20))?;
    bench.discard(&launch)?;
    Ok((rate, latencies))
}

/// Milliseconds from intended departure to answer, sorted.
fn open_loop(address: SocketAddr, run: &str, rate: f64, length: Duration) -> Result<Vec<f64>> {
    let start = Instant::now() + Duration::from_millis(200);
    let interval = Duration::from_secs_f64(SENDERS as f64 / rate.max(1.0));
    let parts: Vec<Result<Vec<f64>>> = thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|id| {
                let first = start + interval.mul_f64(id as f64 / SENDERS as f64);
                scope.spawn(move || send(address, &format!("{run}-{id}"), first, interval, start + length))
            })
            .collect();
        senders.into_iter().map(|s| s.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked")))).collect()
    });
    let mut latencies = Vec::new();
    for part in parts {
        latencies.extend(part?);
    }
    Ok(sorted(latencies))
}

fn send(
    address: SocketAddr,
    run: &str,
    first: Instant,
    interval: Duration,
    end: Instant,
) -> Result<Vec<f64>> {
    let mut client = Client::new(address, Duration::from_secs(10));
    let mut latencies = Vec::new();
    let mut intended = first;
    let mut n = 0;
    while intended < end {
        if let Some(early) = intended.checked_duration_since(Instant::now()) {
            thread::sleep(early);
        }
        let body = order(run, n);
        let reply = client.post("/v1/orders", body.as_bytes())?;
        if reply.status != 201 {
            bail!("an order was answered with {}: {}", reply.status, reply.text());
        }
        latencies.push(intended.elapsed().as_secs_f64() * 1000.0);
        intended += interval;
        n += 1;
    }
    Ok(latencies)
}

/// The order that wrk sends too, with a reference of its own.
pub(crate) fn order(run: &str, n: usize) -> String {
    format!(
        "{{\"reference\":\"{run}-{n}\",\"customer\":\"c-000042\",\"currency\":\"EUR\",\
         \"lines\":[{{\"sku\":\"SKU-0001\",\"quantity\":2,\"unit_price\":\"19.95\"}},\
         {{\"sku\":\"SKU-0002\",\"quantity\":1,\"unit_price\":\"83.55\"}}],\"total\":\"123.45\",\
         \"attributes\":{{\"note\":\"{}\"}}}}",
        "x".repeat(112)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::{Answer, Server};
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn a_stall_is_felt_by_every_request_that_it_delays() {
        let stalled = AtomicBool::new(false);
        let server = Server::start(move |_| {
            if !stalled.swap(true, Ordering::Relaxed) {
                // tidy:allow(sleep): the stall is what this test is about
                thread::sleep(Duration::from_millis(200));
            }
            Answer::new(201, b"{}".to_vec())
        })
        .unwrap();
        let start = Instant::now();
        let latencies =
            send(server.address(), "t", start, Duration::from_millis(10), start + Duration::from_millis(100))
                .unwrap();
        assert_eq!(latencies.len(), 10);
        let delayed = latencies.iter().filter(|ms| **ms > 90.0).count();
        assert_eq!(delayed, 10, "all ten were due during the stall: {latencies:?}");
    }

    #[test]
    fn the_order_is_json() {
        let order: serde_json::Value = serde_json::from_str(&order("run", 7)).unwrap();
        assert_eq!(order["reference"], "run-7");
    }
}
