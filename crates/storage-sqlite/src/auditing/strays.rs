//! What an audit finds in the tables besides orders, journal, work and tallies: rows that do not read, rows that name what is
//! not there, and rows that are wrong (see [`super::kept`] and [`super::spans`]). Each table is walked in the order of its
//! keys, a page at a time.

use super::{kept, shown, spans, stores, webhooks};
use crate::apply::load_number;
use crate::damage::is_damage;
use crate::ids::OrderIds;
use crate::readers::Readers;
use crate::rows::is_of_row;
use crate::webhooks::{endpoints, streams};
use order_core::Fault;
use order_core::audit::Finding;
use order_core::external::key_of;
use order_core::ids::Shard;
use order_core::query::Install;
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, ToSql, params_from_iter};
use std::sync::Arc;

/// Rows that one read takes.
const PAGE: u32 = 500;
/// The same, of rows that stand for a thousand others.
const PAGE_OF_BLOCKS: u32 = 32;

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

/// What a look at a row needs besides the row. Whatever is read through it is read in the row's snapshot.
pub(super) struct Look<'c> {
    pub(super) conn: &'c Connection,
    pub(super) ids: &'c OrderIds,
    pub(super) install: &'c Install,
}

/// A table and what is wrong with one of its rows. The first columns are its key.
struct Table {
    name: &'static str,
    sql: &'static str,
    begin: fn() -> Vec<Key>,
    page: u32,
    check: fn(&Look<'_>, &Row<'_>) -> rusqlite::Result<Vec<Finding>>,
}

