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
mod pg;
mod reads;
mod start;
mod webhooks;
mod wrk;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

use crate::http::server::free_address;
use crate::procfs::ForeignCpu;
use crate::server::Launch;
use crate::shell::{cargo, installed, run as sh};
use crate::workspace;
use figure::Report;
use pg::Postgres;

/// Cores of other programs above which a measurement does not count.
const FOREIGN_CORES_MAX: f64 = 0.4;
/// How often a disturbed measurement is repeated; set once.
static REPEATS_MAX: OnceLock<usize> = OnceLock::new();

/// On SQLite.
const ON_SQLITE: &[&str] = &["P2", "latency", "P5", "P7", "P9", "P10", "P12"];
/// On a PostgreSQL of the bench's own; those behind `P7-pg` only when they are asked for, for they take long.
const ON_POSTGRES: &[&str] = &["P1", "P1b", "P3", "P4", "P5-pg", "P6", "P7-pg", "P12-pg", "P8", "P9-pg"];
const ONLY_WHEN_ASKED_FOR: &[&str] = &["P12-pg", "P8", "P9-pg"];

/// What to measure.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only these parts. On SQLite: P2, latency, P5, P7, P9, P10, P12. On PostgreSQL: P1, P1b, P3, P4, P5-pg, P6, P7-pg, and only when
    /// they are asked for P12-pg, P8, P9-pg
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<String>,
    /// Shorter runs and a small fill, to see whether the bench works; the figures are printed and not kept
    #[arg(long)]
    quick: bool,
    /// Measurements of each figure; the table shows their median and range
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// How often a measurement is repeated that other programs disturb; it does not count when that does not help
    #[arg(long, default_value_t = 2)]
    repeats: usize,
    /// Orders for P9 and the start of P10 (1,000,000; 50,000 with --quick), and for P8 and P9-pg (ten times as many)
    #[arg(long, value_name = "N")]
    fill: Option<usize>,
}

/// What every part needs.
pub(crate) struct Bench {
    wellorder: PathBuf,
    noop: PathBuf,
    echo: PathBuf,
    river: PathBuf,
    /// On the disk of the target folder: a data folder in memory would make every sync free.
    folder: PathBuf,
    runs: usize,
    quick: bool,
    fill: usize,
    /// Where orders are kept; each in its data folder where there is none.
    postgres: Option<Postgres>,
}

impl Bench {
    /// Seconds of load in one measurement.
    fn seconds(&self) -> u64 {
        if self.quick { 3 } else { 8 }
    }

    /// Seconds of load in one measurement of a peer that is measured with several numbers of clients.
    fn peer_seconds(&self) -> u64 {
        if self.quick { 2 } else { 5 }
    }

    fn postgres(&self) -> Result<&Postgres> {
        self.postgres.as_ref().context("this is measured on PostgreSQL alone")
    }

    /// What a part is called that is measured on both.
    fn part(&self, part: &'static str) -> &'static str {
        match (&self.postgres, part) {
            (Some(_), "P5") => "P5-pg",
            (Some(_), "P7") => "P7-pg",
            (Some(_), "P9") => "P9-pg",
            (Some(_), "P12") => "P12-pg",
            _ => part,
        }
    }

    /// A wellorder on the fresh folder `name`, or on a fresh database.
    fn launch(&self, name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Launch> {
        if let Some(postgres) = &self.postgres {
            postgres.create(&pg::database_of(name))?;
        }
        self.launch_on(name, name, args, env)
    }

    /// The same on what the database of `on` holds already; on SQLite on a fresh folder all the same.
    fn launch_on(&self, on: &str, name: &str, args: &[&str], env: &[(&str, &str)]) -> Result<Launch> {
        let data = self.folder.join(name);
        if data.exists() {
            fs::remove_dir_all(&data).with_context(|| format!("cannot remove {}", data.display()))?;
        }
        let mut all = vec![("WELLORDER_LOG_LEVEL".to_owned(), "warn".to_owned())];
        if let Some(postgres) = &self.postgres {
            all.push(("WELLORDER_DATABASE".to_owned(), postgres.url(&pg::database_of(on))));
        }
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

    /// Removes what a run has kept.
    fn discard(&self, launch: &Launch) -> Result<()> {
        if let Some(postgres) = &self.postgres {
            let name = launch.data.file_name().unwrap_or_default().to_string_lossy();
            postgres.drop(&pg::database_of(&name))?;
        }
        if !launch.data.exists() {
            return Ok(());
        }
        fs::remove_dir_all(&launch.data).context("cannot remove the data of the run")
    }
}

/// A measured value, and whether the machine was quiet meanwhile.
pub(crate) struct Measured<T> {
    value: T,
    noisy: bool,
}

/// Measures until the machine is quiet enough, at most three times.
pub(crate) fn quietly<T>(measure: impl FnMut() -> Result<T>) -> Result<Measured<T>> {
    quietly_with(&[], measure)
}

/// The same with servers that are measured and were not started by us, by their processes.
pub(crate) fn quietly_with<T>(
    besides: &[u32],
    mut measure: impl FnMut() -> Result<T>,
) -> Result<Measured<T>> {
    let mut repeats = 0;
    loop {
        let cpu = ForeignCpu::start(besides);
        let value = measure()?;
        let cores = cpu.cores();
        let noisy = cores > FOREIGN_CORES_MAX;
        if !noisy || repeats >= *REPEATS_MAX.get_or_init(|| 2) {
            return Ok(Measured { value, noisy });
        }
        repeats += 1;
        println!("  disturbed: other programs used {cores:.2} cores; once more");
    }
}

/// The parts that were chosen.
struct Wanted<'a>(&'a [String]);

impl Wanted<'_> {
    fn has(&self, part: &str) -> bool {
        if self.0.is_empty() {
            !ONLY_WHEN_ASKED_FOR.contains(&part)
        } else {
            self.0.iter().any(|only| only == part)
        }
    }

    fn any(&self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.has(part))
    }
}

