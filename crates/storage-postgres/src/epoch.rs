//! Another history: after a copy was restored, or a standby that may miss the newest commits became the primary, positions are
//! given out again with other content. The epoch tells one history from the other.

use crate::apply::action::add;
use crate::connect::{Conn, Purpose, Target};
use crate::error::{Tried, Trouble};
use crate::migrate;
use crate::open::{Options, installed};
use crate::refusal::Unopened;
use crate::rows::{Moment, number, time};
use crate::{facts, records};
use order_core::Timestamp;
use order_core::action_log::{self, ActionKind, NewAction};
use order_core::query::Install;
use serde_json::json;
use std::sync::Arc;

/// What became of a database that begins another history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised {
    /// The epoch before.
    pub from: u32,
    /// The epoch that it goes on with.
    pub to: u32,
    /// Leases that were taken away from their holders.
    pub leases: u64,
    /// Followers that go on from where they were.
    pub followers: u64,
}

/// Why no other history was begun; everything is as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotRaised {
    /// So many connections of nodes, and of commands that run, are open.
    InUse(u64),
    /// The database cannot be had.
    Unopened(Unopened),
}

/// "wellordh", as a number: the lock that connections of the present history share. Whatever they call themselves, and whoever
/// they are to the server, they are seen by it.
const HISTORY: i64 = 0x7765_6c6c_6f72_6468;

/// What begins a connection of a history: from then on no other begins.
pub(crate) fn stay() -> String {
    ["SELECT pg_advisory_lock_shared(", &HISTORY.to_string(), "); SELECT epoch FROM install; "].concat()
}

const ALONE: &str = "SELECT pg_try_advisory_xact_lock($1)";

const OTHERS: &str = "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND (classid::bigint << 32 | objid::bigint) = $1";

/// Never behind the end of what there is: what was carried since comes again. What one carried on once more ends: it was
/// asked for of a history that is lost.
const ANCHOR: &str = "UPDATE cursors c SET position = least(c.position, h.head), replay_next = NULL, replay_up_to = NULL \
     FROM (SELECT s.shard, greatest(s.floor, coalesce(newest_position(s.shard), 0)) \
     AS head FROM journal_heads s) h WHERE h.shard = c.shard";

/// Whoever holds a lease may have finished in the history that is lost. The work is done again, under another token.
const EXPIRE: &str =
    "UPDATE work SET due_at = least(due_at, $1), token = NULL, claimed_at = NULL WHERE token IS NOT NULL";

/// A client that repeats a request which the copy knows must find its key for as long as after a request.
const KEEP_KEYS: &str = "UPDATE idempotency SET created_at = greatest(created_at, $1)";

/// So must a broker that sends again what the copy consumed.
const KEEP_MESSAGES: &str = "UPDATE inbox SET consumed_at = greatest(consumed_at, $1)";

/// The nodes that carried them are those of the history that is lost.
const FREE: &str = "DELETE FROM relays";

/// Begins another history. Every node must be stopped: one that is connected is found, and one that was cut off and comes back
/// later is not let in.
///
/// # Errors
/// When one is not, or the database cannot be had.
pub async fn raise_epoch(options: &Options) -> Result<Raised, NotRaised> {
    let of = |server: &str, trouble: Trouble| NotRaised::Unopened(Unopened::of(server, trouble));
    let target = Target::parse(options).map_err(|refusal| of("", refusal.into()))?;
    let raising = async {
        let conn = target.connect(Purpose::Migrate).await?;
        facts::of(&conn).await?.check(true)?;
        migrate::lock(&conn).await?;
        let install = installed(&conn).await?;
        migrate::known(&conn).await?;
        conn.run("BEGIN").await?;
        // Locked first: whoever comes meanwhile waits here, and finds the new epoch.
        if conn.query_one(ALONE, &[&HISTORY]).await?.try_get(0)? {
            return raise(&conn, &install).await.map(Ok);
        }
        Ok(Err(connections(&conn).await?.max(1)))
    };
    match raising.await {
        Ok(raised) => raised.map_err(NotRaised::InUse),
        Err(trouble) => Err(of(target.name(), trouble)),
    }
}

/// How many connections of the present history there are.
pub(crate) async fn connections(conn: &Conn) -> Tried<u64> {
    number::<_, i64>(&conn.query_one(OTHERS, &[&HISTORY]).await?, 0)
}

/// Ends the transaction that has the lock.
async fn raise(conn: &Conn, install: &Install) -> Tried<Raised> {
    // Others that look at it meanwhile, or start, wait here.
    conn.run("LOCK TABLE install, journal_heads IN ACCESS EXCLUSIVE MODE").await?;
    let now = time(&conn.query_one("SELECT clock_timestamp()", &[]).await?, 0)?;
    // Seconds since 1970 are never given out again: two restores of one copy are two histories.
    let seconds = u32::try_from(now.micros() / 1_000_000).unwrap_or(0);
    let to = seconds.max(install.epoch + 1);
    conn.execute("UPDATE install SET epoch = $1", &[&to.cast_signed()]).await?;
    conn.execute(ANCHOR, &[]).await?;
    let followers = conn.execute("UPDATE followers SET epoch = $1", &[&to.cast_signed()]).await?;
    let leases = conn.execute(EXPIRE, &[&Moment(now)]).await?;
    conn.execute(KEEP_KEYS, &[&Moment(now)]).await?;
    conn.execute(KEEP_MESSAGES, &[&Moment(now)]).await?;
    conn.execute(FREE, &[]).await?;
    tell(conn, install, to, now).await?;
    conn.run("COMMIT").await?;
    Ok(Raised { from: install.epoch, to, leases, followers })
}

async fn tell(conn: &Conn, install: &Install, epoch: u32, now: Timestamp) -> Tried<()> {
    let details = json!({ "from_epoch": install.epoch }).to_string();
    let (actor, subject) = (Arc::new(action_log::local()), epoch.to_string());
    let action = NewAction { actor, kind: ActionKind::DatabaseRestored, subject, details, now };
    let end = records::action_end(conn, install.installation_id).await?;
    let row = action_log::row(&end, (install.installation_id, epoch), &action, (None, None));
    add(conn, &row).await.map(drop)
}
