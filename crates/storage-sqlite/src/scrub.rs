//! What an erasure cannot reach. SQLite overwrites what is deleted (`secure_delete`), but where it builds a page anew
//! because rows were moved between pages, old bytes may stay in the page's unused part. No statement can tell which
//! pages these are. So a database in which something was erased is built anew as a whole: when nothing else is to do if it
//! is small, else at the next start, when nobody waits for a commit.

use crate::guard::Guard;
use rusqlite::{Connection, OptionalExtension};

/// Room that building anew takes, in sizes of the database: a copy, and the log of writing it back.
const ROOM: u64 = 3;

/// Largest database that is built anew between two commits: a fraction of a second.
pub(crate) const IDLE_BYTES_MAX: u64 = 64 << 20;

/// Remembers, in the transaction of an erasure, that the database must be built anew.
pub(crate) fn owe(conn: &Connection) -> rusqlite::Result<()> {
    conn.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('blanked', 1)")?.execute([]).map(drop)
}

/// Builds the database anew if that is owed and it has at most `bytes_max` bytes. What goes wrong is no reason not to go
/// on; it stays owed.
pub(crate) fn pay(conn: &Connection, guard: &Guard, bytes_max: u64) {
    match owed(conn) {
        Ok(None) => {}
        Ok(Some(bytes)) if bytes > bytes_max => {}
        Ok(Some(bytes)) if guard.free_bytes().is_some_and(|free| free / ROOM < bytes) => {
            tracing::warn!(
                bytes,
                "no room to build the database anew after erasures; its unused parts keep old bytes"
            );
        }
        Ok(Some(bytes)) => match build_anew(conn) {
            Ok(()) => tracing::info!(bytes, "built the database anew after erasures"),
            Err(error) => tracing::warn!(%error, "cannot build the database anew after erasures"),
        },
        Err(error) => tracing::warn!(%error, "cannot tell whether something was erased"),
    }
}

/// The size of the database, if it must be built anew.
fn owed(conn: &Connection) -> rusqlite::Result<Option<u64>> {
    conn.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size, meta WHERE key = 'blanked'",
        [],
        |row| row.get(0),
    )
    .optional()
}

fn build_anew(conn: &Connection) -> rusqlite::Result<()> {
    // The copy may be larger than memory.
    conn.pragma_update(None, "temp_store", "FILE")?;
    let built = conn.execute_batch("VACUUM; DELETE FROM meta WHERE key = 'blanked'");
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    built?;
    // A reader that is there may keep the log; the writer empties it later.
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}