/// Builds, measures, prints the table and writes it down.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let known = |part: &str| ON_SQLITE.contains(&part) || ON_POSTGRES.contains(&part);
    let unknown: Vec<_> = args.only.iter().filter(|part| !known(part)).collect();
    if !unknown.is_empty() {
        bail!("no such part: {unknown:?}; there are {}", [ON_SQLITE, ON_POSTGRES].concat().join(", "));
    }
    if !installed("wrk") {
        bail!("wrk makes the load and is missing: apt-get install wrk");
    }
    let wanted = Wanted(&args.only);
    REPEATS_MAX.get_or_init(|| args.repeats);
    let mut bench = prepare(args)?;
    let mut report = Report::new();
    on_sqlite(&bench, &wanted, &mut report)?;
    if wanted.any(ON_POSTGRES) {
        bench.postgres = Some(Postgres::start()?);
        bench.fill *= 10;
        on_postgres(&bench, &wanted, &mut report)?;
    }
    fs::remove_dir_all(&bench.folder).context("cannot remove the bench's data")?;
    println!("\n{}", report.markdown());
    if !args.quick {
        let name = if args.only.is_empty() { String::new() } else { format!("-{}", args.only.join("-")) };
        report.save(&workspace::root().join("bench/results"), &name)?;
    }
    Ok(true)
}

fn on_sqlite(bench: &Bench, wanted: &Wanted<'_>, report: &mut Report) -> Result<()> {
    let mut peak = None;
    if wanted.has("P2") {
        peak = Some(intake::measure(bench, report)?);
    }
    if wanted.has("latency") {
        latency::measure(bench, peak, report)?;
    }
    if wanted.has("P5") {
        idle::measure(bench, report)?;
    }
    if wanted.has("P7") {
        webhooks::measure(bench, report)?;
    }
    if wanted.has("P10") {
        start::measure(bench, report)?;
    }
    if wanted.any(&["P9", "P10"]) {
        let filled = fill::fill(bench, report)?;
        if wanted.has("P10") {
            start::filled(bench, &filled, report)?;
        }
        if wanted.has("P9") {
            reads::measure(bench, &filled, report)?;
        }
    }
    if wanted.has("P12") {
        overload::measure(bench, peak, report)?;
    }
    Ok(())
}

fn on_postgres(bench: &Bench, wanted: &Wanted<'_>, report: &mut Report) -> Result<()> {
    let mut peak = None;
    if wanted.has("P1") {
        peak = Some(pg::intake::measure(bench, report)?);
    }
    if wanted.has("P1b") {
        pg::bulk::measure(bench, report)?;
    }
    if wanted.has("P3") {
        pg::intake::latency(bench, peak.as_ref(), report)?;
    }
    if wanted.has("P4") {
        pg::work::measure(bench, report)?;
    }
    if wanted.has("P5-pg") {
        idle::measure(bench, report)?;
    }
    if wanted.has("P6") {
        pg::kafka::measure(bench, report)?;
    }
    if wanted.has("P7-pg") {
        webhooks::measure(bench, report)?;
    }
    if wanted.has("P12-pg") {
        overload::measure(bench, peak.as_ref().map(|peak| peak.per_second), report)?;
    }
    if wanted.any(&["P8", "P9-pg"]) {
        pg::scale::measure(bench, (wanted.has("P8"), wanted.has("P9-pg")), report)?;
    }
    Ok(())
}

fn prepare(args: &Args) -> Result<Bench> {
    let target = workspace::target_dir();
    println!("building");
    sh(cargo().args(["build", "--quiet", "--release", "--locked", "--package", "wellorder"]))?;
    let wanted = Wanted(&args.only);
    let peers = target.join("bench-peers");
    if wanted.has("P2") {
        build_peers(&peers)?;
    }
    if wanted.has("P4") {
        build_river(&peers)?;
    }
    let folder = target.join("bench-data");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    Ok(Bench {
        wellorder: file(target.join("release/wellorder"))?,
        noop: target.join("release/examples/noop_server"),
        echo: peers.join("release/httplimit"),
        river: peers.join("river"),
        folder,
        runs: args.runs.max(1),
        quick: args.quick,
        fill: args.fill.unwrap_or(if args.quick { 50_000 } else { 1_000_000 }),
        postgres: None,
    })
}

/// The job queue that P4 compares with.
fn build_river(folder: &Path) -> Result<()> {
    if !installed("go") {
        bail!("go builds the peer of P4 and is missing: apt-get install golang (1.25 or newer)");
    }
    fs::create_dir_all(folder)?;
    let mut command = Command::new("go");
    command.args(["build", "-o"]).arg(folder.join("river")).arg(".");
    sh(command.current_dir(workspace::root().join("bench/peers/river")))
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
