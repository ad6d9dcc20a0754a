//! Fuzz targets for every parser and decoder that reads what comes from outside, and a runner that needs nothing but
//! stable Rust: `cargo xtask fuzz`.
//!
//! A target is a plain function of bytes that panics when a property does not hold. The runner mutates the inputs of
//! `corpus/TARGET` and those that it finds to behave in a new way: what a target says that it saw takes the place of
//! the coverage that an instrumented build would measure. (Coverage needs unsafe code or a nightly compiler; the engine
//! that bolero has for stable draws bytes at random and never mutates a corpus, so it seldom gets past the first brace.)
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool speaks by printing")]
#![allow(clippy::disallowed_methods, reason = "the ports of the product (clock) are not for tools")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a target tells by a panic that a property does not hold"
)]

mod corpus;
mod mutate;
mod rng;
mod run;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use serde_json::json;

use run::{Budget, Report};
use targets::{TARGETS, Target};

/// Runs fuzz targets. Prints one JSON object: what was run, and every input that made a target panic.
#[derive(Parser)]
struct Cli {
    /// Executions over all targets together
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    execs: u64,
    /// So long for each target, instead of a number of executions
    #[arg(long, value_name = "SECONDS", conflicts_with = "execs")]
    seconds: Option<u64>,
    /// Only this target (repeatable)
    #[arg(long = "target", value_name = "NAME")]
    targets: Vec<String>,
    /// The same seed makes the same inputs
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Where inputs that make a target panic are kept
    #[arg(long, value_name = "DIR", default_value = "target/fuzz")]
    found: PathBuf,
    /// Write each input to this file before it is run, for what ends the whole process; slow
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Targets at a time
    #[arg(long, value_name = "N", default_value_t = 2)]
    jobs: usize,
}

fn main() -> ExitCode {
    match fuzz(&Cli::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("error: {fault:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for; false when a property did not hold or too little was run.
fn fuzz(cli: &Cli) -> Result<bool> {
    let unknown: Vec<_> =
        cli.targets.iter().filter(|name| !TARGETS.iter().any(|target| target.name == *name)).collect();
    if !unknown.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        bail!("no such target: {unknown:?}; there are {}", names.join(", "));
    }
    let chosen = |target: &&Target| cli.targets.is_empty() || cli.targets.iter().any(|t| t == target.name);
    let targets: Vec<&Target> = TARGETS.iter().filter(chosen).collect();
    let budget = match cli.seconds {
        Some(seconds) => Budget::Time(Duration::from_secs(seconds)),
        None => Budget::Execs(cli.execs.div_ceil(targets.len() as u64)),
    };
    let (queue, reports) = (Mutex::new(targets.iter()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..cli.jobs.max(1) {
            scope.spawn(|| {
                while let Some(target) = { queue.lock().unwrap().next() } {
                    let report = run::run(target, budget, cli.seed, cli.trace.as_deref());
                    reports.lock().unwrap().push(report);
                }
            });
        }
    });
    let mut reports = reports.into_inner()?.into_iter().collect::<Result<Vec<Report>>>()?;
    reports.sort_by_key(|report| report.target);
    for report in &reports {
        report.keep(&cli.found)?;
    }
    let shown: Vec<_> = reports.iter().map(Report::to_json).collect();
    println!("{}", json!({ "seed": cli.seed, "targets": shown }));
    Ok(reports.len() == targets.len() && reports.iter().all(Report::is_green))
}
