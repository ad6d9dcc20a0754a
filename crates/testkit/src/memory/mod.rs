//! A storage in memory: the simplest thing that does what the trait `Storage` promises, written without a look at any
//! SQL. Tests of the edges run on it, and other storages are compared with it.

mod action;
mod api_key;
mod apply;
mod auditing;
mod fixture;
mod follow;
mod inbox;
mod listing;
mod market;
mod read;
mod redrive;
mod secret;
mod state;
mod tamper;
mod webhooks;

pub use fixture::MemoryFixture;
pub use tamper::Tamper;

use order_core::clock::Timestamp;
use order_core::command::Command;
use order_core::error::Fault;
use order_core::ids::Shard;
use order_core::ports::{Committed, Storage};
use order_core::query::{Install, Space};
use state::State;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// A storage in memory. Clones share everything, as handles on one database would.
#[derive(Clone)]
pub struct MemoryStorage {
    install: Install,
    lanes: usize,
    state: Arc<Mutex<State>>,
    switches: Arc<Mutex<Switches>>,
}

/// What a test has broken.
#[derive(Debug, Default)]
struct Switches {
    next_commits: VecDeque<Fault>,
    next_reads: VecDeque<Fault>,
    down: Option<Fault>,
    refused_references: BTreeSet<String>,
    space: Option<Space>,
    commits: u64,
}

impl MemoryStorage {
    /// With 16 shards and one lane.
    pub fn new() -> Self {
        Self::with(16, 1)
    }

    /// With `shards` shards and `lanes` lanes.
    pub fn with(shards: u16, lanes: usize) -> Self {
        let install = Install {
            installation_id: Uuid::from_u128(0x5e1f_0000_0000_4000_8000_0000_0000_0001),
            shards,
            epoch: 1,
            cursor_key: [7; 32],
            key_pepper: order_core::Pepper::new([8; 32]),
            schema_version: 1,
        };
        let state = Arc::new(Mutex::new(State::new(install.installation_id, shards, install.epoch)));
        Self { install, lanes, state, switches: Arc::default() }
    }

    /// The same storage as the port.
    pub fn port(&self) -> Arc<dyn Storage> {
        Arc::new(self.clone())
    }

    /// The next commit fails so, and writes nothing; call it several times for several commits.
    pub fn fail_next(&self, fault: Fault) {
        self.switches().next_commits.push_back(fault);
    }

    /// The next read fails so.
    pub fn fail_next_read(&self, fault: Fault) {
        self.switches().next_reads.push_back(fault);
    }

    /// Every commit and every read fails so until this is called with `None`.
    pub fn down(&self, fault: Option<Fault>) {
        self.switches().down = fault;
    }

    /// A batch with an accept of this reference is refused as data, as a database does that does not take its values.
    pub fn refuse_reference(&self, reference: &str) {
        self.switches().refused_references.insert(reference.to_owned());
    }

    /// What `space` says.
    pub fn set_space(&self, space: Option<Space>) {
        self.switches().space = space;
    }

    /// How many commits were tried, failed ones included.
    pub fn commits(&self) -> u64 {
        self.switches().commits
    }

    /// Makes every lease due at `now`, as a storage does at start that only one process at a time can hold open: whoever
    /// held the leases is gone.
    pub fn expire_leases(&self, now: Timestamp) {
        for stream in self.state().webhook_streams.values_mut().filter(|stream| stream.token.is_some()) {
            stream.due_at = stream.due_at.min(now);
        }
        for row in self.state().followers.values_mut() {
            row.relays.clear();
        }
        for import in self.state().imports.values_mut().filter(|import| import.token.is_some()) {
            import.due_at = import.due_at.min(Some(now));
        }
        for lease in self.state().stores.values_mut().filter_map(|store| store.lease.as_mut()) {
            lease.until = lease.until.min(now);
        }
        for row in self.state().work.values_mut() {
            if row.work.token.is_some() && row.work.due_at > now {
                row.work.due_at = now;
            }
        }
    }

    /// A copy of what is stored, as a restore makes it: of the next epoch, on its own from here on.
    #[must_use]
    pub fn restored(&self) -> Self {
        let mut install = self.install.clone();
        install.epoch += 1;
        let state = State { epoch: install.epoch, ..self.state().clone() };
        Self { install, lanes: self.lanes, state: Arc::new(Mutex::new(state)), switches: Arc::default() }
    }

    /// Drops the journal of `shard` up to the position `floor`, which must not be beyond its newest.
    pub fn raise_floor(&self, shard: Shard, floor: u64) {
        let mut state = self.state();
        assert!(floor <= state.head(shard).position, "shard {shard} has no position {floor}");
        state.journal.retain(|(of, position), _| *of != shard || *position > floor);
        state.floors.insert(shard, floor);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn switches(&self) -> MutexGuard<'_, Switches> {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading(&self) -> Result<MutexGuard<'_, State>, Fault> {
        let mut switches = self.switches();
        match switches.next_reads.pop_front().or_else(|| switches.down.clone()) {
            Some(fault) => Err(fault),
            None => Ok(self.state()),
        }
    }

    fn committing(&self, batch: &[Command]) -> Result<MutexGuard<'_, State>, Fault> {
        let mut switches = self.switches();
        switches.commits += 1;
        if let Some(fault) = switches.next_commits.pop_front().or_else(|| switches.down.clone()) {
            return Err(fault);
        }
        for command in batch {
            let Command::Accept(accept) = command else { continue };
            let reference = accept.intake.reference.as_ref().map(|reference| reference.as_str());
            if reference.is_some_and(|reference| switches.refused_references.contains(reference)) {
                return Err(Fault::Data { why: format!("the reference {reference:?} is refused") });
            }
        }
        Ok(self.state())
    }

    fn apply(&self, lane: usize, batch: &[Command]) -> Result<Committed, Fault> {
        if lane >= self.lanes {
            return Err(Fault::internal(format!("there is no lane {lane}")));
        }
        Ok(self.committing(batch)?.apply_all(batch))
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}
