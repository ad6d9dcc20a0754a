//! The parts of the journal: made ahead, and dropped when their events were kept long enough. See the table
//! `journal_parts`, and the functions below it.
//!
//! Any node may do any of it at any time. Each step is one short transaction that holds the latch `parts`, so that one node
//! does at a time; one that dies in the middle has done nothing. Nobody waits long for a step: it gives up as soon as others
//! are in its way, and is tried again with the next round. Until then what has no part of its own lies in the rest.

use crate::connect::{Conn, Purpose, Target};
use crate::error::{Tried, Trouble};
use crate::readers::Readers;
use crate::rows::{Moment, big, number, small};
use crate::tips::Tips;
use order_core::clock::Timestamp;
use order_core::fault_point;
use order_core::ids::Shard;
use order_core::journal::Head;
use order_core::query::Parts;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio_postgres::Row;

/// How the journal is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartPolicy {
    /// How many events a part has room for that is made from now on.
    pub events: u64,
    /// How long events are kept at least; `None`: for ever.
    pub kept_for: Option<Duration>,
}

impl Default for PartPolicy {
    fn default() -> Self {
        Self { events: 1_000_000, kept_for: None }
    }
}

/// What a round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartsKept {
    /// Parts that were made.
    pub made: u64,
    /// Shards whose floor was raised; what lies below goes with the next round.
    pub raised: u64,
    /// Parts that were dropped.
    pub dropped: u64,
    /// Steps that others were in the way of.
    pub put_off: u64,
}

/// Whoever commits waits no longer behind a step.
const BEGIN: &str = "BEGIN; SET LOCAL lock_timeout = '100ms'; SET LOCAL statement_timeout = '2s'";

/// The same before nodes serve, or while somebody waits for a migration: it may take its time, but nobody waits behind it.
const BEGIN_MIGRATING: &str = "BEGIN; SET LOCAL lock_timeout = '1s'";

const LATCH: &str = "SELECT FROM latches WHERE name = 'parts' FOR UPDATE SKIP LOCKED";

const MAKE: &str = "SELECT make_parts($1::smallint, $2::bigint)";

const DROP: &str = "SELECT drop_part($1::smallint, $2::bigint)";

/// Parts that lie below their floors, oldest first.
const BELOW: &str = "SELECT p.shard, p.low, p.high FROM journal_parts p JOIN journal_heads h ON h.shard = p.shard \
     WHERE p.high - 1 <= h.floor ORDER BY p.low, p.shard LIMIT 64";

/// Shards whose floor may be raised.
const RAISABLE: &str = "SELECT f.shard, f.floor FROM floors($1) f";

/// Whoever appends to a shard waits for its head, and whoever moves a follower for its row: so nobody goes back meanwhile to
/// what is about to go.
const LOCK_HEADS: &str =
    "SELECT FROM journal_heads WHERE shard = ANY ($1::smallint[]) ORDER BY shard FOR UPDATE";

const LOCK_FOLLOWERS: &str = "SELECT FROM followers ORDER BY name FOR UPDATE";

const RAISE: &str = "UPDATE journal_heads h SET floor = f.floor FROM floors($1) f \
     WHERE h.shard = f.shard AND h.shard = ANY ($2::smallint[]) RETURNING h.shard, h.floor";

const LOOK: &str = "SELECT p.shard, count(*), (SELECT l.low FROM journal_parts l WHERE l.shard = p.shard \
     ORDER BY l.low DESC LIMIT 1), max(p.high) FROM journal_parts p GROUP BY p.shard ORDER BY p.shard";

/// Whether a shard has no parts at all, and whether a whole one is ahead of its events.
const STANDS: &str = "SELECT NOT EXISTS (SELECT FROM journal_parts p WHERE p.shard = $1::smallint), \
     EXISTS (SELECT FROM journal_parts p WHERE p.shard = $1::smallint AND p.low > coalesce(newest_position($1::smallint), 0))";

/// How long after a part could not be made it is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(3_600);

/// The parts of a shard, in short.
struct OfShard {
    count: u64,
    /// Where the last one begins, and where it ends.
    last: (u64, u64),
}

/// Keeps the parts of a database.
pub(crate) struct Keeper {
    target: Target,
    readers: Readers,
    tips: Arc<Tips>,
    policy: PartPolicy,
    /// Shards whose next part could not be made, and when that was tried.
    failed: Mutex<BTreeMap<Shard, Timestamp>>,
}

