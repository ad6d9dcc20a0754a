//! A copy becomes the database: read and checked beside it, given an epoch of its own, then put in its place by one
//! exchange of names. Until then what was there is untouched; after it, it lies where the new one was made.

use crate::backup::{copy, opened, sync_folder};
use crate::check;
use crate::connect;
use crate::error::{fault, unavailable};
use crate::guard::folder_of;
use crate::{actions, migrate, read};
use order_core::action_log::{self, ActionKind, Actor, NewAction};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::query::Install;
use order_core::{Fault, Timestamp, fault_point};
use rusqlite::{Connection, params};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long to wait for somebody who uses a file that nobody should use.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why nothing was restored; what was there is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Unrestored {
    /// The file is no copy that this program can use.
    #[error("{0}")]
    Unfit(String),
    /// Something broke.
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A copy that was read, checked and made ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// What is in it; its epoch is that of the copy.
    pub made: BackupMade,
    /// The epoch that it goes on with.
    pub epoch: u32,
    /// Leases that were taken away from their holders.
    pub leases: usize,
    /// Followers that go on from where they were in it.
    pub followers: usize,
    /// API keys that were revoked after the copy was made, and stay so.
    pub keys_revoked: usize,
    /// Orders of which the log of the replaced database tells that they were erased after the copy was made. They have to
    /// be erased again.
    pub erased: Vec<String>,
}

/// Copies `source` to the new file `staged`, checks it, and readies it for a new history. `replaced` is the database
/// whose place it takes, if there is one: what it knows better is taken from it, as far as it can be read.
///
/// # Errors
/// [`Unrestored::Unfit`] when the copy is not whole, not ours, or of a newer version.
pub fn stage(
    source: &Path,
    staged: &Path,
    replaced: Option<&Path>,
    now: Timestamp,
    progress: &BackupProgress,
) -> Result<Staged, Unrestored> {
    let unfit = |error: rusqlite::Error| Unrestored::Unfit(format!("it cannot be read: {error}"));
    let from = connect::read_only(source, PATIENCE).map_err(unfit)?;
    from.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(unfit)?;
    connect::create_if_missing(staged).map_err(fault)?;
    copy(&from, staged, false, progress)?;
    drop(from);
    let mut conn = opened(staged)?;
    let (install, made) = check::whole(&conn)?.map_err(Unrestored::Unfit)?;
    migrate::migrate(&mut conn, staged, now)?;
    let earlier = replaced.and_then(|path| Earlier::read(path, &install).ok()).unwrap_or_default();
    let staged = begin_anew(&mut conn, &install, made, &earlier, now)?;
    conn.close().map_err(|(_, error)| fault(error))?;
    Ok(staged)
}

/// Readies a database for a new history where it lies: it was carried over to another storage, and goes on from where it was
/// then. The folder that holds it must be locked by the caller.
///
/// # Errors
/// [`Unrestored::Unfit`] when it is not whole, not ours, or of a newer version.
pub fn take_back(path: &Path, now: Timestamp) -> Result<Staged, Unrestored> {
    let mut conn = connect::writer(path, PATIENCE).map_err(fault)?;
    let (install, made) = check::whole(&conn)?.map_err(Unrestored::Unfit)?;
    Ok(begin_anew(&mut conn, &install, made, &Earlier::default(), now)?)
}

/// What the replaced database knows better than the copy.
#[derive(Default)]
struct Earlier {
    epoch: u32,
    revoked: Vec<(Vec<u8>, i64)>,
    erased: Vec<String>,
}

impl Earlier {
    fn read(path: &Path, install: &Install) -> Result<Self, Fault> {
        let conn = connect::read_only(path, PATIENCE).map_err(fault)?;
        let of = crate::meta::load(&conn)?;
        let Some(of) = of.filter(|of| of.installation_id == install.installation_id) else {
            return Ok(Self::default());
        };
        let rows = |sql: &str| -> rusqlite::Result<Vec<(Vec<u8>, i64)>> {
            conn.prepare(sql)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        };
        let revoked = rows("SELECT key_id, revoked_at FROM api_keys WHERE revoked_at IS NOT NULL");
        let erased: rusqlite::Result<Vec<String>> = conn
            .prepare("SELECT DISTINCT subject FROM actions WHERE kind = 'order.erased'")
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect());
        Ok(Self { epoch: of.epoch, revoked: revoked.unwrap_or_default(), erased: erased.unwrap_or_default() })
    }
}

