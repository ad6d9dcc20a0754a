//! Is a file a whole database of ours? For copies, when they are made and before they are used.

use crate::error::fault;
use crate::rows::{last_place, place};
use crate::{meta, migrate, read};
use order_core::backup::BackupMade;
use order_core::ids::Shard;
use order_core::query::Install;
use order_core::{Fault, journal::Head};
use rusqlite::Connection;

/// What is wrong with it, if something is; else what it says of itself.
pub(crate) fn whole(conn: &Connection) -> Result<Result<(Install, BackupMade), String>, Fault> {
    let found: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(fault)?;
    if found != "ok" {
        return Ok(Err(format!("it is damaged: {found}")));
    }
    if let Err(fault) = migrate::known(conn) {
        return Ok(Err(said(&fault)));
    }
    let Some(install) = meta::load(conn)? else {
        return Ok(Err("it is no database of wellorder".to_owned()));
    };
    let heads = read::heads(conn, install.shards).map_err(fault)?;
    for head in &heads {
        if let Some(wrong) = journal(conn, head).map_err(fault)? {
            return Ok(Err(wrong));
        }
    }
    let (bytes, orders) = conn
        .query_row(
            "SELECT page_count * page_size, (SELECT count(*) FROM orders) FROM pragma_page_count, pragma_page_size",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(fault)?;
    let made = BackupMade { bytes, epoch: install.epoch, heads, orders };
    Ok(Ok((install, made)))
}

/// The journal of a shard has as many rows as its head says.
fn journal(conn: &Connection, head: &Head) -> rusqlite::Result<Option<String>> {
    let (first, last) = (place(head.shard, 0), last_place(head.shard));
    let rows: u64 =
        conn.query_row("SELECT count(*) FROM journal WHERE place BETWEEN ?1 AND ?2", [first, last], |row| {
            row.get(0)
        })?;
    let expected = head.position.saturating_sub(head.floor);
    let Shard(shard) = head.shard;
    Ok((rows != expected)
        .then(|| format!("shard {shard} of its journal has {rows} rows up to its head, not {expected}")))
}

/// What a fault says, without what kind it is.
pub(crate) fn said(fault: &Fault) -> String {
    match fault {
        Fault::Internal { why } | Fault::Unavailable { why, .. } | Fault::Data { why } => why.clone(),
        other => other.to_string(),
    }
}