const TABLES: &[Table] = &[
    Table {
        name: "order_ids",
        sql: "SELECT i.order_id, i.number, o.number FROM order_ids i \
              LEFT JOIN orders o ON o.number = i.number AND o.order_id = i.order_id \
              WHERE i.order_id > ?1 ORDER BY i.order_id LIMIT ?2",
        begin: || vec![Key::blob()],
        page: PAGE,
        check: id_entry,
    },
    Table {
        name: "term_blocks",
        sql: "SELECT block, run, first, entries FROM term_blocks WHERE block > ?1 ORDER BY block LIMIT ?2",
        begin: || vec![Key::integer()],
        page: PAGE,
        check: spans::term_block,
    },
    Table {
        name: "term_loose",
        sql: "SELECT entry FROM term_loose WHERE entry > ?1 ORDER BY entry LIMIT ?2",
        begin: || vec![Key::blob()],
        page: PAGE,
        check: spans::term_loose,
    },
    Table {
        name: "external_ids",
        sql: "SELECT key, number FROM external_ids WHERE (key, number) > (?1, ?2) ORDER BY key, number LIMIT ?3",
        begin: || vec![Key::blob(), Key::integer()],
        page: PAGE,
        check: external_id,
    },
    Table {
        name: "order_blocks",
        sql: "SELECT block, accepted_min, accepted_max FROM order_blocks WHERE block > ?1 ORDER BY block LIMIT ?2",
        begin: || vec![Key::integer()],
        page: PAGE_OF_BLOCKS,
        check: spans::order_block,
    },
    Table {
        name: "journal_blocks",
        sql: "SELECT shard, block, latest, (SELECT b.latest FROM journal_blocks b \
                     WHERE b.shard = j.shard AND b.block = j.block - 1) FROM journal_blocks j \
              WHERE (shard, block) > (?1, ?2) ORDER BY shard, block LIMIT ?3",
        begin: || vec![Key::integer(), Key::integer()],
        page: PAGE_OF_BLOCKS,
        check: spans::journal_block,
    },
    Table {
        name: "journal_heads",
        sql: "SELECT shard FROM journal_heads WHERE shard > ?1 ORDER BY shard LIMIT ?2",
        begin: || vec![Key::integer()],
        page: PAGE,
        check: spans::head,
    },
    Table {
        name: "idempotency",
        sql: "SELECT tenant, route, key, order_id, digest, created_at FROM idempotency \
              WHERE (tenant, route, key) > (?1, ?2, ?3) ORDER BY tenant, route, key LIMIT ?4",
        begin: || vec![Key::text(), Key::text(), Key::text()],
        page: PAGE,
        check: kept::idempotency,
    },
    Table {
        name: "inbox",
        sql: "SELECT tenant, consumer, message_id, order_id, consumed_at FROM inbox \
              WHERE (tenant, consumer, message_id) > (?1, ?2, ?3) ORDER BY tenant, consumer, message_id LIMIT ?4",
        begin: || vec![Key::text(), Key::text(), Key::text()],
        page: PAGE,
        check: kept::message,
    },
    Table {
        name: "redrives",
        sql: "SELECT redrive_id FROM redrives WHERE redrive_id > ?1 ORDER BY redrive_id LIMIT ?2",
        begin: || vec![Key::blob()],
        page: PAGE,
        check: kept::redrive,
    },
    Table {
        name: "redrive_items",
        sql: "SELECT i.redrive_id, i.item, i.order_id, i.result, r.tenant, r.reason, r.by FROM redrive_items i \
              LEFT JOIN redrives r USING (redrive_id) \
              WHERE (i.redrive_id, i.item) > (?1, ?2) ORDER BY i.redrive_id, i.item LIMIT ?3",
        begin: || vec![Key::blob(), Key::integer()],
        page: PAGE,
        check: kept::redrive_item,
    },
    Table {
        name: "api_keys",
        sql: "SELECT number FROM api_keys WHERE number > ?1 ORDER BY number LIMIT ?2",
        begin: || vec![Key::integer()],
        page: PAGE,
        check: kept::api_key,
    },
    Table {
        name: "named_secrets",
        sql: "SELECT tenant, name, sealed, created_at FROM named_secrets WHERE (tenant, name) > (?1, ?2) \
              ORDER BY tenant, name LIMIT ?3",
        begin: || vec![Key::text(), Key::text()],
        page: PAGE,
        check: kept::named_secret,
    },
    Table {
        name: "followers",
        sql: "SELECT name, sink, paused, epoch, created_at, updated_at, parked FROM followers \
              WHERE name > ?1 ORDER BY name LIMIT ?2",
        begin: || vec![Key::text()],
        page: PAGE,
        check: kept::follower,
    },
    Table {
        name: "cursors",
        sql: "SELECT follower, shard, position, replay_next, replay_up_to, \
              EXISTS (SELECT 1 FROM followers WHERE name = follower), token FROM cursors \
              WHERE (follower, shard) > (?1, ?2) ORDER BY follower, shard LIMIT ?3",
        begin: || vec![Key::text(), Key::integer()],
        page: PAGE,
        check: kept::cursor,
    },
    Table {
        name: "relays",
        sql: "SELECT follower, token, until, fault, EXISTS (SELECT 1 FROM followers WHERE name = follower) \
              FROM relays WHERE (follower, token) > (?1, ?2) ORDER BY follower, token LIMIT ?3",
        begin: || vec![Key::text(), Key::blob()],
        page: PAGE,
        check: kept::relay,
    },
    Table {
        name: "parked_streams",
        sql: "SELECT follower, shard, order_id, tenant, from_version, reason, detail, parked_at, redriving, \
              EXISTS (SELECT 1 FROM followers WHERE name = follower) FROM parked_streams \
              WHERE (follower, shard, order_id) > (?1, ?2, ?3) ORDER BY follower, shard, order_id LIMIT ?4",
        begin: || vec![Key::text(), Key::integer(), Key::blob()],
        page: PAGE,
        check: kept::parked_stream,
    },
    Table {
        name: "stores",
        sql: "SELECT store_id FROM stores WHERE store_id > ?1 ORDER BY store_id LIMIT ?2",
        begin: || vec![Key::blob()],
        page: PAGE,
        check: stores::store,
    },
    Table {
        name: "imports",
        sql: "SELECT store_id, receipt, EXISTS (SELECT 1 FROM stores s WHERE s.store_id = i.store_id AND s.tenant = i.tenant) \
              FROM imports i WHERE (store_id, receipt) > (?1, ?2) ORDER BY store_id, receipt LIMIT ?3",
        begin: || vec![Key::blob(), Key::text()],
        page: PAGE,
        check: stores::import,
    },
    Table {
        name: "sync_runs",
        sql: "SELECT store_id, run, EXISTS (SELECT 1 FROM stores s WHERE s.store_id = r.store_id) FROM sync_runs r \
              WHERE (store_id, run) > (?1, ?2) ORDER BY store_id, run LIMIT ?3",
        begin: || vec![Key::blob(), Key::integer()],
        page: PAGE,
        check: stores::run,
    },
    Table {
        name: "store_events",
        sql: "SELECT store_id, version, \
              EXISTS (SELECT 1 FROM stores s WHERE s.store_id = e.store_id AND s.tenant = e.tenant) FROM store_events e \
              WHERE (store_id, version) > (?1, ?2) ORDER BY store_id, version LIMIT ?3",
        begin: || vec![Key::blob(), Key::integer()],
        page: PAGE,
        check: stores::event,
    },
    Table {
        name: "budgets",
        sql: "SELECT key FROM budgets WHERE key > ?1 ORDER BY key LIMIT ?2",
        begin: || vec![Key::text()],
        page: PAGE,
        check: stores::budget,
    },
    Table {
        name: "endpoints",
        sql: endpoints!("WHERE number > ?1 ORDER BY number LIMIT ?2"),
        begin: || vec![Key::integer()],
        page: PAGE,
        check: webhooks::endpoint,
    },
    Table {
        name: "webhook_streams",
        sql: streams!(
            ", EXISTS (SELECT 1 FROM endpoints WHERE number = s.endpoint AND tenant = s.tenant) FROM webhook_streams s \
             WHERE (s.endpoint, s.subject) > (?1, ?2) ORDER BY s.endpoint, s.subject LIMIT ?3"
        ),
        begin: || vec![Key::integer(), Key::blob()],
        page: PAGE,
        check: webhooks::stream,
    },
];

