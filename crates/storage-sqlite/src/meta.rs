//! What the database says of itself, in the table `meta`.

use crate::error::fault;
use crate::migrate;
use order_core::query::Install;
use order_core::{Fault, Pepper};
use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

/// What a new database is given.
#[derive(Clone)]
pub struct Seed {
    /// Tells databases apart.
    pub installation_id: Uuid,
    /// The key that signs cursors: 32 unguessable bytes.
    pub cursor_key: [u8; 32],
    /// What API keys are hashed with: 32 unguessable bytes.
    pub key_pepper: [u8; 32],
    /// How many shards it has for ever.
    pub shards: u16,
}

fn get<T: FromSql>(conn: &Connection, key: &str) -> rusqlite::Result<Option<T>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

/// What was written at install; `None` for a database that has not been installed to the end.
pub(crate) fn load(conn: &Connection) -> Result<Option<Install>, Fault> {
    match migrate::version(conn)? {
        0 => Ok(None),
        schema_version => read(conn, schema_version).map_err(fault),
    }
}

fn read(conn: &Connection, schema_version: u32) -> rusqlite::Result<Option<Install>> {
    let Some(id) = get::<[u8; 16]>(conn, "installation_id")? else { return Ok(None) };
    let (Some(shards), Some(epoch), Some(cursor_key), Some(key_pepper)) =
        (get(conn, "shards")?, get(conn, "epoch")?, get(conn, "cursor_key")?, get(conn, "key_pepper")?)
    else {
        return Ok(None);
    };
    let installation_id = Uuid::from_bytes(id);
    let key_pepper = Pepper::new(key_pepper);
    Ok(Some(Install { installation_id, shards, epoch, cursor_key, key_pepper, schema_version }))
}

/// Writes a new database's identity, once.
pub(crate) fn install(conn: &mut Connection, seed: &Seed) -> rusqlite::Result<()> {
    let tx = conn.transaction()?;
    let put = |key: &str, value: &dyn rusqlite::ToSql| {
        tx.execute("INSERT OR IGNORE INTO meta VALUES (?1, ?2)", params![key, value])
    };
    put("installation_id", seed.installation_id.as_bytes())?;
    put("shards", &seed.shards)?;
    put("epoch", &1)?;
    put("cursor_key", &seed.cursor_key)?;
    put("key_pepper", &seed.key_pepper)?;
    for shard in 0..seed.shards {
        tx.execute("INSERT OR IGNORE INTO journal_heads (shard) VALUES (?1)", [shard])?;
    }
    tx.commit()
}

/// Refuses a number of shards that is not the installed one.
pub(crate) fn check_shards(install: &Install, shards: u16) -> Result<(), Fault> {
    if install.shards == shards {
        return Ok(());
    }
    Err(Fault::internal(format!(
        "the database was installed with {} shards, the configuration says {shards}: set shards = {}",
        install.shards, install.shards
    )))
}
