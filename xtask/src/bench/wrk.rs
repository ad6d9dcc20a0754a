//! Load by `wrk`: as many requests as 64 connections get through.

use std::net::SocketAddr;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell::capture;
use crate::workspace;

pub(crate) const CONNECTIONS: usize = 64;

/// What `wrk` says about one run.
#[derive(Debug, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: usize,
    /// Those of them that were not answered with 2xx or 3xx.
    pub(crate) refused: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl Load {
    /// The requests a second that were not refused.
    pub(crate) fn taken_per_second(&self) -> f64 {
        self.per_second * (self.requests.saturating_sub(self.refused)) as f64 / self.requests.max(1) as f64
    }

    /// # Errors
    /// When some were.
    pub(crate) fn without_refusals(self) -> Result<Self> {
        if self.refused > 0 {
            bail!("a run with errors is no measurement: {} answers were not 2xx", self.refused);
        }
        Ok(self)
    }
}

/// Posts unique orders for so long. `run` must be new for each run on a data folder; an answer other than 2xx or a
/// broken connection is an error.
pub(crate) fn load(address: SocketAddr, path: &str, echo: bool, run: &str, seconds: u64) -> Result<Load> {
    load_by(CONNECTIONS, address, path, echo, run, seconds)?.without_refusals()
}

/// The same from so many connections, where some may be refused.
pub(crate) fn load_by(
    connections: usize,
    address: SocketAddr,
    path: &str,
    echo: bool,
    run: &str,
    seconds: u64,
) -> Result<Load> {
    let mut command = Command::new("wrk");
    command
        .args(["-t1", &format!("-c{connections}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(workspace::root().join("bench/intake.lua"))
        .arg(format!("http://{address}{path}"))
        .env("BENCH_RUN", run)
        .env("BENCH_SHAPE", if echo { "echo" } else { "v1" });
    said(&mut command)
}

/// Gets the same path again and again.
pub(crate) fn get(address: SocketAddr, path: &str, seconds: u64) -> Result<Load> {
    let mut command = Command::new("wrk");
    command
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency"])
        .arg(format!("http://{address}{path}"));
    measured(&mut command)
}

/// Looks up orders by id, each time another one of the ids in a file, one a line.
pub(crate) fn look_up(address: SocketAddr, ids: &std::path::Path, seconds: u64) -> Result<Load> {
    let mut command = Command::new("wrk");
    command
        .args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "--latency", "-s"])
        .arg(workspace::root().join("bench/look-up.lua"))
        .arg(format!("http://{address}/v1/orders/"))
        .env("BENCH_IDS", ids);
    measured(&mut command)
}

fn measured(command: &mut Command) -> Result<Load> {
    said(command)?.without_refusals()
}

fn said(command: &mut Command) -> Result<Load> {
    let (code, out) = capture(command)?;
    if code != Some(0) {
        bail!("wrk failed: {out}");
    }
    parse(&out)
}

fn parse(out: &str) -> Result<Load> {
    if let Some(line) = out.lines().find(|line| line.contains("Socket errors")) {
        bail!("a run with errors is no measurement: {}", line.trim());
    }
    let field = |key: &str| {
        let line = out.lines().find_map(|line| line.trim().strip_prefix(key));
        line.map(str::trim).with_context(|| format!("wrk printed no {key}:\n{out}"))
    };
    let requests = out.lines().find(|line| line.contains(" requests in ")).unwrap_or_default();
    let refused = out.lines().find_map(|line| line.trim().strip_prefix("Non-2xx or 3xx responses:"));
    Ok(Load {
        refused: refused.map_or(Ok(0), |count| count.trim().parse()).context("refusals")?,
        requests: requests
            .split_whitespace()
            .next()
            .and_then(|n| n.parse().ok())
            .context("no number of requests")?,
        per_second: field("Requests/sec:")?.parse().context("Requests/sec")?,
        p50_ms: milliseconds(field("50%")?)?,
        p99_ms: milliseconds(field("99%")?)?,
    })
}

/// `0.60ms`, `812.00us` or `1.02s`.
fn milliseconds(text: &str) -> Result<f64> {
    let (number, factor) = if let Some(number) = text.strip_suffix("us") {
        (number, 0.001)
    } else if let Some(number) = text.strip_suffix("ms") {
        (number, 1.0)
    } else {
        (text.strip_suffix('s').unwrap_or(text), 1000.0)
    };
    Ok(number.parse::<f64>().with_context(|| format!("no time: {text}"))? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "Running 8s test @ http://127.0.0.1:1/\n  Latency Distribution\n     50%  812.00us\n     75%    1.10ms\n     99%    3.60ms\n  506400 requests in 8.00s, 90.00MB read\nRequests/sec:  63300.12\nTransfer/sec:     11.25MB\n";

    #[test]
    fn the_output_is_read() {
        let load = parse(OUT).unwrap();
        assert_eq!(load.requests, 506_400);
        let rounded = [load.per_second, load.p50_ms, load.p99_ms].map(|n| format!("{n:.3}"));
        assert_eq!(rounded, ["63300.120", "0.812", "3.600"]);
    }

    #[test]
    fn a_run_with_errors_does_not_count() {
        let refused = parse(&format!("{OUT}  Non-2xx or 3xx responses: 126600\n")).unwrap();
        assert_eq!(format!("{:.3}", refused.taken_per_second()), "47475.090");
        assert!(refused.without_refusals().is_err());
        assert!(parse(&format!("{OUT}  Socket errors: connect 0, read 5, write 0, timeout 0\n")).is_err());
    }
}
