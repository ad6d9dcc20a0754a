//! The data folder: made, locked, and told where its server answers.

use crate::cli::failure::{Exit, Failure};
use crate::cli::lock::LOCK_FILE;
use anyhow::Context;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The name of the database file.
pub(crate) const DATABASE_FILE: &str = "wellorder.db";

/// The folder in the data folder that copies of the database are made in.
pub(crate) const BACKUPS_FOLDER: &str = "backups";

/// How often a held lock is tried again, 5 ms apart.
const LOOKERS_WAIT: u32 = 20;

/// What the lock file is to say.
#[derive(Clone, Default)]
struct Announced {
    /// Empty until it is known.
    text: String,
    /// Whether it could be written once.
    written: bool,
}

/// A data folder that is ours alone while this lives.
pub(crate) struct Folder {
    path: PathBuf,
    /// The folder itself is locked, not a file in it: a file can be deleted, and the next process would lock another.
    /// `None` where others may use it too.
    lock: Option<File>,
    announced: Mutex<Announced>,
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
        let lock = File::open(path).with_context(|| format!("cannot open {shown}"))?;
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
                let holder = std::fs::read_to_string(path.join(LOCK_FILE)).unwrap_or_default();
                let what = format!("{shown} is in use by another wellorder {}", holder.trim());
                return Err(Failure::here(
                    Exit::Refused,
                    what,
                    "stop it, or name another folder with --data",
                ));
            }
            Err(TryLockError::Error(error)) => {
                return Err(anyhow::Error::new(error).context(format!("cannot lock {shown}")).into());
            }
        }
        let folder = Self { path: path.to_owned(), lock: Some(lock), announced: Mutex::default() };
        folder.forget();
        Ok(folder)
    }

    /// A folder that others may use at the same time: what counts lies elsewhere, and nothing is announced in it. Where it
    /// cannot be made, whoever needs it will say so.
    pub(crate) fn shared(path: &Path) -> Self {
        if let Err(error) = DirBuilder::new().recursive(true).mode(0o700).create(path) {
            tracing::debug!(%error, path = %path.display(), "cannot make the data folder");
        }
        Self { path: path.to_owned(), lock: None, announced: Mutex::default() }
    }

    /// The database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }

    /// Writes where the server answers, for the command line.
    ///
    /// # Errors
    /// When the file cannot be written; [`Self::keep_announced`] tries again.
    pub(crate) fn announce(&self, address: SocketAddr, tls: bool) -> io::Result<()> {
        if self.lock.is_none() {
            return Ok(());
        }
        let address = if tls { format!("https://{address}") } else { address.to_string() };
        let text = serde_json::json!({ "pid": std::process::id(), "address": address }).to_string();
        self.announced().text.clone_from(&text);
        self.write(&text)
    }

    /// Writes it anew when it does not say that; tells whether it did, and somebody deleted or changed it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn keep_announced(&self) -> io::Result<bool> {
        let Announced { text, written } = self.announced().clone();
        let found = std::fs::read_to_string(self.path.join(LOCK_FILE));
        if text.is_empty() || found.is_ok_and(|found| found == text) {
            return Ok(false);
        }
        self.write(&text)?;
        Ok(written)
    }

    fn announced(&self) -> MutexGuard<'_, Announced> {
        self.announced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let path = self.path.join(LOCK_FILE);
        // What lies there may be somebody else's, with rights of its own.
        drop(std::fs::remove_file(&path));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        self.announced().written = true;
        Ok(())
    }

    /// What an earlier holder wrote no longer holds. Where nothing can be written it stays, and does no harm: what counts
    /// is the lock.
    fn forget(&self) {
        let emptied = OpenOptions::new().truncate(true).write(true).open(self.path.join(LOCK_FILE));
        if let Err(error) = emptied
            && error.kind() != ErrorKind::NotFound
        {
            tracing::debug!(%error, "cannot empty the lock file");
        }
    }
}
