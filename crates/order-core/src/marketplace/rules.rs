//! The rules of a store: how it is doing, when it is synced again, how long a failed import waits.

use super::{ImportState, Store, SyncStatus};
use crate::clock::Timestamp;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How many of the imports that were worked on last say how a store is doing.
pub const NEWEST: usize = 20;
/// A store is synced again so long after, if there is something to do, unless somebody says otherwise.
pub const SYNC_AGAIN: Duration = Duration::from_secs(60);

/// First wait of an import that failed, and the longest.
const BACKOFF_BASE: Duration = Duration::from_secs(5 * 60);
const BACKOFF_CAP: Duration = Duration::from_secs(60 * 60);

/// How long an import waits after failed try number `attempt` (from 1): 5 minutes, doubled each time, at most an hour.
pub fn backoff(attempt: u32) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    BACKOFF_BASE.saturating_mul(1 << doublings).min(BACKOFF_CAP)
}

/// What became of the imports that were worked on last: at most [`NEWEST`], each receipt once, the newest first. Kept beside
/// its store, so that nobody looks through the store's history to tell how it is doing: a receipt that is worked on again comes to
/// the front, so what is beyond the last is never needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Newest(Vec<(u64, ImportState)>);

/// Bytes of an entry: eight that tell receipts apart, and one for the state.
const ENTRY_BYTES: usize = 9;

impl Newest {
    /// Notes what became of a receipt.
    pub fn note(&mut self, receipt: &str, state: ImportState) {
        let mark = mark(receipt);
        self.0.retain(|(of, _)| *of != mark);
        self.0.insert(0, (mark, state));
        self.0.truncate(NEWEST);
    }

    /// Notes that a receipt is in another state, which came of no work on it: it stays where it is.
    pub fn change(&mut self, receipt: &str, state: ImportState) {
        let mark = mark(receipt);
        self.0.iter_mut().filter(|(of, _)| *of == mark).for_each(|(_, known)| *known = state);
    }

    /// The states, the newest first.
    pub fn states(&self) -> impl Iterator<Item = ImportState> + '_ {
        self.0.iter().map(|(_, state)| *state)
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let entry = |(mark, state): &(u64, ImportState)| {
            let mut bytes = mark.to_be_bytes().to_vec();
            bytes.push(letter(*state));
            bytes
        };
        self.0.iter().flat_map(entry).collect()
    }

    /// As it was kept; `None` for what [`Newest::to_bytes`] does not make.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES) || bytes.len() > NEWEST * ENTRY_BYTES {
            return None;
        }
        let entry = |bytes: &[u8]| {
            let (mark, letter_of) = bytes.split_at_checked(8)?;
            let state = ImportState::ALL.iter().find(|state| [letter(**state)] == letter_of)?;
            Some((u64::from_be_bytes(mark.try_into().ok()?), *state))
        };
        bytes.chunks(ENTRY_BYTES).map(entry).collect::<Option<_>>().map(Self)
    }
}

/// Eight bytes tell twenty receipts apart.
fn mark(receipt: &str) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&Sha256::digest(receipt.as_bytes())[..8]);
    u64::from_be_bytes(bytes)
}

fn letter(state: ImportState) -> u8 {
    match state {
        ImportState::Pending => b'p',
        ImportState::Success => b's',
        ImportState::Failed => b'f',
        ImportState::RateLimited => b'r',
        ImportState::Invalid => b'i',
    }
}

/// How a store is doing: `pending` before anything was imported; `partial` while anything waits because too many calls were made, and
/// where some of what was done last went well and some did not; else as all of that went.
pub fn status(store: &Store) -> SyncStatus {
    if store.newest.0.is_empty() {
        return SyncStatus::Pending;
    }
    let went_well = |state: ImportState| state == ImportState::Success;
    let (some, all) = (store.newest.states().any(went_well), store.newest.states().all(went_well));
    if store.counts.rate_limited > 0 || (some && !all) {
        SyncStatus::Partial
    } else if all {
        SyncStatus::Success
    } else {
        SyncStatus::Failed
    }
}

