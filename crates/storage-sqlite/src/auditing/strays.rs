//! What an audit finds in the tables besides orders, journal, work and tallies: rows that do not read, and rows that name
//! an order where there is none.

use super::{lenient, shown};
use crate::api_keys;
use crate::ids::OrderIds;
use crate::read;
use crate::readers::Readers;
use crate::rows::{last_place, place, position, uuid};
use order_core::Fault;
use order_core::audit::Finding;
use order_core::ids::{OrderId, RedriveId, Shard};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use std::sync::Arc;

/// Rows that one read takes.
const PAGE: u32 = 500;

/// Part of a key. Texts are bytes here: a key may be what does not read.
#[derive(Debug, Clone)]
enum Key {
    Text(Vec<u8>),
    Other(Value),
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(bytes) => Ok(ToSqlOutput::Borrowed(ValueRef::Text(bytes))),
            Self::Other(value) => value.to_sql(),
        }
    }
}

impl Key {
    fn of(row: &Row<'_>, index: usize) -> rusqlite::Result<Self> {
        Ok(match row.get_ref(index)? {
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            other => Self::Other(other.try_into().map_err(|_| rusqlite::Error::InvalidColumnIndex(index))?),
        })
    }

    fn text() -> Self {
        Self::Text(Vec::new())
    }

    fn blob() -> Self {
        Self::Other(Value::Blob(Vec::new()))
    }

    fn integer() -> Self {
        Self::Other(Value::Integer(i64::MIN))
    }
}

