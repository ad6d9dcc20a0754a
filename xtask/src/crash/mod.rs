//! `cargo xtask crash`: kills a loaded server again and again, and proves from a history of its own that nothing
//! was lost, nothing happened twice and nothing was left undone.
//!
//! It shares no code with the product. It knows the command line, the environment, the HTTP interface, and what sinks are
//! sent: the file of one process on SQLite; or, on PostgreSQL, Kafka and RabbitMQ, of two nodes of each role.

mod bulk;
mod check;
mod clients;
mod effects;
mod gather;
mod history;
mod hooked;
mod imported;
mod imports;
mod killer;
mod order;
mod plants;
mod receiver;
mod report;
mod scene;
mod servers;
mod shops;
mod streamed;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::server::Binary;
use plants::{PLANTS, Plant};
use report::Summary;
use scene::{Crashes, Setup};
use servers::Own;

/// How hard to try.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Args {
    /// What the orders are kept in: with `postgres` there are two nodes of each role, and servers that are killed as well
    #[arg(long, value_name = "STORAGE", default_value = "sqlite")]
    on: On,
    /// How often the server is killed, at random moments and at kill points in turn; on PostgreSQL so many kills of nodes at
    /// random moments, and every kill point besides
    #[arg(long, value_name = "N", default_value_t = 20)]
    kills: usize,
    /// How often PostgreSQL crashes
    #[arg(long, value_name = "N", default_value_t = 3)]
    database_crashes: usize,
    /// How often each of Kafka, RabbitMQ and Redis is killed
    #[arg(long, value_name = "N", default_value_t = 1)]
    server_kills: usize,
    /// The same seed makes the same orders and the same plan of kills
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    #[command(flatten)]
    binary: Binary,
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
    /// Orders a second that all clients place together [default: 300; on PostgreSQL 30, where all of it runs in development builds]
    #[arg(long, value_name = "N")]
    rate: Option<usize>,
    /// Print nothing but the summary, as JSON
    #[arg(long)]
    json: bool,
    /// Keep the data folder, the history and the log, also when all is well
    #[arg(long)]
    keep: bool,
}

/// What the orders are kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum On {
    Sqlite,
    Postgres,
}

impl Args {
    fn with_kills(kills: usize) -> Self {
        Self {
            on: On::Sqlite,
            kills,
            database_crashes: 3,
            server_kills: 1,
            seed: None,
            binary: Binary::default(),
            points: true,
            no_points: false,
            plant: None,
            plants: false,
            connections: 16,
            rate: None,
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

    /// The same of a run on servers, within the time of a CI run: the one planted bug that needs them. The others are caught by checks
    /// that both runs share; `--plants --on postgres` has all.
    pub(crate) fn for_plant_of_servers() -> Self {
        Self { on: On::Postgres, plant: Some("lost-ack".to_owned()), ..Self::with_kills(0) }
    }

    /// The same on PostgreSQL.
    pub(crate) fn on_servers(self) -> Self {
        Self { on: On::Postgres, ..self }
    }
}

/// Runs as asked; false when there is a violation, or when a planted bug was not caught.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let binary = args.binary.or_built()?;
    let plants: Vec<&'static Plant> = match &args.plant {
        _ if args.plants => PLANTS.iter().filter(|plant| plant.is_of(args.on)).collect(),
        None => Vec::new(),
        Some(name) => {
            let plant = PLANTS.iter().find(|plant| plant.name == name);
            let names = || PLANTS.iter().map(|plant| plant.name).collect::<Vec<_>>().join(", ");
            vec![plant.with_context(|| format!("no such planted bug: {name}; there are {}", names()))?]
        }
    };
    let mut own = match args.on {
        On::Sqlite => None,
        On::Postgres => Some(Own::start()?),
    };
    let mut good = true;
    for plant in &plants {
        good &= run_plant(args, &binary, plant, own.as_mut())?;
    }
    if plants.is_empty() {
        let mut setup = setup(args, binary);
        setup.kills = if args.points { args.kills.max(killer::kills_for_every_point()) } else { args.kills };
        let summary = play(args, &setup, own.as_mut())?;
        tell(args, &summary)?;
        good = summary.clean();
    }
    match own {
        Some(own) if good && !args.keep => own.forget()?,
        Some(own) => eprintln!("what the servers leave is kept in {}", own.folder().display()),
        None => {}
    }
    Ok(good)
}

fn play(args: &Args, setup: &Setup, own: Option<&mut Own>) -> Result<Summary> {
    let crashes = Crashes { database: args.database_crashes, each: args.server_kills };
    match own {
        Some(own) => servers::play(setup, crashes, own),
        None => scene::play(setup),
    }
}

/// A run with a planted bug: true when it was caught for what it is.
fn run_plant(
    args: &Args,
    binary: &std::path::Path,
    plant: &'static Plant,
    own: Option<&mut Own>,
) -> Result<bool> {
    let mut setup = setup(args, binary.to_path_buf());
    setup.kills = plant.kills;
    setup.plant = Some(plant);
    let summary = play(args, &setup, own)?;
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
        rate: args.rate.unwrap_or(if args.on == On::Postgres { 30 } else { 300 }).max(1),
        plant: None,
        quiet: args.json,
        keep: args.keep,
    }
}
