//! P4: processing on PostgreSQL with a processor that does nothing, from the claim to the settled end with its event: a
//! backlog that is worked off, and intake and work at once. Beside River, which does both, and a figure of graphile-worker.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use super::super::figure::{Goal, Report};
use super::super::{Bench, fill, quietly};
use super::river::{Mode, jobs_per_second};
use super::{Session, database_of};
use crate::server::{Launch, Wellorder, log_tail};

/// graphile-worker 0.18.0 with batches, four processes, unfenced and without history, on the machine of the goals on another
/// day.
const GRAPHILE: f64 = 53_800.0;
/// Orders in work at once, as of River's jobs.
const BATCH: &str = "500";
/// Work that waits at most while orders come in: as `river bench` does it.
const OPEN_MAX: u64 = 75_000;
/// Bulk requests at once, and orders in each.
const SENDERS: usize = 2;
const LINES: usize = 500;
/// Longest wait for a backlog to be worked off.
const DONE_LIMIT: Duration = Duration::from_secs(600);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

const QUEUED: &str = "SELECT coalesce(sum(queued), 0) FROM tallies";
const PROCESSED: &str = "SELECT coalesce(sum(processed), 0) FROM tallies";

/// The processes of a layout: the roles of each.
type Layout = &'static [&'static [&'static str]];
/// As the guide has it for production.
const APART: Layout = &[&["--role", "api"], &["--role", "worker"]];
const TOGETHER: Layout = &[&["--role", "api", "--role", "worker"]];

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    println!("P4: processing on PostgreSQL");
    let jobs = if bench.quick { 20_000 } else { 200_000 };
    let mut figures: [Vec<f64>; 6] = Default::default();
    let mut noisy = false;
    for run in 0..bench.runs {
        let [river, down, default, both, apart, together] = &mut figures;
        let mut measured = |values: &mut Vec<f64>, measure: &dyn Fn() -> Result<f64>| -> Result<()> {
            let once = quietly(measure)?;
            noisy |= once.noisy;
            values.push(once.value);
            Ok(())
        };
        measured(river, &|| jobs_per_second(bench, Mode::BurnDown(jobs)))?;
        measured(down, &|| burn_down(bench, &format!("p4-down-{run}"), jobs, BATCH))?;
        measured(default, &|| burn_down(bench, &format!("p4-default-{run}"), jobs / 2, "100"))?;
        measured(both, &|| jobs_per_second(bench, Mode::Both(bench.seconds() + 6)))?;
        measured(apart, &|| at_once(bench, &format!("p4-apart-{run}"), APART))?;
        measured(together, &|| at_once(bench, &format!("p4-together-{run}"), TOGETHER))?;
    }
    let [river, down, default, both, apart, together] = figures;
    let ratio = |ours: &[f64], peer: &[f64]| ours.iter().zip(peer).map(|(a, b)| a / b).collect::<Vec<_>>();
    let to_graphile = down.iter().map(|rate| rate / GRAPHILE).collect();
    let (to_river, to_bench) = (ratio(&down, &river), ratio(&apart, &both));
    let mut add = |what: &str, unit, values, goal| report.add("P4", what, unit, values, goal, noisy);
    add("River, a backlog worked off", "jobs/s", river, Goal::None);
    add("a backlog worked off by one worker, worker.batch_size 500", "orders/s", down, Goal::None);
    add("… with its default of 100", "orders/s", default, Goal::None);
    add("… (500) ÷ River", "", to_river, Goal::AtLeast(2.0));
    add("… (500) ÷ graphile-worker in batches, as measured another day", "", to_graphile, Goal::AtLeast(0.7));
    add("River, jobs inserted and worked at once", "jobs/s", both, Goal::None);
    add("bulk intake and work at once, api and worker apart", "orders/s", apart, Goal::None);
    add("bulk intake and work at once, one process", "orders/s", together, Goal::None);
    add("… apart ÷ River", "", to_bench, Goal::AtLeast(2.0));
    Ok(())
}

/// Orders a second that a worker gets through which finds `orders` waiting.
fn burn_down(bench: &Bench, name: &str, orders: usize, batch: &str) -> Result<f64> {
    let launch = bench.launch(name, &["--role", "api"], &[])?;
    let mut server = ready(&launch)?;
    fill::place(server.address, "work", orders)?;
    server.terminate(Duration::from_secs(30))?;
    let rate = work_off(bench, name, orders, batch)?;
    bench.discard(&launch)?;
    Ok(rate)
}

