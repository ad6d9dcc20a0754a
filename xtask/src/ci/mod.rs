//! `cargo xtask ci`: everything that must be green, step by step, with the seconds of each.

pub(crate) mod test;

use std::process::Command;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::server::Binary;
use crate::shell::{cargo, installed, run as sh};
use crate::{crash, foreign, fuzz, grpc, proto, schemathesis, tidy};

/// Which steps to run.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this step (repeatable); `--list` names them
    #[arg(long = "step", value_name = "NAME")]
    steps: Vec<String>,
    /// Name the steps and stop
    #[arg(long)]
    list: bool,
    /// Stop at the first step that fails
    #[arg(long)]
    fail_fast: bool,
}

type Step = (&'static str, fn() -> Result<bool>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("tidy", tidy::run),
    ("clippy", clippy),
    ("docs", docs),
    ("deny", deny),
    ("test", || test::run(&test::Args::default()).map(|ran| ran.ok())),
    ("fuzz", || fuzz::run(&fuzz::Args::for_ci())),
    ("proto", || proto::run(&proto::Args::for_ci())),
    ("grpc", || grpc::run(&Binary::default())),
    ("foreign", || foreign::run(&Binary::default())),
    ("schemathesis", || schemathesis::run(&schemathesis::Args::for_ci())),
    ("crash", || crash::run(&crash::Args::for_ci())),
    ("plants", || crash::run(&crash::Args::for_plants())),
    ("crash-servers", || crash::run(&crash::Args::for_ci().on_servers())),
    ("plants-servers", || crash::run(&crash::Args::for_plant_of_servers())),
];

/// Runs the steps, all of them even when one fails, and says whether every one was green.
pub(crate) fn run(args: &Args) -> Result<bool> {
    if args.list {
        STEPS.iter().for_each(|(name, _)| println!("{name}"));
        return Ok(true);
    }
    let unknown: Vec<_> =
        args.steps.iter().filter(|step| !STEPS.iter().any(|(name, _)| name == step)).collect();
    if !unknown.is_empty() {
        bail!("no such step: {unknown:?}; `cargo xtask ci --list` names them");
    }
    let started = Instant::now();
    let mut results = Vec::new();
    for (name, step) in
        STEPS.iter().filter(|(name, _)| args.steps.is_empty() || args.steps.iter().any(|s| s == name))
    {
        println!("==> {name}");
        let began = Instant::now();
        let green = step().unwrap_or_else(|fault| {
            eprintln!("error: {fault:#}");
            false
        });
        let seconds = began.elapsed().as_secs_f64();
        println!("<== {name}: {} in {seconds:.1} s", if green { "ok" } else { "FAILED" });
        results.push((*name, green, seconds));
        if !green && args.fail_fast {
            break;
        }
    }
    println!();
    for (name, green, seconds) in &results {
        println!("{name:14} {seconds:7.1} s  {}", if *green { "ok" } else { "FAILED" });
    }
    println!("{:14} {:7.1} s", "all", started.elapsed().as_secs_f64());
    let failed: Vec<_> = results.iter().filter(|(_, green, _)| !green).map(|(name, _, _)| *name).collect();
    if !failed.is_empty() {
        println!("failed: {}", failed.join(", "));
    }
    Ok(failed.is_empty())
}

fn fmt() -> Result<bool> {
    sh(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(true)
}

/// As everybody builds it, and as the tests do. TLS of Kafka is in both: it changes nothing of ours, and librdkafka is compiled
/// once.
fn clippy() -> Result<bool> {
    for features in [TLS, test::FEATURES] {
        sh(cargo()
            .args(["clippy", "--locked", "--workspace", "--all-targets", "--features", features])
            .args(["--", "-D", "warnings"]))?;
    }
    Ok(true)
}

const TLS: &str = "wellorder/kafka-tls";

fn docs() -> Result<bool> {
    sh(cargo()
        .args(["doc", "--locked", "--workspace", "--no-deps", "--features", TLS])
        .env("RUSTDOCFLAGS", "-D warnings"))?;
    Ok(true)
}

fn deny() -> Result<bool> {
    if !installed("cargo-deny") {
        // It is run once: what optimises it would take longer than it saves.
        sh(cargo().args(["install", "--locked", "--debug", "cargo-deny"]))?;
    }
    // A duplicate is a warning, and there are many: only errors are of interest here.
    sh(Command::new("cargo-deny").current_dir(crate::workspace::root()).args([
        "--log-level",
        "error",
        "--locked",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))?;
    Ok(true)
}