/// Reads of every index that no walk along a table reads: a count looks at all of its pages.
const INDEXES: &[(&str, &str)] = &[
    ("orders_parked", "SELECT count(*) FROM orders INDEXED BY orders_parked WHERE processing = 'parked'"),
    ("orders_withdrawn", "SELECT count(*) FROM orders INDEXED BY orders_withdrawn WHERE withdrawn = 1"),
    ("orders_shipped", "SELECT count(*) FROM orders INDEXED BY orders_shipped WHERE fulfilment = 'shipped'"),
    (
        "orders_delivered",
        "SELECT count(*) FROM orders INDEXED BY orders_delivered WHERE fulfilment = 'delivered'",
    ),
    ("work_due", "SELECT count(*) FROM work INDEXED BY work_due"),
    ("work_leased", "SELECT count(*) FROM work INDEXED BY work_leased WHERE token IS NOT NULL"),
    ("term_firsts", "SELECT count(*) FROM term_blocks INDEXED BY term_firsts"),
    ("idempotency_by_age", "SELECT count(*) FROM idempotency INDEXED BY idempotency_by_age"),
    ("inbox_by_age", "SELECT count(*) FROM inbox INDEXED BY inbox_by_age"),
    ("stores_by_token", "SELECT count(*) FROM stores INDEXED BY stores_by_token"),
    ("stores_by_tenant", "SELECT count(*) FROM stores INDEXED BY stores_by_tenant"),
    ("stores_by_organization", "SELECT count(*) FROM stores INDEXED BY stores_by_organization"),
    (
        "stores_to_sync",
        "SELECT count(*) FROM stores INDEXED BY stores_to_sync WHERE next_sync_at IS NOT NULL",
    ),
    ("imports_by_number", "SELECT count(*) FROM imports INDEXED BY imports_by_number"),
    ("imports_open", "SELECT count(*) FROM imports INDEXED BY imports_open WHERE state <> 'success'"),
    ("imports_due", "SELECT count(*) FROM imports INDEXED BY imports_due WHERE due_at IS NOT NULL"),
    ("imports_by_receipt", "SELECT count(*) FROM imports INDEXED BY imports_by_receipt"),
    (
        "parked_streams_redriving",
        "SELECT count(*) FROM parked_streams INDEXED BY parked_streams_redriving WHERE redriving = 1",
    ),
    ("redrives_open", "SELECT count(*) FROM redrives INDEXED BY redrives_open WHERE finished = 0"),
    ("api_keys_by_tenant", "SELECT count(*) FROM api_keys INDEXED BY api_keys_by_tenant"),
    ("webhook_streams_due", "SELECT count(*) FROM webhook_streams INDEXED BY webhook_streams_due"),
    ("webhook_attempts_of", "SELECT count(*) FROM webhook_attempts INDEXED BY webhook_attempts_of"),
    ("actions_by_tenant", "SELECT count(*) FROM actions INDEXED BY actions_by_tenant"),
];

