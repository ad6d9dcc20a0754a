//! The action log as rows.

use crate::error::fault;
use crate::rows::collect;
use order_core::action_log::Action;
use order_core::action_log::chain::Link;
use order_core::ids::TenantId;
use order_core::{Fault, Timestamp};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::LazyLock;
use uuid::Uuid;

const COLUMNS: &str = "number, epoch, tenant, by, address, request_id, kind, subject, details, state_before, \
                       state_after, at, previous, hash";

static OF_TENANT: LazyLock<String> = LazyLock::new(|| {
    let tail = " FROM actions WHERE tenant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
    ["SELECT ", COLUMNS, tail].concat()
});
static BEHIND: LazyLock<String> = LazyLock::new(|| {
    ["SELECT ", COLUMNS, " FROM actions WHERE number > ?1 ORDER BY number LIMIT ?2"].concat()
});
static ADD: LazyLock<String> = LazyLock::new(|| {
    ["INSERT INTO actions (", COLUMNS, ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)"].concat()
});

/// The rows of a tenant below a number, the newest first.
pub(crate) fn of_tenant(
    conn: &Connection,
    tenant: &TenantId,
    before: Option<u64>,
    limit: u32,
) -> rusqlite::Result<Vec<Action>> {
    let before = before.and_then(|number| i64::try_from(number).ok()).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(&OF_TENANT)?;
    collect(&mut statement, params![tenant.as_str(), before, limit], action)
}

/// The rows of all tenants behind a number, in order.
pub(crate) fn behind(conn: &Connection, after: u64, limit: u32) -> rusqlite::Result<Vec<Action>> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let mut statement = conn.prepare_cached(&BEHIND)?;
    collect(&mut statement, params![after, limit], action)
}

/// The end of the chain, as it is kept apart from the rows.
pub(crate) fn end(conn: &Connection, installation_id: Uuid) -> rusqlite::Result<Link> {
    let kept: Option<Vec<u8>> = conn
        .prepare_cached("SELECT value FROM meta WHERE key = 'action_end'")?
        .query_row([], |row| row.get(0))
        .optional()?;
    match kept {
        None => Ok(Link::first(installation_id)),
        Some(bytes) => Link::from_bytes(&bytes).ok_or_else(|| {
            let why = "the end of the action log does not read back";
            rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, why.into())
        }),
    }
}

/// Adds a row at the end of the chain.
pub(crate) fn add(conn: &Connection, row: &Action) -> Result<Link, Fault> {
    let link = Link { number: row.number, hash: row.hash };
    conn.prepare_cached(&ADD)
        .and_then(|mut statement| {
            statement.execute(params![
                row.number,
                row.epoch,
                row.tenant.as_str(),
                row.by,
                row.address,
                row.request_id,
                row.kind,
                row.subject,
                row.details,
                row.before,
                row.after,
                row.at.micros(),
                row.previous,
                row.hash,
            ])
        })
        .and_then(|_| {
            conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('action_end', ?1)")?
                .execute([link.to_bytes()])
        })
        .map_err(fault)?;
    Ok(link)
}

fn action(row: &Row<'_>) -> rusqlite::Result<Action> {
    let tenant: String = row.get(2)?;
    let tenant = TenantId::new(&tenant)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, error.into()))?;
    Ok(Action {
        number: row.get(0)?,
        epoch: row.get(1)?,
        tenant,
        by: row.get(3)?,
        address: row.get(4)?,
        request_id: row.get(5)?,
        kind: row.get(6)?,
        subject: row.get(7)?,
        details: row.get(8)?,
        before: row.get(9)?,
        after: row.get(10)?,
        at: Timestamp::from_micros(row.get(11)?),
        previous: row.get(12)?,
        hash: row.get(13)?,
    })
}
