//! Which pepper the API keys of a database were hashed with: its print, never the pepper, in the table `meta`.

use crate::error::fault;
use crate::{Options, SqliteStorage, api_keys, connect};
use order_core::{Fault, Timestamp};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

const KEY: &str = "key_pepper_print";

/// Notes the print of the pepper that keys are hashed with from now on. While keys are live that were hashed with another,
/// that one stays noted.
///
/// # Errors
/// When the database cannot be written.
pub fn note_pepper(options: &Options, print: [u8; 8], now: Timestamp) -> Result<(), Fault> {
    let mut conn = connect::beside(&options.path).map_err(fault)?;
    conn.busy_timeout(options.busy_timeout).map_err(fault)?;
    note(&mut conn, print, now).map_err(fault)
}

fn note(conn: &mut Connection, print: [u8; 8], now: Timestamp) -> rusqlite::Result<()> {
    if noted(conn)? == Some(print) {
        return Ok(());
    }
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if noted(&tx)?.is_none() || api_keys::live(&tx, None, now)? == 0 {
        tx.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", params![KEY, print])?;
    }
    tx.commit()
}

pub(crate) fn noted(conn: &Connection) -> rusqlite::Result<Option<[u8; 8]>> {
    conn.query_row("SELECT value FROM meta WHERE key = ?1", [KEY], |row| row.get(0)).optional()
}

impl SqliteStorage {
    /// The print that was noted; `None` before anything was.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn pepper_print(&self) -> Result<Option<[u8; 8]>, Fault> {
        self.readers.with(noted).await
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_print_follows_the_pepper_unless_keys_are_live() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(
            "CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY);
             CREATE TABLE api_keys (tenant TEXT, revoked_at INTEGER, expires_at INTEGER);",
        )
        .unwrap();
        let at = Timestamp::from_micros;
        assert_eq!(noted(&conn).unwrap(), None);
        for print in [[1; 8], [2; 8]] {
            note(&mut conn, print, at(0)).unwrap();
            assert_eq!(noted(&conn).unwrap(), Some(print));
        }
        conn.execute("INSERT INTO api_keys VALUES ('t', NULL, 10)", []).unwrap();
        note(&mut conn, [3; 8], at(9)).unwrap();
        assert_eq!(noted(&conn).unwrap(), Some([2; 8]), "a key needs it");
        note(&mut conn, [3; 8], at(10)).unwrap();
        assert_eq!(noted(&conn).unwrap(), Some([3; 8]));
    }
}
