//! `cargo xtask test`: names what this machine lacks, starts the servers that tests need, runs every test, and counts that they
//! ran.

use std::io::{BufRead, BufReader, pipe};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::server::BUILT_BY_TESTS;
use crate::services;
use crate::shell::{cargo, installed};

/// What to test.
#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Handed to `cargo test`, for example a test's name
    #[arg(last = true)]
    rest: Vec<String>,
}

/// What a run of the tests came to.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    green: bool,
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Integration suites without one test that ran.
    empty: Vec<String>,
}

impl Ran {
    /// Green, something ran, nothing was skipped, no suite was empty.
    pub(crate) fn ok(&self) -> bool {
        self.green && self.passed > 0 && self.failed == 0 && self.ignored == 0 && self.empty.is_empty()
    }
}

/// Programs that the build needs, and how to get them.
const NEEDED: &[(&[&str], &str)] = &[
    (&["cargo"], "install Rust: https://rustup.rs"),
    (&["cc", "gcc", "clang"], "a C compiler is missing (SQLite is compiled): apt-get install gcc libc6-dev"),
    (&["c++", "g++", "clang++"], "a C++ compiler is missing (librdkafka is compiled): apt-get install g++"),
    (&["make"], "librdkafka is compiled: apt-get install make"),
    (&["git"], "apt-get install git"),
    (&["amqp-get"], "a foreign program reads what is written to RabbitMQ: apt-get install amqp-tools"),
    (&["bash"], "apt-get install bash"),
    (&["curl"], "the commands of the guides are run: apt-get install curl"),
    (&["kcat"], "a foreign program reads what is written to Kafka: apt-get install kcat"),
];

/// What the tests are built with, besides what everybody gets.
pub(super) const FEATURES: &str = "wellorder/killpoints,wellorder/kafka-tls";

/// At least so many tests at once: most of them wait for a server, or for its time, longer than they compute.
const THREADS_MIN: usize = 4;

/// Runs all tests.
pub(crate) fn run(args: &Args) -> Result<Ran> {
    let mut missing: Vec<_> = NEEDED
        .iter()
        .filter(|(names, _)| !names.iter().any(|name| installed(name)))
        .map(|(_, fix)| *fix)
        .collect();
    // The tests speak TLS with Kafka, which librdkafka does by the system's OpenSSL.
    if !has_openssl() {
        missing.push("the headers of OpenSSL are missing: apt-get install libssl-dev pkg-config");
    }
    // Debian keeps its programs out of the path.
    if !services::has_postgres() {
        missing.push("the server of PostgreSQL is missing: apt-get install postgresql");
    }
    if !missing.is_empty() {
        anyhow::bail!("this machine lacks something:\n  {}", missing.join("\n  "));
    }
    let started = Instant::now();
    println!("starting the servers that tests need, unless they run: cargo xtask services");
    let servers = services::Up::all()?;
    let mut ran = cargo_test(&args.rest, &servers)?;
    drop(servers);
    if !args.rest.is_empty() {
        ran.empty.clear(); // a filter empties suites on purpose
    }
    println!(
        "{} passed, {} failed, {} ignored in {:.1} s (build included)",
        ran.passed,
        ran.failed,
        ran.ignored,
        started.elapsed().as_secs_f64()
    );
    for suite in &ran.empty {
        println!("the suite {suite} ran no test");
    }
    Ok(ran)
}

fn has_openssl() -> bool {
    let found = Command::new("pkg-config").args(["--exists", "openssl"]).stdin(Stdio::null()).status();
    found.is_ok_and(|status| status.success())
}

/// Shows what cargo prints as it comes, and reads the results out of it.
fn cargo_test(rest: &[String], servers: &services::Up) -> Result<Ran> {
    let (reader, writer) = pipe().context("cannot make a pipe")?;
    let mut command = cargo();
    command.args(["test", "--locked", "--workspace", "--no-fail-fast", "--features", FEATURES]);
    command.envs(servers.variables());
    if std::env::var_os("RUST_TEST_THREADS").is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("RUST_TEST_THREADS", cores.max(THREADS_MIN).to_string());
    }
    command.args(rest).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().context("cannot start cargo")?;
    drop(command); // it holds the writing ends: without this the reader would never see an end
    let mut ran = Ran::default();
    let mut suite = String::new();
    for line in BufReader::new(reader).lines() {
        let line = line.context("cannot read what cargo prints")?;
        println!("{line}");
        read_line(&line, &mut suite, &mut ran);
    }
    ran.green = child.wait()?.success();
    // A filter for tests leaves what is built as it is.
    BUILT_BY_TESTS.store(ran.passed > 0, Ordering::Relaxed);
    Ok(ran)
}

/// Takes one line of `cargo test` into account.
fn read_line(line: &str, suite: &mut String, ran: &mut Ran) {
    let line = line.trim_start();
    if let Some(target) = line.strip_prefix("Running ").or_else(|| line.strip_prefix("Doc-tests ")) {
        target.split(" (").next().unwrap_or(target).clone_into(suite);
    }
    let Some(result) = line.strip_prefix("test result: ") else {
        return;
    };
    let count = |what: &str| {
        let part = result.split([';', '.']).find(|part| part.trim_end().ends_with(what));
        part.and_then(|part| part.trim().split(' ').next()?.parse::<usize>().ok()).unwrap_or(0)
    };
    let (passed, failed, ignored) = (count("passed"), count("failed"), count("ignored"));
    ran.passed += passed;
    ran.failed += failed;
    ran.ignored += ignored;
    // A library or binary may leave its tests to others; a file under `tests/` exists to hold some.
    if passed + failed == 0 && suite.starts_with("tests/") {
        ran.empty.push(suite.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_an_empty_suite_is_noticed() {
        let output = "   Running unittests src/main.rs (target/debug/deps/x-1)\n\
            test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            \u{20}    Running tests/it/main.rs (target/debug/deps/it-1)\n\
            test result: FAILED. 12 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 1.00s\n\
            \u{20}    Running tests/gone.rs (target/debug/deps/gone-1)\n\
            test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let (mut suite, mut ran) = (String::new(), Ran::default());
        for line in output.lines() {
            read_line(line, &mut suite, &mut ran);
        }
        assert_eq!((ran.passed, ran.failed, ran.ignored), (12, 1, 2));
        assert_eq!(ran.empty, ["tests/gone.rs"]);
        assert!(!ran.ok());
    }
}
