//! Whole copies of a database, while it is written.
//!
//! A connection of the copy's own holds one snapshot for as long as it takes, so the copy is of one moment however much is
//! committed meanwhile. Until it is done the log cannot begin anew, and grows by what is written. Between two parts the
//! copy rests for as long as a part takes, so that intake keeps half of the disk at least.

use crate::check;
use crate::connect;
use crate::error::{fault, unavailable};
use crate::guard::{Found, Guard, folder_of, free_bytes_beside};
use order_core::backup::{BackupMade, BackupProgress};
use order_core::query::Install;
use order_core::{Fault, fault_point};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pages of one part: 4 MiB.
const PART: i32 = 1_024;
/// Longest rest between two parts.
const REST_MAX: Duration = Duration::from_millis(100);
/// What a copy is called until it is whole.
const PARTIAL: &str = ".partial";

/// Copies the database `path` to `target`, which must not be there.
pub(crate) fn back_up(
    path: &Path,
    guard: &Guard,
    install: &Install,
    target: &Path,
    progress: &BackupProgress,
) -> Result<BackupMade, Fault> {
    let identity = guard.identity()?;
    let source = connect::read_only(path, Duration::from_secs(5)).map_err(fault)?;
    if guard.check(identity)? != Found::Same {
        return Err(unavailable("the database file or its log is being replaced"));
    }
    // The snapshot begins with the first read.
    let bytes: u64 = source
        .execute_batch("BEGIN")
        .and_then(|()| {
            source.query_row(
                "SELECT page_count * page_size FROM meta, pragma_page_count, pragma_page_size LIMIT 1",
                [],
                |row| row.get(0),
            )
        })
        .map_err(fault)?;
    check_room(target, bytes, guard.free_bytes_min())?;
    let partial = Partial::new(target)?;
    copy(&source, &partial.0, true, progress)?;
    let made = match check::whole(&opened(&partial.0)?)? {
        Ok((of, made)) if of == *install => made,
        Ok(_) => return Err(Fault::internal("the copy is one of another database")),
        Err(wrong) => return Err(Fault::internal(format!("the copy is not whole: {wrong}"))),
    };
    partial.keep(target)?;
    Ok(made)
}

/// Copies all of what `source` sees to `target`, which is there when it is whole, and not before; one of an earlier try is
/// replaced then. Where there is no room for it nothing is begun.
pub(crate) fn copy_to(source: &Connection, target: &Path) -> Result<(), Fault> {
    let bytes = source.query_row(
        "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
        [],
        |row| row.get(0),
    );
    check_room(target, bytes.map_err(fault)?, 0)?;
    let partial = Partial::new(target)?;
    copy(source, &partial.0, false, &BackupProgress::default())?;
    match std::fs::remove_file(target) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(unavailable(format!("cannot replace {}: {error}", target.display())))
        }
        _ => partial.keep(target),
    }
}

fn check_room(target: &Path, bytes: u64, free_min: u64) -> Result<(), Fault> {
    match free_bytes_beside(target) {
        Some(free) if free < bytes.saturating_add(free_min) => Err(unavailable(format!(
            "a copy takes {} MiB and {} must stay free, of {} that are",
            bytes >> 20,
            free_min >> 20,
            free >> 20
        ))),
        _ => Ok(()),
    }
}

/// Copies all of what `source` sees to the new file `target`, which is then one file that needs no log.
pub(crate) fn copy(
    source: &Connection,
    target: &Path,
    rests: bool,
    progress: &BackupProgress,
) -> Result<(), Fault> {
    let mut copy = opened(target)?;
    // What is not whole is thrown away, so nothing need be undone or flushed on the way.
    copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF").map_err(fault)?;
    let page_bytes: u64 = source.query_row("PRAGMA page_size", [], |row| row.get(0)).map_err(fault)?;
    let backup = Backup::new(source, &mut copy).map_err(fault)?;
    loop {
        let (step, took) = timed(|| backup.step(PART));
        let step = step.map_err(fault)?;
        let so_far = backup.progress();
        let pages = |count: i32| u64::try_from(count).unwrap_or(0);
        let total = pages(so_far.pagecount);
        progress.set((total - pages(so_far.remaining).min(total)) * page_bytes, total * page_bytes);
        fault_point::pass("backup.mid_copy");
        if progress.is_called_off() {
            return Err(Fault::ShuttingDown);
        }
        match step {
            StepResult::Done => break,
            StepResult::More if !rests => {}
            _ => std::thread::sleep(took.min(REST_MAX)),
        }
    }
    drop(backup);
    // The copy says of itself that it has a log, as the database does; without one it is whole in one file.
    let mode: String =
        copy.pragma_update_and_check(None, "journal_mode", "DELETE", |row| row.get(0)).map_err(fault)?;
    if mode != "delete" {
        return Err(Fault::internal(format!("the copy keeps a log: {mode}")));
    }
    copy.close().map_err(|(_, error)| fault(error))
}

#[expect(clippy::disallowed_methods, reason = "a monotonic clock, for the length of a rest alone")]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = run();
    (done, began.elapsed())
}

/// A connection to a file that is nobody else's.
pub(crate) fn opened(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(fault)?;
    conn.pragma_update(None, "trusted_schema", false).map_err(fault)?;
    Ok(conn)
}

/// A file that goes unless it is kept.
struct Partial(PathBuf);

impl Partial {
    fn new(target: &Path) -> Result<Self, Fault> {
        let mut path = target.as_os_str().to_owned();
        path.push(PARTIAL);
        let path = PathBuf::from(path);
        let cannot = |error| unavailable(format!("cannot write {}: {error}", path.display()));
        if let Err(error) = std::fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(cannot(error));
        }
        connect::create_if_missing(&path).map_err(fault)?;
        Ok(Self(path))
    }

    /// Makes it safe, then gives it its name: never over another file.
    fn keep(self, target: &Path) -> Result<(), Fault> {
        let kept = File::open(&self.0)
            .and_then(|file| file.sync_all())
            .and_then(|()| std::fs::hard_link(&self.0, target))
            .and_then(|()| std::fs::remove_file(&self.0))
            .and_then(|()| sync_folder(folder_of(target)));
        kept.map_err(|error| unavailable(format!("cannot keep {}: {error}", target.display())))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // What is kept is not there any more.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Makes names in a folder safe.
pub(crate) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}
