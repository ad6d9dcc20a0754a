//! One run from the empty folder to the verdict.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::check::{Facts, check};
use super::clients::{self, Stage};
use super::effects::{Effects, Manner};
use super::gather::{self, Feed, SinkLine};
use super::history::{History, Known};
use super::hooked::Hooked;
use super::imported::Imported;
use super::imports::{self, Imports};
use super::killer::{self, Killed};
use super::order::Door;
use super::plants::Plant;
use super::receiver::Receiver;
use super::report::{Carried, Kind, Summary, Violations};
use super::shops::Shops;
use crate::http::server::free_address;
use crate::rng::Rng;
use crate::server::{Launch, Wellorder};
use crate::shell::{capture, signal, wait_until};

/// How long everything that was accepted may take to be processed and to reach the sink after the last start.
const DRAIN_LIMIT: Duration = Duration::from_secs(60);
/// With a planted bug some of it may never come: give up when nothing has moved for so long.
const STALL_LIMIT: Duration = Duration::from_secs(8);
const STOP_LIMIT: Duration = Duration::from_secs(25);
/// How often the process of the last start is stopped (SIGSTOP) and continued.
const PAUSES: usize = 2;
/// Longer than the leases of [`SETTINGS`]: its work is due when it goes on.
pub(super) const PAUSE: Duration = Duration::from_millis(2_500);
/// Between two pauses.
const BETWEEN_PAUSES: Duration = Duration::from_millis(800);
/// Load on the last start, before the drain.
const LAST_LOAD: Duration = Duration::from_secs(3);

/// Settings of every run: short leases and quick retries, so that recovery happens within the run; small files,
/// so that the sink rotates.
const SETTINGS: &[(&str, &str)] = &[
    ("WELLORDER_PROCESSOR", "http"),
    ("WELLORDER_WORKER_LEASE_MS", "2000"),
    ("WELLORDER_WORKER_HEARTBEAT_MS", "500"),
    ("WELLORDER_WORKER_BACKOFF_BASE_MS", "50"),
    ("WELLORDER_WORKER_MAX_ATTEMPTS", "20"),
    // An order whose effect takes longer than ten lives of the server in a row is no poison here.
    ("WELLORDER_WORKER_LAPSES_MAX", "1000"),
    ("WELLORDER_SHARDS", "16"),
    ("WELLORDER_NDJSON_ROTATE_MIB", "1"),
    ("WELLORDER_LOG_LEVEL", "warn"),
];

/// What to play.
pub(crate) struct Setup {
    pub(crate) binary: PathBuf,
    pub(crate) seed: u64,
    pub(crate) kills: usize,
    pub(crate) points: bool,
    pub(crate) connections: usize,
    pub(crate) rate: usize,
    pub(crate) plant: Option<&'static Plant>,
    pub(crate) quiet: bool,
    pub(crate) keep: bool,
}

/// How often servers are killed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crashes {
    pub(crate) database: usize,
    /// Each of the others: Kafka, RabbitMQ, Redis.
    pub(crate) each: usize,
}

impl Setup {
    pub(super) fn pauses(&self) -> usize {
        self.plant.map_or(PAUSES, |plant| plant.pauses)
    }

    /// Where all of it is kept, made.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        let name = self.plant.map_or("run", |plant| plant.name);
        let folder = format!("wellorder-crash-{}-{}-{name}", std::process::id(), self.seed);
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    pub(super) fn history(&self, folder: &Path) -> Result<History> {
        History::create(&folder.join(format!("history-{}.ndjson", self.seed)))
    }

    /// How long nothing may move before what is still open counts as never to come: forever, but that with a planted bug it may.
    pub(super) fn stall(&self) -> Duration {
        if self.plant.is_some() { STALL_LIMIT } else { Duration::MAX }
    }

    /// Whether it is told how far it is.
    pub(super) fn is_told(&self) -> bool {
        !self.quiet && self.plant.is_none()
    }

    /// Whether programs import receipts.
    pub(super) fn imports(&self) -> bool {
        self.plant.is_none_or(|plant| plant.imports)
    }

    /// The marketplaces, where anybody imports.
    pub(super) fn shops(&self) -> Result<Option<Arc<Shops>>> {
        self.imports().then(|| Shops::start().map(Arc::new)).transpose()
    }

    /// The receivers of webhooks, where there are any.
    pub(super) fn receiver(&self) -> Result<Option<Receiver>> {
        self.plant.is_none_or(|plant| plant.hooks).then(Receiver::start).transpose()
    }

    pub(super) fn effects(&self) -> Result<Effects> {
        Effects::start(self.plant.map_or(Manner::Mixed, |plant| plant.manner))
    }

