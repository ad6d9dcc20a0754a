//! API keys as rows.

use crate::rows::{collect, micros};
use order_core::Timestamp;
use order_core::api_key::{ApiKey, ApiKeyId, KeyHash, Previous};
use order_core::ids::TenantId;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::sync::LazyLock;

const COLUMNS: &str = "number, key_id, tenant, name, scopes, hash, previous_hash, previous_until, created_at, \
                       created_by, expires_at, rotated_at, last_used_at, revoked_at";

static BY_ID: LazyLock<String> =
    LazyLock::new(|| ["SELECT ", COLUMNS, " FROM api_keys WHERE key_id = ?1"].concat());
static BY_NUMBER: LazyLock<String> =
    LazyLock::new(|| ["SELECT ", COLUMNS, " FROM api_keys WHERE number = ?1"].concat());
static OF_TENANT: LazyLock<String> = LazyLock::new(|| {
    let tail = " FROM api_keys WHERE tenant = ?1 AND number < ?2 ORDER BY number DESC LIMIT ?3";
    ["SELECT ", COLUMNS, tail].concat()
});
static PUT: LazyLock<String> = LazyLock::new(|| {
    [
        "INSERT OR REPLACE INTO api_keys (",
        COLUMNS,
        ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14)",
    ]
    .concat()
});

/// One key, whoever owns it.
pub(crate) fn by_id(conn: &Connection, key_id: ApiKeyId) -> rusqlite::Result<Option<ApiKey>> {
    conn.prepare_cached(&BY_ID)?.query_row([key_id.0], api_key).optional()
}

/// One key by its number, whoever owns it.
pub(crate) fn by_number(conn: &Connection, number: i64) -> rusqlite::Result<Option<ApiKey>> {
    conn.prepare_cached(&BY_NUMBER)?.query_row([number], api_key).optional()
}

/// The keys of a tenant below a number, the newest first.
pub(crate) fn of_tenant(
    conn: &Connection,
    tenant: &TenantId,
    before: Option<i64>,
    limit: u32,
) -> rusqlite::Result<Vec<ApiKey>> {
    let mut statement = conn.prepare_cached(&OF_TENANT)?;
    collect(&mut statement, params![tenant.as_str(), before.unwrap_or(i64::MAX), limit], api_key)
}

/// How many keys are live: of one tenant, or of all.
pub(crate) fn live(conn: &Connection, tenant: Option<&TenantId>, now: Timestamp) -> rusqlite::Result<u64> {
    conn.prepare_cached(
        "SELECT count(*) FROM api_keys WHERE (?1 IS NULL OR tenant = ?1) AND revoked_at IS NULL \
         AND (expires_at IS NULL OR expires_at > ?2)",
    )?
    .query_row(params![tenant.map(TenantId::as_str), now.micros()], |row| row.get(0))
}

/// The number of the next key.
pub(crate) fn next_number(conn: &Connection) -> rusqlite::Result<i64> {
    conn.prepare_cached("SELECT coalesce(max(number), 0) + 1 FROM api_keys")?.query_row([], |row| row.get(0))
}

/// Writes a key whole.
pub(crate) fn put(conn: &Connection, key: &ApiKey) -> rusqlite::Result<()> {
    conn.prepare_cached(&PUT)?.execute(params![
        key.number,
        key.key_id.0,
        key.tenant.as_str(),
        key.name,
        key.scopes,
        key.hash.0,
        key.previous.map(|previous| previous.hash.0),
        key.previous.map(|previous| previous.until.micros()),
        key.created_at.micros(),
        key.created_by,
        micros(key.expires_at),
        micros(key.rotated_at),
        micros(key.last_used_at),
        micros(key.revoked_at),
    ])?;
    Ok(())
}

fn api_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let moment = |index| -> rusqlite::Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(index)?.map(Timestamp::from_micros))
    };
    let tenant: String = row.get(2)?;
    let tenant = TenantId::new(&tenant)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(2, Type::Text, error.into()))?;
    let previous = match (row.get::<_, Option<[u8; 32]>>(6)?, moment(7)?) {
        (Some(hash), Some(until)) => Some(Previous { hash: KeyHash(hash), until }),
        _ => None,
    };
    Ok(ApiKey {
        number: row.get(0)?,
        key_id: ApiKeyId(row.get(1)?),
        tenant,
        name: row.get(3)?,
        scopes: row.get(4)?,
        hash: KeyHash(row.get(5)?),
        previous,
        created_at: Timestamp::from_micros(row.get(8)?),
        created_by: row.get(9)?,
        expires_at: moment(10)?,
        rotated_at: moment(11)?,
        last_used_at: moment(12)?,
        revoked_at: moment(13)?,
    })
}
