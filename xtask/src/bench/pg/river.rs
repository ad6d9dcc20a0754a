//! River, the job queue on PostgreSQL that P4 compares with: a program of ours in Go that does nothing but drive it.

use std::process::Command;

use anyhow::{Context, Result, bail};

use super::super::Bench;
use crate::shell::capture;

/// Jobs in work at once: of 500, 2 000 and 10 000 the best where the goals were set.
const WORKERS: &str = "500";

/// What the program is told to do.
#[derive(Clone, Copy)]
pub(super) enum Mode {
    /// Works off a backlog of so many jobs.
    BurnDown(usize),
    /// Inserts and works at once, for so many seconds.
    Both(u64),
}

/// Jobs a second on an empty database.
pub(super) fn jobs_per_second(bench: &Bench, mode: Mode) -> Result<f64> {
    let postgres = bench.postgres()?;
    postgres.create("bench_river")?;
    postgres.checkpoint()?;
    let mut command = Command::new(&bench.river);
    command.env("DATABASE_URL", postgres.url("bench_river")).env("MAXW", WORKERS);
    match mode {
        Mode::BurnDown(jobs) => command.arg("work").env("N", jobs.to_string()),
        Mode::Both(seconds) => command.args(["both", &seconds.to_string()]),
    };
    let (code, out) = capture(&mut command)?;
    if code != Some(0) {
        bail!("river failed: {out}");
    }
    parse(&out)
}

/// `river work n=200000 …: 18800 jobs/s (10.6 s)`.
fn parse(out: &str) -> Result<f64> {
    let before = out.split(" jobs/s").next().filter(|before| before.len() < out.len());
    let number = before.and_then(|before| before.split_whitespace().last()).and_then(|n| n.parse().ok());
    number.with_context(|| format!("river printed no rate: {out}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        let out = "river work n=200000 maxWorkers=500 clients=1 conns=16: 18800 jobs/s (10.6 s)\n";
        assert_eq!(parse(out).unwrap().to_string(), "18800");
        assert!(parse("panic: no database").is_err());
    }
}