/// A table and what is wrong with one of its rows, if anything is. The first columns are its key.
struct Table {
    sql: &'static str,
    begin: fn() -> Vec<Key>,
    check: fn(&Connection, &OrderIds, &Row<'_>) -> rusqlite::Result<Option<Finding>>,
}

const TABLES: &[Table] = &[
    Table {
        sql: "SELECT i.order_id, i.number, o.number FROM order_ids i \
              LEFT JOIN orders o ON o.number = i.number AND o.order_id = i.order_id \
              WHERE i.order_id > ?1 ORDER BY i.order_id LIMIT ?2",
        begin: || vec![Key::blob()],
        check: id_entry,
    },
    Table {
        sql: "SELECT tenant, route, key, order_id, digest, created_at FROM idempotency \
              WHERE (tenant, route, key) > (?1, ?2, ?3) ORDER BY tenant, route, key LIMIT ?4",
        begin: || vec![Key::text(), Key::text(), Key::text()],
        check: idempotency,
    },
    Table {
        sql: "SELECT redrive_id FROM redrives WHERE redrive_id > ?1 ORDER BY redrive_id LIMIT ?2",
        begin: || vec![Key::blob()],
        check: redrive,
    },
    Table {
        sql: "SELECT i.redrive_id, i.item, i.order_id, i.result, r.tenant FROM redrive_items i \
              LEFT JOIN redrives r USING (redrive_id) \
              WHERE (i.redrive_id, i.item) > (?1, ?2) ORDER BY i.redrive_id, i.item LIMIT ?3",
        begin: || vec![Key::blob(), Key::integer()],
        check: redrive_item,
    },
    Table {
        sql: "SELECT number FROM api_keys WHERE number > ?1 ORDER BY number LIMIT ?2",
        begin: || vec![Key::integer()],
        check: api_key,
    },
    Table {
        sql: "SELECT name, sink, paused, epoch, created_at, updated_at FROM followers \
              WHERE name > ?1 ORDER BY name LIMIT ?2",
        begin: || vec![Key::text()],
        check: follower,
    },
    Table {
        sql: "SELECT follower, shard, position FROM cursors \
              WHERE (follower, shard) > (?1, ?2) ORDER BY follower, shard LIMIT ?3",
        begin: || vec![Key::text(), Key::integer()],
        check: cursor,
    },
];

/// At most `max` findings, in many short reads.
pub(crate) async fn strays(
    readers: &Readers,
    ids: &Arc<OrderIds>,
    shards: u16,
    max: usize,
) -> Result<Vec<Finding>, Fault> {
    let mut findings = readers.with(move |conn| marks_of_progress(conn, shards)).await?;
    for table in TABLES {
        let mut after = (table.begin)();
        while findings.len() < max {
            let (ids, begin) = (Arc::clone(ids), after);
            let (found, last) = readers.with(move |conn| table.page(conn, &ids, &begin)).await?;
            findings.extend(found);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    findings.truncate(max);
    Ok(findings)
}

impl Table {
    fn page(
        &self,
        conn: &Connection,
        ids: &OrderIds,
        after: &[Key],
    ) -> rusqlite::Result<(Vec<Finding>, Option<Vec<Key>>)> {
        let mut statement = conn.prepare_cached(self.sql)?;
        let limit = Key::Other(Value::Integer(PAGE.into()));
        let mut rows = statement.query(params_from_iter(after.iter().chain([&limit])))?;
        let (mut findings, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            last = Some((0..after.len()).map(|index| Key::of(row, index)).collect::<Result<Vec<_>, _>>()?);
            findings.extend((self.check)(conn, ids, row)?);
        }
        Ok((findings, last))
    }
}

fn finding(check: &'static str, subject: String, detail: impl Into<String>) -> Finding {
    Finding { check, shard: None, subject, detail: detail.into() }
}

/// What says how far something is complete lies before the end of what there is, and nothing lies outside of the shards.
fn marks_of_progress(conn: &Connection, shards: u16) -> rusqlite::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let beyond = |what: &str, to: i64, last: i64| {
        finding("ids", what.to_owned(), format!("complete up to number {to}, the last order is {last}"))
    };
    let mut marks = conn.prepare_cached(
        "SELECT (SELECT value FROM meta WHERE key = 'ids_merged'), (SELECT max(last_number) FROM term_runs), \
         coalesce(max(number), 0) FROM orders",
    )?;
    let (ids, texts, last): (Option<i64>, Option<i64>, i64) =
        marks.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    findings.extend(ids.filter(|to| *to > last).map(|to| beyond("order_ids", to, last)));
    findings.extend(texts.filter(|to| *to > last).map(|to| beyond("term_runs", to, last)));
    let mut outside =
        conn.prepare_cached("SELECT place FROM journal WHERE place > ?1 OR place < ?2 LIMIT 100")?;
    let ends = [last_place(Shard(shards.saturating_sub(1))), place(Shard(0), 1)];
    let mut rows = outside.query(ends)?;
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        let subject = format!("place {place}");
        findings.push(finding("positions", subject, format!("position {} of no shard", position(place))));
    }
    Ok(findings)
}

fn id_entry(_: &Connection, _: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let leads = row.get::<_, Option<i64>>(2)?.is_some();
    let detail = || format!("its entry leads to number {}, which is no such order", shown(row, 1));
    Ok((!leads).then(|| finding("ids", shown(row, 0), detail())))
}

/// Whether `order_id` is an order of the tenant in column `tenant`.
fn leads(conn: &Connection, ids: &OrderIds, order_id: OrderId, tenant: &str) -> rusqlite::Result<bool> {
    let Some(number) = ids.number(conn, order_id)? else { return Ok(false) };
    conn.prepare_cached(
        "SELECT 1 FROM orders WHERE number = ?1 AND order_id = ?2 AND CAST(tenant AS BLOB) = ?3",
    )?
    .exists(rusqlite::params![number, order_id.0.as_bytes(), tenant.as_bytes()])
}

fn idempotency(conn: &Connection, ids: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let name = || format!("{} {} {}", shown(row, 0), shown(row, 1), shown(row, 2));
    let read = || -> rusqlite::Result<_> {
        let (tenant, _, _): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let _: ([u8; 32], i64) = (row.get(4)?, row.get(5)?);
        Ok((tenant, OrderId(uuid(row, 3)?)))
    };
    Ok(match lenient(row, read(), |_| ("idempotency", name()))? {
        Err(unreadable) => Some(unreadable.into()),
        Ok((tenant, order_id)) if leads(conn, ids, order_id, &tenant)? => None,
        Ok((_, order_id)) => {
            Some(finding("idempotency", name(), format!("leads to {order_id}, which is no order")))
        }
    })
}

fn redrive(conn: &Connection, _: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let name = || ("redrive", shown(row, 0));
    let redrive_id = match lenient(row, uuid(row, 0), |_| name())? {
        Ok(redrive_id) => RedriveId(redrive_id),
        Err(unreadable) => return Ok(Some(unreadable.into())),
    };
    unreadable_inside(read::redrive(conn, redrive_id), name)
}

fn api_key(conn: &Connection, _: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let number: i64 = row.get(0)?;
    unreadable_inside(api_keys::by_number(conn, number), || ("api_key", format!("number {number}")))
}

/// The finding that an error of reading a row stands for.
fn unreadable_inside<T>(
    read: rusqlite::Result<T>,
    name: impl FnOnce() -> (&'static str, String),
) -> rusqlite::Result<Option<Finding>> {
    match read {
        Ok(_) => Ok(None),
        Err(error) if crate::rows::is_of_row(&error) => {
            let (table, row) = name();
            Ok(Some(finding("unreadable", format!("{table} {row}"), error.to_string())))
        }
        Err(error) => Err(error),
    }
}

fn redrive_item(conn: &Connection, ids: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let name = || format!("{} item {}", shown(row, 0), shown(row, 1));
    let read = || -> rusqlite::Result<_> {
        let tenant: Option<String> = row.get(4)?;
        Ok((OrderId(uuid(row, 2)?), row.get::<_, String>(3)?, tenant))
    };
    let (order_id, result, tenant) = match lenient(row, read(), |_| ("redrive", name()))? {
        Ok(read) => read,
        Err(unreadable) => return Ok(Some(unreadable.into())),
    };
    let Some(tenant) = tenant else {
        return Ok(Some(finding("redrives", name(), "belongs to no redrive")));
    };
    // Of an order that is unknown, or another tenant's, a redrive says just that.
    let fits = result == "unknown" || leads(conn, ids, order_id, &tenant)?;
    Ok((!fits).then(|| finding("redrives", name(), format!("is {result}, and {order_id} is no order"))))
}

fn follower(_: &Connection, _: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    Ok(lenient(row, read::follower_row(row), |_| ("follower", shown(row, 0)))?.err().map(Finding::from))
}

fn cursor(_: &Connection, _: &OrderIds, row: &Row<'_>) -> rusqlite::Result<Option<Finding>> {
    let read = || -> rusqlite::Result<(String, usize, u64)> { Ok((row.get(0)?, row.get(1)?, row.get(2)?)) };
    let name = |_| ("cursor", format!("of {} in shard {}", shown(row, 0), shown(row, 1)));
    Ok(lenient(row, read(), name)?.err().map(Finding::from))
}
