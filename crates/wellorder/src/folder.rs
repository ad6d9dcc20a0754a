//! The data folder: made, locked, and told where its server answers.

use crate::cli::failure::{Exit, Failure};
use crate::cli::lock::LOCK_FILE;
use anyhow::Context;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the database file.
pub(crate) const DATABASE_FILE: &str = "wellorder.db";

/// The folder in the data folder that copies of the database are made in.
pub(crate) const BACKUPS_FOLDER: &str = "backups";

/// How often a held lock is tried again, 5 ms apart.
const LOOKERS_WAIT: u32 = 20;

/// A data folder that is ours alone while this lives.
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

impl Folder {
    /// Makes the folder, for its owner alone, if it is not there, and locks it.
    ///
    /// # Errors
    /// When it cannot be made or locked; with who holds it when somebody does.
    pub(crate) fn lock(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .with_context(|| format!("cannot make {shown}"))?;
        let file = path.join(LOCK_FILE);
        let lock =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&file);
        let lock = lock.with_context(|| format!("cannot open {}", file.display()))?;
        // Whoever looks whether a server runs holds the lock for an instant: wait that out.
        let mut taken = lock.try_lock();
        for _ in 0..LOOKERS_WAIT {
            if !matches!(taken, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
            taken = lock.try_lock();
        }
        match taken {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = std::fs::read_to_string(&file).unwrap_or_default();
                let what = format!("{shown} is in use by another wellorder {}", holder.trim());
                return Err(Failure::here(
                    Exit::Refused,
                    what,
                    "stop it, or name another folder with --data",
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(anyhow::Error::new(error)
                    .context(format!("cannot lock {}", file.display()))
                    .into());
            }
        }
        // What an earlier holder wrote no longer holds.
        lock.set_len(0).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self { path: path.to_owned(), lock })
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }

    /// Writes where the server answers, for the command line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn announce(&mut self, address: SocketAddr, tls: bool) -> std::io::Result<()> {
        let address = if tls { format!("https://{address}") } else { address.to_string() };
        let text = serde_json::json!({ "pid": std::process::id(), "address": address }).to_string();
        self.lock.rewind()?;
        self.lock.write_all(text.as_bytes())?;
        self.lock.flush()
    }
}
