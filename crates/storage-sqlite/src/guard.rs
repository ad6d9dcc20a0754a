//! Is the file that is open still the file at its path, and is there room to write? SQLite itself goes on writing to a
//! file that was deleted, and what it acknowledges then is lost with the process.

use crate::error::unavailable;
use order_core::Fault;
use std::path::{Path, PathBuf};

/// Which file lies at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
}

/// What was found at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The file that is open.
    Same,
    /// Another file: what is open must be opened again.
    Other,
}

/// Watches one database file.
#[derive(Debug)]
pub(crate) struct Guard {
    path: PathBuf,
    free_bytes_min: u64,
}

impl Guard {
    pub(crate) fn new(path: &Path, free_bytes_min: u64) -> Self {
        Self { path: path.to_owned(), free_bytes_min }
    }

    /// The file at the path now.
    pub(crate) fn identity(&self) -> Result<Identity, Fault> {
        use std::os::unix::fs::MetadataExt;
        let metadata = std::fs::metadata(&self.path)
            .map_err(|error| unavailable(format!("database file {}: {error}", self.path.display())))?;
        Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
    }

    /// Whether the file at the path is the one that was opened.
    pub(crate) fn check(&self, opened: Identity) -> Result<Found, Fault> {
        Ok(if self.identity()? == opened { Found::Same } else { Found::Other })
    }

    /// Refuses to write when less space is free than must stay free.
    pub(crate) fn check_space(&self) -> Result<(), Fault> {
        match self.free_bytes() {
            Some(free) if free < self.free_bytes_min => Err(unavailable(format!(
                "only {} MiB are free at {}, {} must stay free: read-only until there is room",
                free >> 20,
                self.path.display(),
                self.free_bytes_min >> 20
            ))),
            _ => Ok(()),
        }
    }

    /// Free bytes where the file lies.
    pub(crate) fn free_bytes(&self) -> Option<u64> {
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let stat = rustix::fs::statvfs(folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
