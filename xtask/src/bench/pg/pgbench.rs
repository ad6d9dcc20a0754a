//! `pgbench`: what PostgreSQL itself takes in, without anybody in between.

use anyhow::{Context, Result, bail};

use super::super::Bench;
use super::Postgres;
use crate::shell::capture;
use crate::workspace;

/// Rows of one statement of the script that writes many.
pub(super) const ROWS: f64 = 200.0;

/// A script under `bench/peers/pgbench`.
#[derive(Clone, Copy)]
pub(super) enum Script {
    /// One order's bare row a transaction.
    Bare,
    /// [`ROWS`] orders, each with its row of work and of a journal, a transaction.
    Full,
}

/// What it says of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ran {
    pub(super) clients: usize,
    /// Transactions a second.
    pub(super) per_second: f64,
    /// Average time of one, in milliseconds.
    pub(super) average_ms: f64,
}

impl Script {
    fn file(self) -> &'static str {
        match self {
            Self::Bare => "bare.sql",
            Self::Full => "full.sql",
        }
    }
}

/// Makes the tables of the scripts in an empty database.
pub(super) fn prepare(postgres: &Postgres, database: &str) -> Result<()> {
    postgres.file(database, &folder().join("tables.sql"), &[])
}

/// Runs a script with so many clients on empty tables.
pub(super) fn run(bench: &Bench, database: &str, script: Script, clients: usize) -> Result<Ran> {
    let postgres = bench.postgres()?;
    postgres.ask(database, "TRUNCATE bare_orders, full_orders, work, journal")?;
    postgres.checkpoint()?;
    let mut command = postgres.program("pgbench");
    command
        .args(["-n", "-M", "prepared", "-j", "2", "-c", &clients.to_string()])
        .args(["-T", &bench.peer_seconds().to_string()])
        .args(["-D", &format!("refs={}", array(|n| format!("ref-2026-{n:06}")))])
        .args(["-D", &format!("tots={}", array(|n| format!("{n}.50")))])
        .arg("-f")
        .arg(folder().join(script.file()))
        .arg(postgres.url(database));
    let (code, out) = capture(&mut command)?;
    if code != Some(0) {
        bail!("pgbench failed: {out}");
    }
    parse(&out, clients)
}

fn folder() -> std::path::PathBuf {
    workspace::root().join("bench/peers/pgbench")
}

fn array(value: impl Fn(usize) -> String) -> String {
    let values: Vec<String> = (1..=ROWS as usize).map(value).collect();
    format!("{{{}}}", values.join(","))
}

fn parse(out: &str, clients: usize) -> Result<Ran> {
    let number = |key: &str| -> Result<f64> {
        let line = out.lines().find_map(|line| line.strip_prefix(key));
        let line = line.with_context(|| format!("pgbench printed no {key}:\n{out}"))?;
        let word = line.split_whitespace().next().unwrap_or_default();
        word.parse().with_context(|| format!("{key} {word}"))
    };
    Ok(Ran { clients, per_second: number("tps =")?, average_ms: number("latency average =")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_is_read() {
        let out = "pgbench (15.18)\nnumber of clients: 64\nlatency average = 5.387 ms\n\
                   initial connection time = 48.1 ms\ntps = 11880.482 (without initial connection time)\n";
        let ran = parse(out, 64).unwrap();
        assert_eq!(format!("{ran:?}"), "Ran { clients: 64, per_second: 11880.482, average_ms: 5.387 }");
        assert!(parse("pgbench: error", 64).is_err());
    }

    #[test]
    fn arrays_are_as_the_server_writes_them() {
        let text = array(|n| n.to_string());
        assert!(text.starts_with("{1,2,3,") && text.ends_with(",200}"), "{text}");
    }
}
