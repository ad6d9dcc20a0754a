//! A database with very many orders: some are taken in and processed by the server, the rest are copies of them
//! (`bench/fill.sql`). Of a sample that is made the same way the audit must find nothing wrong.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::{Bench, fill};
use super::database_of;
use super::work::ready;
use crate::shell::{capture, wait_until};
use crate::workspace;

/// Orders that the server itself takes in: as many as there are customers, so that a copy differs from its original in
/// nothing that its digest is made of.
const ORIGINALS: usize = fill::CUSTOMERS;
/// Makes one more block of copies, and says how many are left.
const NEXT: &str = "SELECT fill.next()";
/// Longest wait for them to be processed.
const DONE_LIMIT: Duration = Duration::from_secs(600);

fn originals(bench: &Bench) -> usize {
    if bench.quick { 2_000 } else { ORIGINALS }
}

/// Fills the database of `name`, at least with as many orders as the server takes in; returns how many there are.
pub(super) fn fill(bench: &Bench, name: &str, orders: usize) -> Result<usize> {
    let originals = orders.min(originals(bench));
    let blocks = orders / originals;
    take_in(bench, name, originals)?;
    if blocks > 1 {
        copy(bench, name, blocks)?;
    }
    let (postgres, database) = (bench.postgres()?, database_of(name));
    postgres.ask(&database, "VACUUM ANALYZE")?;
    postgres.checkpoint()?;
    Ok(originals * blocks)
}

/// Fills a small database and has it audited: copies must be what the server would have made.
pub(super) fn check(bench: &Bench) -> Result<()> {
    let name = "scale-sample";
    let orders = fill(bench, name, 2 * originals(bench))?;
    let launch = bench.launch_on(name, name, &[], &[])?;
    let (code, out) = capture(launch.command().args(["audit", "--json"]))?;
    if code != Some(0) {
        let out: String = out.chars().take(2_000).collect();
        bail!("the audit of a database that was filled finds: {out}");
    }
    println!("  the audit of {orders} orders that were filled in finds nothing wrong");
    bench.discard(&launch)
}

fn take_in(bench: &Bench, name: &str, orders: usize) -> Result<()> {
    let env = [("WELLORDER_SIMULATE_DELAY_MS", "0"), ("WELLORDER_WORKER_BATCH_SIZE", "500")];
    let launch = bench.launch(name, &["--role", "api", "--role", "worker"], &env)?;
    let mut server = ready(&launch)?;
    fill::place(server.address, fill::FILL, orders)?;
    let mut session = bench.postgres()?.session(&database_of(name))?;
    let mut asked = Ok(1.0);
    let done = wait_until(DONE_LIMIT, Duration::from_millis(200), || {
        asked = session.number("SELECT sum(queued) FROM tallies");
        !matches!(asked, Ok(queued) if queued > 0.0)
    });
    asked?;
    if !done {
        bail!("the orders of the fill are not processed after {} s", DONE_LIMIT.as_secs());
    }
    // What packs texts behind the commits comes to an end.
    thread::sleep(Duration::from_secs(2));
    server.terminate(Duration::from_secs(60))?;
    if launch.data.exists() {
        std::fs::remove_dir_all(&launch.data).context("cannot remove the data of the fill")?;
    }
    Ok(())
}

fn copy(bench: &Bench, name: &str, blocks: usize) -> Result<()> {
    let (postgres, database) = (bench.postgres()?, database_of(name));
    let file = workspace::root().join("bench/fill.sql");
    postgres.file(&database, &file, &[("blocks", blocks.to_string())])?;
    let mut session = postgres.session(&database)?;
    session.number("SET synchronous_commit = off; SET work_mem = '256MB'; SET jit = off; SELECT 0")?;
    let began = Instant::now();
    loop {
        let left = session.number(NEXT)? as usize;
        if left == 0 {
            break;
        }
        if left.is_multiple_of(20) {
            println!("  {left} of {blocks} blocks left after {:.0} s", began.elapsed().as_secs_f64());
        }
    }
    drop(session);
    postgres.ask(&database, "SELECT fill.finish()")?;
    postgres.ask(&database, "DROP SCHEMA fill CASCADE").map(drop)
}
