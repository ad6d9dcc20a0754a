//! Secrets at rest as rows. What is in them is sealed; this file looks at the head alone, which names the key.

use crate::connect::Conn;
use crate::error::Tried;
use crate::readers::Readers;
use crate::rows::{number, text, unreadable};
use order_core::ids::TenantId;
use order_core::sealing::resealing::{COUNT_MAX, RowKey, SealedCount, SealedRow};
use order_core::sealing::{KeyId, Sealed, SealedColumn};
use tokio_postgres::Row;

/// What is done with a column of secrets.
struct Statements {
    /// How many lie under which key: `$1` is how many are looked at.
    count: &'static str,
    /// Those under another key than `$3` behind the tenant `$1` and the row `$2`, at most `$4`.
    page: &'static str,
    /// Puts each of `$4` in the place of that of `$3`.
    reseal: &'static str,
}

/// The statements of a column whose row is told from others of its tenant by `$row`, which is a text or a uuid.
macro_rules! sealed_column {
    ($table:literal, $row:literal text, $column:literal) => {
        sealed_column!($table, $row, $column, "text", "$2::text")
    };
    ($table:literal, $row:literal uuid, $column:literal) => {
        // Before the first row stands no tenant, whatever row that names.
        sealed_column!(
            $table, $row, $column, "uuid",
            "coalesce(nullif($2::text, ''), '00000000-0000-0000-0000-000000000000')::uuid"
        )
    };
    ($table:literal, $row:literal, $column:literal, $of:literal, $after:literal) => {
        Statements {
            // The form of what is sealed: `order_core::sealing`.
            count: concat!(
                "SELECT CASE WHEN length(s) >= 37 AND get_byte(s, 0) = 1 THEN substring(s FROM 2 FOR 8) END AS key_id, \
                 count(*) FROM (SELECT ",
                $column,
                " AS s FROM ",
                $table,
                " WHERE ",
                $column,
                " IS NOT NULL LIMIT $1) c GROUP BY key_id ORDER BY key_id NULLS FIRST",
            ),
            page: concat!(
                "SELECT tenant, ",
                $row,
                "::text, ",
                $column,
                " FROM ",
                $table,
                " WHERE (tenant, ",
                $row,
                ") > ($1, ",
                $after,
                ") AND ",
                $column,
                " IS NOT NULL AND substring(",
                $column,
                " FROM 2 FOR 8) <> $3 ORDER BY tenant, ",
                $row,
                " LIMIT $4",
            ),
            reseal: concat!(
                "UPDATE ",
                $table,
                " t SET ",
                $column,
                " = k.sealed FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bytea[]) k (tenant, place, was, sealed) \
                 WHERE t.tenant = k.tenant AND t.",
                $row,
                " = k.place::",
                $of,
                " AND t.",
                $column,
                " = k.was",
            ),
        }
    };
}

static NAMED_SECRET: Statements = sealed_column!("named_secrets", "name" text, "sealed");

static STORE_ACCESS: Statements = sealed_column!("stores", "store_id" uuid, "access_token");
static ENDPOINT_SECRET: Statements = sealed_column!("endpoints", "endpoint_id" uuid, "secret");
static ENDPOINT_PREVIOUS_SECRET: Statements =
    sealed_column!("endpoints", "endpoint_id" uuid, "previous_secret");

/// The one list of them.
fn statements(column: SealedColumn) -> &'static Statements {
    match column {
        SealedColumn::NamedSecret => &NAMED_SECRET,
        SealedColumn::StoreAccess => &STORE_ACCESS,
        SealedColumn::EndpointSecret => &ENDPOINT_SECRET,
        SealedColumn::EndpointPreviousSecret => &ENDPOINT_PREVIOUS_SECRET,
    }
}

const NAMED: &str = "SELECT sealed FROM named_secrets WHERE tenant = $1 AND name = $2";

/// A secret of the installation's own.
pub(crate) async fn named(conn: &Conn, tenant: &TenantId, name: &str) -> Tried<Option<Sealed>> {
    let row = conn.query_opt(NAMED, &[&tenant.as_str(), &name]).await?;
    row.map(|row| Ok(Sealed::from_bytes(row.try_get(0)?))).transpose()
}

/// How many lie under which key.
pub(crate) async fn counts(readers: &Readers) -> Tried<Vec<SealedCount>> {
    let conn = readers.get().await?;
    let most = i64::try_from(COUNT_MAX + 1).unwrap_or(i64::MAX);
    let mut all = Vec::new();
    for &column in SealedColumn::ALL {
        let counted = |row: &Row| {
            let key_id: Option<&[u8]> = row.try_get(0)?;
            let key_id = key_id.map(TryInto::try_into).transpose();
            let key_id = key_id.map_err(|error| unreadable("key_id", error))?;
            Ok((key_id.map(KeyId), number::<_, i64>(row, 1)?))
        };
        let rows = conn.query(statements(column).count, &[&most]).await?;
        all.extend(SealedCount::of(column, rows.iter().map(counted).collect::<Tried<_>>()?));
    }
    Ok(all)
}

/// A page of those under another key.
pub(crate) async fn page(
    readers: &Readers,
    column: SealedColumn,
    besides: KeyId,
    after: &RowKey,
    limit: u32,
) -> Tried<Vec<SealedRow>> {
    let conn = readers.get().await?;
    let values: crate::connect::Values<'_> =
        &[&after.tenant, &after.row, &besides.0.as_slice(), &i64::from(limit)];
    let sealed = |row: &Row| {
        let (tenant, place) = (text(row, 0)?, row.try_get(1)?);
        Ok(SealedRow { tenant, row: place, sealed: Sealed::from_bytes(row.try_get(2)?) })
    };
    conn.query(statements(column).page, values).await?.iter().map(sealed).collect()
}

/// Replaces those that are still what they were; answers how many were.
pub(crate) async fn reseal(conn: &Conn, column: SealedColumn, rows: &[(SealedRow, Sealed)]) -> Tried<u64> {
    let tenants: Vec<&str> = rows.iter().map(|(row, _)| row.tenant.as_str()).collect();
    let places: Vec<&str> = rows.iter().map(|(row, _)| row.row.as_str()).collect();
    let was: Vec<&[u8]> = rows.iter().map(|(row, _)| row.sealed.as_bytes()).collect();
    let sealed: Vec<&[u8]> = rows.iter().map(|(_, sealed)| sealed.as_bytes()).collect();
    conn.execute(statements(column).reseal, &[&tenants, &places, &was, &sealed]).await
}
