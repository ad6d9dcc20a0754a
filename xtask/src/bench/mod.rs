//! `cargo xtask bench`: the project's figures, each beside its goal, measured side by side on this machine.
//!
//! A ratio holds where an absolute figure does not: what is compared runs in turn, in one run, on one day. A run
//! during which other programs kept more than 0.4 of a core busy is repeated, and marked when that does not help.

mod figure;
mod fill;
mod flood;
mod idle;
mod intake;
mod latency;
mod machine;
mod overload;
mod reads;
mod start;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::http::server::free_address;
use crate::procfs::ForeignCpu;
use crate::server::Launch;
use crate::shell::{cargo, installed, run as sh};
use crate::workspace;
use figure::Report;

/// Cores of other programs above which a measurement does not count.
const FOREIGN_CORES_MAX: f64 = 0.4;
/// How often a disturbed measurement is repeated.
const REPEATS_MAX: usize = 2;

const PARTS: &[&str] = &["P2", "latency", "P5", "P9", "P10", "P12"];

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only these parts: P2, latency, P5, P9, P10, P12
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<String>,
    /// Shorter runs and a small fill, to see whether the bench works; the figures are printed and not kept
    #[arg(long)]
    quick: bool,
    /// Measurements of each figure; the table shows their median and range
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Orders in the folder for P9 and the start of P10 (1,000,000; 50,000 with --quick)
    #[arg(long, value_name = "N")]
    fill: Option<usize>,
}

/// What every part needs.
pub(crate) struct Bench {
    wellorder: PathBuf,
    noop: PathBuf,
    echo: PathBuf,
    /// On the disk of the target folder: a data folder in memory would make every sync free.
    folder: PathBuf,
    runs: usize,
    quick: bool,
    fill: usize,
}

impl Bench {
    /// Seconds of load in one measurement.
    fn seconds(&self) -> u64 {
        if self.quick { 3 } else { 8 }
    }

    /// A wellorder on the fresh folder `name`.
    fn launch(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Launch> {
        let data = self.folder.join(name);
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
        }
        let mut all = vec![("WELLORDER_LOG_LEVEL".to_owned(), "warn".to_owned())];
        all.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        Ok(Launch {
            binary: self.wellorder.clone(),
            data,
            address: free_address()?,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: all,
            log: self.folder.join(format!("{name}.log")),
        })
    }
}

/// A measured value, and whether the machine was quiet meanwhile.
pub(crate) struct Measured<T> {
    value: T,
    noisy: bool,
}

/// Measures until the machine is quiet enough, at most three times.
pub(crate) fn quietly<T>(mut measure: impl FnMut() -> Result<T>) -> Result<Measured<T>> {
    let mut repeats = 0;
    loop {
        let cpu = ForeignCpu::start();
        let value = measure()?;
        let cores = cpu.cores();
        let noisy = cores > FOREIGN_CORES_MAX;
        if !noisy || repeats == REPEATS_MAX {
            return Ok(Measured { value, noisy });
        }
        repeats += 1;
        println!("  disturbed: other programs used {cores:.2} cores; once more");
    }
}

/// Builds, measures, prints the table and writes it down.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let unknown: Vec<_> = args.only.iter().filter(|part| !PARTS.contains(&part.as_str())).collect();
    if !unknown.is_empty() {
        bail!("no such part: {unknown:?}; there are {}", PARTS.join(", "));
    }
    if !installed("wrk") {
        bail!("wrk makes the load and is missing: apt-get install wrk");
    }
    let wanted = |part: &str| args.only.is_empty() || args.only.iter().any(|only| only == part);
    let bench = prepare(args)?;
    let mut report = Report::new();
    let mut peak = None;
    if wanted("P2") {
        peak = Some(intake::measure(&bench, &mut report)?);
    }
    if wanted("latency") {
        latency::measure(&bench, peak, &mut report)?;
    }
    if wanted("P5") {
        idle::measure(&bench, &mut report)?;
    }
    if wanted("P10") {
        start::measure(&bench, &mut report)?;
    }
    if wanted("P9") || wanted("P10") {
        let filled = fill::fill(&bench, &mut report)?;
        if wanted("P10") {
            start::filled(&bench, &filled, &mut report)?;
        }
        if wanted("P9") {
            reads::measure(&bench, &filled, &mut report)?;
        }
    }
    if wanted("P12") {
        overload::measure(&bench, peak, &mut report)?;
    }
    fs::remove_dir_all(&bench.folder).context("cannot remove the bench's data")?;
    println!("\n{}", report.markdown());
    if !args.quick {
        let name = if args.only.is_empty() { String::new() } else { format!("-{}", args.only.join("-")) };
        report.save(&workspace::root().join("bench/results"), &name)?;
    }
    Ok(true)
}

fn prepare(args: &Args) -> Result<Bench> {
    let target = workspace::target_dir();
    println!("building");
    sh(cargo().args(["build", "--quiet", "--release", "--locked", "--package", "wellorder"]))?;
    let peers = target.join("bench-peers");
    let compared = args.only.is_empty() || args.only.iter().any(|part| part == "P2");
    if compared {
        build_peers(&peers)?;
    }
    let folder = target.join("bench-data");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(Bench {
        wellorder: file(target.join("release/wellorder"))?,
        noop: target.join("release/examples/noop_server"),
        echo: peers.join("release/httplimit"),
        folder,
        runs: args.runs.max(1),
        quick: args.quick,
        fill: args.fill.unwrap_or(if args.quick { 50_000 } else { 1_000_000 }),
    })
}

/// The servers that P2 compares with.
fn build_peers(folder: &Path) -> Result<()> {
    let release = ["build", "--quiet", "--release", "--locked"];
    sh(cargo().args(release).args(["--package", "wellorder", "--example", "noop_server"]))?;
    sh(cargo()
        .args(release)
        .args(["--manifest-path", "bench/peers/http/Cargo.toml", "--target-dir"])
        .arg(folder)
        .current_dir(workspace::root()))
}

fn file(path: PathBuf) -> Result<PathBuf> {
    if !Path::is_file(&path) {
        bail!("{} was not built", path.display());
    }
    Ok(path)
}
