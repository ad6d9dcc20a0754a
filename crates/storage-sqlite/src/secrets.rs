//! Secrets at rest as rows. What is in them is sealed; this file looks at the head alone, which names the key.

use crate::rows::collect;
use order_core::ids::TenantId;
use order_core::sealing::resealing::{COUNT_MAX, RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, params};

/// What is done with a column of secrets.
pub(crate) struct Statements {
    /// How many lie under which key: `?1` is how many are looked at.
    count: &'static str,
    /// Those under another key than `?3` behind the tenant `?1` and the row `?2`, at most `?4`.
    page: &'static str,
    /// Puts `?4` in the place of `?3`.
    reseal: &'static str,
}

/// The statements of a column whose row is told from others of its tenant by `$row`, a text.
macro_rules! sealed_column {
    ($table:literal, $row:literal, $column:literal) => {
        Statements {
            // The form of what is sealed: `order_core::sealing`.
            count: concat!(
                "SELECT CASE WHEN length(s) >= 37 AND substr(s, 1, 1) = x'01' THEN substr(s, 2, 8) END AS key_id, \
                 count(*) FROM (SELECT ",
                $column,
                " AS s FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL LIMIT ?1) GROUP BY key_id ORDER BY key_id",
            ),
            page: concat!(
                "SELECT tenant, ",
                $row,
                ", ",
                $column,
                " FROM ",
                $table,
                " WHERE (tenant, ",
                $row,
                ") > (?1, ?2) AND ",
                $column,
                " IS NOT NULL AND substr(",
                $column,
                ", 2, 8) <> ?3 ORDER BY tenant, ",
                $row,
                " LIMIT ?4",
            ),
            reseal: concat!(
                "UPDATE ",
                $table,
                " SET ",
                $column,
                " = ?4 WHERE tenant = ?1 AND ",
                $row,
                " = ?2 AND ",
                $column,
                " = ?3",
            ),
        }
    };
}

static NAMED_SECRET: Statements = sealed_column!("named_secrets", "name", "sealed");

/// Ids are called by their usual text.
static STORE_ACCESS: Statements = sealed_column!(
    "stores",
    "(lower(substr(hex(store_id), 1, 8) || '-' || substr(hex(store_id), 9, 4) || '-' || substr(hex(store_id), 13, 4) \
     || '-' || substr(hex(store_id), 17, 4) || '-' || substr(hex(store_id), 21)))",
    "access_token"
);
/// The id of an endpoint as text, as the core writes it.
macro_rules! endpoint_column {
    ($column:literal) => {
        sealed_column!(
            "endpoints",
            "lower(substr(hex(endpoint_id), 1, 8) || '-' || substr(hex(endpoint_id), 9, 4) || '-' || \
             substr(hex(endpoint_id), 13, 4) || '-' || substr(hex(endpoint_id), 17, 4) || '-' || \
             substr(hex(endpoint_id), 21))",
            $column
        )
    };
}

static ENDPOINT_SECRET: Statements = endpoint_column!("secret");
static ENDPOINT_PREVIOUS_SECRET: Statements = endpoint_column!("previous_secret");

/// The one list of them.
fn statements(column: SealedColumn) -> &'static Statements {
    match column {
        SealedColumn::NamedSecret => &NAMED_SECRET,
        SealedColumn::StoreAccess => &STORE_ACCESS,
        SealedColumn::EndpointSecret => &ENDPOINT_SECRET,
        SealedColumn::EndpointPreviousSecret => &ENDPOINT_PREVIOUS_SECRET,
    }
}

/// A secret of the installation's own.
pub(crate) fn named(conn: &Connection, tenant: &TenantId, name: &str) -> rusqlite::Result<Option<Sealed>> {
    conn.prepare_cached("SELECT sealed FROM named_secrets WHERE tenant = ?1 AND name = ?2")?
        .query_row(params![tenant.as_str(), name], |row| Ok(Sealed::from_bytes(row.get(0)?)))
        .optional()
}

/// How many lie under which key.
pub(crate) fn counts(conn: &Connection) -> rusqlite::Result<Vec<SealedCount>> {
    let mut all = Vec::new();
    for &column in SealedColumn::ALL {
        let mut statement = conn.prepare(statements(column).count)?;
        let found = collect(&mut statement, params![COUNT_MAX + 1], |row| {
            let key_id: Option<[u8; 8]> = row.get(0)?;
            Ok((key_id.map(KeyId), row.get::<_, u64>(1)?))
        })?;
        all.extend(SealedCount::of(column, found));
    }
    Ok(all)
}

/// A page of those under another key.
pub(crate) fn page(
    conn: &Connection,
    column: SealedColumn,
    besides: KeyId,
    after: &RowKey,
    limit: u32,
) -> rusqlite::Result<Vec<SealedRow>> {
    let mut statement = conn.prepare_cached(statements(column).page)?;
    collect(&mut statement, params![after.tenant, after.row, besides.0, limit], sealed_row)
}

fn sealed_row(row: &Row<'_>) -> rusqlite::Result<SealedRow> {
    let tenant: String = row.get(0)?;
    let tenant = TenantId::new(&tenant)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))?;
    Ok(SealedRow { tenant, row: row.get(1)?, sealed: Sealed::from_bytes(row.get(2)?) })
}

/// Replaces one that is still what it was; answers whether it was.
pub(crate) fn reseal(
    conn: &Connection,
    column: SealedColumn,
    row: &SealedRow,
    sealed: &Sealed,
) -> rusqlite::Result<bool> {
    let values = params![row.tenant.as_str(), row.row, row.sealed.as_bytes(), sealed.as_bytes()];
    Ok(conn.prepare_cached(statements(column).reseal)?.execute(values)? == 1)
}
