//! P1: durable intake over HTTP on PostgreSQL, beside `pgbench` that inserts one bare row a transaction; also where each
//! flush takes 4 ms. P3: its latency at half of that.

use anyhow::{Result, bail};

use super::super::figure::{Goal, Report};
use super::super::intake::warm_up;
use super::super::{Bench, latency, quietly, wrk};
use super::pgbench::{self, Ran, Script};
use super::{Postgres, database_of};
use crate::procfs::{process_cpu_seconds, resident_mib};
use crate::server::log_tail;
use crate::stats::median;
use std::time::Duration;

/// Numbers of clients of which the peer's best counts.
const CLIENTS: [usize; 3] = [8, 64, 200];
/// Nodes that take orders in and do nothing else, as the guide has it for production.
const API: &[&str] = &["--role", "api"];

/// What P3 and P12 build upon.
pub(crate) struct Peak {
    pub(crate) per_second: f64,
    /// The peer's average time with 64 clients.
    pgbench_ms: f64,
}

/// What one load came to.
struct Taken {
    load: wrk::Load,
    mib: f64,
    /// Bytes of the database's log for each order.
    wal: f64,
    /// CPU for each order, in microseconds: of the database and of wellorder.
    cpu: [f64; 2],
}

/// A way to measure, and what its runs gave.
struct Scene {
    name: &'static str,
    slow: bool,
    connections: usize,
    taken: Vec<Taken>,
    noisy: bool,
}

impl Scene {
    fn new(name: &'static str, slow: bool, connections: usize) -> Self {
        Self { name, slow, connections, taken: Vec::new(), noisy: false }
    }

    fn rates(&self) -> Vec<f64> {
        self.taken.iter().map(|taken| taken.load.per_second).collect()
    }
}

/// Measures P1, and gives the peak.
pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<Peak> {
    println!("P1: durable intake on PostgreSQL");
    let mut scenes =
        [Scene::new("p1", false, 64), Scene::new("p1-slow", true, 64), Scene::new("p1-slow-512", true, 512)];
    let (mut fast, mut slow) = (Vec::new(), Vec::new());
    for run in 0..bench.runs {
        // In turn, so that a machine that slows down slows all of them.
        for (runs, delayed) in [(&mut fast, false), (&mut slow, true)] {
            let peer = quietly(|| peer(bench, delayed))?;
            runs.push(peer.value);
            for scene in scenes.iter_mut().filter(|scene| scene.slow == delayed) {
                scene.noisy |= peer.noisy;
                let name = format!("{}-{run}", scene.name);
                let taken = quietly(|| ours(bench, &name, scene.slow, scene.connections, API))?;
                scene.noisy |= taken.noisy;
                scene.taken.push(taken.value);
            }
        }
    }
    let all = quietly(|| ours(bench, "p1-all", false, 64, &[]))?;
    tell_peers(report, &fast, "", scenes[0].noisy);
    tell(report, &scenes[0], &fast, Goal::AtLeast(2.0), "");
    tell_costs(report, &scenes[0]);
    let what = "intake, 64 connections, one process with all roles that processes meanwhile";
    report.add("P1", what, "orders/s", vec![all.value.load.per_second], Goal::None, all.noisy);
    tell_peers(report, &slow, "4 ms a flush: ", scenes[1].noisy);
    tell(report, &scenes[1], &slow, Goal::AtLeast(0.8), "4 ms a flush: ");
    tell(report, &scenes[2], &slow, Goal::AtLeast(1.8), "4 ms a flush: ");
    let pgbench_ms = median(&fast.iter().map(|ran| of(ran, 64).average_ms).collect::<Vec<_>>());
    Ok(Peak { per_second: median(&scenes[0].rates()), pgbench_ms })
}

fn tell(report: &mut Report, scene: &Scene, peers: &[Vec<Ran>], goal: Goal, how: &str) {
    let (connections, noisy) = (scene.connections, scene.noisy);
    let title = format!("{how}intake, {connections} connections");
    let ratios = scene.taken.iter().zip(peers).map(|(ours, ran)| ours.load.per_second / best(ran)).collect();
    report.add("P1", title.clone(), "orders/s", scene.rates(), Goal::None, noisy);
    report.add("P1", format!("{title} ÷ pgbench's best"), "", ratios, goal, noisy);
    for (what, of) in [("p50", 0), ("p99", 1)] {
        let times = |taken: &Taken| [taken.load.p50_ms, taken.load.p99_ms][of];
        let values = scene.taken.iter().map(times).collect();
        report.add("P1", format!("… its {what} at that load"), "ms", values, Goal::None, noisy);
    }
}