fn begin_anew(
    conn: &mut Connection,
    install: &Install,
    made: BackupMade,
    earlier: &Earlier,
    now: Timestamp,
) -> Result<Staged, Fault> {
    // Two restores of one copy are two histories: a number that only counts up from the copy's would name both. Seconds
    // since 1970 are never given out again.
    let seconds = u32::try_from(now.micros() / 1_000_000).unwrap_or(0);
    let epoch = seconds.max(install.epoch.max(earlier.epoch) + 1);
    let tx = conn.transaction().map_err(fault)?;
    tx.execute("UPDATE meta SET value = ?1 WHERE key = 'epoch'", [epoch]).map_err(fault)?;
    let followers = anchor(&tx, install, epoch).map_err(fault)?;
    // Whoever holds a lease may have finished in the history that is lost. The work is done again, under another token.
    let leases = tx
        .execute(
            "UPDATE work SET due_at = min(due_at, ?1), token = NULL, claimed_at = NULL WHERE token IS NOT NULL",
            [now.micros()],
        )
        .map_err(fault)?;
    // A client that repeats a request which the copy knows must find its key for as long as after a request.
    tx.execute("UPDATE idempotency SET created_at = max(created_at, ?1)", [now.micros()]).map_err(fault)?;
    tx.execute("UPDATE inbox SET consumed_at = max(consumed_at, ?1)", [now.micros()]).map_err(fault)?;
    let mut keys_revoked = 0;
    for (key_id, at) in &earlier.revoked {
        keys_revoked += tx
            .execute(
                "UPDATE api_keys SET revoked_at = ?2 WHERE key_id = ?1 AND revoked_at IS NULL",
                params![key_id, at],
            )
            .map_err(fault)?;
    }
    let erased = not_erased(&tx, &earlier.erased).map_err(fault)?;
    let staged = Staged { made, epoch, leases, followers, keys_revoked, erased };
    tell(&tx, install, &staged, now)?;
    tx.commit().map_err(fault)?;
    Ok(staged)
}

/// Followers go on from where they were when the copy was made, and never behind its end: what was carried since comes
/// again. What one carried on once more ends: it was asked for of a history that is lost.
fn anchor(conn: &Connection, install: &Install, epoch: u32) -> rusqlite::Result<usize> {
    for head in read::heads(conn, install.shards)? {
        conn.execute(
            "UPDATE cursors SET position = min(position, ?2), replay_next = NULL, replay_up_to = NULL \
             WHERE shard = ?1",
            params![head.shard.0, head.position],
        )?;
    }
    conn.execute("DELETE FROM relays", [])?;
    conn.execute("UPDATE followers SET epoch = ?1", [epoch])
}

/// Those of `erased` that are not in the copy.
fn not_erased(conn: &Connection, erased: &[String]) -> rusqlite::Result<Vec<String>> {
    let mut known = conn.prepare("SELECT 1 FROM actions WHERE kind = 'order.erased' AND subject = ?1")?;
    let mut left = Vec::new();
    for order_id in erased {
        if !known.exists([order_id])? {
            left.push(order_id.clone());
        }
    }
    Ok(left)
}

fn tell(conn: &Connection, install: &Install, staged: &Staged, now: Timestamp) -> Result<(), Fault> {
    let heads: Vec<u64> = staged.made.heads.iter().map(|head| head.position).collect();
    let details = json!({ "from_epoch": install.epoch, "heads": heads, "keys_revoked": staged.keys_revoked });
    let actor: Arc<Actor> = Arc::new(action_log::local());
    let (kind, subject, details) =
        (ActionKind::DatabaseRestored, staged.epoch.to_string(), details.to_string());
    let action = NewAction { actor, kind, subject, details, now };
    let end = actions::end(conn, install.installation_id).map_err(fault)?;
    let row = action_log::row(&end, (install.installation_id, staged.epoch), &action, (None, None));
    actions::add(conn, &row).map(drop)
}

/// Puts the staged database in the place of `database`. What was there is then where `staged` was, with what it had of a
/// log.
///
/// # Errors
/// When it cannot be done; what was there is then as it was.
pub fn put_in_place(staged: &Path, database: &Path) -> Result<(), Fault> {
    let cannot =
        |error: std::io::Error| unavailable(format!("cannot replace {}: {error}", database.display()));
    std::fs::File::open(staged).and_then(|file| file.sync_all()).map_err(cannot)?;
    sync_folder(folder_of(staged)).map_err(cannot)?;
    let there = database.try_exists().map_err(cannot)?;
    if there {
        empty_log(database)?;
    }
    // A log that is left belongs to the old one, and would be taken for the new one's.
    for suffix in ["-wal", "-shm"] {
        let (from, to) = (beside(database, suffix), beside(staged, suffix));
        match std::fs::rename(&from, &to) {
            Ok(()) => {
                tracing::warn!(file = %to.display(), "the replaced database could not be closed; this belongs to it")
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(cannot(error)),
        }
    }
    fault_point::pass("restore.mid_swap");
    if there { exchange(staged, database) } else { std::fs::rename(staged, database) }.map_err(cannot)?;
    sync_folder(folder_of(database)).and_then(|()| sync_folder(folder_of(staged))).map_err(cannot)
}

/// Carries the log of the database that is to go into it, so that it is whole in one file. One that cannot be read any
/// more keeps its log beside it.
fn empty_log(database: &Path) -> Result<(), Fault> {
    let busy = connect::writer(database, PATIENCE)
        .and_then(|conn| conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0)));
    match busy {
        Ok(true) => Err(unavailable("somebody reads the database that is to be replaced: end that first")),
        Ok(false) | Err(_) => Ok(()),
    }
}

fn exchange(staged: &Path, database: &Path) -> std::io::Result<()> {
    match renameat_with(CWD, staged, CWD, database, RenameFlags::EXCHANGE) {
        // This file system cannot: the old one gets a second name first, so there is no moment without a database.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            let aside = beside(staged, ".old");
            std::fs::hard_link(database, &aside)?;
            std::fs::rename(staged, database)?;
            std::fs::rename(aside, staged)
        }
        done => done.map_err(Into::into),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
