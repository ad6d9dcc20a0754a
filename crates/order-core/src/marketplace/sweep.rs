//! What becomes of the history of stores: runs and events are kept for a while, and the newest of each store for ever.

use super::command::{MarketCommand, MarketReply, SweepStores};
use super::importing::odd;
use super::{Market, SweptStores};
use crate::app::unexpected;
use crate::clock::Timestamp;
use crate::command::{Command, Reply};
use crate::error::Error;
use crate::ids::StoreId;

/// Stores of one sweep.
const STORES: u32 = 100;
/// Runs of a store that go at once, and events.
const ROWS: u32 = 200;

impl Market {
    /// Forgets what was kept for [`super::MarketPolicy::history_kept`], of some stores behind `place`, which is moved: after the
    /// last store comes the first again. Returns how many runs and events went.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn sweep(&self, place: &mut Option<StoreId>) -> Result<u64, Error> {
        let kept = i64::try_from(self.policy.history_kept.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.app.clock.now().micros().saturating_sub(kept));
        let sweep = SweepStores { after: *place, stores: STORES, before, limit: ROWS };
        let command = Command::Market(Box::new(MarketCommand::Sweep(sweep)));
        match self.app.lanes.submit(command).await? {
            Reply::Market(reply) => match *reply {
                MarketReply::Swept(SweptStores { rows, next }) => {
                    *place = next;
                    Ok(rows)
                }
                other => Err(odd("a sweep of stores", other)),
            },
            other => Err(unexpected("a sweep of stores", &other)),
        }
    }
}
