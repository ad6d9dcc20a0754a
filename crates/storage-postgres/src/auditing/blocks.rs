//! What says something of many rows: runs of texts, and from when to when blocks of events are.

use super::strays::finding;
use crate::error::Tried;
use crate::readers::Readers;
use crate::rows::{big, small};
use crate::span::BLOCK;
use crate::tips::Tips;
use order_core::audit::Finding;

/// Runs, and the ids in their blocks.
const RUNS: &str = "SELECT r.run, r.orders, (SELECT coalesce(sum(cardinality(b.order_ids)), 0) FROM term_blocks b \
       WHERE b.run = r.run AND b.field = 0)::bigint FROM term_runs r WHERE r.run > $1 ORDER BY r.run LIMIT $2";
/// Each has some thousands of blocks.
const RUNS_AT_ONCE: i64 = 4;

/// The full blocks `$2` to `$3` of a shard that are not kept as they are.
const SPANS: &str = "SELECT b.block FROM generate_series($2::bigint, $3::bigint) AS b (block) \
     LEFT JOIN spans s ON s.shard = $1 AND s.block = b.block \
     CROSS JOIN LATERAL (SELECT max(j.occurred_at) AS latest, \
       min(j.occurred_at) FILTER (WHERE j.type = 'order.accepted') AS accepted_from, \
       max(j.occurred_at) FILTER (WHERE j.type = 'order.accepted') AS accepted_to, count(*) \
       FROM events($1::smallint, b.block * 1024 - 1, b.block * 1024 + 1023) j) j \
     WHERE s.block IS NULL OR s.accepted_from IS DISTINCT FROM j.accepted_from \
     OR s.accepted_to IS DISTINCT FROM j.accepted_to \
     OR s.latest IS DISTINCT FROM greatest(j.latest, (SELECT p.latest FROM spans p WHERE p.shard = $1 \
       AND p.block = b.block - 1)) ORDER BY b.block";
const SPANS_AT_ONCE: u64 = 32;

/// Every order is entered once by its id, in what is packed or in what waits.
pub(super) async fn terms(readers: &Readers) -> Tried<Vec<Finding>> {
    let mut findings = Vec::new();
    let counts = readers
        .get()
        .await?
        .query_one(
            "SELECT (SELECT coalesce(sum(orders), 0) FROM tallies)::bigint, \
             ((SELECT coalesce(sum(orders), 0) FROM term_runs) + (SELECT coalesce(sum(orders), 0) FROM term_tail))::bigint",
            &[],
        )
        .await?;
    let (orders, entered): (i64, i64) = (counts.try_get(0)?, counts.try_get(1)?);
    if orders != entered {
        let detail = format!("texts of {entered} orders are kept, there are {orders} orders");
        findings.push(finding("terms", "term_runs".to_owned(), detail));
    }
    let mut after = i64::MIN;
    loop {
        let runs = readers.get().await?.query(RUNS, &[&after, &RUNS_AT_ONCE]).await?;
        let Some(last) = runs.last() else { return Ok(findings) };
        after = last.try_get(0)?;
        for row in &runs {
            let (run, orders, entered): (i64, i32, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            if i64::from(orders) != entered {
                let detail = format!("has {entered} ids of {orders} orders");
                findings.push(finding("terms", format!("run {run}"), detail));
            }
        }
    }
}

/// A block that is full is kept, as its events are.
pub(super) async fn spans(readers: &Readers, tips: &Tips) -> Tried<Vec<Finding>> {
    let mut findings = Vec::new();
    for head in tips.heads(&*readers.get().await?, false).await? {
        // The block of the floor is not whole any more.
        let (mut block, full) = (head.floor.div_ceil(BLOCK), (head.position + 1) / BLOCK);
        while block < full {
            let last = (block + SPANS_AT_ONCE).min(full) - 1;
            let values: crate::connect::Values<'_> = &[&small(head.shard), &big(block), &big(last)];
            for row in &readers.get().await?.query(SPANS, values).await? {
                let wrong: i64 = row.try_get(0)?;
                let detail = format!("what is kept of block {wrong} is not so");
                let shard = Some(head.shard);
                findings.push(Finding { shard, ..finding("spans", format!("block {wrong}"), detail) });
            }
            block = last + 1;
        }
    }
    Ok(findings)
}
