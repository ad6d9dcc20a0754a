//! Handing all of a database over to another storage. Every table is named here: as carried, or as left with the reason why. A
//! table that is not, and an entry of `meta` that is not, end it: nothing is forgotten in silence.

use crate::error::fault;
use crate::{Options, actions, connect, meta, migrate, pepper};
use order_core::Fault;
use order_core::carry::{Origin, Piece, Rows, Value};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::sync::Arc;

/// Most rows of a piece, and about how many bytes.
const ROWS_MAX: usize = 2_000;
const BYTES_MAX: usize = 1 << 20;

/// A table whose rows are carried.
#[derive(Debug, Clone, Copy)]
pub struct Carried {
    /// Its name.
    pub table: &'static str,
    /// Every column of it, in the order of its key.
    sql: &'static str,
}

/// All that are, in the order in which they are handed over: cursors tell what an event's place means, orders name places.
pub const CARRIED: &[Carried] = &[
    Carried { table: "journal_heads", sql: "SELECT * FROM journal_heads ORDER BY shard" },
    Carried { table: "journal", sql: "SELECT * FROM journal ORDER BY place" },
    Carried { table: "orders", sql: "SELECT * FROM orders ORDER BY number" },
    // One that leads nowhere is handed over without an order, and is refused there.
    Carried {
        table: "external_ids",
        sql: "SELECT e.*, o.order_id FROM external_ids e LEFT JOIN orders o ON o.number = e.number \
              ORDER BY e.key, e.number",
    },
    Carried { table: "work", sql: "SELECT * FROM work ORDER BY number" },
    Carried { table: "idempotency", sql: "SELECT * FROM idempotency ORDER BY tenant, route, key" },
    Carried { table: "inbox", sql: "SELECT * FROM inbox ORDER BY tenant, consumer, message_id" },
    Carried { table: "tallies", sql: "SELECT * FROM tallies ORDER BY tenant, source" },
    Carried { table: "followers", sql: "SELECT * FROM followers ORDER BY name" },
    Carried { table: "cursors", sql: "SELECT * FROM cursors ORDER BY follower, shard" },
    Carried {
        table: "parked_streams",
        sql: "SELECT * FROM parked_streams ORDER BY follower, shard, order_id",
    },
    Carried { table: "redrives", sql: "SELECT * FROM redrives ORDER BY redrive_id" },
    Carried { table: "redrive_items", sql: "SELECT * FROM redrive_items ORDER BY redrive_id, item" },
    Carried { table: "api_keys", sql: "SELECT * FROM api_keys ORDER BY number" },
    Carried { table: "named_secrets", sql: "SELECT * FROM named_secrets ORDER BY tenant, name" },
    Carried { table: "stores", sql: "SELECT * FROM stores ORDER BY store_id" },
    Carried { table: "imports", sql: "SELECT * FROM imports ORDER BY store_id, receipt" },
    Carried { table: "sync_runs", sql: "SELECT * FROM sync_runs ORDER BY store_id, run" },
    Carried { table: "store_events", sql: "SELECT * FROM store_events ORDER BY store_id, version" },
    Carried { table: "budgets", sql: "SELECT * FROM budgets ORDER BY key" },
    Carried { table: "endpoints", sql: "SELECT * FROM endpoints ORDER BY number" },
    Carried { table: "webhook_streams", sql: "SELECT * FROM webhook_streams ORDER BY endpoint, subject" },
    Carried {
        table: "webhook_attempts",
        sql: "SELECT * FROM webhook_attempts ORDER BY endpoint, attempt_id",
    },
    Carried { table: "actions", sql: "SELECT * FROM actions ORDER BY number" },
];

/// The others, each with why it is left.
pub const LEFT: &[(&str, &str)] = &[
    ("meta", "what counts of it is in the origin"),
    ("migrations", "the other storage has its own"),
    ("order_ids", "leads from ids to orders, which are carried"),
    ("term_blocks", "leads from texts to orders"),
    ("term_runs", "the same"),
    ("term_loose", "the same"),
    ("order_blocks", "the times of orders, which are carried"),
    ("journal_blocks", "the times of events, which are carried"),
    ("relays", "who carried followers has ended: nobody else could hold the folder"),
];

