//! The connections that reads share.

use crate::connect::{Conn, Purpose, Target};
use crate::error::{Tried, unavailable};
use order_core::TenantId;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

type Idle = Arc<Mutex<Vec<Arc<Conn>>>>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Readers {
    target: Target,
    purpose: Purpose,
    idle: Idle,
    slots: Arc<Semaphore>,
    /// Whose rows are to be read, where they are one tenant's alone.
    tenant: Option<TenantId>,
}

impl Readers {
    /// At most `most` connections, made when they are needed.
    pub(crate) fn new(target: Target, most: usize) -> Self {
        let (purpose, slots) = (Purpose::Read, Arc::new(Semaphore::new(most.max(1))));
        Self { target, purpose, idle: Arc::default(), slots, tenant: None }
    }

    /// As many more, which see the rows of one tenant alone: see [`Readers::of`].
    pub(crate) fn guarded(target: Target, most: usize) -> Self {
        Self { purpose: Purpose::ReadOwn, ..Self::new(target, most) }
    }

    /// The same connections, for the rows of this tenant.
    pub(crate) fn of(&self, tenant: &TenantId) -> Self {
        Self { tenant: Some(tenant.clone()), ..self.clone() }
    }

    /// A connection of one's own until it is dropped; each statement sees what is committed when it begins.
    pub(crate) async fn get(&self) -> Tried<Reader> {
        let slot =
            tokio::time::timeout(self.target.limits.connection_wait, Arc::clone(&self.slots).acquire_owned())
                .await;
        let slot = slot.map_err(|_| unavailable("no connection is free"))?;
        let slot = slot.map_err(|_| unavailable("closed"))?;
        let conn = match self.kept() {
            Some(conn) => conn,
            None => Arc::new(self.target.connect(self.purpose).await?),
        };
        if let (Purpose::ReadOwn, Some(tenant)) = (self.purpose, &self.tenant) {
            conn.own(tenant.as_str()).await?;
        }
        Ok(Reader { conn, keep: true, idle: Arc::clone(&self.idle), _slot: slot })
    }

    /// As [`Readers::get`], but all statements see one moment. To be ended by [`Reader::end`], also after an error: else
    /// the connection is closed.
    pub(crate) async fn snapshot(&self) -> Tried<Reader> {
        let mut reader = self.get().await?;
        reader.keep = false;
        reader.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        Ok(reader)
    }

    fn kept(&self) -> Option<Arc<Conn>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|conn| !conn.is_closed());
        let of = |conn: &Arc<Conn>| self.tenant.as_ref().is_none_or(|tenant| conn.is_of(tenant.as_str()));
        let found = idle.iter().rposition(of).or(idle.len().checked_sub(1));
        found.map(|index| idle.swap_remove(index))
    }
}

/// A connection for reading; goes back when it is dropped.
pub(crate) struct Reader {
    conn: Arc<Conn>,
    keep: bool,
    idle: Idle,
    _slot: OwnedSemaphorePermit,
}

impl Reader {
    /// Ends a snapshot.
    pub(crate) async fn end(mut self) -> Tried<()> {
        self.run("COMMIT").await?;
        self.keep = true;
        Ok(())
    }
}

impl Deref for Reader {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.conn
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if self.keep && !self.conn.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.conn));
        }
    }
}
