//! `cargo xtask fuzz`: builds and runs the crate `fuzz`, and counts what it says that it ran.

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, run as sh};
use crate::workspace;

/// Fewer targets than this are not all of them.
const TARGETS_MIN: usize = 10;

/// How hard to try.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// Executions over all targets together
    #[arg(long, value_name = "N", default_value_t = 500_000)]
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
    /// Build with optimisation: for long runs
    #[arg(long)]
    release: bool,
}

impl Args {
    /// What every CI run does: always the same inputs, so that a change is to blame for what is found.
    pub(crate) fn for_ci() -> Self {
        Self { execs: 500_000, seconds: None, targets: Vec::new(), seed: 1, release: false }
    }
}

/// Runs as asked; false when a property did not hold, or less was run than asked for.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let began = Instant::now();
    let profile: &[&str] = if args.release { &["--release"] } else { &[] };
    sh(cargo().args(["build", "--quiet", "--locked", "--package", "fuzz"]).args(profile))?;
    let folder = workspace::target_dir().join(if args.release { "release" } else { "debug" });
    let found = workspace::target_dir().join("fuzz");
    let mut command = Command::new(folder.join("fuzz"));
    command.arg("--seed").arg(args.seed.to_string()).arg("--found").arg(&found);
    command.args(args.targets.iter().flat_map(|name| ["--target", name]));
    match args.seconds {
        Some(seconds) => command.arg("--seconds").arg(seconds.to_string()),
        None => command.arg("--execs").arg(args.execs.to_string()),
    };
    let out =
        command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start the fuzzer")?;
    // 1 is «a property did not hold», which its report tells better.
    if !matches!(out.status.code(), Some(0 | 1)) || out.stdout.is_empty() {
        bail!(
            "the fuzzer ended with {}; run it for each target with --trace FILE to see the input: {command:?}",
            out.status
        );
    }
    let report: Value = serde_json::from_slice(&out.stdout).context("the fuzzer's report is no JSON")?;
    let summary = Summary::read(&report);
    let mut complaints = summary.complaints(args);
    if !out.status.success() && complaints.is_empty() {
        complaints.push(format!("the fuzzer ended with {}", out.status));
    }
    complaints.iter().for_each(|complaint| println!("FAILED {complaint}"));
    println!(
        "fuzz: {} executions over {} targets in {:.0} s, seed {}, {} failures",
        summary.execs,
        summary.targets,
        began.elapsed().as_secs_f64(),
        args.seed,
        complaints.len()
    );
    Ok(complaints.is_empty())
}

/// What the fuzzer says that it ran.
#[derive(Debug, Default)]
struct Summary {
    targets: usize,
    execs: u64,
    /// What went wrong, each with what to do.
    failures: Vec<String>,
}

impl Summary {
    /// Reads the report and prints a line for each target.
    fn read(report: &Value) -> Self {
        let mut summary = Self::default();
        for target in report["targets"].as_array().into_iter().flatten() {
            let number = |name: &str| target[name].as_u64().unwrap_or(0);
            let name = target["target"].as_str().unwrap_or("?");
            let (execs, accepted, seen) = (number("execs"), number("accepted"), number("seen"));
            println!("{name:16} {execs:>10} executions, {accepted:>9} accepted, {seen:>5} seen to differ");
            summary.targets += 1;
            summary.execs += execs;
            let found = target["found"].as_array().map(Vec::as_slice).unwrap_or_default();
            for one in found {
                summary.failures.push(failure(name, one));
            }
            if found.is_empty() && target["green"] != true {
                let why = format!("{name}: {execs} executions of {}, {accepted} accepted", number("asked"));
                summary.failures.push(format!("{why}: all must be run, some accepted and some refused"));
            }
        }
        summary
    }

    fn complaints(&self, args: &Args) -> Vec<String> {
        let mut complaints = self.failures.clone();
        if args.seconds.is_none() && self.execs < args.execs {
            complaints.push(format!("{} executions were asked for, {} were run", args.execs, self.execs));
        }
        let targets_min = if args.targets.is_empty() { TARGETS_MIN } else { args.targets.len() };
        if self.targets < targets_min {
            complaints.push(format!("only {} targets were run", self.targets));
        }
        complaints
    }
}

/// An input that was found, and how to keep it.
fn failure(name: &str, found: &Value) -> String {
    let text = |field: &str| found[field].as_str().unwrap_or_default();
    let file = text("file");
    let kept = workspace::target_dir().join("fuzz").join(file);
    format!(
        "{name}: {}\n  input: {}\n  kept in {}; mend it, and copy the file to fuzz/corpus/{name}/",
        text("message"),
        text("hex"),
        kept.display()
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn target(name: &str, execs: u64, green: bool) -> Value {
        json!({"target": name, "asked": 10, "execs": execs, "accepted": 3, "seen": 2, "green": green, "found": []})
    }

    #[test]
    fn less_than_asked_for_is_a_failure() {
        let args = Args { execs: 100, ..Args::for_ci() };
        let all: Vec<_> = (0..10).map(|n| target(&n.to_string(), 10, true)).collect();
        let complaints =
            |targets: &[Value]| Summary::read(&json!({"targets": targets})).complaints(&args).len();
        assert_eq!(complaints(&all), 0);
        assert_eq!(complaints(&all[..9]), 2, "too few targets and executions");
        assert_eq!(complaints(&[]), 2);
        let mut red = all.clone();
        red[3] = target("3", 10, false);
        assert_eq!(complaints(&red), 1);
        red[3]["found"] = json!([{"message": "left is not right", "hex": "00", "file": "3-ab"}]);
        assert_eq!(complaints(&red), 1);
    }
}