/// At most `max` findings, in many short reads.
pub(crate) async fn strays(
    readers: &Readers,
    ids: &Arc<OrderIds>,
    install: &Arc<Install>,
    max: usize,
) -> Result<Vec<Finding>, Fault> {
    let shards = install.shards;
    let mut findings = readers.with(move |conn| spans::marks_of_progress(conn, shards)).await?;
    for table in TABLES {
        let mut after = (table.begin)();
        while findings.len() < max {
            let (ids, install, begin) = (Arc::clone(ids), Arc::clone(install), after);
            let read = readers.with(move |conn| {
                let look = Look { conn, ids: &ids, install: &install };
                table.page_or_damage(&look, &begin)
            });
            let (found, last) = read.await?;
            findings.extend(found);
            match last {
                Some(last) => after = last,
                None => break,
            }
        }
    }
    for (name, sql) in INDEXES {
        findings.extend(readers.with(move |conn| index(conn, name, sql)).await?);
    }
    findings.truncate(max);
    Ok(findings)
}

impl Table {
    /// A page and where it ends. Where the file is damaged nobody can tell which keys lie there: the walk ends.
    fn page_or_damage(
        &self,
        look: &Look<'_>,
        after: &[Key],
    ) -> rusqlite::Result<(Vec<Finding>, Option<Vec<Key>>)> {
        match self.page(look, after) {
            Err(error) if is_damage(&error) => {
                Ok((vec![finding("unreadable", format!("table {}", self.name), error.to_string())], None))
            }
            page => page,
        }
    }

    fn page(&self, look: &Look<'_>, after: &[Key]) -> rusqlite::Result<(Vec<Finding>, Option<Vec<Key>>)> {
        let mut statement = look.conn.prepare_cached(self.sql)?;
        let limit = Key::Other(Value::Integer(self.page.into()));
        let mut rows = statement.query(params_from_iter(after.iter().chain([&limit])))?;
        let (mut findings, mut last) = (Vec::new(), None);
        while let Some(row) = rows.next()? {
            last = Some((0..after.len()).map(|index| Key::of(row, index)).collect::<Result<Vec<_>, _>>()?);
            findings.extend((self.check)(look, row)?);
        }
        Ok((findings, last))
    }
}

fn index(conn: &Connection, name: &str, sql: &str) -> rusqlite::Result<Option<Finding>> {
    let counted = conn.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
    match counted {
        Err(error) if is_damage(&error) => {
            Ok(Some(finding("unreadable", format!("index {name}"), error.to_string())))
        }
        counted => counted.map(|_| None),
    }
}

pub(super) fn finding(check: &'static str, subject: String, detail: impl Into<String>) -> Finding {
    Finding { check, shard: None, subject, detail: detail.into() }
}

/// The same, of a shard. What is kept there is no number of a shard for sure.
pub(super) fn in_shard(
    check: &'static str,
    shard: i64,
    subject: String,
    detail: impl Into<String>,
) -> Finding {
    Finding { shard: u16::try_from(shard).ok().map(Shard), ..finding(check, subject, detail) }
}

fn id_entry(_: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let leads = row.get::<_, Option<i64>>(2)?.is_some();
    let detail = || format!("its entry leads to number {}, which is no such order", shown(row, 1));
    Ok(if leads { Vec::new() } else { vec![finding("ids", shown(row, 0), detail())] })
}

/// An order of that number bears that external id.
fn external_id(look: &Look<'_>, row: &Row<'_>) -> rusqlite::Result<Vec<Finding>> {
    let (key, number): (Vec<u8>, i64) = (row.get(0)?, row.get(1)?);
    let bears = match load_number(look.conn, number) {
        Ok(order) => {
            order.and_then(|(order, _)| key_of(&order)).is_some_and(|of_order| of_order.0[..] == key)
        }
        // That it does not read is told elsewhere.
        Err(error) if is_of_row(&error) => true,
        Err(error) => return Err(error),
    };
    let detail = || format!("leads to number {number}, which does not bear it");
    Ok(if bears { Vec::new() } else { vec![finding("external_ids", shown(row, 0), detail())] })
}