/// The entries of `meta` that are in the origin, and those that are about the file alone.
const META_CARRIED: &[&str] =
    &["installation_id", "shards", "epoch", "cursor_key", "key_pepper", "key_pepper_print", "action_end"];
const META_LEFT: &[&str] = &["ids_merged", "probe", "blanked"];

/// A database that is to be handed over, as it is at one moment.
pub struct Carrier {
    conn: Connection,
    origin: Origin,
}

impl Carrier {
    /// Opens a database for reading alone. The folder that holds it must be locked by the caller: what is written meanwhile is
    /// not carried.
    ///
    /// # Errors
    /// When it cannot be read, is of another version, or has what this program knows no place for.
    pub fn open(options: &Options) -> Result<Self, Fault> {
        let conn = connect::read_only(&options.path, options.busy_timeout).map_err(fault)?;
        conn.execute_batch("BEGIN").map_err(fault)?;
        migrate::known(&conn)?;
        let install = meta::load(&conn)?;
        let install = install.ok_or_else(|| Fault::internal("the file is no database of wellorder"))?;
        let newest = migrate::MIGRATIONS.last().map_or(0, |migration| migration.number);
        if install.schema_version != newest {
            let has = install.schema_version;
            return Err(Fault::internal(format!(
                "the database has schema {has}, this program reads {newest}: run `wellorder migrate`"
            )));
        }
        everything_is_named(&conn)?;
        let origin = Origin {
            pepper_print: pepper::noted(&conn).map_err(fault)?,
            action_end: actions::end(&conn, install.installation_id).map_err(fault)?,
            counts: counts(&conn).map_err(fault)?,
            install,
        };
        Ok(Self { conn, origin })
    }

    /// What it says of itself.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Hands everything over; `give` says whether it is still wanted.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn hand_over(self, mut give: impl FnMut(Piece) -> bool) -> Result<(), Fault> {
        for carried in CARRIED {
            if !hand_table(&self.conn, carried, &mut give)? {
                return Ok(());
            }
        }
        give(Piece::End);
        Ok(())
    }
}

/// Tables and entries of `meta` that neither list names.
fn everything_is_named(conn: &Connection) -> Result<(), Fault> {
    let texts = |sql: &str| -> rusqlite::Result<Vec<String>> {
        conn.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
    };
    let tables = texts("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'");
    let is_named = |table: &String| {
        CARRIED.iter().any(|carried| carried.table == table) || LEFT.iter().any(|(name, _)| name == table)
    };
    let entries = texts("SELECT key FROM meta");
    let is_known =
        |entry: &String| META_CARRIED.contains(&entry.as_str()) || META_LEFT.contains(&entry.as_str());
    let unknown = |what: &str, names: Vec<String>| {
        let names = names.join(", ");
        Fault::internal(format!(
            "this program does not know where to carry {what} {names}: run a newer wellorder"
        ))
    };
    let tables: Vec<String> = tables.map_err(fault)?.into_iter().filter(|table| !is_named(table)).collect();
    if !tables.is_empty() {
        return Err(unknown("the table", tables));
    }
    let entries: Vec<String> = entries.map_err(fault)?.into_iter().filter(|entry| !is_known(entry)).collect();
    if !entries.is_empty() {
        return Err(unknown("what `meta` says of", entries));
    }
    Ok(())
}

fn counts(conn: &Connection) -> rusqlite::Result<Vec<(&'static str, u64)>> {
    let count = |carried: &Carried| {
        let sql = ["SELECT count(*) FROM ", carried.table].concat();
        conn.query_row(&sql, [], |row| Ok((carried.table, row.get(0)?)))
    };
    CARRIED.iter().map(count).collect()
}

