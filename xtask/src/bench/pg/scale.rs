//! P8: intake, processing and look-ups with very many orders in the database, beside the same with few. P9 on PostgreSQL
//! over the same.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::super::figure::{Goal, Report};
use super::super::intake::warm_up;
use super::super::{Bench, quietly, reads, wrk};
use super::work::{ready, work_off};
use super::{database_of, fill};

/// Few orders.
const FEW: usize = 10_000;
/// Where there are many.
const MANY: &str = "scale-many";
/// Orders that are looked up in turn: of many, from all over the table.
const SOME_IDS: &str = "SELECT order_id FROM orders TABLESAMPLE SYSTEM (1)";
const ALL_IDS: &str = "SELECT order_id FROM orders";
/// Orders that there are, and pages that were not in the memory of the database.
const ORDERS: &str = "SELECT sum(orders) FROM tallies";
const PAGES: &str = "SELECT sum(heap_blks_read + idx_blks_read) FROM pg_statio_user_tables";
/// Orders in work at once.
const BATCH: &str = "500";

/// What was measured with so many orders.
#[derive(Default)]
struct Size {
    intake: Vec<f64>,
    /// Bytes of the database's log, and pages it had to ask the system for, an order taken in.
    log: Vec<f64>,
    pages: Vec<f64>,
    work: Vec<f64>,
    look_ups: Vec<f64>,
}

/// Measures P8 and P9, whichever of them is wanted.
pub(crate) fn measure(bench: &Bench, (p8, p9): (bool, bool), report: &mut Report) -> Result<()> {
    println!("a database with {} orders", bench.fill);
    fill::check(bench)?;
    let began = Instant::now();
    let orders = fill::fill(bench, MANY, bench.fill)?;
    if orders != bench.fill {
        bail!("{} orders cannot be filled in, but {orders} can", bench.fill);
    }
    report.add(
        "fill",
        "seconds to fill the database",
        "s",
        vec![began.elapsed().as_secs_f64()],
        Goal::None,
        false,
    );
    let database = database_of(MANY);
    let bytes = bench.postgres()?.number(&database, "SELECT pg_database_size(current_database())")?;
    let gib = bytes / (1024.0 * 1024.0 * 1024.0);
    report.add(
        "fill",
        format!("size of the database with {orders} orders"),
        "GiB",
        vec![gib],
        Goal::None,
        false,
    );
    if p9 {
        let env = [("WELLORDER_SIMULATE_DELAY_MS", "0"), ("WELLORDER_NDJSON_PATH", "")];
        reads::measure(bench, &bench.launch_on(MANY, "scale-reads", &[], &env)?, report)?;
    }
    if p8 {
        sizes(bench, orders, report)?;
    }
    bench.postgres()?.drop(&database)
}

fn sizes(bench: &Bench, orders: usize, report: &mut Report) -> Result<()> {
    println!("P8: the same with {FEW} and with {orders} orders");
    let (mut few, mut many, mut noisy) = (Size::default(), Size::default(), false);
    for _ in 0..bench.runs {
        fill::fill(bench, "scale-few", FEW)?;
        for (name, size) in [("scale-few", &mut few), (MANY, &mut many)] {
            noisy |= once(bench, name, size)?;
        }
        bench.postgres()?.drop(&database_of("scale-few"))?;
    }
    for (what, unit, few, many) in [
        ("… log of the database an order taken in", "bytes", few.log, many.log),
        ("… pages that it asks the system for, an order", "", few.pages, many.pages),
    ] {
        report.add("P8", format!("{what}: {FEW} orders"), unit, few, Goal::None, noisy);
        report.add("P8", format!("{what}: {orders} orders"), unit, many, Goal::None, noisy);
    }
    for (what, unit, few, many) in [
        ("intake, 64 connections", "orders/s", few.intake, many.intake),
        ("a backlog worked off", "orders/s", few.work, many.work),
        ("look-ups by id, 64 connections", "/s", few.look_ups, many.look_ups),
    ] {
        let ratios = many.iter().zip(&few).map(|(many, few)| many / few).collect();
        report.add("P8", format!("{what}: {FEW} orders"), unit, few, Goal::None, noisy);
        report.add("P8", format!("{what}: {orders} orders"), unit, many, Goal::None, noisy);
        report.add("P8", format!("{what}: many ÷ few"), "", ratios, Goal::AtLeast(0.9), noisy);
    }
    Ok(())
}

/// Takes orders in, works them off, looks some up; returns whether the machine was not quiet.
fn once(bench: &Bench, name: &str, size: &mut Size) -> Result<bool> {
    let (postgres, database) = (bench.postgres()?, database_of(name));
    postgres.checkpoint()?;
    let node = format!("{name}-api");
    let launch = bench.launch_on(name, &node, &["--role", "api"], &[])?;
    let mut server = ready(&launch)?;
    let run = format!("{name}-{}", size.intake.len());
    warm_up(server.address, "/v1/orders", false)?;
    let mut tries = 0;
    let used = || -> Result<[f64; 3]> {
        Ok([postgres.number(&database, ORDERS)?, postgres.wal_bytes()?, postgres.number(&database, PAGES)?])
    };
    let before = used()?;
    let intake = quietly(|| {
        tries += 1;
        wrk::load(server.address, "/v1/orders", false, &format!("{run}-{tries}"), bench.seconds())
    })?;
    size.intake.push(intake.value.per_second);
    let after = used()?;
    let orders = after[0] - before[0];
    size.log.push((after[1] - before[1]) / orders);
    size.pages.push((after[2] - before[2]) / orders);
    let ids = bench.folder.join("ids");
    let sample = if name == MANY { SOME_IDS } else { ALL_IDS };
    std::fs::write(&ids, postgres.ask(&database, sample)?).context("cannot write the ids")?;
    let look_ups = quietly(|| wrk::look_up(server.address, &ids, bench.seconds()))?;
    size.look_ups.push(look_ups.value.per_second);
    server.terminate(Duration::from_secs(30))?;
    let waiting = postgres.number(&database, "SELECT sum(queued) FROM tallies")? as usize;
    // What is worked off cannot be worked off again.
    size.work.push(work_off(bench, name, waiting, BATCH)?);
    Ok(intake.noisy || look_ups.noisy)
}
