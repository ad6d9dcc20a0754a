//! What an audit finds in the tables besides orders, journal, work and tallies: rows that do not read, and rows that name
//! an order where there is none.

use super::lenient;
use crate::connect::Values;
use crate::error::Tried;
use crate::readers::Readers;
use crate::records::{self, select_api_keys, select_redrives};
use crate::rows::{bytes32, number, time, unreadable};
use bytes::BytesMut;
use order_core::audit::Finding;
use std::error::Error;
use std::fmt;
use tokio_postgres::Row;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use uuid::Uuid;

/// Rows that one read takes.
const PAGE: i64 = 500;

/// Part of a key.
#[derive(Debug, Clone)]
enum Key {
    Text(String),
    Uuid(Uuid),
    Big(i64),
    Small(i16),
}

impl Key {
    fn of(row: &Row, index: usize) -> Tried<Self> {
        let kind = row.columns().get(index).map_or(Type::UNKNOWN, |column| column.type_().clone());
        Ok(match kind {
            Type::UUID => Self::Uuid(row.try_get(index)?),
            Type::INT8 => Self::Big(row.try_get(index)?),
            Type::INT2 => Self::Small(row.try_get(index)?),
            _ => Self::Text(row.try_get(index)?),
        })
    }

    const fn text() -> Self {
        Self::Text(String::new())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Big(number) => number.fmt(f),
            Self::Small(number) => number.fmt(f),
        }
    }
}

impl ToSql for Key {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Text(text) => text.to_sql(kind, out),
            Self::Uuid(uuid) => uuid.to_sql(kind, out),
            Self::Big(number) => number.to_sql(kind, out),
            Self::Small(number) => number.to_sql(kind, out),
        }
    }

    fn accepts(kind: &Type) -> bool {
        <String as ToSql>::accepts(kind) || [Type::UUID, Type::INT8, Type::INT2].contains(kind)
    }

    to_sql_checked!();
}

/// A table and what is wrong with one of its rows, if anything is. The first columns are its key, behind which
/// `sql` reads.
struct Table {
    sql: &'static str,
    begin: &'static [Key],
    check: fn(&Row, shards: u16) -> Tried<Option<Finding>>,
}

/// Before every uuid but one, which is no id of anything.
const NIL: Key = Key::Uuid(Uuid::nil());

const TABLES: &[Table] = &[
    Table {
        sql: "SELECT i.tenant, i.route, i.key, i.order_id, i.digest, i.created_at, o.found IS NOT NULL \
              FROM (SELECT * FROM idempotency WHERE (tenant, route, key) > ($1, $2, $3) \
                ORDER BY tenant, route, key LIMIT $4) i \
              LEFT JOIN LATERAL (SELECT true AS found FROM orders o WHERE o.shard = i.shard \
                AND o.order_id = i.order_id AND o.tenant = i.tenant LIMIT 1) o ON true ORDER BY 1, 2, 3",
        begin: &[Key::text(), Key::text(), Key::text()],
        check: idempotency,
    },
    Table {
        sql: select_redrives!("WHERE redrive_id > $1 ORDER BY redrive_id LIMIT $2"),
        begin: &[NIL],
        check: redrive,
    },
    Table {
        sql: "SELECT i.redrive_id, i.item, i.order_id, i.result, r.tenant IS NOT NULL, o.found IS NOT NULL \
              FROM (SELECT * FROM redrive_items WHERE (redrive_id, item) > ($1, $2) \
                ORDER BY redrive_id, item LIMIT $3) i LEFT JOIN redrives r ON r.redrive_id = i.redrive_id \
              LEFT JOIN LATERAL (SELECT true AS found FROM orders o \
                WHERE o.tenant = r.tenant AND o.order_id = i.order_id \
                AND o.shard = ((get_byte(uuid_send(i.order_id), 14) * 256 + get_byte(uuid_send(i.order_id), 15)) \
                  % (SELECT shards FROM install))::smallint LIMIT 1) o ON true ORDER BY 1, 2",
        begin: &[NIL, Key::Big(i64::MIN)],
        check: redrive_item,
    },
    Table {
        sql: select_api_keys!("WHERE number > $1 ORDER BY number LIMIT $2"),
        begin: &[Key::Big(i64::MIN)],
        check: api_key,
    },
    Table {
        sql: "SELECT name, epoch, created_at, updated_at FROM followers WHERE name > $1 ORDER BY name LIMIT $2",
        begin: &[Key::text()],
        check: follower,
    },
    Table {
        sql: "SELECT c.follower, c.shard, c.position, f.name IS NOT NULL FROM cursors c \
              LEFT JOIN followers f ON f.name = c.follower \
              WHERE (c.follower, c.shard) > ($1, $2) ORDER BY c.follower, c.shard LIMIT $3",
        begin: &[Key::text(), Key::Small(i16::MIN)],
        check: cursor,
    },
    Table {
        sql: "SELECT s.tenant, s.standing, s.number, s.order_id, o.found IS NOT NULL \
              FROM (SELECT * FROM standings WHERE (tenant, standing, number) > ($1, $2, $3) \
                ORDER BY tenant, standing, number LIMIT $4) s \
              LEFT JOIN LATERAL (SELECT true AS found FROM orders o \
                WHERE o.shard = s.shard AND o.order_id = s.order_id AND o.tenant = s.tenant \
                AND o.number = s.number AND s.standing IN (o.fulfilment, o.processing, \
                  CASE WHEN o.withdrawn THEN 'withdrawn' END) LIMIT 1) o ON true ORDER BY 1, 2, 3",
        begin: &[Key::text(), Key::text(), Key::Big(i64::MIN)],
        check: standing,
    },
];

