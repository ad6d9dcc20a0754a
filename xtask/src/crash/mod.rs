//! `cargo xtask crash`: kills a loaded server again and again, and proves from a history of its own that nothing
//! was lost, nothing happened twice and nothing was left undone.
//!
//! It shares no code with the product. It knows the command line, the environment, the HTTP interface and the
//! file of the NDJSON sink.

mod bulk;
mod check;
mod clients;
mod effects;
mod gather;
mod history;
mod killer;
mod order;
mod plants;
mod report;
mod scene;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use crate::server;
use plants::{PLANTS, Plant};
use report::Summary;
use scene::Setup;

/// How hard to try.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// How often the server is killed, at random moments and at kill points in turn
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
    /// The same seed makes the same orders and the same plan of kills
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// A wellorder to kill, built with the feature `killpoints`; without it one is built
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// Visit every kill point, even when that makes for more kills
    #[arg(long)]
    points: bool,
    /// Kill at random moments only
    #[arg(long, conflicts_with = "points")]
    no_points: bool,
    /// Switch this planted bug on; then success means that it was caught
    #[arg(long, value_name = "NAME")]
    plant: Option<String>,
    /// Every planted bug, one after another; each must be caught
    #[arg(long, conflicts_with = "plant")]
    plants: bool,
    /// Clients that place orders at once
    #[arg(long, value_name = "C", default_value_t = 16)]
    connections: usize,
    /// Orders a second that all clients place together
    #[arg(long, value_name = "N", default_value_t = 300)]
    rate: usize,
    /// Print nothing but the summary, as JSON
    #[arg(long)]
    json: bool,
    /// Keep the data folder, the history and the log, also when all is well
    #[arg(long)]
    keep: bool,
}

impl Args {
    fn with_kills(kills: usize) -> Self {
        Self {
            kills,
            seed: None,
            binary: None,
            points: true,
            no_points: false,
            plant: None,
            plants: false,
            connections: 16,
            rate: 300,
            json: false,
            keep: false,
        }
    }

    /// What every CI run does.
    pub(crate) fn for_ci() -> Self {
        Self::with_kills(20)
    }

    /// What every CI run does to show that the driver bites.
    pub(crate) fn for_plants() -> Self {
        Self { plants: true, ..Self::with_kills(0) }
    }
}

/// Runs as asked; false when there is a violation, or when a planted bug was not caught.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let binary = match &args.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => server::build()?,
    };
    if !binary.is_file() {
        bail!("{} is no file", binary.display());
    }
    if args.plants {
        let mut all = true;
        for plant in PLANTS {
            all &= run_plant(args, &binary, plant)?;
        }
        return Ok(all);
    }
    if let Some(name) = &args.plant {
        let plant = PLANTS.iter().find(|plant| plant.name == name);
        let names = || PLANTS.iter().map(|plant| plant.name).collect::<Vec<_>>().join(", ");
        let plant = plant.with_context(|| format!("no such planted bug: {name}; there are {}", names()))?;
        return run_plant(args, &binary, plant);
    }
    let mut setup = setup(args, binary);
    setup.kills = if args.points { args.kills.max(killer::kills_for_every_point()) } else { args.kills };
    let summary = scene::play(&setup)?;
    tell(args, &summary)?;
    Ok(summary.clean())
}

/// A run with a planted bug: true when it was caught for what it is.
fn run_plant(args: &Args, binary: &std::path::Path, plant: &'static Plant) -> Result<bool> {
    let mut setup = setup(args, binary.to_path_buf());
    setup.kills = plant.kills;
    setup.plant = Some(plant);
    let summary = scene::play(&setup)?;
    let caught = summary.found(plant.caught_as);
    if args.json {
        tell(args, &summary)?;
    } else {
        let kinds: Vec<_> = summary.violations.iter().map(|(kind, n)| format!("{kind:?} {n}")).collect();
        let verdict = if caught { "caught" } else { "NOT CAUGHT" };
        println!("plant {}: {verdict} in {:.0} s ({})", plant.name, summary.seconds, kinds.join(", "));
        if !caught {
            summary.print();
        }
    }
    Ok(caught)
}

fn tell(args: &Args, summary: &Summary) -> Result<()> {
    if args.json {
        println!("{}", serde_json::to_string_pretty(summary)?);
    } else {
        summary.print();
    }
    Ok(())
}

fn setup(args: &Args, binary: PathBuf) -> Setup {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Setup {
        binary,
        seed: args.seed.unwrap_or(now.as_millis() as u64),
        kills: args.kills,
        points: !args.no_points,
        connections: args.connections.max(1),
        rate: args.rate.max(1),
        plant: None,
        quiet: args.json,
        keep: args.keep,
    }
}