/// When a store is to be synced next: `again` after it was last, if its status asks for it, if some import is still to be done,
/// or if its marketplace tells what changed; never otherwise.
pub fn next_sync_at(store: &Store, again: Duration) -> Option<Timestamp> {
    let counts = &store.counts;
    let waits = counts.pending + counts.failed + counts.rate_limited > 0;
    let wants = waits || store.listing.is_some() || store.status() != SyncStatus::Success;
    wants.then(|| store.synced_at.map_or(store.created_at, |at| at.plus(again)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use ImportState::{Failed, Invalid, Pending, RateLimited, Success};

    #[test]
    fn a_failed_import_waits_twice_as_long_each_time_up_to_an_hour() {
        let minutes: Vec<u64> =
            [1, 2, 3, 4, 5, 6, 1_000].iter().map(|attempt| backoff(*attempt).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 60, 60, 60]);
    }

    #[test]
    fn the_newest_are_what_sorting_all_by_their_last_time_gives() {
        let (mut newest, mut all) = (Newest::default(), Vec::<(String, ImportState)>::new());
        for step in 0..400_usize {
            let receipt = format!("r-{}", (step * step * 7 + step / 3) % 47);
            let state = ImportState::ALL[step % 5];
            newest.note(&receipt, state);
            all.retain(|(of, _)| *of != receipt);
            all.insert(0, (receipt, state));
            let expected: Vec<ImportState> = all.iter().take(NEWEST).map(|(_, state)| *state).collect();
            assert_eq!(newest.states().collect::<Vec<_>>(), expected);
            assert_eq!(Newest::from_bytes(&newest.to_bytes()).unwrap(), newest);
        }
    }

    #[test]
    fn what_is_no_list_of_the_newest_is_none() {
        for bad in [&b"x"[..], b"12345678x", &[b's'; 9 * 21]] {
            assert_eq!(Newest::from_bytes(bad), None);
        }
    }

    #[test]
    fn the_status_is_as_the_rules_say() {
        for (oldest_first, expected) in [
            (&[][..], SyncStatus::Pending),
            (&[Success], SyncStatus::Success),
            (&[Failed], SyncStatus::Failed),
            (&[Invalid], SyncStatus::Failed),
            (&[Failed, Success], SyncStatus::Partial),
            (&[Success, Failed], SyncStatus::Partial),
            (&[Success, Invalid], SyncStatus::Partial),
            (&[RateLimited], SyncStatus::Partial),
            (&[Success, RateLimited], SyncStatus::Partial),
            (&[RateLimited, Success], SyncStatus::Partial),
        ] {
            let mut store = crate::marketplace::decide::tests::store();
            for (index, state) in oldest_first.iter().enumerate() {
                store.newest.note(&format!("r-{index}"), *state);
                *store.counts.of_mut(*state) += 1;
            }
            assert_eq!(store.status(), expected, "{oldest_first:?}");
        }
        // What failed long ago counts no more, unless it waits because too many calls were made.
        let mut store = crate::marketplace::decide::tests::store();
        store.newest.note("old", Failed);
        for index in 0..NEWEST {
            store.newest.note(&format!("r-{index}"), Success);
        }
        store.counts.failed = 1;
        assert_eq!(store.status(), SyncStatus::Success);
        store.counts.rate_limited = 1;
        assert_eq!(store.status(), SyncStatus::Partial);
        assert_eq!(Pending.word(), "pending");
    }

    #[test]
    fn a_store_is_synced_again_while_there_is_something_to_do() {
        let mut store = crate::marketplace::decide::tests::store();
        assert_eq!(next_sync_at(&store, SYNC_AGAIN), Some(store.created_at));
        store.synced_at = Some(store.created_at);
        let soon = store.created_at.plus(SYNC_AGAIN);
        assert_eq!(next_sync_at(&store, SYNC_AGAIN), Some(soon), "nothing was imported yet");
        store.newest.note("r", Success);
        store.counts.success = 1;
        assert_eq!(next_sync_at(&store, SYNC_AGAIN), None);
        store.counts.failed = 1;
        assert_eq!(
            next_sync_at(&store, SYNC_AGAIN),
            Some(soon),
            "one that failed long ago is still to be done"
        );
        store.counts.failed = 0;
        store.listing = Some(crate::marketplace::ListPlace::default());
        assert_eq!(next_sync_at(&store, SYNC_AGAIN), Some(soon), "the marketplace may tell of more");
    }
}