impl Keeper {
    pub(crate) fn new(target: Target, readers: Readers, tips: Arc<Tips>, policy: PartPolicy) -> Self {
        Self { target, readers, tips, policy, failed: Mutex::default() }
    }

    /// How the parts stand.
    pub(crate) async fn look(&self) -> Tried<Parts> {
        let conn = self.readers.get().await?;
        let heads = self.tips.heads(&conn, false).await?;
        let parts = parts_of(&conn, heads.len()).await?;
        let mut looked = Parts { room: u64::MAX, ..Parts::default() };
        for (head, of) in heads.iter().zip(&parts) {
            let (low, high) = of.last;
            let room = high.saturating_sub(head.position + 1);
            looked.count += of.count;
            looked.room = looked.room.min(room);
            if room <= (high - low) / 2 {
                looked.missing.push(head.shard);
            }
        }
        Ok(looked)
    }

    /// See [`crate::PostgresStorage::keep_parts`].
    pub(crate) async fn round(&self, now: Timestamp) -> Tried<PartsKept> {
        let mut kept = PartsKept::default();
        let (wanted, below) = {
            let conn = self.readers.get().await?;
            let heads = self.tips.heads(&conn, false).await?;
            let parts = parts_of(&conn, heads.len()).await?;
            let is_last = |(head, of): &(&Head, &OfShard)| head.position >= of.last.0;
            let wanted = heads.iter().zip(&parts).filter(is_last).map(|(head, _)| head.shard);
            // What a round before this one put below a floor: whoever read on there meanwhile has seen that it goes.
            (wanted.collect::<Vec<_>>(), conn.query(BELOW, &[]).await?)
        };
        let raisable = self.raisable(now).await?;
        if wanted.is_empty() && below.is_empty() && raisable.is_none() {
            return Ok(kept);
        }
        let conn = self.target.connect(Purpose::Write).await?;
        for shard in wanted {
            self.make(&conn, shard, now, &mut kept).await?;
        }
        for row in &below {
            if !self.drop_part(&conn, row, &mut kept).await? {
                break;
            }
        }
        if let Some((before, shards)) = raisable {
            self.raise(&conn, before, &shards, &mut kept).await?;
        }
        Ok(kept)
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<Shard, Timestamp>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self, conn: &Conn, shard: Shard, now: Timestamp, kept: &mut PartsKept) -> Tried<()> {
        // Each try holds up those who commit.
        if self.failed().get(&shard).is_some_and(|tried| now.since(*tried) < AFTER_FAILURE) {
            kept.put_off += 1;
            return Ok(());
        }
        let made = async {
            let row = conn.query_one(MAKE, &[&small(shard), &big(self.policy.events)]).await?;
            fault_point::pass("parts.mid_make");
            number::<u64, i32>(&row, 0)
        };
        match step(conn, made).await {
            Ok(Some(0)) => {}
            Ok(Some(made)) => {
                kept.made += made;
                tracing::info!(%shard, parts = made, "made the journal's next part");
            }
            Ok(None) => kept.put_off += 1,
            Err(Trouble::Lost(why)) => return Err(Trouble::Lost(why)),
            Err(trouble) => {
                self.failed().insert(shard, now);
                tracing::error!(
                    %shard, ?trouble,
                    "cannot make the journal's next part; events are kept all the same: run `wellorder migrate` at a quiet hour"
                );
            }
        }
        Ok(())
    }

    /// Whether to go on.
    async fn drop_part(&self, conn: &Conn, row: &Row, kept: &mut PartsKept) -> Tried<bool> {
        let shard = Shard(number::<_, i16>(row, 0)?);
        let (low, high): (u64, u64) = (number::<_, i64>(row, 1)?, number::<_, i64>(row, 2)?);
        let dropping = async {
            conn.query_one(DROP, &[&small(shard), &big(low)]).await?;
            fault_point::pass("parts.mid_drop");
            Ok(())
        };
        match step(conn, dropping).await? {
            Some(()) => {
                kept.dropped += 1;
                let (from, to) = (low.max(1), high - 1);
                tracing::info!(%shard, from, to, events = high - low.max(1), "dropped a part of the journal");
                Ok(true)
            }
            // A reader of long ago, such as a dump, is in the way of all of them.
            None => {
                kept.put_off += 1;
                Ok(false)
            }
        }
    }

