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
    unread: Mutex<Option<Unread>>,
    unhandled: Mutex<Option<String>>,
}

/// Why nothing can be read.
#[derive(Debug)]
struct Unread {
    why: String,
    /// Whether it is over as soon as a broker is in reach; else once something is read.
    out_of_reach: bool,
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

    /// Why it can read nothing, for people.
    pub fn unread(&self) -> Option<String> {
        locked(&self.unread).as_ref().map(|unread| unread.why.clone())
    }

    /// What ails it, for people: why it can read nothing, or why what it has read cannot be handled.
    pub fn fault(&self) -> Option<String> {
        self.unread().or_else(|| locked(&self.unhandled).clone())
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

    pub(super) fn set_left(&self) {
        self.joined.store(false, Ordering::Relaxed);
    }

    /// Notes why nothing can be read, and says so if that is news.
    pub(super) fn cannot_read(&self, group: &str, why: &str, out_of_reach: bool) {
        let unread = Unread { why: why.to_owned(), out_of_reach };
        if locked(&self.unread).replace(unread).is_none() {
            tracing::error!(group, error = why, "cannot read records; trying again");
        }
    }

    /// Notes that records can be read.
    pub(super) fn reads(&self, group: &str) {
        if locked(&self.unread).take().is_some() {
            tracing::info!(group, "reads records again");
        }
    }

    /// Notes that brokers are in reach.
    pub(super) fn reaches(&self, group: &str) {
        if locked(&self.unread).take_if(|unread| unread.out_of_reach).is_some() {
            tracing::info!(group, "reads records again");
        }
    }

    /// Notes why what was read cannot be handled, and says so if that is news.
    pub(super) fn cannot_handle(&self, group: &str, why: &str) {
        if locked(&self.unhandled).replace(why.to_owned()).is_none() {
            tracing::error!(
                group,
                error = why,
                "cannot handle records; they come again until they are handled"
            );
        }
    }

    /// Notes that what is read is handled.
    pub(super) fn handles(&self, group: &str) {
        if locked(&self.unhandled).take().is_some() {
            tracing::info!(group, "handles records again");
        }
    }
}
