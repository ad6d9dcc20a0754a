//! P10: from the start of the process until it is ready, empty and with a million orders; idle memory; the size of
//! the binary.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::figure::{Goal, Report};
use super::{Bench, quietly, wrk};
use crate::procfs::{process_cpu_seconds, resident_mib};
use crate::server::{Launch, Wellorder, log_tail};

const MIB: f64 = 1024.0 * 1024.0;
/// A server counts as idle when it has used less than this share of a core for [`IDLE_FOR`].
const IDLE_CORES: f64 = 0.05;
const IDLE_FOR: Duration = Duration::from_secs(2);
const IDLE_LIMIT: Duration = Duration::from_secs(20 * 60);

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    println!("P10: start, memory, size");
    let bytes = std::fs::metadata(&bench.wellorder).context("cannot look at the binary")?.len();
    report.add("P10", "release binary, stripped", "MiB", vec![bytes as f64 / MIB], Goal::AtMost(40.0), false);

    let (mut seconds, mut memory, mut noisy) = (Vec::new(), Vec::new(), false);
    for run in 0..bench.runs {
        let once = quietly(|| {
            let launch = bench.launch(&format!("p10-{run}"), &[], &[])?;
            let (mut server, seconds) = start(&launch)?;
            thread::sleep(Duration::from_secs(3));
            let mib = resident_mib(server.pid());
            server.terminate(Duration::from_secs(20))?;
            Ok((seconds, mib))
        })?;
        noisy |= once.noisy;
        seconds.push(once.value.0);
        memory.push(once.value.1);
    }
    report.add(
        "P10",
        "start → ready, empty folder (set up included)",
        "s",
        seconds,
        Goal::AtMost(0.2),
        noisy,
    );
    report.add("P10", "idle memory after 3 s", "MiB", memory, Goal::AtMost(30.0), noisy);
    filled(bench, report)
}

/// With many orders, all processed, as after some weeks of life.
fn filled(bench: &Bench, report: &mut Report) -> Result<()> {
    let launch = bench.launch("p10-filled", &[], &[("WELLORDER_SIMULATE_DELAY_MS", "0")])?;
    let placed = fill(&launch, bench.fill)?;
    let (mut seconds, mut memory, mut noisy) = (Vec::new(), Vec::new(), false);
    for _ in 0..bench.runs {
        let once = quietly(|| {
            let (mut server, seconds) = start(&launch)?;
            thread::sleep(Duration::from_secs(3));
            let mib = resident_mib(server.pid());
            server.terminate(Duration::from_secs(20))?;
            Ok((seconds, mib))
        })?;
        noisy |= once.noisy;
        seconds.push(once.value.0);
        memory.push(once.value.1);
    }
    let goal = if placed >= 1_000_000 { Goal::AtMost(0.5) } else { Goal::None };
    report.add("P10", format!("start → ready with {placed} orders"), "s", seconds, goal, noisy);
    report.add("P10", format!("idle memory with {placed} orders"), "MiB", memory, Goal::None, noisy);
    Ok(())
}

/// Places at least `wanted` orders and lets them all be processed; gives how many there are.
fn fill(launch: &Launch, wanted: usize) -> Result<usize> {
    let (mut server, _) = start(launch)?;
    let began = Instant::now();
    let mut placed = 0;
    for round in 0.. {
        if placed >= wanted {
            break;
        }
        placed += wrk::load(server.address, "/v1/orders", false, &format!("fill-{round}"), 2)?.requests;
        if round % 10 == 9 {
            println!("  {:.0} s: {placed} of {wanted} orders", began.elapsed().as_secs_f64());
        }
    }
    wait_until_idle(&server)?;
    println!("  {:.0} s: {placed} orders placed and processed", began.elapsed().as_secs_f64());
    server.terminate(Duration::from_secs(30))?;
    Ok(placed)
}

/// Starts it and gives the seconds until it was ready.
fn start(launch: &Launch) -> Result<(Wellorder, f64)> {
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(60)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    let seconds = server.age().as_secs_f64();
    Ok((server, seconds))
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
