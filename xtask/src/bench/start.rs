//! P10: from the start of the process until it is ready, empty and with a million orders; idle memory; the size of
//! the binary.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::figure::{Goal, Report};
use super::{Bench, quietly};
use crate::procfs::resident_mib;
use crate::server::{Launch, Wellorder, log_tail};

const MIB: f64 = 1024.0 * 1024.0;

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
    Ok(())
}

/// With many orders.
pub(crate) fn filled(bench: &Bench, launch: &Launch, report: &mut Report) -> Result<()> {
    println!("P10: start with {} orders", bench.fill);
    let (mut seconds, mut memory, mut noisy) = (Vec::new(), Vec::new(), false);
    for _ in 0..bench.runs {
        let once = quietly(|| {
            let (mut server, seconds) = start(launch)?;
            thread::sleep(Duration::from_secs(3));
            let mib = resident_mib(server.pid());
            server.terminate(Duration::from_secs(20))?;
            Ok((seconds, mib))
        })?;
        noisy |= once.noisy;
        seconds.push(once.value.0);
        memory.push(once.value.1);
    }
    let placed = bench.fill;
    let goal = if placed >= 1_000_000 { Goal::AtMost(0.5) } else { Goal::None };
    report.add("P10", format!("start → ready with {placed} orders"), "s", seconds, goal, noisy);
    report.add("P10", format!("idle memory with {placed} orders"), "MiB", memory, Goal::None, noisy);
    Ok(())
}

/// Starts it and gives the seconds until it was ready.
pub(crate) fn start(launch: &Launch) -> Result<(Wellorder, f64)> {
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(60)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    let seconds = server.age().as_secs_f64();
    Ok((server, seconds))
}
