//! Following the journal: a follower is a name, a cursor for each shard, and a sink. What the sink has safely, the
//! cursor passes; never the other way round. What is to be carried on once more has a pair of places of its own, and comes
//! first. A sink that fails too often is left alone but for probes. What it refuses for good waits for an operator
//! ([`crate::parking`]). Nodes share the shards of a follower ([`crate::share`]).

use crate::app::App;
use crate::breaker::BreakerPolicy;
use crate::error::{Error, Fault};
use crate::ids::{Shard, SourceId, TenantId};
use crate::journal::{Cursor, Event, Head, Passage, Slice};
use crate::parking::PARKED_MAX;
use crate::ports::Storage;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

mod parked;
mod place;
mod runner;
mod standing;
mod stretch;

pub use runner::Follower;

/// How a follower reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerPolicy {
    /// Most events of one delivery.
    pub batch_size: usize,
    /// First wait after the sink failed; doubles up to `retry_max`.
    pub retry_min: Duration,
    /// Longest wait after the sink failed.
    pub retry_max: Duration,
    /// How often to look when nothing wakes it.
    pub idle: Duration,
    /// When the sink is left alone.
    pub breaker: BreakerPolicy,
    /// How long a node holds shards that it does not hear of.
    pub lease: Duration,
    /// How often that is extended.
    pub heartbeat: Duration,
    /// About how many orders may be parked for it: see [`PARKED_MAX`].
    pub parked_max: u64,
}

impl Default for FollowerPolicy {
    fn default() -> Self {
        Self {
            batch_size: 2_000,
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(5),
            idle: Duration::from_secs(1),
            breaker: BreakerPolicy::default(),
            lease: Duration::from_secs(30),
            heartbeat: Duration::from_secs(10),
            parked_max: PARKED_MAX,
        }
    }
}

/// Why followers of this process are stuck, and how often they lost what they held, by name; in memory only.
#[derive(Debug, Default)]
pub struct FollowerFaults(Mutex<BTreeMap<String, Ailing>>);

#[derive(Debug, Default)]
struct Ailing {
    fault: Option<String>,
    leases_lost: u64,
}

impl FollowerFaults {
    /// What ails the follower `name` now.
    pub fn of(&self, name: &str) -> Option<String> {
        self.all().get(name).and_then(|ailing| ailing.fault.clone())
    }

    /// How often it had to stop because its shards were another node's by then.
    pub fn leases_lost(&self, name: &str) -> u64 {
        self.all().get(name).map_or(0, |ailing| ailing.leases_lost)
    }

    fn set(&self, name: &str, fault: Option<String>) {
        self.all().entry(name.to_owned()).or_default().fault = fault;
    }