    /// The settings of every run, then those of the planted bug.
    pub(super) fn env(&self) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut env: Vec<(String, String)> = SETTINGS.iter().chain(&imports::SETTINGS).map(owned).collect();
        if let Some(plant) = self.plant {
            env.push(("WELLORDER_PLANT".to_owned(), plant.name.to_owned()));
            env.extend(plant.env.iter().map(owned));
        }
        env
    }
}

/// Plays it and sums it up.
pub(crate) fn play(setup: &Setup) -> Result<Summary> {
    let began = Instant::now();
    let folder = setup.folder()?;
    let effects = setup.effects()?;
    let shops = setup.shops()?;
    let launch = launch(setup, &folder, (&effects, shops.as_deref()))?;
    let history = setup.history(&folder)?;
    let run = format!("crash-{}", setup.seed);
    let mut stage = Stage::new(vec![launch.address], run, setup.rate, history, effects);
    stage.told = setup.is_told();
    let stage = Arc::new(stage);
    let mut rng = Rng::new(setup.seed);
    let plan = killer::plan(setup.kills, setup.points, &mut rng);
    let receiver = setup.receiver()?;
    let (first, plan) = plan.split_at(plan.len().min(1));
    let mut killed = Killed::default();
    let mut facts = Facts::default();
    // Who listens from before the first order on hears of everything.
    let mut lives = killer::kill_all(&launch, &stage, first, &mut killed)?;
    if let Some(receiver) = receiver.as_ref().filter(|_| lives) {
        lives = killer::once(&launch, &stage, &mut killed, |address| receiver.listen(address))?;
    }
    let clients = clients::start(&stage, setup.connections, &rng);
    let imports = shops.map(|shops| Imports::start(&stage, &shops, &rng));
    if lives && killer::kill_all(&launch, &stage, plan, &mut killed)? {
        last_act(setup, &launch, &stage, (clients, imports, receiver), &mut facts)?;
    }
    facts.kills = killed.total();
    facts.history = stage.history.read()?;
    facts.effects = stage.effects.snapshot();
    let files = gather::sink_files(&launch.data)?;
    facts.sinks.insert("the file".to_owned(), gather::sink_lines(&files)?);
    if !facts.feed.is_empty() || !facts.orders.is_empty() {
        check(&facts, &stage.violations);
    }
    let mut summary = sum_up(setup, &facts, &stage, killed);
    summary.sink_files = files.len();
    summary.seconds = began.elapsed().as_secs_f64();
    leave(setup, &folder, &summary)?;
    Ok(summary)
}

fn launch(setup: &Setup, folder: &Path, (effects, shops): (&Effects, Option<&Shops>)) -> Result<Launch> {
    let mut env: Vec<(String, String)> = vec![("WELLORDER_HTTP_PROCESSOR_URL".to_owned(), effects.url())];
    env.extend(setup.env());
    env.extend(shops.map(Shops::env).unwrap_or_default());
    Ok(Launch {
        binary: setup.binary.clone(),
        data: folder.join("data"),
        address: free_address()?,
        args: Vec::new(),
        env,
        log: folder.join("server.log"),
    })
}

/// After the last kill: audit under load, drain, read everything, audit idle, stop, audit the folder.
fn last_act(
    setup: &Setup,
    launch: &Launch,
    stage: &Arc<Stage>,
    (clients, imports, receiver): (Vec<JoinHandle<Result<()>>>, Option<Imports>, Option<Receiver>),
    facts: &mut Facts,
) -> Result<()> {
    let mut server = launch.start(&[])?;
    if !killer::ready(launch, stage, &mut server) {
        return Ok(());
    }
    stage.tell("the last act");
    for _ in 0..setup.pauses() {
        pause(&server, PAUSE)?;
    }
    thread::sleep(LAST_LOAD);
    if setup.plant.is_none() {
        audit(launch, &stage.violations, "under load");
    }
    end(stage, clients)?;
    stage.tell("the clients ended");
    facts.imported = imports.map(|imports| imports.end(stage, setup.stall())).transpose()?;
    stage.tell("every receipt is at its end");
    drain(setup, stage);
    stage.tell("everything is processed");
    read_all(stage, facts)?;
    if let Some(receiver) = receiver {
        hear(setup, stage, &receiver, facts)?;
    }
    if setup.plant.is_some() {
        return Ok(()); // what gives a planted bug away is known by now
    }
    audit(launch, &stage.violations, "idle");
    stop([&mut server], &stage.violations);
    audit(launch, &stage.violations, "stopped");
    Ok(())
}