fn tell_costs(report: &mut Report, scene: &Scene) {
    let mut add = |what: &str, unit, of: &dyn Fn(&Taken) -> f64| {
        report.add("P1", what, unit, scene.taken.iter().map(of).collect(), Goal::None, scene.noisy);
    };
    add("… CPU of the database an order", "µs", &|taken| taken.cpu[0]);
    add("… CPU of wellorder an order", "µs", &|taken| taken.cpu[1]);
    add("… log of the database an order", "bytes", &|taken| taken.wal);
    add("… resident memory after it", "MiB", &|taken| taken.mib);
}

fn tell_peers(report: &mut Report, peers: &[Vec<Ran>], how: &str, noisy: bool) {
    for clients in CLIENTS {
        let rates = peers.iter().map(|ran| of(ran, clients).per_second).collect();
        let what = format!("{how}pgbench, one bare row a transaction, {clients} clients");
        report.add("P1", what, "orders/s", rates, Goal::None, noisy);
    }
}

fn best(ran: &[Ran]) -> f64 {
    ran.iter().map(|ran| ran.per_second).fold(0.0, f64::max)
}

/// The run with so many clients.
fn of(ran: &[Ran], clients: usize) -> Ran {
    let zero = Ran { clients, per_second: 0.0, average_ms: 0.0 };
    ran.iter().copied().find(|ran| ran.clients == clients).unwrap_or(zero)
}

/// `pgbench` with each number of clients.
fn peer(bench: &Bench, slow: bool) -> Result<Vec<Ran>> {
    let database = ready_for_peers(bench.postgres()?, slow)?;
    CLIENTS.iter().map(|clients| pgbench::run(bench, database, Script::Bare, *clients)).collect()
}

fn ready_for_peers(postgres: &Postgres, slow: bool) -> Result<&'static str> {
    let database = "bench_peer";
    postgres.create(database)?;
    if slow {
        postgres.slow_flush(database)?;
    }
    pgbench::prepare(postgres, database)?;
    Ok(database)
}

/// One load on an empty database.
fn ours(bench: &Bench, name: &str, slow: bool, connections: usize, args: &[&str]) -> Result<Taken> {
    let postgres = bench.postgres()?;
    let launch = bench.launch(name, args, &[("WELLORDER_SIMULATE_DELAY_MS", "0")])?;
    if slow {
        postgres.slow_flush(&database_of(name))?;
    }
    postgres.checkpoint()?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(20)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    warm_up(server.address, "/v1/orders", false)?;
    let used = || [postgres.cpu_seconds(), process_cpu_seconds(server.pid())];
    let (before, wal) = (used(), postgres.wal_bytes()?);
    let load = wrk::load_by(connections, server.address, "/v1/orders", false, name, bench.seconds())?
        .without_refusals()?;
    let (after, orders) = (used(), load.requests as f64);
    let wal = (postgres.wal_bytes()? - wal) / orders;
    let cpu = [0, 1].map(|i: usize| (after[i] - before[i]) * 1e6 / orders);
    let mib = resident_mib(server.pid());
    server.terminate(Duration::from_secs(20))?;
    bench.discard(&launch)?;
    Ok(Taken { load, mib, wal, cpu })
}

/// Measures P3, after the peak when that is not known yet.
pub(crate) fn latency(bench: &Bench, peak: Option<&Peak>, report: &mut Report) -> Result<()> {
    println!("P3: intake on PostgreSQL at half of the peak, open loop");
    let (peer_ms, per_second) = match peak {
        Some(peak) => (peak.pgbench_ms, peak.per_second),
        None => {
            let database = ready_for_peers(bench.postgres()?, false)?;
            let peer = quietly(|| pgbench::run(bench, database, Script::Bare, 64))?;
            (peer.value.average_ms, quietly(|| ours(bench, "p3-peak", false, 64, API))?.value.load.per_second)
        }
    };
    let runs = latency::runs(bench, "p3", Some(per_second))?;
    let ratio = |times: &[f64]| times.iter().map(|ms| ms / peer_ms).collect::<Vec<_>>();
    let mut add = |what: &str, unit, values, goal| report.add("P3", what, unit, values, goal, runs.noisy);
    add("pgbench, 64 clients, average time", "ms", vec![peer_ms], Goal::None);
    add("offered: half of P1's peak", "orders/s", runs.rate.clone(), Goal::None);
    add("intake p50", "ms", runs.p50.clone(), Goal::None);
    add("intake p50 ÷ pgbench's average", "", ratio(&runs.p50), Goal::AtMost(0.3));
    add("intake p99", "ms", runs.p99.clone(), Goal::None);
    add("intake p99 ÷ pgbench's average", "", ratio(&runs.p99), Goal::AtMost(1.5));
    add("intake max", "ms", runs.max.clone(), Goal::None);
    Ok(())
}