/// One table; answers whether more is wanted.
fn hand_table(
    conn: &Connection,
    carried: &Carried,
    give: &mut impl FnMut(Piece) -> bool,
) -> Result<bool, Fault> {
    let mut statement = conn.prepare(carried.sql).map_err(fault)?;
    let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.query([]).map_err(fault)?;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    loop {
        let next = found.next().map_err(fault)?;
        let ended = next.is_none();
        if let Some(row) = next {
            rows.push(values(row, &columns, carried.table, &mut bytes)?);
        }
        if (ended && !rows.is_empty()) || rows.len() >= ROWS_MAX || bytes >= BYTES_MAX {
            let rows = std::mem::take(&mut rows);
            bytes = 0;
            if !give(Piece::Rows(Rows { table: carried.table, columns: Arc::clone(&columns), rows })) {
                return Ok(false);
            }
        }
        if ended {
            return Ok(true);
        }
    }
}

fn values(row: &Row<'_>, columns: &[String], table: &str, bytes: &mut usize) -> Result<Vec<Value>, Fault> {
    let mut values = Vec::with_capacity(columns.len());
    for (index, column) in columns.iter().enumerate() {
        let unreadable = || {
            Fault::internal(format!("a row of {table} does not read back: {column}: run `wellorder audit`"))
        };
        values.push(match row.get_ref(index).map_err(fault)? {
            ValueRef::Null => Value::Nothing,
            ValueRef::Integer(number) => Value::Number(number),
            ValueRef::Text(text) => {
                *bytes += text.len();
                Value::Text(String::from_utf8(text.to_vec()).map_err(|_| unreadable())?)
            }
            ValueRef::Blob(blob) => {
                *bytes += blob.len();
                Value::Bytes(blob.to_vec())
            }
            ValueRef::Real(_) => return Err(unreadable()),
        });
    }
    *bytes += size_of::<Value>() * columns.len();
    Ok(values)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::Seed;
    use order_core::Timestamp;
    use std::collections::BTreeSet;
    use std::time::Duration;

    fn database() -> (tempfile::TempDir, Options) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let options = Options {
            path,
            busy_timeout: Duration::from_secs(5),
            free_bytes_min: 0,
            leases_outlive: order_core::desk::Desks::NONE,
        };
        let seed = Seed {
            installation_id: uuid::Uuid::from_u128(1),
            cursor_key: [1; 32],
            key_pepper: [2; 32],
            shards: 2,
        };
        crate::SqliteStorage::open(&options, &seed, Timestamp::from_micros(1)).unwrap();
        (folder, options)
    }

    /// Whoever adds a table says here whether `move` carries it.
    #[test]
    fn every_table_is_carried_or_left_for_a_reason() {
        let (_folder, options) = database();
        let conn = Connection::open(&options.path).unwrap();
        let mut statement = conn
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
            .unwrap();
        let tables: rusqlite::Result<BTreeSet<String>> =
            statement.query_map([], |row| row.get(0)).unwrap().collect();
        let named = CARRIED.iter().map(|carried| carried.table).chain(LEFT.iter().map(|(table, _)| *table));
        let named: Vec<String> = named.map(str::to_owned).collect();
        assert_eq!(tables.unwrap(), named.iter().cloned().collect());
        assert_eq!(named.len(), CARRIED.len() + LEFT.len());
    }

    #[test]
    fn what_nobody_named_is_not_left_behind_in_silence() {
        let (_folder, options) = database();
        let carrier = Carrier::open(&options).unwrap();
        assert_eq!((carrier.origin().count("journal_heads"), carrier.origin().rows()), (2, 2));
        let mut pieces = Vec::new();
        carrier
            .hand_over(|piece| {
                pieces.push(piece);
                true
            })
            .unwrap();
        let Some((Piece::End, [Piece::Rows(heads)])) = pieces.split_last() else {
            unreachable!("{pieces:?}")
        };
        assert_eq!((heads.table, heads.rows.len()), ("journal_heads", 2));
        let conn = Connection::open(&options.path).unwrap();
        conn.execute("INSERT INTO meta VALUES ('of_later', 1)", []).unwrap();
        assert!(Carrier::open(&options).err().unwrap().to_string().contains("of_later"));
        conn.execute_batch("DELETE FROM meta WHERE key = 'of_later'; CREATE TABLE quotas (a)").unwrap();
        assert!(Carrier::open(&options).err().unwrap().to_string().contains("quotas"));
    }
}