/// Lets the clients end, with every order of theirs answered.
pub(super) fn end(stage: &Stage, clients: Vec<JoinHandle<Result<()>>>) -> Result<()> {
    stage.stop.store(true, Ordering::Relaxed);
    for client in clients {
        match client.join() {
            Ok(ended) => ended?,
            Err(_) => stage.violations.add(Kind::Process, "driver", "a client thread panicked"),
        }
    }
    Ok(())
}

/// Stops the process for `length`, longer than its leases, as a machine under a hypervisor may be: when it goes on, its first
/// attempts are zombies that must not finish anything.
pub(super) fn pause(server: &Wellorder, length: Duration) -> Result<()> {
    thread::sleep(BETWEEN_PAUSES);
    signal(server.pid(), "STOP")?;
    thread::sleep(length);
    signal(server.pid(), "CONT")
}

/// How far the processing has come, as the feed tells it.
struct Drain {
    feed: Feed,
    /// Events that say so.
    accepted: usize,
    /// Accepted, and not processed yet.
    open: HashSet<String>,
    /// Of those accepted, sold: each is to be shipped and delivered.
    sold: usize,
    moved_on: usize,
    /// When the last event was seen.
    moved: Instant,
}

impl Drain {
    /// Reads on; whether everything is processed and every follower is at the end.
    fn look(&mut self, stage: &Stage) -> Result<bool> {
        let mut events = Vec::new();
        let read = self.feed.read(&mut events);
        if !events.is_empty() {
            self.moved = Instant::now();
        }
        for event in &events {
            match event.kind.as_str() {
                "order.accepted" => {
                    self.accepted += 1;
                    self.open.insert(event.order_id.clone());
                }
                // Some are told of to be deleted at once: nobody works on those.
                "order.processed" | "order.withdrawn" => drop(self.open.remove(&event.order_id)),
                "order.shipped" | "order.delivered" => self.moved_on += 1,
                _ => {}
            }
            let sold = |(source, _): &(String, String)| source == Door::Sales.source();
            self.sold += usize::from(event.named.as_ref().is_some_and(sold));
        }
        read?;
        let caught_up = gather::followers(stage.address())?.iter().all(|follower| follower.lag == 0);
        let done = self.open.is_empty() && self.moved_on >= 2 * self.sold;
        Ok(caught_up && self.accepted > 0 && done)
    }
}

/// Waits until every order of the journal is processed and every follower has caught up, or time is up; what is
/// missing then shows in the checks.
pub(super) fn drain(setup: &Setup, stage: &Stage) {
    let feed = Feed::new(stage.address());
    let (open, moved) = (HashSet::new(), Instant::now());
    let mut drain = Drain { feed, accepted: 0, open, sold: 0, moved_on: 0, moved };
    wait_until(DRAIN_LIMIT, Duration::from_millis(200), || {
        // A feed that breaks off is read again: it may recover within the limit, else the checks will say so.
        let done = drain.look(stage).unwrap_or(false);
        let stalled = drain.moved.elapsed() > setup.stall();
        stalled || (done && drain.moved.elapsed() > settled(setup))
    });
}

/// How long nothing may move before the end counts as reached: with a held effect, until its answer is back.
fn settled(setup: &Setup) -> Duration {
    match setup.plant.map(|plant| plant.manner) {
        Some(Manner::Hold(held)) => held + Duration::from_secs(1),
        Some(Manner::Mixed) | None => Duration::from_millis(500),
    }
}

/// Reads everything that the checks need; what cannot be read is a violation.
pub(super) fn read_all(stage: &Stage, facts: &mut Facts) -> Result<()> {
    let found = &stage.violations;
    if let Err(fault) = Feed::new(stage.address()).read(&mut facts.feed) {
        let detail = format!("after {} events: {fault:#}", facts.feed.len());
        found.add(Kind::Feed, "/v1/events", detail);
    }
    match gather::followers(stage.address()) {
        Ok(followers) => facts.followers = followers,
        Err(fault) => found.add(Kind::Follower, "/v1/followers", format!("{fault:#}")),
    }
    let mut wanted = Vec::new();
    for known in stage.history.read()?.values() {
        for order_id in &known.order_ids {
            wanted.push((order_id.clone(), known.order.door, known.order.reference.clone()));
        }
    }
    match gather::orders(stage.address(), &wanted) {
        Ok(orders) => facts.orders = orders,
        Err(fault) => found.add(Kind::Refused, "/v1/orders", format!("{fault:#}")),
    }
    if let Some(imported) = &mut facts.imported
        && let Err(fault) = imports::look(stage, imported)
    {
        found.add(Kind::Import, "/v1/imports", format!("{fault:#}"));
    }
    Ok(())
}