/// At most `max` findings, in many short reads.
pub(crate) async fn strays(readers: &Readers, shards: u16, max: usize) -> Tried<Vec<Finding>> {
    let mut findings = Vec::new();
    for table in TABLES {
        let mut after = Some(table.begin.to_vec());
        while let Some(begin) = after.take()
            && findings.len() < max
        {
            let (found, last) = table.page(readers, shards, &begin).await?;
            findings.extend(found);
            after = last;
        }
    }
    findings.extend(terms(readers).await?);
    findings.truncate(max);
    Ok(findings)
}

/// Every order is entered once by its id, in what is packed or in what waits.
async fn terms(readers: &Readers) -> Tried<Vec<Finding>> {
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

/// Runs, and the ids in their blocks.
const RUNS: &str = "SELECT r.run, r.orders, (SELECT coalesce(sum(cardinality(b.order_ids)), 0) FROM term_blocks b \
       WHERE b.run = r.run AND b.field = 0)::bigint FROM term_runs r WHERE r.run > $1 ORDER BY r.run LIMIT $2";
/// Each has some thousands of blocks.
const RUNS_AT_ONCE: i64 = 4;

impl Table {
    /// The findings of a page, and the key of its last row, if it is not the last page.
    async fn page(
        &self,
        readers: &Readers,
        shards: u16,
        after: &[Key],
    ) -> Tried<(Vec<Finding>, Option<Vec<Key>>)> {
        let conn = readers.get().await?;
        let mut values: Vec<&(dyn ToSql + Sync)> = after.iter().map(|key| key as _).collect();
        values.push(&PAGE);
        let values: Values<'_> = &values;
        let rows = conn.query(self.sql, values).await?;
        let mut findings = Vec::new();
        for row in &rows {
            findings.extend((self.check)(row, shards)?);
        }
        let last = rows.last().map(|row| (0..after.len()).map(|index| Key::of(row, index)).collect());
        Ok((findings, last.transpose()?))
    }
}

fn finding(check: &'static str, subject: String, detail: impl Into<String>) -> Finding {
    Finding { check, shard: None, subject, detail: detail.into() }
}

/// The first columns of a row, for people.
fn shown(row: &Row, columns: usize) -> String {
    let shown = |index| Key::of(row, index).map_or_else(|_| "?".to_owned(), |key| key.to_string());
    (0..columns).map(shown).collect::<Vec<_>>().join(" ")
}

/// The finding that a row stands for that does not read.
fn unread<T>(read: Tried<T>, name: impl FnOnce() -> (&'static str, String)) -> Tried<Option<Finding>> {
    Ok(lenient(read, name)?.err().map(Finding::from))
}

fn idempotency(row: &Row, _: u16) -> Tried<Option<Finding>> {
    let name = || shown(row, 3);
    if let Some(finding) = unread(bytes32(row, 4), || ("idempotency", name()))? {
        return Ok(Some(finding));
    }
    let order_id: Uuid = row.try_get(3)?;
    let leads: bool = row.try_get(6)?;
    Ok((!leads).then(|| finding("idempotency", name(), format!("leads to {order_id}, which is no order"))))
}

fn redrive(row: &Row, _: u16) -> Tried<Option<Finding>> {
    unread(records::redrive(row), || ("redrive", shown(row, 1)))
}

fn redrive_item(row: &Row, _: u16) -> Tried<Option<Finding>> {
    let name =
        || [shown(row, 1), "item".to_owned(), row.try_get::<_, i64>(1).unwrap_or(-1).to_string()].join(" ");
    let (order_id, result): (Uuid, &str) = (row.try_get(2)?, row.try_get(3)?);
    let (owned, leads): (bool, bool) = (row.try_get(4)?, row.try_get(5)?);
    if !owned {
        return Ok(Some(finding("redrives", name(), "belongs to no redrive")));
    }
    // Of an order that is unknown, or another tenant's, a redrive says just that.
    let fits = result == "unknown" || leads;
    Ok((!fits).then(|| finding("redrives", name(), format!("is {result}, and {order_id} is no order"))))
}

fn api_key(row: &Row, _: u16) -> Tried<Option<Finding>> {
    unread(records::api_key(row), || ("api_key", format!("number {}", shown(row, 1))))
}

fn follower(row: &Row, _: u16) -> Tried<Option<Finding>> {
    let read = || -> Tried<_> { Ok((number::<u32, i32>(row, 1)?, time(row, 2)?, time(row, 3)?)) };
    unread(read(), || ("follower", shown(row, 1)))
}

fn cursor(row: &Row, shards: u16) -> Tried<Option<Finding>> {
    let read = || -> Tried<()> {
        let (shard, _) = (number::<u16, i16>(row, 1)?, number::<u64, i64>(row, 2)?);
        if shard >= shards {
            return Err(unreadable("shard", shard));
        }
        Ok(())
    };
    let name = || {
        let shard = row.try_get::<_, i16>(1).unwrap_or(-1);
        ("cursor", format!("of {} in shard {shard}", shown(row, 1)))
    };
    if let Some(finding) = unread(read(), name)? {
        return Ok(Some(finding));
    }
    let owned: bool = row.try_get(3)?;
    Ok((!owned).then(|| finding("cursors", name().1, "belongs to no follower")))
}

fn standing(row: &Row, _: u16) -> Tried<Option<Finding>> {
    let leads: bool = row.try_get(4)?;
    let order_id: Uuid = row.try_get(3)?;
    let detail = || format!("{order_id} is no such order");
    Ok((!leads).then(|| finding("standings", shown(row, 3), detail())))
}
