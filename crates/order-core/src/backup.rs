//! Copies of everything, made while the rest goes on.

use crate::journal::Head;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far a copy is, for whoever looks on; and the way to call it off.
#[derive(Debug, Default)]
pub struct BackupProgress {
    done: AtomicU64,
    total: AtomicU64,
    called_off: AtomicBool,
}

impl BackupProgress {
    /// Bytes that are copied, of how many; 0 of 0 before it began.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Notes how far it is.
    pub fn set(&self, done: u64, total: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }

    /// Asks whoever copies to stop; what was copied goes.
    pub fn call_off(&self) {
        self.called_off.store(true, Ordering::Relaxed);
    }

    /// Whether it was called off.
    pub fn is_called_off(&self) -> bool {
        self.called_off.load(Ordering::Relaxed)
    }
}

/// A copy that was made and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupMade {
    /// Its size.
    pub bytes: u64,
    /// Which history it is a copy of.
    pub epoch: u32,
    /// The end of the journal in it.
    pub heads: Vec<Head>,
    /// The number of orders in it.
    pub orders: u64,
}
