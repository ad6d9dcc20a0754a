//! The memory storage as a fixture of the suite.

use super::MemoryStorage;
use crate::conformance::Fixture;
use async_trait::async_trait;
use order_core::clock::Timestamp;
use order_core::ports::Storage;
use std::sync::Arc;

/// A memory storage that outlives its handles, with or without the habit of making old leases due when it is opened.
pub struct MemoryFixture {
    storage: MemoryStorage,
    alone: bool,
}

impl MemoryFixture {
    /// As a storage that many processes share.
    pub fn shared(storage: MemoryStorage) -> Box<dyn Fixture> {
        Box::new(Self { storage, alone: false })
    }

    /// As a storage that one process holds alone.
    pub fn alone(storage: MemoryStorage) -> Box<dyn Fixture> {
        Box::new(Self { storage, alone: true })
    }
}

#[async_trait]
impl Fixture for MemoryFixture {
    fn storage(&self) -> Arc<dyn Storage> {
        self.storage.port()
    }

    async fn reopen(&mut self, now: Timestamp) {
        if self.alone {
            self.storage.expire_leases(now);
        }
    }

    fn reopening_expires_leases(&self) -> bool {
        self.alone
    }
}
