//! How a consumer is doing.

use crate::client::locked;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How a consumer is doing.
#[derive(Debug, Default)]
pub struct ConsumerState {
    handled: AtomicU64,
    poison: AtomicU64,
    lag: AtomicU64,
    partitions: AtomicUsize,
    joined: AtomicBool,
    fault: Mutex<Option<String>>,
}

impl ConsumerState {
    /// Records that were handled, poison included.
    pub fn handled(&self) -> u64 {
        self.handled.load(Ordering::Relaxed)
    }

    /// Records among them that could not be read.
    pub fn poison(&self) -> u64 {
        self.poison.load(Ordering::Relaxed)
    }

    /// Records of the partitions held that are not committed yet, as of some seconds ago.
    pub fn lag(&self) -> u64 {
        self.lag.load(Ordering::Relaxed)
    }

    /// How many partitions it holds.
    pub fn partitions(&self) -> usize {
        self.partitions.load(Ordering::Relaxed)
    }

    /// Whether its group has told it which partitions are its own: with more members than partitions, none.
    pub fn has_joined(&self) -> bool {
        self.joined.load(Ordering::Relaxed)
    }

    /// What ails it, for people.
    pub fn fault(&self) -> Option<String> {
        locked(&self.fault).clone()
    }

    pub(super) fn counted(&self, handled: usize, poison: usize) {
        self.handled.fetch_add(handled as u64, Ordering::Relaxed);
        self.poison.fetch_add(poison as u64, Ordering::Relaxed);
    }

    pub(super) fn set_lag(&self, lag: u64) {
        self.lag.store(lag, Ordering::Relaxed);
    }

    pub(super) fn set_partitions(&self, partitions: usize) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    pub(super) fn set_joined(&self) {
        self.joined.store(true, Ordering::Relaxed);
    }

    /// Gives what ailed it before.
    pub(super) fn set_fault(&self, fault: Option<String>) -> Option<String> {
        std::mem::replace(&mut locked(&self.fault), fault)
    }
}