    fn lost(&self, name: &str) {
        self.all().entry(name.to_owned()).or_default().leases_lost += 1;
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Ailing>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// So many events were carried on; there may be more.
    Carried(usize),
    /// Nothing is behind the cursor.
    UpToDate,
    /// An operator paused it.
    Paused,
    /// Its place was changed meanwhile; the next step reads from there.
    Moved,
    /// Another node took its shards meanwhile, and carries on from the same place: what was sent may come twice.
    LeaseLost,
    /// The sink failed too often and is left alone: the next probe may be made after so long.
    Held(Duration),
}

/// How many events lie between a cursor and the heads.
pub fn lag(cursor: &Cursor, heads: &[Head]) -> u64 {
    cursor
        .positions
        .iter()
        .zip(heads)
        .map(|(position, head)| head.position.saturating_sub((*position).max(head.floor)))
        .sum()
}

/// The events behind `cursor` of all shards, at most `limit`, and the cursor behind them. Every shard gets its share,
/// so that a busy one cannot starve the rest; within the page events are in the order of their time, per shard in the
/// order of their positions.
///
/// # Errors
/// When the cursor is not valid, or storage fails.
pub async fn feed(app: &App, cursor: Cursor, limit: u32) -> Result<(Vec<Event>, Cursor), Error> {
    let heads = app.storage.heads().await?;
    cursor.check(app.storage.install().epoch, &heads)?;
    let mut next = cursor;
    let streams = read_fairly(app.storage.as_ref(), &heads, &mut next.positions, limit).await?;
    Ok((merged(streams), next))
}

/// Rows of the journal that are looked at for the newest events of a tenant, over all shards.
const NEWEST_ROWS_MAX: u64 = 5_000;

/// The newest events of `tenant`, at most `count`, in the order of [`feed`]; and the cursor behind the newest of all. Where
/// others' events lie between, fewer may be found: at most some 5 000 are looked at.
///
/// # Errors
/// When storage fails.
pub async fn newest(app: &App, tenant: &TenantId, count: u32) -> Result<(Vec<Event>, Cursor), Error> {
    let heads = app.storage.heads().await?;
    let rows_max = (NEWEST_ROWS_MAX / (heads.len() as u64).max(1)).max(u64::from(count));
    let mut newest = Vec::new();
    for head in &heads {
        let stream = newest_of(app.storage.as_ref(), head, tenant, (count, rows_max)).await?;
        // As many as are wanted are enough of all shards read so far: memory holds no more.
        newest = merged(vec![newest, stream]);
        newest.drain(..newest.len().saturating_sub(count as usize));
    }
    Ok((newest, Cursor::at_heads(app.storage.install().epoch, &heads)))
}

/// The newest events of `tenant` in one shard: `count`, or what the newest `rows_max` rows have.
async fn newest_of(
    storage: &dyn Storage,
    head: &Head,
    tenant: &TenantId,
    (count, rows_max): (u32, u64),
) -> Result<Vec<Event>, Fault> {
    let floor = head.floor.max(head.position.saturating_sub(rows_max));
    let (mut newest, mut end) = (Vec::new(), head.position);
    while end > floor && newest.len() < count as usize {
        let after = floor.max(end.saturating_sub(u64::from(count)));
        let share = u32::try_from(end - after).unwrap_or(count);
        let mut events = storage.journal(head.shard, after, share).await?;
        check_gapless(head.shard, after, &events)?;
        events.retain(|event| event.tenant == *tenant);
        events.append(&mut newest);
        newest = events;
        end = after;
    }
    Ok(newest)
}

/// At most `limit` events behind `positions` up to `heads`, of each shard those that come first; the positions move along.
/// Every shard that has some gets its share, so that a busy one cannot starve the rest. Fewer only where they are large.
pub(crate) async fn read_fairly(
    storage: &dyn Storage,
    heads: &[Head],
    positions: &mut [u64],
    limit: u32,
) -> Result<Vec<Vec<Event>>, Fault> {
    let slices = slices(heads, positions, limit);
    if slices.is_empty() {
        return Ok(Vec::new());
    }
    let streams = storage.slices(&slices).await?;
    for (slice, events) in slices.iter().zip(&streams) {
        check_gapless(slice.shard, slice.after, events)?;
        let shard = usize::from(slice.shard.0);
        // The head says that there is something behind.
        let last = events.last().ok_or_else(|| gap(slice.shard, slice.after + 1, heads[shard].position))?;
        positions[shard] = last.position;
    }
    Ok(streams)
}

/// As [`read_fairly`], for who wants events of `sources` alone: the others are passed over.
async fn read_of(
    storage: &dyn Storage,
    heads: &[Head],
    positions: &mut [u64],
    (limit, sources): (u32, &[SourceId]),
) -> Result<Vec<Event>, Fault> {
    let slices = slices(heads, positions, limit);
    let mut wanted = Vec::new();
    if slices.is_empty() {
        return Ok(wanted);
    }
    for passage in storage.passages(&slices, sources).await? {
        let Passage { shard, to, count, events } = passage;
        let Some(slice) = slices.iter().find(|slice| slice.shard == shard) else { continue };
        check_gapless(shard, slice.after, &events)?;
        if count == 0 || count != to.saturating_sub(slice.after) {
            return Err(gap(shard, slice.after + 1, heads[usize::from(shard.0)].position));
        }
        positions[usize::from(shard.0)] = to;
        wanted.extend(events.into_iter().filter(|event| sources.contains(&event.source)));
    }
    Ok(wanted)
}

/// What is to be read of each shard that has something between its position and its head: `limit` events in all, shared out
/// evenly as far as there are so many.
fn slices(heads: &[Head], positions: &[u64], limit: u32) -> Vec<Slice> {
    let behind = heads.iter().zip(positions).filter(|(head, at)| head.position > (**at).max(head.floor));
    let mut slices: Vec<(Slice, u32)> = behind
        .take(usize::try_from(limit).unwrap_or(usize::MAX))
        .map(|(head, at)| {
            let after = (*at).max(head.floor);
            let left = u32::try_from(head.position - after).unwrap_or(u32::MAX);
            (Slice { shard: head.shard, after, limit: 0 }, left)
        })
        .collect();
    let mut room = limit;
    loop {
        let open = u32::try_from(slices.iter().filter(|(_, left)| *left > 0).count()).unwrap_or(u32::MAX);
        let Some(share) = room.checked_div(open).filter(|_| room > 0) else { break };
        for (slice, left) in slices.iter_mut().filter(|(_, left)| *left > 0) {
            let more = share.max(1).min(room).min(*left);
            (slice.limit, *left, room) = (slice.limit + more, *left - more, room - more);
        }
    }
    slices.into_iter().map(|(slice, _)| slice).collect()
}

/// Positions have no gaps, so nobody may read past one: whatever belongs there would never be sent.
fn check_gapless(shard: Shard, after: u64, events: &[Event]) -> Result<(), Fault> {
    let found = events.iter().map(|event| event.position);
    match found.zip(after + 1..).find(|(found, expected)| found != expected) {
        Some((found, expected)) => Err(gap(shard, expected, found - 1)),
        None => Ok(()),
    }
}

pub(crate) fn gap(shard: Shard, from: u64, to: u64) -> Fault {
    Fault::internal(format!(
        "shard {shard} of the journal has no positions {from} to {to}: run `wellorder audit`"
    ))
}

pub(crate) fn merged(streams: Vec<Vec<Event>>) -> Vec<Event> {
    let mut by_shard: BTreeMap<Shard, std::collections::VecDeque<Event>> = BTreeMap::new();
    for stream in streams {
        for event in stream {
            by_shard.entry(event.shard).or_default().push_back(event);
        }
    }
    let mut page = Vec::new();
    // At most as many queues as shards: a scan for the earliest front is cheap beside the read.
    while let Some(queue) = by_shard
        .values_mut()
        .filter(|queue| !queue.is_empty())
        .min_by_key(|queue| queue.front().map(|event| event.occurred_at))
    {
        page.extend(queue.pop_front());
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(behind: &[u64], limit: u32) -> Vec<(u16, u32)> {
        let heads: Vec<Head> = (0..)
            .zip(behind)
            .map(|(shard, behind)| Head { shard: Shard(shard), floor: 0, position: 10 + behind })
            .collect();
        let slices = slices(&heads, &vec![10; behind.len()], limit);
        assert!(slices.iter().all(|slice| slice.after == 10));
        slices.iter().map(|slice| (slice.shard.0, slice.limit)).collect()
    }

    #[test]
    fn every_shard_gets_its_share_of_a_page_and_what_others_leave() {
        assert_eq!(limits(&[0, 0], 10), []);
        assert_eq!(limits(&[3, 0, 4], 10), [(0, 3), (2, 4)], "all there is");
        assert_eq!(limits(&[100, 100, 100], 9), [(0, 3), (1, 3), (2, 3)]);
        assert_eq!(limits(&[100, 1, 100], 10), [(0, 5), (1, 1), (2, 4)], "in one go");
        assert_eq!(limits(&[100, 100, 100], 2), [(0, 1), (1, 1)], "fewer than shards");
        assert_eq!(limits(&[100, 100, 100], 4), [(0, 2), (1, 1), (2, 1)]);
        assert_eq!(limits(&[5], 0), []);
    }

    #[test]
    fn what_is_not_kept_is_not_asked_for() {
        let head = Head { shard: Shard(0), floor: 7, position: 9 };
        assert_eq!(slices(&[head], &[0], 10), [Slice { shard: Shard(0), after: 7, limit: 2 }]);
        assert_eq!(slices(&[head], &[9], 10), []);
    }
}
