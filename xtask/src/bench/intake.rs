//! P2: durable intake over HTTP, beside the same server without storage and beside a bare echo server.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::figure::{Goal, Report};
use super::{Bench, quietly, wrk};
use crate::http::client::Client;
use crate::http::server::free_address;
use crate::procfs::resident_mib;
use crate::server::log_tail;
use crate::shell::wait_until;
use crate::stats::median;

/// What every measurement of a single load starts with.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// A process that is killed when it goes out of scope.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        self.0.kill().ok(); // it may have ended
        self.0.wait().ok();
    }
}

/// Measures, and gives the median rate of wellorder.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<f64> {
    println!("P2: durable intake");
    let (mut ours, mut noop, mut echo) = (Vec::new(), Vec::new(), Vec::new());
    let (mut p50, mut p99, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    let mut noisy = false;
    for run in 0..bench.runs {
        // In turn, so that a machine that slows down slows all of them.
        let load = quietly(|| wellorder(bench, &format!("p2-{run}"), &[]))?;
        noisy |= load.noisy;
        let (load, mib) = load.value;
        ours.push(load.per_second);
        p50.push(load.p50_ms);
        p99.push(load.p99_ms);
        memory.push(mib);
        let load = quietly(|| peer(bench, &bench.noop, &[], "/v1/orders", false))?;
        noisy |= load.noisy;
        noop.push(load.value.per_second);
        let load = quietly(|| peer(bench, &bench.echo, &["axum"], "/orders", true))?;
        noisy |= load.noisy;
        echo.push(load.value.per_second);
    }
    let ratio = |other: &[f64]| ours.iter().zip(other).map(|(ours, other)| ours / other).collect::<Vec<_>>();
    let (to_noop, to_echo) = (ratio(&noop), ratio(&echo));
    let peak = median(&ours);
    report.add("P2", "intake, SQLite FULL, 64 connections", "orders/s", ours, Goal::None, noisy);
    report.add("P2", "… its p50 at that load", "ms", p50, Goal::None, noisy);
    report.add("P2", "… its p99 at that load", "ms", p99, Goal::None, noisy);
    report.add("P2", "… resident memory after it", "MiB", memory, Goal::None, noisy);
    report.add("P2", "the same server, no-op storage", "requests/s", noop, Goal::None, noisy);
    report.add("P2", "bare axum JSON echo", "requests/s", echo, Goal::None, noisy);
    report.add("P2", "intake ÷ no-op storage", "", to_noop, Goal::AtLeast(0.6), noisy);
    report.add("P2", "intake ÷ bare echo", "", to_echo, Goal::AtLeast(0.5), noisy);
    Ok(peak)
}

/// One load on a fresh folder: what wrk says, and the memory after it.
pub(crate) fn wellorder(bench: &Bench, name: &str, env: &[(&str, &str)]) -> Result<(wrk::Load, f64)> {
    on_fresh(bench, name, env, |address| wrk::load(address, "/v1/orders", false, name, bench.seconds()))
}

/// Orders a second that are taken in on a fresh folder from so many clients, who may have some refused.
pub(crate) fn taken(bench: &Bench, clients: usize, name: &str, env: &[(&str, &str)]) -> Result<f64> {
    let offer = |address| wrk::load_by(clients, address, "/v1/orders", false, name, bench.seconds());
    Ok(on_fresh(bench, name, env, offer)?.0.taken_per_second())
}

fn on_fresh(
    bench: &Bench,
    name: &str,
    env: &[(&str, &str)],
    load: impl FnOnce(SocketAddr) -> Result<wrk::Load>,
) -> Result<(wrk::Load, f64)> {
    let launch = bench.launch(name, &["--role", "api"], env)?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(READY_LIMIT) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    warm_up(server.address, "/v1/orders", false)?;
    let load = load(server.address)?;
    let mib = resident_mib(server.pid());
    server.terminate(Duration::from_secs(20))?;
    bench.discard(&launch)?;
    Ok((load, mib))
}

fn peer(bench: &Bench, binary: &Path, args: &[&str], path: &str, echo: bool) -> Result<wrk::Load> {
    let address = free_address()?;
    let child = Command::new(binary)
        .arg(address.to_string())
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.display()))?;
    let _peer = Peer(child);
    let mut client = Client::new(address, Duration::from_secs(2));
    if !wait_until(READY_LIMIT, Duration::from_millis(5), || client.get("/").is_ok()) {
        bail!("{} does not listen", binary.display());
    }
    warm_up(address, path, echo)?;
    wrk::load(address, path, echo, "peer", bench.seconds())
}

/// A second of load that is not measured.
pub(crate) fn warm_up(address: SocketAddr, path: &str, echo: bool) -> Result<()> {
    // Where each commit is slow, some are refused.
    wrk::load_by(wrk::CONNECTIONS, address, path, echo, "warm-up", 1).map(drop)
}
