//! A folder with many orders, as after some weeks of life: most are processed, every tenth is parked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::Bench;
use super::figure::{Goal, Report};
use super::start::start;
use crate::http::client::Client;
use crate::procfs::process_cpu_seconds;
use crate::server::{Launch, Wellorder};

/// Bulk requests at once.
const SENDERS: usize = 4;
/// Orders of one bulk request.
const LINES: usize = 2_000;
/// What the references of the orders of a fill begin with.
pub(crate) const FILL: &str = "fill";
/// Every so many orders of it is parked.
pub(crate) const PARKED_EVERY: usize = 10;
/// Customers that the orders are of.
pub(crate) const CUSTOMERS: usize = 50_000;
/// A server counts as idle when it has used less than this share of a core for [`IDLE_FOR`].
const IDLE_CORES: f64 = 0.05;
const IDLE_FOR: Duration = Duration::from_secs(2);
const IDLE_LIMIT: Duration = Duration::from_secs(2 * 3600);

/// Fills a folder; the orders have the references `fill-0`, `fill-1`, ….
pub(crate) fn fill(bench: &Bench, report: &mut Report) -> Result<Launch> {
    println!("a folder with {} orders", bench.fill);
    let launch = bench.launch("filled", &[], &[("WELLORDER_SIMULATE_DELAY_MS", "0")])?;
    let (mut server, _) = start(&launch)?;
    let began = Instant::now();
    place(server.address, FILL, bench.fill)?;
    let per_second = bench.fill as f64 / began.elapsed().as_secs_f64();
    report.add("fill", "bulk intake beside processing", "orders/s", vec![per_second], Goal::None, false);
    wait_until_idle(&server)?;
    let per_second = bench.fill as f64 / began.elapsed().as_secs_f64();
    report.add("fill", "taken in, and processed or parked", "orders/s", vec![per_second], Goal::None, false);
    server.terminate(Duration::from_secs(30))?;
    Ok(launch)
}

/// Places `wanted` orders by bulk requests; their references begin with `run`.
pub(crate) fn place(address: SocketAddr, run: &str, wanted: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let senders: Vec<_> =
            (0..SENDERS).map(|_| scope.spawn(|| send(address, run, wanted, &next))).collect();
        senders.into_iter().try_for_each(|s| s.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked"))))
    })
}

fn send(address: SocketAddr, run: &str, wanted: usize, next: &AtomicUsize) -> Result<()> {
    let mut sender = Sender::new(address, run);
    loop {
        let first = next.fetch_add(LINES, Ordering::Relaxed);
        let lines = wanted.saturating_sub(first).min(LINES);
        if lines == 0 {
            return Ok(());
        }
        sender.send(first, lines)?;
        if first > 0 && first.is_multiple_of(100_000) {
            println!("  {first} of {wanted} orders");
        }
    }
}

/// Sends bulk requests, one after the other.
pub(crate) struct Sender<'r> {
    client: Client,
    run: &'r str,
}

impl<'r> Sender<'r> {
    pub(crate) fn new(address: SocketAddr, run: &'r str) -> Self {
        Self { client: Client::new(address, Duration::from_secs(60)), run }
    }

    /// Places the orders of so many numbers from `first` on; an error unless all of them are new.
    pub(crate) fn send(&mut self, first: usize, lines: usize) -> Result<()> {
        let body: String = (first..first + lines).map(|n| line(self.run, n)).collect();
        let (reply, whole) = self.client.post_lines("/v1/orders/bulk", body.as_bytes()).context("bulk")?;
        let created = reply.body.split(|byte| *byte == b'\n').filter(|line| is_created(line)).count();
        if !whole || created != lines {
            bail!("of {lines} lines {created} were taken: {} {}", reply.status, reply.text());
        }
        Ok(())
    }
}

/// An order; of those of a fill every tenth is to be parked.
fn line(run: &str, n: usize) -> String {
    let fate = if run == FILL && n.is_multiple_of(PARKED_EVERY) { r#""simulate":"park","# } else { "" };
    let (customer, note) = (n % CUSTOMERS, "x".repeat(100));
    format!(
        "{{\"reference\":\"{run}-{n}\",\"customer\":\"c-{customer:06}\",\"currency\":\"EUR\",\"total\":\"39.90\",\
         \"lines\":[{{\"sku\":\"SKU-0001\",\"quantity\":2,\"unit_price\":\"19.95\"}}],\
         \"attributes\":{{{fate}\"note\":\"{note}\"}}}}\n"
    )
}

fn is_created(line: &[u8]) -> bool {
    const CREATED: &[u8] = b"\"status\":201";
    line.windows(CREATED.len()).any(|part| part == CREATED)
}

/// Waits until the server has nothing left to do.
fn wait_until_idle(server: &Wellorder) -> Result<()> {
    let began = Instant::now();
    loop {
        let before = process_cpu_seconds(server.pid());
        thread::sleep(IDLE_FOR);
        let cores = (process_cpu_seconds(server.pid()) - before) / IDLE_FOR.as_secs_f64();
        if cores < IDLE_CORES {
            return Ok(());
        }
        if began.elapsed() > IDLE_LIMIT {
            bail!("the server is not idle after {} s", IDLE_LIMIT.as_secs());
        }
    }
}
