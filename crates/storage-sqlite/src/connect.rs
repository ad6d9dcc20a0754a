//! Opening connections with the settings that durability and safety ask for.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// Bytes of the log that stay on disk after a checkpoint.
const LOG_BYTES_MAX: u32 = 64 << 20;
/// What the writer keeps of the file in memory. After a page split SQLite walks its whole cache at the next commit, so
/// more is not better; the operating system's cache stands behind it.
const CACHE_KIB: i32 = 16_384;
/// Statements that a connection keeps prepared.
const STATEMENTS_MAX: usize = 64;

/// The writer's connection to a file that is there.
pub(crate) fn writer(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, busy_timeout)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        return Err(rusqlite::Error::SqliteFailure(
            code,
            Some(format!("no write-ahead log here, only {mode:?}")),
        ));
    }
    // Every commit is flushed before it is acknowledged.
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "journal_size_limit", LOG_BYTES_MAX)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // An erasure can blank what a row holds now, not what earlier forms of it left behind on its pages: nothing may be
    // left behind at any time.
    conn.pragma_update(None, "secure_delete", true)?;
    Ok(conn)
}

/// A connection for checkpoints beside the writer's; its log is open when this returns.
pub(crate) fn beside(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, Duration::ZERO)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

/// A connection that cannot write.
pub(crate) fn read_only(path: &Path, busy_timeout: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, busy_timeout)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "cache_size", -4_096)?;
    Ok(conn)
}

/// A connection to a database that nobody writes, and that cannot be written: a disk that is full, or mounted for reading
/// alone. SQLite wants to make the log and its shared memory even to read; here it makes nothing.
pub(crate) fn at_rest(path: &Path) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    // Without a log the file is all there is. With one, its index is made in the memory of this process: that takes an
    // exclusive lock, which a file that is open for reading alone cannot have, so locks are left out.
    let log_bytes = std::fs::metadata(log).map_or(0, |found| found.len());
    let how = if log_bytes == 0 { "immutable=1" } else { "vfs=unix-none" };
    let conn = Connection::open_with_flags(uri(path, how), flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    if log_bytes > 0 {
        conn.pragma_update_and_check(None, "locking_mode", "EXCLUSIVE", |_| Ok(()))?;
    }
    common(&conn, Duration::ZERO)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(conn)
}

/// The file as SQLite's URI: <https://sqlite.org/uri.html>.
fn uri(path: &Path, how: &str) -> String {
    use std::fmt::Write;
    use std::os::unix::ffi::OsStrExt;
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                uri.push(char::from(*byte))
            }
            // Writing to a text does not fail.
            _ => drop(write!(uri, "%{byte:02x}")),
        }
    }
    uri + "?" + how
}

fn common(conn: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    conn.busy_timeout(busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    // Without this a prepared statement is planned anew whenever another value is bound (measured: 8 % of intake).
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")
}

/// Makes the file, readable by its owner alone, if there is none. A file that is there is not opened: closing it again
/// would drop every lock that this process holds on it (POSIX), and with the locks what keeps other programs from taking
/// the log for a dead one.
pub(crate) fn create_if_missing(path: &Path) -> rusqlite::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    // SQLite gives the log and the shared memory the rights of the database file.
    let made = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path);
    let made = made.map(drop).or_else(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    });
    made.map_err(|error| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CANTOPEN);
        rusqlite::Error::SqliteFailure(code, Some(format!("{}: {error}", path.display())))
    })
}
