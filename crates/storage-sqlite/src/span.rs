//! Moments and places. Orders lie in the order of acceptance and events in that of their commits, which is nearly, but
//! not surely, the order of their times: clocks are set, and commands wait before they are committed. So of each block of
//! them it is kept from when to when it is, and a search by time looks at the blocks that may hold what is asked for.

use crate::rows::{place, position};
use order_core::Timestamp;
use order_core::ids::Shard;
use order_core::query::OrderQuery;
use rusqlite::{Connection, params};
use std::ops::RangeInclusive;

/// Orders, or events, of a block.
pub(crate) const BLOCK: i64 = 1_024;

/// Keeps the times of the blocks of orders that were filled by the numbers `first` to `newest`, inside of a transaction.
pub(crate) fn keep_orders(conn: &Connection, first: i64, newest: i64) -> rusqlite::Result<()> {
    for block in first / BLOCK..(newest + 1) / BLOCK {
        conn.prepare_cached(
            "INSERT INTO order_blocks SELECT ?1, min(accepted_at), max(accepted_at) FROM orders \
             WHERE number BETWEEN ?2 AND ?3 HAVING count(*) > 0",
        )?
        .execute(params![block, block * BLOCK, block * BLOCK + BLOCK - 1])?;
    }
    Ok(())
}

/// Keeps the times of the blocks of a shard's events that were filled by the positions `first` to `newest`.
pub(crate) fn keep_events(conn: &Connection, shard: Shard, first: u64, newest: u64) -> rusqlite::Result<()> {
    let block_of = |position: u64| i64::try_from(position).unwrap_or(i64::MAX - 1) / BLOCK;
    for block in block_of(first)..block_of(newest + 1) {
        let start = place(shard, u64::try_from(block * BLOCK).unwrap_or(0));
        conn.prepare_cached(
            "INSERT INTO journal_blocks SELECT ?1, ?2, max(coalesce(max(occurred_at), 0), \
             coalesce((SELECT latest FROM journal_blocks WHERE shard = ?1 AND block < ?2 \
                       ORDER BY block DESC LIMIT 1), 0)) \
             FROM journal WHERE place BETWEEN ?3 AND ?4",
        )?
        .execute(params![shard.0, block, start, start + BLOCK - 1])?;
    }
    Ok(())
}

/// The numbers among which all orders lie that were accepted in the time that is asked for; `None` when there are none.
pub(crate) fn numbers(
    conn: &Connection,
    query: &OrderQuery,
) -> rusqlite::Result<Option<RangeInclusive<i64>>> {
    if query.accepted_from.is_none() && query.accepted_to.is_none() {
        return Ok(Some(i64::MIN..=i64::MAX));
    }
    let from = query.accepted_from.map_or(i64::MIN, Timestamp::micros);
    let to = query.accepted_to.map_or(i64::MAX, Timestamp::micros);
    let (tail, lowest, highest): (i64, Option<i64>, Option<i64>) = conn
        .prepare_cached(
            "SELECT coalesce((SELECT max(block) + 1 FROM order_blocks), 0), min(block), max(block) \
             FROM order_blocks WHERE accepted_max >= ?1 AND accepted_min < ?2",
        )?
        .query_row([from, to], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    // The last block is not full yet: its orders are looked at.
    let (tail_lowest, tail_highest): (Option<i64>, Option<i64>) = conn
        .prepare_cached(
            "SELECT min(number), max(number) FROM orders \
             WHERE number >= ?1 AND accepted_at >= ?2 AND accepted_at < ?3",
        )?
        .query_row([tail * BLOCK, from, to], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let lowest = lowest.map(|block| block * BLOCK).or(tail_lowest);
    let highest = tail_highest.or(highest.map(|block| block * BLOCK + BLOCK - 1));
    Ok(lowest.zip(highest).map(|(lowest, highest)| lowest..=highest))
}

/// The position of a shard behind which the first event lies that happened at `moment` or later, if it is not the last.
pub(crate) fn position_of(
    conn: &Connection,
    shard: Shard,
    moment: Timestamp,
) -> rusqlite::Result<Option<u64>> {
    // `latest` is that of all blocks so far: where it first reaches the moment, the first such event lies.
    let block: i64 = conn
        .prepare_cached(
            "SELECT coalesce((SELECT block FROM journal_blocks WHERE shard = ?1 AND latest >= ?2 ORDER BY block LIMIT 1), \
             (SELECT max(block) + 1 FROM journal_blocks WHERE shard = ?1), 0)",
        )?
        .query_row(params![shard.0, moment.micros()], |row| row.get(0))?;
    let start = place(shard, u64::try_from(block * BLOCK).unwrap_or(0));
    // A block, or the one that is not full yet.
    let first: Option<i64> = conn
        .prepare_cached("SELECT min(place) FROM journal WHERE place BETWEEN ?1 AND ?2 AND occurred_at >= ?3")?
        .query_row([start, start + BLOCK - 1, moment.micros()], |row| row.get(0))?;
    Ok(first.map(|place| position(place).saturating_sub(1)))
}
