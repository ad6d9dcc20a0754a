//! Packing of terms: what commits left becomes a run, and small runs become larger ones. One step is one transaction, and
//! short: whoever erases an order waits for it. Sorted here, not by the server, which needs several times as long for it.

use super::BLOCK;
use crate::connect::{Conn, Purpose, Target};
use crate::error::Tried;
use order_core::ids::check_text;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

/// How long nobody need say that there is something to pack.
const PAUSE: Duration = Duration::from_secs(30);
/// Least time from one look to the next: commits follow each other faster than there is anything to pack.
const GAP: Duration = Duration::from_millis(50);
/// Rows that wait at most: a look-up reads all of them.
const PARTS: i64 = 64;
/// And orders in them.
const ORDERS: i64 = 16_384;
/// With fewer rows that wait, there is time for what can wait.
const QUIET: i64 = 16;

const LATCH: &str = "SELECT FROM latches WHERE name = 'terms' FOR UPDATE SKIP LOCKED";

const TAIL: &str = "SELECT coalesce(array_agg(t.part), '{}'), coalesce(sum(t.orders), 0)::bigint \
     FROM (SELECT part, orders FROM term_tail ORDER BY part LIMIT $1) t";

const TAKE_TAIL: &str = "DELETE FROM term_tail WHERE part = ANY ($1) \
     RETURNING tenants, order_ids, numbers, news, refs, customers";

/// The smallest runs of fewer orders than `$1`, if there are `$2` such, as many as have `$3` orders.
const SMALL: &str = "SELECT coalesce(array_agg(r.run), '{}'), coalesce(max(r.total), 0)::bigint FROM ( \
       SELECT run, sum(orders) OVER (ORDER BY orders, run) AS total, count(*) OVER () AS small \
       FROM term_runs WHERE orders < $1::bigint) r WHERE r.small >= $2 AND r.total <= $3";

const TAKE_RUNS: &str =
    "DELETE FROM term_blocks WHERE run = ANY ($1) RETURNING tenant, field, texts, ranks, order_ids";

const FORGET_RUNS: &str = "DELETE FROM term_runs WHERE run = ANY ($1)";

const ADD_RUN: &str = "INSERT INTO term_runs (orders) VALUES ($1) RETURNING run";

/// A statement for each block would cost several times as much: a run of 16,384 orders has 1,536 of them.
const ADD_BLOCKS: &str = "COPY term_blocks (run, tenant, field, last, last_rank, texts, ranks, order_ids) \
     FROM STDIN (FORMAT binary)";

const BLOCK_TYPES: [Type; 8] = [
    Type::INT8,
    Type::TEXT,
    Type::INT2,
    Type::TEXT,
    Type::INT8,
    Type::TEXT_ARRAY,
    Type::INT8_ARRAY,
    Type::UUID_ARRAY,
];

/// When runs are merged: once there are so many with fewer orders, the smallest of them, up to so many orders.
struct Merge {
    below: i64,
    runs: i64,
    orders: i64,
}

/// What a quiet time leaves: many commits of few orders each.
const OFTEN: Merge = Merge { below: ORDERS / 2, runs: 16, orders: ORDERS };
/// So that there are fewer runs to ask.
const WHEN_QUIET: Merge = Merge { below: 49_152, runs: 16, orders: 65_536 };

