//! What an audit finds in the tables besides orders, journal, work and tallies: rows that do not read, and rows that name
//! an order where there is none.

use super::blocks;
use super::kept::{self, Seen};
use super::stores;
use super::webhooks;
use crate::connect::Values;
use crate::error::Tried;
use crate::readers::Readers;
use crate::records::{select_api_keys, select_redrives};
use crate::tips::Tips;
use crate::webhooks::{select_endpoints, stream_columns};
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
    check: fn(&Row, shards: u16) -> Tried<Seen>,
}

/// Before every uuid but one, which is no id of anything.
const NIL: Key = Key::Uuid(Uuid::nil());

const TABLES: &[Table] = &[
    Table {
        sql: "SELECT i.tenant, i.route, i.key, i.order_id, i.digest, o.digest \
              FROM (SELECT * FROM idempotency WHERE (tenant, route, key) > ($1, $2, $3) \
                ORDER BY tenant, route, key LIMIT $4) i \
              LEFT JOIN LATERAL (SELECT o.digest FROM orders o WHERE o.shard = i.shard \
                AND o.order_id = i.order_id AND o.tenant = i.tenant LIMIT 1) o ON true ORDER BY 1, 2, 3",
        begin: &[Key::text(), Key::text(), Key::text()],
        check: kept::idempotency,
    },
    Table {
        sql: "SELECT i.tenant, i.consumer, i.message_id, i.order_id, EXISTS (SELECT FROM orders o WHERE o.shard = i.shard \
                AND o.order_id = i.order_id AND o.tenant = i.tenant) \
              FROM (SELECT * FROM inbox WHERE (tenant, consumer, message_id) > ($1, $2, $3) \
                ORDER BY tenant, consumer, message_id LIMIT $4) i ORDER BY 1, 2, 3",
        begin: &[Key::text(), Key::text(), Key::text()],
        check: kept::message,
    },
    Table {
        sql: select_redrives!("WHERE redrive_id > $1 ORDER BY redrive_id LIMIT $2"),
        begin: &[NIL],
        check: kept::redrive,
    },
    Table {
        sql: "SELECT i.redrive_id, i.item, i.order_id, i.result, o.found IS NOT NULL, r.tenant, r.reason, r.by \
              FROM (SELECT * FROM redrive_items WHERE (redrive_id, item) > ($1, $2) \
                ORDER BY redrive_id, item LIMIT $3) i LEFT JOIN redrives r ON r.redrive_id = i.redrive_id \
              LEFT JOIN LATERAL (SELECT true AS found FROM orders o \
                WHERE o.tenant = r.tenant AND o.order_id = i.order_id \
                AND o.shard = ((get_byte(uuid_send(i.order_id), 14) * 256 + get_byte(uuid_send(i.order_id), 15)) \
                  % (SELECT shards FROM install))::smallint LIMIT 1) o ON true ORDER BY 1, 2",
        begin: &[NIL, Key::Big(i64::MIN)],
        check: kept::redrive_item,
    },
    Table {
        sql: select_api_keys!("WHERE number > $1 ORDER BY number LIMIT $2"),
        begin: &[Key::Big(i64::MIN)],
        check: kept::api_key,
    },
    Table {
        sql: "SELECT tenant, name, sealed, created_at FROM named_secrets WHERE (tenant, name) > ($1, $2) \
              ORDER BY tenant, name LIMIT $3",
        begin: &[Key::text(), Key::text()],
        check: kept::named_secret,
    },
    Table {
        sql: "SELECT f.name, f.epoch, f.created_at, f.updated_at, \
              array(SELECT c.shard FROM cursors c WHERE c.follower = f.name), f.parked, \
              (SELECT count(*) FROM parked_streams p WHERE p.follower = f.name) \
              FROM followers f WHERE f.name > $1 ORDER BY f.name LIMIT $2",
        begin: &[Key::text()],
        check: kept::follower,
    },
    Table {
        sql: "SELECT c.follower, c.shard, c.position, f.name IS NOT NULL FROM cursors c \
              LEFT JOIN followers f ON f.name = c.follower \
              WHERE (c.follower, c.shard) > ($1, $2) ORDER BY c.follower, c.shard LIMIT $3",
        begin: &[Key::text(), Key::Small(i16::MIN)],
        check: kept::cursor,
    },
    Table {
        sql: "SELECT r.follower, r.token, r.until, f.name IS NOT NULL FROM relays r \
              LEFT JOIN followers f ON f.name = r.follower \
              WHERE (r.follower, r.token) > ($1, $2) ORDER BY r.follower, r.token LIMIT $3",
        begin: &[Key::text(), NIL],
        check: kept::relay,
    },
    Table {
        sql: "SELECT p.follower, p.shard, p.order_id, p.tenant, p.from_version, p.reason, p.detail, p.parked_at, \
              p.redriving, f.name IS NOT NULL, o.version \
              FROM (SELECT * FROM parked_streams WHERE (follower, shard, order_id) > ($1, $2, $3) \
                ORDER BY follower, shard, order_id LIMIT $4) p LEFT JOIN followers f ON f.name = p.follower \
              LEFT JOIN LATERAL (SELECT o.version FROM orders o WHERE o.tenant = p.tenant \
                AND o.shard = p.shard AND o.order_id = p.order_id LIMIT 1) o ON true ORDER BY 1, 2, 3",
        begin: &[Key::text(), Key::Small(i16::MIN), NIL],
        check: kept::parked_stream,
    },
    Table {
        sql: select_endpoints!("FROM endpoints e WHERE e.number > $1 ORDER BY e.number LIMIT $2"),
        begin: &[Key::Big(i64::MIN)],
        check: webhooks::endpoint,
    },
    Table {
        sql: concat!(
            "SELECT ",
            stream_columns!(),
            ", e.number IS NOT NULL, o.version FROM (SELECT * FROM webhook_streams WHERE (endpoint, subject) > ($1, $2) \
             ORDER BY endpoint, subject LIMIT $3) s LEFT JOIN endpoints e ON e.number = s.endpoint AND e.tenant = s.tenant \
             LEFT JOIN LATERAL (SELECT o.version FROM orders o WHERE o.tenant = s.tenant AND o.order_id = s.subject \
             AND o.shard = ((get_byte(uuid_send(s.subject), 14) * 256 + get_byte(uuid_send(s.subject), 15)) \
             % (SELECT shards FROM install))::smallint LIMIT 1) o ON true ORDER BY 1, 2"
        ),
        begin: &[Key::Big(i64::MIN), NIL],
        check: webhooks::stream,
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
        check: kept::standing,
    },
    Table {
        sql: "SELECT e.key, e.number, o.tenant, o.source, o.customer, o.attributes \
              FROM (SELECT * FROM external_ids WHERE (key, number) > ($1, $2) ORDER BY key, number LIMIT $3) e \
              LEFT JOIN LATERAL (SELECT * FROM orders o WHERE o.shard = e.shard AND o.order_id = e.order_id \
                AND o.number = e.number LIMIT 1) o ON true ORDER BY 1, 2",
        begin: &[NIL, Key::Big(i64::MIN)],
        check: kept::external_id,
    },
    Table {
        // Columns as they lie, which is the order in which a store is read.
        sql: "SELECT s.*, n.*, r.*, e.* FROM (SELECT * FROM stores WHERE store_id > $1 ORDER BY store_id LIMIT $2) s \
              CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE state = 'pending'), \
                count(*) FILTER (WHERE state = 'success'), count(*) FILTER (WHERE state = 'failed'), \
                count(*) FILTER (WHERE state = 'rate_limited'), count(*) FILTER (WHERE state = 'invalid'), \
                coalesce(max(number), 0) FROM imports i WHERE i.store_id = s.store_id) n \
              CROSS JOIN LATERAL (SELECT count(*), coalesce(min(run), 0), coalesce(max(run), 0) FROM sync_runs r \
                WHERE r.store_id = s.store_id) r \
              CROSS JOIN LATERAL (SELECT count(*), coalesce(min(version), 0), coalesce(max(version), 0) FROM store_events e \
                WHERE e.store_id = s.store_id) e ORDER BY 1",
        begin: &[NIL],
        check: stores::store,
    },
    Table {
        sql: "SELECT i.store_id, i.receipt, i.tenant, i.number, i.state, i.attempt, i.due_at, i.token, \
              i.external_order_id, i.amount::text, i.currency, i.imported_at, i.order_id, i.error, i.created_at, \
              i.updated_at, s.store_id IS NOT NULL, o.source, o.reference \
              FROM (SELECT * FROM imports WHERE (store_id, receipt) > ($1, $2) ORDER BY store_id, receipt LIMIT $3) i \
              LEFT JOIN stores s ON s.store_id = i.store_id AND s.tenant = i.tenant \
              LEFT JOIN LATERAL (SELECT o.source, o.reference FROM orders o \
                WHERE o.tenant = i.tenant AND o.order_id = i.order_id \
                AND o.shard = ((get_byte(uuid_send(i.order_id), 14) * 256 + get_byte(uuid_send(i.order_id), 15)) \
                  % (SELECT shards FROM install))::smallint LIMIT 1) o ON true ORDER BY 1, 2",
        begin: &[NIL, Key::text()],
        check: stores::import,
    },
    Table {
        sql: "SELECT r.store_id, r.run, r.started_at, r.ended_at, r.processed, r.success, r.failed, r.rate_limited, \
              r.ending, r.detail, s.store_id IS NOT NULL \
              FROM (SELECT * FROM sync_runs WHERE (store_id, run) > ($1, $2) ORDER BY store_id, run LIMIT $3) r \
              LEFT JOIN stores s ON s.store_id = r.store_id ORDER BY 1, 2",
        begin: &[NIL, Key::Big(i64::MIN)],
        check: stores::run,
    },
    Table {
        sql: "SELECT e.store_id, e.version, e.event_id, e.tenant, e.organization, e.type, e.occurred_at, e.data, \
              s.store_id IS NOT NULL \
              FROM (SELECT * FROM store_events WHERE (store_id, version) > ($1, $2) ORDER BY store_id, version LIMIT $3) e \
              LEFT JOIN stores s ON s.store_id = e.store_id AND s.tenant = e.tenant ORDER BY 1, 2",
        begin: &[NIL, Key::Big(i64::MIN)],
        check: stores::event,
    },
    Table {
        sql: "SELECT key, state FROM budgets WHERE key > $1 ORDER BY key LIMIT $2",
        begin: &[Key::text()],
        check: stores::budget,
    },
];

/// At most `max` findings, in many short reads.
pub(crate) async fn strays(readers: &Readers, shards: u16, tips: &Tips, max: usize) -> Tried<Vec<Finding>> {
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
    findings.extend(blocks::terms(readers).await?);
    findings.extend(blocks::spans(readers, tips).await?);
    findings.truncate(max);
    Ok(findings)
}

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
            match (self.check)(row, shards)? {
                Seen::Wrong(wrong) => findings.extend(wrong),
                Seen::Suspect(suspect) => findings.extend(suspect.look(&conn, shards).await?),
            }
        }
        let last = rows.last().map(|row| (0..after.len()).map(|index| Key::of(row, index)).collect());
        Ok((findings, last.transpose()?))
    }
}

pub(super) fn finding(check: &'static str, subject: String, detail: impl Into<String>) -> Finding {
    Finding { check, shard: None, subject, detail: detail.into() }
}

/// The first columns of a row, for people.
pub(super) fn shown(row: &Row, columns: usize) -> String {
    let shown = |index| Key::of(row, index).map_or_else(|_| "?".to_owned(), |key| key.to_string());
    (0..columns).map(shown).collect::<Vec<_>>().join(" ")
}
