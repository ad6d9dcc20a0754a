//! P1b: many orders in one request, beside `pgbench` that writes as many rows with one statement.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::super::figure::{Goal, Report};
use super::super::{Bench, fill, quietly};
use super::pgbench::{self, ROWS, Script};
use crate::server::log_tail;

/// Clients of the peer.
const CLIENTS: usize = 8;

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    println!("P1b: bulk intake on PostgreSQL");
    let (mut ours, mut peers, mut ratios, mut noisy) = (Vec::new(), Vec::new(), Vec::new(), false);
    for run in 0..bench.runs {
        let peer = quietly(|| peer(bench))?;
        let taken = quietly(|| taken(bench, &format!("p1b-{run}")))?;
        noisy |= peer.noisy || taken.noisy;
        ratios.push(taken.value / peer.value);
        peers.push(peer.value);
        ours.push(taken.value);
    }
    let what = format!("pgbench, {ROWS} × (order, work, journal) a statement, {CLIENTS} clients");
    report.add("P1b", what, "orders/s", peers, Goal::None, noisy);
    report.add("P1b", "bulk intake, 4 requests of 2 000 lines at once", "orders/s", ours, Goal::None, noisy);
    report.add("P1b", "bulk intake ÷ pgbench", "", ratios, Goal::AtLeast(0.7), noisy);
    Ok(())
}

fn peer(bench: &Bench) -> Result<f64> {
    let postgres = bench.postgres()?;
    postgres.create("bench_peer")?;
    pgbench::prepare(postgres, "bench_peer")?;
    Ok(pgbench::run(bench, "bench_peer", Script::Full, CLIENTS)?.per_second * ROWS)
}

fn taken(bench: &Bench, name: &str) -> Result<f64> {
    let orders = if bench.quick { 20_000 } else { 200_000 };
    let launch = bench.launch(name, &["--role", "api"], &[])?;
    bench.postgres()?.checkpoint()?;
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(20)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    fill::place(server.address, "warm", orders / 20)?;
    let began = Instant::now();
    fill::place(server.address, "bulk", orders)?;
    let per_second = orders as f64 / began.elapsed().as_secs_f64();
    server.terminate(Duration::from_secs(20))?;
    bench.discard(&launch)?;
    Ok(per_second)
}