/// Waits for every event to arrive at who takes them, and notes what came.
pub(super) fn hear(setup: &Setup, stage: &Stage, receiver: &Receiver, facts: &mut Facts) -> Result<()> {
    let stores = facts.imported.as_ref().map(Imported::stores).unwrap_or_default();
    let due = imports::told(stage, stores)?;
    let all = facts.feed.len() + due.values().sum::<u64>() as usize;
    receiver.wait(all, setup.stall());
    stage.tell("every webhook arrived");
    let (lines, hooked) = receiver.all();
    facts.sinks.insert("the webhook".to_owned(), lines);
    facts.hooked = Some(Hooked { due, ..hooked });
    Ok(())
}

/// `wellorder audit` has the same opinion.
pub(super) fn audit(launch: &Launch, found: &Violations, when: &str) {
    let mut command = launch.command();
    command.args(["audit", "--json", "--data"]).arg(&launch.data);
    let (code, out) = match capture(&mut command) {
        Ok(ran) => ran,
        Err(fault) => return found.add(Kind::Audit, when, format!("{fault:#}")),
    };
    let report: Value = serde_json::from_str(&out).unwrap_or_default();
    if code == Some(0) && report["ok"] == true {
        return;
    }
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    if findings.is_empty() {
        found.add(Kind::Audit, when, format!("exit code {code:?}: {out}"));
    }
    for finding in findings.iter().take(5) {
        found.add(Kind::Audit, when, finding.to_string());
    }
}

/// SIGTERM drains and exits 0: all at once.
pub(super) fn stop<'s>(servers: impl IntoIterator<Item = &'s mut Wellorder>, found: &Violations) {
    let servers: Vec<_> = servers.into_iter().map(|server| (server.ask_to_end(), server)).collect();
    for (asked, server) in servers {
        match asked.and_then(|()| server.ends(STOP_LIMIT)) {
            Ok(Some(0)) => {}
            Ok(code) => found.add(Kind::Stop, "SIGTERM", format!("exit code {code:?}")),
            Err(fault) => found.add(Kind::Stop, "SIGTERM", format!("{fault:#}")),
        }
    }
}

pub(super) fn sum_up(setup: &Setup, facts: &Facts, stage: &Stage, killed: Killed) -> Summary {
    let by = |door: Option<Door>| {
        let is = |known: &&Known| door.is_none_or(|door| known.order.door == door);
        facts.history.values().filter(|known| !known.order_ids.is_empty()).filter(is).count()
    };
    let mut summary = Summary {
        seed: setup.seed,
        plant: setup.plant.map(|plant| plant.name.to_owned()),
        kills: killed.of_nodes(),
        kills_at_random: killed.at_random,
        pauses: setup.pauses(),
        acknowledged: by(None),
        acknowledged_by_key: by(Some(Door::Keyed)),
        acknowledged_in_bulk: by(Some(Door::Bulk)),
        requests_repeated: stage.repeated.load(Ordering::Relaxed),
        effects: facts.effects.values().filter(|effect| effect.taken > 0).count(),
        effects_repeated: facts.effects.values().map(|effect| effect.taken.saturating_sub(1)).sum(),
        events: facts.feed.len(),
        sinks: facts.sinks.iter().map(|(name, lines)| (name.clone(), carried(lines))).collect(),
        imported: facts.imported.as_ref().map(Imported::counts),
        hooked: facts.hooked.as_ref().map(Hooked::counts),
        kills_by_role: killed.by_role,
        crashes: killed.crashes,
        kills_at_points: killed.at_points,
        ..Summary::default()
    };
    let violations = stage.violations.all();
    summary.take(&violations);
    if summary.acknowledged == 0 && violations.is_empty() {
        stage.violations.add(Kind::Process, "load", "not one order was acknowledged: nothing was shown");
        summary.take(&stage.violations.all());
    }
    summary
}

fn carried(lines: &[SinkLine]) -> Carried {
    let known = lines.iter().filter_map(|line| line.event.as_ref().ok());
    let different: HashSet<&str> = known.map(|event| event.event_id.as_str()).collect();
    Carried { lines: lines.len(), repeated: lines.len().saturating_sub(different.len()) }
}

/// Removes the folder, unless there is something to look at.
pub(super) fn leave(setup: &Setup, folder: &Path, summary: &Summary) -> Result<()> {
    let expected = setup.plant.is_some_and(|plant| summary.found(plant.caught_as));
    if setup.keep || !(summary.clean() || expected) {
        eprintln!("data, history and log are kept in {}", folder.display());
        return Ok(());
    }
    fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
}
