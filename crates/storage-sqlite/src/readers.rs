//! A pool of read-only connections, each used by one blocking task at a time.

use crate::connect;
use crate::error::{fault, unavailable};
use crate::guard::{Found, Guard, Identity};
use crate::meta;
use order_core::Fault;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// Connections that read at once.
const READERS_MAX: usize = 4;

/// How connections are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// Beside whoever writes, waiting so long for locks.
    Beside(Duration),
    /// While nobody writes, and nothing can be written.
    AtRest,
}

impl Opening {
    pub(crate) fn open(self, path: &Path) -> rusqlite::Result<Connection> {
        match self {
            Self::Beside(busy_timeout) => connect::read_only(path, busy_timeout),
            Self::AtRest => connect::at_rest(path),
        }
    }
}

/// The pool.
#[derive(Clone)]
pub(crate) struct Readers {
    path: PathBuf,
    opening: Opening,
    guard: Arc<Guard>,
    installation_id: Uuid,
    idle: Arc<Mutex<Vec<(Identity, Connection)>>>,
    room: Arc<Semaphore>,
}

impl Readers {
    /// A pool for the database `installation_id` at `path`.
    pub(crate) fn new(path: PathBuf, opening: Opening, guard: Arc<Guard>, installation_id: Uuid) -> Self {
        let room = Arc::new(Semaphore::new(READERS_MAX));
        Self { path, opening, guard, installation_id, idle: Arc::default(), room }
    }

    /// Runs `read` on a connection of its own.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Fault> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(Fault::internal)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let (identity, conn) = readers.take()?;
            let result = read(&conn).map_err(fault);
            // A connection that failed is not worth keeping.
            if result.is_ok() {
                readers.idle().push((identity, conn));
            }
            drop(permit);
            result
        });
        task.await.map_err(Fault::internal)?
    }

    fn take(&self) -> Result<(Identity, Connection), Fault> {
        loop {
            let Some((identity, conn)) = self.idle().pop() else { break };
            if self.guard.check(identity)? == Found::Same {
                return Ok((identity, conn));
            }
        }
        let identity = self.guard.identity()?;
        let conn = self.opening.open(&self.path).map_err(fault)?;
        if self.guard.check(identity)? != Found::Same {
            return Err(unavailable("the database file or its log is being replaced"));
        }
        // Somebody else's orders must not be shown for ours.
        let install = meta::load(&conn)?;
        if install.map(|install| install.installation_id) != Some(self.installation_id) {
            return Err(unavailable("the file at the database's path is another database"));
        }
        Ok((identity, conn))
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<(Identity, Connection)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