/// Orders a second that a worker gets through on the database of `on`, where `orders` wait.
pub(super) fn work_off(bench: &Bench, on: &str, orders: usize, batch: &str) -> Result<f64> {
    let (postgres, database) = (bench.postgres()?, database_of(on));
    postgres.ask(&database, "VACUUM ANALYZE work")?;
    postgres.checkpoint()?;
    let env = [("WELLORDER_SIMULATE_DELAY_MS", "0"), ("WELLORDER_WORKER_BATCH_SIZE", batch)];
    let launch = bench.launch_on(on, &format!("{on}-worker"), &["--role", "worker"], &env)?;
    let mut session = postgres.session(&database)?;
    let waiting = session.number(QUEUED)?;
    if (waiting - orders as f64).abs() > 0.5 {
        bail!("{waiting} orders wait, and should be {orders}");
    }
    let began = Instant::now();
    let mut worker = launch.start(&[])?;
    while session.number(QUEUED)? > 0.0 {
        if began.elapsed() > DONE_LIMIT {
            bail!("the work is not done after {} s:\n{}", DONE_LIMIT.as_secs(), log_tail(&launch.log, 20));
        }
        thread::sleep(LOOK_EVERY);
    }
    let rate = orders as f64 / began.elapsed().as_secs_f64();
    worker.terminate(Duration::from_secs(30))?;
    if launch.data.exists() {
        std::fs::remove_dir_all(&launch.data).context("cannot remove the data of the worker")?;
    }
    Ok(rate)
}

/// Orders a second that are processed while others keep coming in.
fn at_once(bench: &Bench, name: &str, layout: Layout) -> Result<f64> {
    let postgres = bench.postgres()?;
    postgres.create(&database_of(name))?;
    let env = [("WELLORDER_SIMULATE_DELAY_MS", "0"), ("WELLORDER_WORKER_BATCH_SIZE", BATCH)];
    let launches: Vec<Launch> = layout
        .iter()
        .enumerate()
        .map(|(nth, roles)| bench.launch_on(name, &format!("{name}-{nth}"), roles, &env))
        .collect::<Result<_>>()?;
    let mut nodes: Vec<Wellorder> = launches.iter().map(ready).collect::<Result<_>>()?;
    let mut session = postgres.session(&database_of(name))?;
    let rate = pour(bench, &nodes, &mut session);
    for node in &mut nodes {
        node.terminate(Duration::from_secs(30))?;
    }
    drop(session);
    for launch in launches.iter().filter(|launch| launch.data.exists()) {
        std::fs::remove_dir_all(&launch.data).context("cannot remove the data of a node")?;
    }
    postgres.drop(&database_of(name))?;
    rate
}

/// Sends orders to the first node as long as not too many wait, and counts what is processed meanwhile, but for the first
/// three seconds.
fn pour(bench: &Bench, nodes: &[Wellorder], session: &mut Session) -> Result<f64> {
    let address = nodes.first().context("no node")?.address;
    let (ended, open, next) = (AtomicBool::new(false), AtomicU64::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut sender = fill::Sender::new(address, "pour");
                    while !ended.load(Ordering::Relaxed) {
                        if open.load(Ordering::Relaxed) > OPEN_MAX {
                            thread::sleep(LOOK_EVERY);
                            continue;
                        }
                        sender.send(next.fetch_add(LINES, Ordering::Relaxed), LINES)?;
                    }
                    Ok(())
                })
            })
            .collect();
        let counted = count(bench, session, &open);
        ended.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked")))?;
        }
        counted
    })
}

fn count(bench: &Bench, session: &mut Session, open: &AtomicU64) -> Result<f64> {
    look(session, open, Duration::from_secs(3))?;
    let began = Instant::now();
    let before = session.number(PROCESSED)?;
    look(session, open, Duration::from_secs(bench.seconds()))?;
    Ok((session.number(PROCESSED)? - before) / began.elapsed().as_secs_f64())
}

/// Looks for so long how much waits.
fn look(session: &mut Session, open: &AtomicU64, length: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < length {
        open.store(session.number(QUEUED)? as u64, Ordering::Relaxed);
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Starts a node and waits until it is ready.
pub(super) fn ready(launch: &Launch) -> Result<Wellorder> {
    let mut server = launch.start(&[])?;
    if !server.ready_within(Duration::from_secs(30)) {
        bail!("wellorder did not become ready:\n{}", log_tail(&launch.log, 20));
    }
    Ok(server)
}