/// Packs terms for as long as it is kept.
pub(crate) struct Packer {
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Packer {
    pub(crate) fn start(target: Target) -> Self {
        let wake = Arc::new(Notify::new());
        let task = tokio::spawn(run(target, Arc::clone(&wake)));
        Self { wake, task }
    }

    /// Says that there may be something to pack.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(target: Target, wake: Arc<Notify>) {
    let mut conn = None;
    loop {
        drop(tokio::time::timeout(PAUSE, wake.notified()).await);
        if let Err(trouble) = pack_all(&target, &mut conn).await {
            // Nothing is lost: what is not packed is found where it waits, though not as fast.
            tracing::warn!(?trouble, "texts of orders could not be packed");
            tokio::time::sleep(PAUSE).await;
        }
        tokio::time::sleep(GAP).await;
    }
}

/// Packs as long as there is something to pack. After an error the connection is given up.
async fn pack_all(target: &Target, slot: &mut Option<Conn>) -> Tried<()> {
    let conn = match slot.take().filter(|conn| !conn.is_closed()) {
        Some(conn) => conn,
        None => target.connect(Purpose::Write).await?,
    };
    loop {
        conn.run("BEGIN").await?;
        let packed = step(&conn).await?;
        conn.run("COMMIT").await?;
        if !packed {
            *slot = Some(conn);
            return Ok(());
        }
    }
}

/// One step, if nobody else is at it; returns whether anything was done.
async fn step(conn: &Conn) -> Tried<bool> {
    if conn.query_opt(LATCH, &[]).await?.is_none() {
        return Ok(false);
    }
    let tail = conn.query_one(TAIL, &[&PARTS]).await?;
    let (parts, orders): (Vec<i64>, i64) = (tail.try_get(0)?, tail.try_get(1)?);
    let waiting = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    if waiting >= PARTS || orders >= ORDERS {
        let mut entries = Vec::new();
        for row in &conn.query(TAKE_TAIL, &[&parts]).await? {
            take_part(row, &mut entries)?;
        }
        write(conn, entries, orders).await?;
        return Ok(true);
    }
    Ok(merge(conn, &OFTEN).await? || (waiting < QUIET && merge(conn, &WHEN_QUIET).await?))
}

async fn merge(conn: &Conn, when: &Merge) -> Tried<bool> {
    let small = conn.query_one(SMALL, &[&when.below, &when.runs, &when.orders]).await?;
    let (runs, orders): (Vec<i64>, i64) = (small.try_get(0)?, small.try_get(1)?);
    if runs.len() < 2 {
        return Ok(false);
    }
    let mut entries = Vec::new();
    for row in &conn.query(TAKE_RUNS, &[&runs]).await? {
        let (tenant, field): (Arc<str>, i16) = (Arc::from(row.try_get::<_, &str>(0)?), row.try_get(1)?);
        let (texts, ranks, order_ids): (Vec<String>, Vec<i64>, Vec<Uuid>) =
            (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        for ((text, rank), order_id) in texts.into_iter().zip(ranks).zip(order_ids) {
            entries.push(Entry { tenant: Arc::clone(&tenant), field, text, rank, order_id });
        }
    }
    conn.execute(FORGET_RUNS, &[&runs]).await?;
    write(conn, entries, orders).await?;
    Ok(true)
}

/// Compared in the order of the table's key.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tenant: Arc<str>,
    field: i16,
    text: String,
    rank: i64,
    order_id: Uuid,
}

/// The entries of a row that a commit left.
fn take_part(row: &Row, entries: &mut Vec<Entry>) -> Tried<()> {
    let (tenants, order_ids): (Vec<&str>, Vec<Uuid>) = (row.try_get(0)?, row.try_get(1)?);
    let (numbers, news): (Vec<i64>, Vec<bool>) = (row.try_get(2)?, row.try_get(3)?);
    let (references, customers): (Vec<Option<String>>, Vec<Option<String>>) =
        (row.try_get(4)?, row.try_get(5)?);
    let orders = tenants.iter().zip(order_ids).zip(numbers).zip(news).zip(references).zip(customers);
    let mut tenant: Arc<str> = Arc::from("");
    for (((((of, order_id), number), new), reference), customer) in orders {
        if *tenant != **of {
            tenant = Arc::from(*of);
        }
        let texts = [new.then(|| order_id.to_string()), reference, customer];
        for (field, text) in (0..).zip(texts) {
            let entry = |text| Entry { tenant: Arc::clone(&tenant), field, text, rank: -number, order_id };
            entries.extend(text.map(entry));
        }
    }
    Ok(())
}

/// Orders of a run that is not merged any more.
pub(crate) const RUN_ORDERS: usize = 65_536;

/// The texts of an order that was carried over.
pub(crate) struct Texts {
    pub(crate) tenant: Arc<str>,
    pub(crate) order_id: Uuid,
    pub(crate) number: i64,
    pub(crate) reference: Option<String>,
    pub(crate) customer: Option<String>,
}

/// Writes a run of orders that were carried over, each entered as a commit would enter it new.
pub(crate) async fn write_run(conn: &Conn, orders: Vec<Texts>) -> Tried<()> {
    let count = i64::try_from(orders.len()).unwrap_or(i64::MAX);
    let mut entries = Vec::with_capacity(3 * orders.len());
    for Texts { tenant, order_id, number, reference, customer } in orders {
        let customer = customer.filter(|customer| check_text(customer).is_ok());
        let texts = [Some(order_id.to_string()), reference, customer];
        for (field, text) in (0..).zip(texts) {
            let entry = |text| Entry { tenant: Arc::clone(&tenant), field, text, rank: -number, order_id };
            entries.extend(text.map(entry));
        }
    }
    write(conn, entries, count).await
}

/// Writes a run.
async fn write(conn: &Conn, mut entries: Vec<Entry>, orders: i64) -> Tried<()> {
    // What is merged lies in sorted pieces already.
    entries.sort();
    entries.dedup();
    let orders = i32::try_from(orders).unwrap_or(i32::MAX);
    let run: i64 = conn.query_one(ADD_RUN, &[&orders]).await?.try_get(0)?;
    let block = usize::try_from(BLOCK).unwrap_or(1);
    let blocks = BinaryCopyInWriter::new(conn.client().copy_in(ADD_BLOCKS).await?, &BLOCK_TYPES);
    tokio::pin!(blocks);
    for alike in entries.chunk_by(|one, other| one.tenant == other.tenant && one.field == other.field) {
        for block in alike.chunks(block) {
            let Some(last) = block.last() else { continue };
            let texts: Vec<&str> = block.iter().map(|entry| entry.text.as_str()).collect();
            let ranks: Vec<i64> = block.iter().map(|entry| entry.rank).collect();
            let order_ids: Vec<Uuid> = block.iter().map(|entry| entry.order_id).collect();
            let row: [&(dyn ToSql + Sync); 8] =
                [&run, &&*last.tenant, &last.field, &last.text, &last.rank, &texts, &ranks, &order_ids];
            blocks.as_mut().write(&row).await?;
        }
    }
    blocks.finish().await?;
    Ok(())
}