    /// Shards whose floor may be raised, and what their events must be older than.
    async fn raisable(&self, now: Timestamp) -> Tried<Option<(Timestamp, Vec<i16>)>> {
        let Some(kept_for) = self.policy.kept_for else { return Ok(None) };
        let kept_for = i64::try_from(kept_for.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(now.micros().saturating_sub(kept_for));
        let rows = self.readers.get().await?.query(RAISABLE, &[&Moment(before)]).await?;
        let shards: Vec<i16> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok((!shards.is_empty()).then_some((before, shards)))
    }

    /// In a commit of its own, before anything goes.
    async fn raise(&self, conn: &Conn, before: Timestamp, shards: &[i16], kept: &mut PartsKept) -> Tried<()> {
        let raising = async {
            conn.query(LOCK_HEADS, &[&shards]).await?;
            conn.query(LOCK_FOLLOWERS, &[]).await?;
            conn.query(RAISE, &[&Moment(before), &shards]).await
        };
        match step(conn, raising).await? {
            Some(rows) => {
                fault_point::pass("parts.after_floor");
                for row in &rows {
                    let (shard, floor) = (Shard(number::<_, i16>(row, 0)?), number::<u64, i64>(row, 1)?);
                    tracing::info!(%shard, floor, %before, "raised the floor of the journal: what is older goes");
                }
                kept.raised += rows.len() as u64;
            }
            None => kept.put_off += 1,
        }
        Ok(())
    }
}

/// One step as a transaction; `None` when others were in its way.
async fn step<T>(conn: &Conn, act: impl Future<Output = Tried<T>>) -> Tried<Option<T>> {
    let stepping = async {
        conn.run(BEGIN).await?;
        if conn.query_opt(LATCH, &[]).await?.is_none() {
            return Err(Trouble::Again("another node keeps the parts".to_owned()));
        }
        let done = act.await?;
        conn.run("COMMIT").await?;
        Ok(done)
    };
    match stepping.await {
        Ok(done) => Ok(Some(done)),
        Err(trouble) => {
            if !matches!(trouble, Trouble::Lost(_)) {
                conn.run("ROLLBACK").await?;
            }
            match trouble {
                Trouble::Again(why) => {
                    tracing::debug!(why, "a step about the journal's parts is put off");
                    Ok(None)
                }
                trouble => Err(trouble),
            }
        }
    }
}

/// Makes what is missing, of all shards, before a node serves: with as much time as that takes. What somebody is in the way
/// of is left to whoever serves.
pub(crate) async fn make_all(conn: &Conn, part_events: u64) -> Tried<()> {
    for row in &conn.query("SELECT shard FROM journal_heads ORDER BY shard", &[]).await? {
        let shard: i16 = row.try_get(0)?;
        let stands = conn.query_one(STANDS, &[&shard]).await?;
        let (is_new, is_ahead): (bool, bool) = (stands.try_get(0)?, stands.try_get(1)?);
        if is_ahead {
            continue;
        }
        conn.run(BEGIN_MIGRATING).await?;
        match conn.query_one(MAKE, &[&shard, &big(part_events)]).await {
            Ok(_) => conn.run("COMMIT").await?,
            Err(Trouble::Lost(why)) => return Err(Trouble::Lost(why)),
            // Of a new shard there is no rest yet either.
            Err(trouble) if is_new => return Err(trouble),
            Err(trouble) => {
                conn.run("ROLLBACK").await?;
                tracing::warn!(
                    shard,
                    ?trouble,
                    "cannot make the journal's next part yet; events are kept all the same"
                );
            }
        }
    }
    Ok(())
}

/// Those of each of so many shards, by shard.
async fn parts_of(conn: &Conn, shards: usize) -> Tried<Vec<OfShard>> {
    let mut parts: Vec<OfShard> = (0..shards).map(|_| OfShard { count: 0, last: (0, 0) }).collect();
    for row in &conn.query(LOOK, &[]).await? {
        let shard: u16 = number::<_, i16>(row, 0)?;
        if let Some(of) = parts.get_mut(usize::from(shard)) {
            *of = OfShard {
                count: number::<_, i64>(row, 1)?,
                last: (number::<_, i64>(row, 2)?, number::<_, i64>(row, 3)?),
            };
        }
    }
    Ok(parts)
}
