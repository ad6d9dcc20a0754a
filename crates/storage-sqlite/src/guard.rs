//! Is the file that is open still the file at its path, and is there room to write? SQLite itself goes on writing to a
//! file, or a log, that was deleted, and what it acknowledges then is lost with the process.

use crate::error::unavailable;
use order_core::Fault;
use order_core::query::Space;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Which file lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

/// Which database, and which log of it, a connection has open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    database: FileId,
    log: Option<FileId>,
}

/// What was found at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// What is open.
    Same,
    /// The database that is open, but its log was deleted or replaced: what was committed since the last checkpoint is
    /// in the open log alone.
    LogGone,
    /// Another database.
    Other,
}

/// Watches one database file and its log.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    log_path: PathBuf,
    free_bytes_min: u64,
    /// What the writer has open; `None` when there is no writer.
    writer: Mutex<Option<Identity>>,
}

impl Guard {
    pub(crate) fn new(path: &Path, free_bytes_min: u64) -> Self {
        let mut log_path = path.as_os_str().to_owned();
        log_path.push("-wal");
        Self { path: path.to_owned(), log_path: log_path.into(), free_bytes_min, writer: Mutex::new(None) }
    }

    /// Takes note of what the writer has just opened.
    pub(crate) fn opened(&self) -> Result<Identity, Fault> {
        let identity = Identity { database: file_id(&self.path)?, log: Some(file_id(&self.log_path)?) };
        *self.writer() = Some(identity);
        Ok(identity)
    }

    /// What a connection that is opened now has open: what the writer has.
    pub(crate) fn identity(&self) -> Result<Identity, Fault> {
        match *self.writer() {
            Some(identity) => Ok(identity),
            None => Ok(Identity { database: file_id(&self.path)?, log: None }),
        }
    }

    /// Whether what lies at the path is what was opened, and what the writer uses.
    pub(crate) fn check(&self, opened: Identity) -> Result<Found, Fault> {
        if file_id(&self.path)? != opened.database {
            return Ok(Found::Other);
        }
        let log_is_there = opened.log.is_none() || file_id(&self.log_path).ok() == opened.log;
        let is_used = self.writer().is_none_or(|identity| identity == opened);
        Ok(if log_is_there && is_used { Found::Same } else { Found::LogGone })
    }

    fn writer(&self) -> MutexGuard<'_, Option<Identity>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses to write when less space is free than must stay free.
    pub(crate) fn check_space(&self) -> Result<(), Fault> {
        match self.space() {
            Some(Space { free, least }) if free < least => Err(unavailable(format!(
                "only {} MiB are free at {}, {} must stay free: read-only until there is room",
                free >> 20,
                self.path.display(),
                least >> 20
            ))),
            _ => Ok(()),
        }
    }

    /// The room where the file lies.
    pub(crate) fn space(&self) -> Option<Space> {
        self.free_bytes().map(|free| Space { free, least: self.free_bytes_min })
    }

    /// Free bytes where the file lies.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        free_bytes_beside(&self.path)
    }

    /// How much must stay free.
    pub(crate) fn free_bytes_min(&self) -> u64 {
        self.free_bytes_min
    }
}

/// Free bytes where a file lies, or would.
pub(crate) fn free_bytes_beside(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(folder_of(path)).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn file_id(path: &Path) -> Result<FileId, Fault> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)
        .map_err(|error| unavailable(format!("database file {}: {error}", path.display())))?;
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}
