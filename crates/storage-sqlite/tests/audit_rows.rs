//! The audit finds what rows say that cannot be, and goes on past pages of the file that are damaged.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::action_log::{self, ActionKind, NewAction, Recorded};
use order_core::audit::{Finding, Report, audit};
use order_core::command::{Command, FollowerAction, FollowerCommand};
use order_core::desk::Desks;
use order_core::lane::LanePolicy;
use order_core::lease::Outcome;
use order_core::ports::Storage;
use order_core::redrive::RedriveFilter;
use order_core::{App, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use storage_sqlite::{Options, Seed, SqliteStorage};
use testkit::build::{accept, intake, tenant};
use testkit::conformance::{Fixture, Rig, released};
use testkit::{ManualClock, SeededIds};

/// A database of one shard at rest.
struct AtRest {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

struct Open(Arc<dyn Storage>);

#[async_trait::async_trait]
impl Fixture for Open {
    fn storage(&self) -> Arc<dyn Storage> {
        Arc::clone(&self.0)
    }

    async fn reopen(&mut self, _now: Timestamp) {}
}

fn options(path: &Path) -> Options {
    let busy_timeout = Duration::from_secs(5);
    Options { path: path.to_owned(), busy_timeout, free_bytes_min: 0, leases_outlive: Desks::ALL }
}

impl AtRest {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        Self { path: folder.path().join("a.db"), _folder: folder }
    }

    fn open(&self) -> (Rig, Arc<dyn Storage>) {
        let seed = Seed {
            installation_id: uuid::Uuid::from_u128(1),
            cursor_key: [1; 32],
            key_pepper: [2; 32],
            shards: 1,
        };
        let now = order_core::Clock::now(&*ManualClock::new());
        let (storage, _) = SqliteStorage::open(&options(&self.path), &seed, now).unwrap();
        let storage: Arc<dyn Storage> = Arc::new(storage);
        (Rig::new(Box::new(Open(Arc::clone(&storage)))), storage)
    }

    /// As another process audits it.
    async fn audit(&self) -> Report {
        let storage = Arc::new(SqliteStorage::open_read_only(&options(&self.path)).unwrap());
        let app = App::start(storage, ManualClock::new(), SeededIds::new(6), LanePolicy::default());
        audit(&app, |_| {}).await.unwrap()
    }

    /// Does `sql` to a copy, of which the audit must find this.
    async fn bites(&self, check: &str, subject: &str, sql: &str) {
        let copy = Self::new();
        std::fs::copy(&self.path, &copy.path).unwrap();
        let changed = rusqlite::Connection::open(&copy.path).unwrap().execute(sql, []).unwrap();
        assert!(changed > 0, "{sql}");
        let report = copy.audit().await;
        let found = |it: &Finding| it.check == check && it.subject.contains(subject);
        assert!(report.findings.iter().any(found), "{sql}: {:#?}", report.findings);
    }
}

/// One order leased, one redriven, one that a key and a redrive name; a follower, and two rows in the action log.
async fn sound() -> (AtRest, String) {
    let database = AtRest::new();
    let (rig, storage) = database.open();
    let parked = rig.parked(intake("parked"), "no").await;
    let waiting = rig.new_order(intake("waiting").total("5").key("k")).await;
    let order_ids = Some(vec![parked.id, waiting.id]);
    let filter = RedriveFilter { order_ids, ..RedriveFilter::default() };
    let redrive = rig.start_redrive(&tenant("default"), filter).await;
    rig.step_redrive(redrive.redrive_id, 5).await.unwrap();
    rig.settle(&rig.claim_one().await, Outcome::Retry { at: rig.now(), why: "later".to_owned() })
        .await
        .unwrap();
    rig.claim_one().await;
    let follower = |action| FollowerCommand { name: "f".to_owned(), now: rig.now(), action };
    let ensure = FollowerAction::Ensure { sink: "test".to_owned(), from_now: true };
    rig.submit(Command::Follower(follower(ensure))).await.unwrap();
    for (action, kind) in [
        (FollowerAction::Pause, ActionKind::FollowerPaused),
        (FollowerAction::Resume, ActionKind::FollowerResumed),
    ] {
        let (subject, details) = ("f".to_owned(), "{}".to_owned());
        let actor = Arc::new(action_log::local());
        let action_row = NewAction { actor, kind, subject, details, now: rig.now() };
        let command = Some(Command::Follower(follower(action)));
        rig.submit(Command::Recorded(Box::new(Recorded { action: action_row, command }))).await.unwrap();
    }
    rig.assert_sound().await;
    let redrive_id = redrive.redrive_id.to_string();
    drop(rig);
    released(storage).await;
    assert_eq!(database.audit().await.findings, []);
    (database, redrive_id)
}

#[tokio::test]
async fn work_that_says_what_cannot_be_is_found() {
    let (database, _) = sound().await;
    let (leased, free) = ("WHERE token IS NOT NULL", "WHERE token IS NULL");
    for (column, which) in [
        ("tenant = 'other'", free),
        ("desk = 3", free),
        ("attempt = attempt + 1", free),
        ("attempt = attempt + 1", leased),
        ("attempt = 0", "WHERE attempt = 1"),
        ("lapses = 1000", free),
        ("claimed_at = NULL", leased),
        ("token = NULL", leased),
        ("token = zeroblob(16)", free),
        ("claimed_at = 1", free),
        ("claimed_at = (SELECT accepted_at - 1 FROM orders o WHERE o.number = work.number)", leased),
        ("due_at = due_at + 10000000000", leased),
        ("due_at = due_at + 100000000000", free),
    ] {
        database.bites("work", "-", &format!("UPDATE work SET {column} {which}")).await;
    }
    database.bites("unreadable", "work", "UPDATE work SET token = x'00' WHERE token IS NOT NULL").await;
}

#[tokio::test]
async fn events_and_heads_that_say_what_cannot_be_are_found() {
    let (database, _) = sound().await;
    for (check, subject, sql) in [
        ("epochs", "-", "UPDATE journal SET epoch = 2 WHERE position = 2"),
        ("epochs", "-", "UPDATE journal SET epoch = 0 WHERE position = 2"),
        ("events", "-", "UPDATE journal SET data_version = 2 WHERE position = 2"),
        ("events", "-", "UPDATE journal SET data_version = 0 WHERE position = 2"),
        ("events", "-", "UPDATE journal SET type = 'order.dreamt' WHERE position = 2"),
        ("versions", "-", "UPDATE journal SET type = 'order.shipped' WHERE type = 'order.parked'"),
        ("positions", "floor", "UPDATE journal_heads SET floor = 1"),
        ("positions", "floor", "UPDATE journal_heads SET floor = 1000"),
        ("positions", "floor", "DELETE FROM journal_heads"),
        ("positions", "floor", "INSERT INTO journal_heads VALUES (7, 0)"),
        ("positions", "3", "DELETE FROM journal WHERE position < 3"),
        ("epochs", "action 2", "UPDATE meta SET value = 0 WHERE key = 'epoch'"),
    ] {
        database.bites(check, subject, sql).await;
    }
    // The first events are gone, and the floor says so: orders that have no others tell.
    let copy = AtRest::new();
    std::fs::copy(&database.path, &copy.path).unwrap();
    rusqlite::Connection::open(&copy.path)
        .unwrap()
        .execute_batch("DELETE FROM journal; UPDATE journal_heads SET floor = 1000")
        .unwrap();
    let report = copy.audit().await;
    assert!(report.findings.iter().any(|it| it.subject == "floor"), "{:#?}", report.findings);
}

#[tokio::test]
async fn cursors_keys_and_redrives_that_say_what_cannot_be_are_found() {
    let (database, redrive) = sound().await;
    let redrive = redrive.as_str();
    for (check, subject, sql) in [
        ("cursors", "f", "DELETE FROM cursors"),
        ("cursors", "f", "INSERT INTO cursors (follower, shard, position) VALUES ('f', 1, 0)"),
        ("cursors", "ghost", "INSERT INTO cursors (follower, shard, position) VALUES ('ghost', 0, 0)"),
        ("cursors", "f", "UPDATE followers SET epoch = 2"),
        (
            "idempotency",
            "default test k",
            "UPDATE idempotency SET order_id = (SELECT order_id FROM orders WHERE reference = 'parked')",
        ),
        ("idempotency", "default test k", "UPDATE idempotency SET digest = zeroblob(32)"),
        ("redrives", redrive, "UPDATE redrives SET redriven = 2"),
        ("redrives", redrive, "UPDATE redrives SET refused = 0"),
        ("redrives", redrive, "UPDATE redrives SET finished = 0"),
        ("redrives", redrive, "UPDATE redrives SET next = 0"),
        ("redrives", redrive, "UPDATE redrives SET up_to = 9"),
        ("redrives", redrive, "DELETE FROM redrive_items WHERE item = 1"),
        ("redrives", redrive, "DELETE FROM redrive_items"),
        ("redrives", redrive, "UPDATE redrive_items SET item = item + 1 WHERE item = 2"),
        ("redrives", " item 1", "UPDATE redrive_items SET result = 'mended' WHERE item = 1"),
        ("redrives", " item 2", "UPDATE redrive_items SET result = 'redriven' WHERE item = 2"),
        (
            "redrives",
            redrive,
            "UPDATE redrive_items SET order_id = (SELECT order_id FROM orders WHERE number = 1)",
        ),
        ("redrives", " item 1", "UPDATE redrives SET reason = 'another'"),
        ("redrives", " item 1", "UPDATE redrives SET by = 'another'"),
        ("tallies", "default/ghost", "INSERT INTO tallies VALUES ('default', 'ghost', 0, 0, 0, 0, 0)"),
        ("tallies", "ghost/api", "INSERT INTO tallies VALUES ('ghost', 'api', 1, 1, 0, 0, 0)"),
        ("unreadable", "meta ids_merged", "INSERT OR REPLACE INTO meta VALUES ('ids_merged', 'x')"),
        ("ids", "order_ids", "INSERT OR REPLACE INTO meta VALUES ('ids_merged', -1)"),
    ] {
        database.bites(check, subject, sql).await;
    }
}

#[tokio::test]
async fn stores_and_imports_that_say_what_cannot_be_are_found() {
    let database = AtRest::new();
    let (rig, storage) = database.open();
    let store = testkit::marketplaces::trade(&rig.app).await.store_id.to_string();
    drop(rig);
    released(storage).await;
    assert_eq!(database.audit().await.findings, []);
    for (check, subject, sql) in [
        ("stores", &*store, "UPDATE stores SET success = 5"),
        ("stores", &store, "UPDATE stores SET run = 7"),
        ("stores", &store, "UPDATE stores SET version = 1"),
        ("stores", &store, "DELETE FROM store_events WHERE version = 2"),
        ("stores", &store, "DELETE FROM imports WHERE receipt = 'bad'"),
        ("stores", &store, "UPDATE imports SET number = 9 WHERE receipt = 'bad'"),
        ("imports", " good", "UPDATE imports SET order_id = zeroblob(16) WHERE receipt = 'good'"),
        ("imports", " good", "UPDATE imports SET state = 'failed' WHERE receipt = 'good'"),
        ("imports", " good", "UPDATE imports SET due_at = 1 WHERE receipt = 'good'"),
        ("imports", " better", "UPDATE imports SET receipt = 'better' WHERE receipt = 'good'"),
        ("imports", " bad", "UPDATE imports SET state = 'success' WHERE receipt = 'bad'"),
        ("imports", " bad", "UPDATE imports SET tenant = 'other' WHERE receipt = 'bad'"),
        ("imports", " bad", "DELETE FROM stores"),
        ("sync_runs", " 1", "UPDATE sync_runs SET store_id = zeroblob(16)"),
        ("store_events", " 2", "UPDATE store_events SET tenant = 'other'"),
        ("budgets", "other", "UPDATE budgets SET key = 'other'"),
        ("unreadable", "budget etsy", "UPDATE budgets SET state = '{}'"),
        ("unreadable", "store", "UPDATE stores SET newest = x'00'"),
        ("unreadable", "import", "UPDATE imports SET amount = 'x' WHERE receipt = 'good'"),
        ("unreadable", "sync_run", "UPDATE sync_runs SET ending = 'odd'"),
        ("unreadable", "store_event", "UPDATE store_events SET type = 'odd'"),
    ] {
        database.bites(check, subject, sql).await;
    }
}

#[tokio::test]
async fn endpoints_and_streams_that_say_what_cannot_be_are_found() {
    let database = AtRest::new();
    let (rig, storage) = database.open();
    testkit::receivers::owed(&rig.app).await;
    drop(rig);
    released(storage).await;
    assert_eq!(database.audit().await.findings, []);
    for (check, subject, sql) in [
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET upto = 9"),
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET again = '9'"),
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET next = 0"),
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET next = upto + 1"),
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET subject = zeroblob(16)"),
        ("webhook_streams", "endpoint 1", "UPDATE webhook_streams SET tenant = 'other'"),
        ("webhook_streams", "endpoint 7", "UPDATE webhook_streams SET endpoint = 7"),
        ("webhook_streams", "endpoint 1", "DELETE FROM endpoints"),
        ("unreadable", "webhook_stream endpoint 1", "UPDATE webhook_streams SET token = x'00'"),
        ("unreadable", "webhook_stream endpoint 1", "UPDATE webhook_streams SET again = 'x'"),
        ("unreadable", "endpoint number 1", "UPDATE endpoints SET rate = -1"),
        ("unreadable", "endpoint number 1", "UPDATE endpoints SET start_positions = 'x'"),
    ] {
        database.bites(check, subject, sql).await;
    }
}

#[tokio::test]
async fn an_end_of_the_action_log_that_cannot_be_is_found() {
    let (database, _) = sound().await;
    let bytes = |number: u64, hash: &str| {
        format!("UPDATE meta SET value = CAST(x'{number:016x}' || {hash} AS BLOB) WHERE key = 'action_end'")
    };
    let hash = "substr(value, 9)";
    for (check, subject, sql) in [
        ("actions", "action 1", "DELETE FROM meta WHERE key = 'action_end'".to_owned()),
        ("actions", "action 3", bytes(3, hash)),
        ("actions", "action 1", bytes(1, hash)),
        ("actions", "action 2", bytes(2, "zeroblob(32)")),
        ("unreadable", "action log", "UPDATE meta SET value = x'00' WHERE key = 'action_end'".to_owned()),
    ] {
        database.bites(check, subject, &sql).await;
    }
}

/// As many orders as fill two blocks, and their ids merged.
async fn many(count: usize) -> AtRest {
    let database = AtRest::new();
    let (rig, storage) = database.open();
    for part in (0..count).collect::<Vec<_>>().chunks(500) {
        let batch: Vec<Command> = part
            .iter()
            .map(|n| {
                accept(
                    intake(&format!("order-{n}")).customer(Some(&format!("customer-{n}"))),
                    &*rig.ids,
                    rig.now(),
                )
            })
            .collect();
        rig.storage().commit(0, Arc::from(batch)).await.unwrap();
        rig.clock.advance(Duration::from_secs(1));
    }
    drop(rig);
    released(storage).await;
    database
}

#[tokio::test]
async fn blocks_that_say_what_cannot_be_are_found() {
    let database = many(2_100).await;
    assert_eq!(database.audit().await.findings, []);
    for (subject, sql) in [
        ("block 0 of orders", "UPDATE order_blocks SET accepted_min = accepted_min + 1 WHERE block = 0"),
        ("block 1 of orders", "UPDATE order_blocks SET accepted_max = accepted_max - 1 WHERE block = 1"),
        ("orders", "DELETE FROM order_blocks WHERE block = 0"),
        ("orders", "DELETE FROM order_blocks"),
        ("block 9 of orders", "INSERT INTO order_blocks VALUES (9, 0, 0)"),
        ("block 0 of events", "UPDATE journal_blocks SET latest = latest - 1 WHERE block = 0"),
        ("block 1 of events", "UPDATE journal_blocks SET latest = latest + 1 WHERE block = 1"),
        ("events", "DELETE FROM journal_blocks WHERE block = 1"),
        ("block 2 of events", "INSERT INTO journal_blocks VALUES (3, 2, 0)"),
    ] {
        database.bites("blocks", subject, sql).await;
    }
    for (subject, sql) in [
        ("-", "DELETE FROM order_ids WHERE number = 7"),
        ("-", "UPDATE order_ids SET number = 8 WHERE number = 7"),
        ("-", "INSERT INTO order_ids VALUES (randomblob(16), 7)"),
    ] {
        database.bites("ids", subject, sql).await;
    }
}

#[tokio::test]
async fn runs_of_texts_that_say_what_cannot_be_are_found() {
    let (database, _) = sound().await;
    let block = |run: i64, first: &str, entries: &str| {
        format!("INSERT INTO term_blocks (run, first, entries) VALUES ({run}, x'{first}', x'{entries}')")
    };
    // An entry that ends with the number 1, counted down from the highest; run 1 may be in the making.
    let one = "61fffffffffffe";
    for (subject, sql) in [
        ("block 1 of run 9", block(9, one, &format!("00000007{one}"))),
        ("block 1 of run 1", block(1, "62", &format!("00000007{one}"))),
        ("block 1 of run 1", block(1, one, &format!("00000007{one}00000007{one}"))),
        ("block 1 of run 1", block(1, one, &format!("00000007{one}0000"))),
        ("block 1 of run 1", block(1, "61fffffffffff0", "0000000761fffffffffff0")),
        ("block 1 of run 1", block(1, one, "")),
        ("[00]", "INSERT INTO term_loose VALUES (x'00')".to_owned()),
        ("run 3", "INSERT INTO term_runs VALUES (3, 1)".to_owned()),
        ("term_runs", "INSERT INTO term_runs VALUES (1, 99)".to_owned()),
    ] {
        database.bites("ids", subject, &sql).await;
    }
}

#[tokio::test]
async fn external_ids_that_no_order_bears_are_found() {
    let (database, _) = sound().await;
    for sql in ["INSERT INTO external_ids VALUES (x'00', 1)", "INSERT INTO external_ids VALUES (x'00', 99)"] {
        database.bites("external_ids", "[00]", sql).await;
    }
}

/// Overwrites pages of the file that are leaves and hold events, or orders, at most so many.
fn damage(path: &Path, table: &str, pages_max: usize) -> usize {
    const PAGE: usize = 4_096;
    let mut bytes = std::fs::read(path).unwrap();
    let mut pages = 0;
    for page in bytes.chunks_mut(PAGE).skip(1) {
        let is_leaf = matches!(page[0], 0x0d | 0x0a);
        let holds = |text: &str| page.windows(text.len()).any(|part| part == text.as_bytes());
        let wanted = holds("customer-") && holds("order.accepted") == (table == "event");
        if pages < pages_max && is_leaf && wanted {
            page[..64].fill(0xff);
            pages += 1;
        }
    }
    std::fs::write(path, bytes).unwrap();
    pages
}

/// Where the file is damaged nothing can be read; the rest is, and what is not there any more is named.
#[tokio::test]
async fn damaged_pages_are_named_and_the_rest_is_looked_at() {
    let database = many(2_100).await;
    for (table, pages) in [("order", 1), ("order", 3), ("event", 1), ("event", 5)] {
        let copy = AtRest::new();
        std::fs::copy(&database.path, &copy.path).unwrap();
        rusqlite::Connection::open(&copy.path)
            .unwrap()
            .execute("UPDATE tallies SET orders = orders + 1", [])
            .unwrap();
        assert_eq!(damage(&copy.path, table, pages), pages);
        let report = copy.audit().await;
        let unreadable: Vec<_> = report.findings.iter().filter(|it| it.check == "unreadable").collect();
        let named = unreadable.iter().find(|it| it.subject.starts_with(table));
        assert!(named.is_some_and(|it| it.detail.contains("malformed")), "{table}: {unreadable:#?}");
        assert!(report.orders > 2_000 && report.orders <= 2_100, "{table}: {}", report.orders);
        assert!(report.events > 2_000 && report.events <= 2_100, "{table}: {}", report.events);
    }
}
