//! `cargo xtask services up | down | status`: PostgreSQL, Redis, RabbitMQ and a Kafka of one node, on loopback, for tests and
//! benches.
//!
//! Each has a folder and a port of its own, so that a server that already runs on this machine is left alone. A server that
//! the environment names is used as it is. What we started is known by its process id and the moment it began, and
//! nothing else is ever stopped.

mod folder;
mod instance;
mod kafka;
mod own;
mod packages;
mod postgres;
mod process;
mod rabbitmq;
mod redis;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
pub(crate) use instance::Instance;
use instance::Ports;
pub(crate) use own::OwnPostgres;

/// Longest wait for a server to take connections: a machine may have much else to do.
const READY: Duration = Duration::from_secs(180);
/// Between two looks.
const STEP: Duration = Duration::from_millis(50);
/// Longest wait for a connection to be made.
const CONNECT: Duration = Duration::from_secs(1);

/// What is to be done with which servers.
#[derive(clap::Args)]
pub(crate) struct Args {
    action: Action,
    /// Only these; all when none is named
    names: Vec<Service>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Start what does not run yet, and print where it is
    Up,
    /// Stop what `up` started
    Down,
    /// Say what runs
    Status,
}

/// A server that tests may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Service {
    Postgres,
    Redis,
    Rabbitmq,
    Kafka,
}

/// All of them, in the order in which they are started.
pub(crate) const ALL: [Service; 4] = [Service::Postgres, Service::Redis, Service::Rabbitmq, Service::Kafka];

/// Where a server is.
struct Place {
    /// The variable that tests read it from.
    variable: &'static str,
    url: String,
}

impl Service {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Kafka => "kafka",
        }
    }

    /// Set it, and the server that it names is used instead of one of ours.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "WELLORDER_TEST_DATABASE_URL",
            Self::Redis => "WELLORDER_TEST_REDIS_URL",
            Self::Rabbitmq => "WELLORDER_TEST_RABBITMQ_URL",
            Self::Kafka => "WELLORDER_TEST_KAFKA_BROKERS",
        }
    }

    /// The signal after which it ends at once, with its data whole.
    fn stop_signal(self) -> &'static str {
        match self {
            Self::Postgres => "INT",
            Self::Redis | Self::Rabbitmq | Self::Kafka => "TERM",
        }
    }
}

/// Whether the programs of PostgreSQL's server are on this machine.
pub(crate) fn has_postgres() -> bool {
    postgres::programs().is_some()
}

/// Installs `packages` of Debian when no program of this name is found.
///
/// # Errors
/// When they cannot be installed; with the command that does so.
pub(crate) fn need(program: &str, packages: &[&str]) -> Result<()> {
    packages::need(program, packages)
}

/// A command of Kafka's own tools: `java` with its jars, which are there once Kafka was started.
///
/// # Errors
/// When the jars are not there and cannot be fetched.
pub(crate) fn kafka_tool() -> Result<std::process::Command> {
    kafka::tool(&folder::Folder::of(Service::Kafka.name())?)
}

/// Does what the command line says.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let chosen = if args.names.is_empty() { &ALL[..] } else { &args.names[..] };
    let _turn = folder::turn()?;
    match args.action {
        Action::Up => {
            for place in up_all(chosen)? {
                println!("export {}='{}'", place.variable, place.url);
            }
            Ok(true)
        }
        Action::Down => {
            for service in chosen.iter().rev() {
                down(*service)?;
            }
            Ok(true)
        }
        Action::Status => status(chosen),
    }
}

/// All servers, for as long as this lives: what it started, it stops.
pub(crate) struct Up {
    places: Vec<Place>,
    started: Vec<Service>,
}

impl Up {
    /// Starts those that do not run yet.
    ///
    /// # Errors
    /// When one cannot be started; those that were started by then are stopped.
    pub(crate) fn all() -> Result<Self> {
        Self::only(&ALL)
    }

    /// The same for some of them.
    ///
    /// # Errors
    /// As [`Self::all`].
    pub(crate) fn only(services: &[Service]) -> Result<Self> {
        let _turn = folder::turn()?;
        let mut up = Self { places: Vec::new(), started: Vec::new() };
        let failed = services.iter().find_map(|service| up.add(*service).err());
        match failed {
            Some(error) => {
                up.down();
                Err(error)
            }
            None => Ok(up),
        }
    }

    fn add(&mut self, service: Service) -> Result<()> {
        let (place, started) = up_one(service)?;
        self.places.push(place);
        self.started.extend(started.then_some(service));
        Ok(())
    }

    /// The variables that tell programs where the servers are.
    pub(crate) fn variables(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.places.iter().map(|place| (place.variable, place.url.as_str()))
    }

    /// The id of the process of one of ours; `None` for one that the environment names.
    pub(crate) fn process(service: Service) -> Option<u32> {
        Instance::usual(service).ok()?.runs().ok().flatten()
    }

    fn down(&mut self) {
        while let Some(service) = self.started.pop() {
            if let Err(error) = down(service) {
                eprintln!("{}: {error:#}", service.name());
            }
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if self.started.is_empty() {
            return;
        }
        match folder::turn() {
            Ok(_turn) => self.down(),
            Err(error) => eprintln!("the servers run on: {error:#}; stop them: cargo xtask services down"),
        }
    }
}

fn up_all(services: &[Service]) -> Result<Vec<Place>> {
    services.iter().map(|service| up_one(*service).map(|(place, _)| place)).collect()
}

/// Where it is, and whether we started it now.
fn up_one(service: Service) -> Result<(Place, bool)> {
    let (name, variable) = (service.name(), service.variable());
    if let Some(url) = std::env::var(variable).ok().filter(|url| !url.is_empty()) {
        eprintln!("{name}: the one that {variable} names");
        return Ok((Place { variable, url }, false));
    }
    let server = Instance::usual(service)?;
    let place = Place { variable, url: server.url() };
    if server.runs()?.is_some() {
        server.wait()?;
        eprintln!("{name}: runs already, port {}", server.port());
        return Ok((place, false));
    }
    if server.answers() {
        bail!(
            "{name}: something else answers at port {}; stop it, or say {variable} to use a server of your own",
            server.port()
        );
    }
    let started = Instant::now();
    server.start()?;
    server.wait()?;
    eprintln!("{name}: started at port {} in {:.1} s", server.port(), started.elapsed().as_secs_f64());
    Ok((place, true))
}

fn down(service: Service) -> Result<()> {
    let server = Instance::usual(service)?;
    if server.stop()? {
        eprintln!("{}: stopped", service.name());
    } else {
        eprintln!("{}: not one of ours runs", service.name());
    }
    Ok(())
}

/// Whether all of them can be used.
fn status(services: &[Service]) -> Result<bool> {
    let mut all = true;
    for service in services {
        let name = service.name();
        if std::env::var(service.variable()).is_ok_and(|url| !url.is_empty()) {
            println!("{name:10} named by {}", service.variable());
            continue;
        }
        let server = Instance::usual(*service)?;
        let (ours, answers) = (server.runs()?, server.answers());
        match (ours, answers) {
            (Some(pid), true) => println!("{name:10} runs at {} (process {pid})", server.url()),
            (Some(pid), false) => println!("{name:10} does not answer (process {pid})"),
            (None, true) => println!("{name:10} not ours, but port {} is taken", server.port()),
            (None, false) => println!("{name:10} stopped"),
        }
        all &= ours.is_some() && answers;
    }
    Ok(all)
}
