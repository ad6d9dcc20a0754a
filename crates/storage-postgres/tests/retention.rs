//! What was kept long enough goes, in whole parts, when nobody needs it; what is left is sound, and says what is gone.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, empty, options, seed};
use fixture::take;
use order_core::command::{Change, ChangeKind, Command, FollowerAction};
use order_core::follow::feed;
use order_core::ids::{EventId, OrderId, Shard};
use order_core::journal::Cursor;
use order_core::lane::LanePolicy;
use order_core::ports::Storage;
use order_core::query::{OrderQuery, SCAN_MAX};
use order_core::{App, Clock, Error, Rejection, Timestamp, audit};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{Options, PartPolicy, PartsKept, PostgresStorage, Seed};
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, SeededIds};
use tokio_postgres::Client;

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Events of a part: one block of times.
const EVENTS: u64 = 1_024;

struct Old {
    storage: Arc<PostgresStorage>,
    app: Arc<App>,
    clock: Arc<ManualClock>,
    admin: Client,
    began: Timestamp,
}

/// A journal of one shard: two full parts and some more events, of three days ago, and a few of now.
async fn old() -> Old {
    let url = empty().await;
    let (clock, ids) = (ManualClock::new(), SeededIds::new(1));
    let parts = PartPolicy { events: EVENTS, kept_for: Some(DAY) };
    let options = Options { parts, ..options(&url) };
    let storage = Arc::new(PostgresStorage::open(&options, &Seed { shards: 1, ..seed() }).await.unwrap().0);
    let (port, time): (Arc<dyn Storage>, Arc<dyn Clock>) = (storage.clone(), clock.clone());
    let app = App::start(port, time, ids, LanePolicy::default());
    let old = Old { storage, app, began: clock.now(), clock, admin: client(&url).await };
    for round in 0..7 {
        old.takes(&format!("old{round}"), 300).await;
        old.keeps_parts().await;
    }
    old.clock.advance(3 * DAY);
    old.takes("new", 20).await;
    old
}

impl Old {
    async fn takes(&self, name: &str, orders: usize) {
        take(&self.app, name, orders).await;
    }

    async fn keeps_parts(&self) -> PartsKept {
        self.storage.keep_parts(self.clock.now()).await.unwrap()
    }

    async fn floor(&self) -> u64 {
        self.storage.heads().await.unwrap()[0].floor
    }

    async fn follower_goes_to(&self, position: u64) -> Result<(), Error> {
        let cursor = Cursor { epoch: 1, positions: vec![position] };
        self.app.follower("slow", FollowerAction::Replay(cursor)).await.map(drop)
    }

    /// The order whose first event lies at a position.
    async fn order_at(&self, position: i64) -> OrderId {
        let row =
            self.admin.query_one("SELECT order_id FROM journal WHERE position = $1", &[&position]).await;
        OrderId(row.unwrap().get(0))
    }

    async fn is_sound(&self) {
        let report = audit::audit(&self.app, |_| {}).await.unwrap();
        assert_eq!(report.findings, []);
        assert_eq!(report.orders, 2_120);
    }

    async fn ships(&self, order_id: OrderId) {
        let now = self.clock.now();
        let change = Change {
            tenant: tenant("default"),
            source: None,
            order_id,
            expected_version: None,
            event_id: EventId(self.app.ids.uuid_v7(now)),
            now,
            kind: ChangeKind::Ship { shipped_at: Some(now), tracking_number: None },
            trace: None,
            by: None,
        };
        self.app.lanes.submit(Command::Change(Box::new(change))).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_follower_needs_is_kept_paused_or_not() {
    let old = old().await;
    old.app.ensure_follower("slow", "recording", false).await.unwrap();
    assert_eq!(old.keeps_parts().await, PartsKept::default(), "it has carried nothing on yet");
    old.app.follower("slow", FollowerAction::Pause).await.unwrap();
    old.follower_goes_to(EVENTS - 2).await.unwrap();
    assert_eq!(old.keeps_parts().await, PartsKept::default(), "the last event of the first part is needed");
    old.follower_goes_to(EVENTS - 1).await.unwrap();
    assert_eq!(old.keeps_parts().await, PartsKept { raised: 1, ..PartsKept::default() });
    assert_eq!(old.floor().await, EVENTS - 1);
    // The floor came first, in a commit of its own: whoever dies here has lost nothing.
    assert_eq!(
        old.admin.query_one("SELECT count(*) FROM journal_0_0", &[]).await.unwrap().get::<_, i64>(0),
        1_023
    );
    old.is_sound().await;
    assert_eq!(old.keeps_parts().await, PartsKept { dropped: 1, ..PartsKept::default() });
    let gone = old.admin.query_one("SELECT to_regclass('journal_0_0') IS NULL", &[]).await.unwrap();
    assert!(gone.get::<_, bool>(0));
    old.is_sound().await;
    // What is parked for it is needed too, though it lies behind the cursor.
    let parked = old.order_at(1_500).await;
    let park =
        "INSERT INTO parked_streams VALUES ('slow', 0, $1, 'default', 1, 1, 'too_large', '', now(), false)";
    old.admin.execute(park, &[&parked.0]).await.unwrap();
    old.admin.execute("UPDATE followers SET parked = 1", &[]).await.unwrap();
    old.follower_goes_to(2_110).await.unwrap();
    assert_eq!(old.keeps_parts().await, PartsKept::default());
    old.admin.execute("DELETE FROM parked_streams", &[]).await.unwrap();
    old.admin.execute("UPDATE followers SET parked = 0", &[]).await.unwrap();
    assert_eq!(old.keeps_parts().await.raised, 1);
    assert_eq!(old.keeps_parts().await.dropped, 1);
    assert_eq!(old.floor().await, 2 * EVENTS - 1);
    assert_eq!(old.keeps_parts().await, PartsKept::default(), "the part with the newest event stays");
    old.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_gone_is_told_and_all_else_is_found() {
    let old = old().await;
    let (first, kept) = (old.order_at(5).await, old.order_at(2_060).await);
    assert_eq!(old.keeps_parts().await.raised, 1, "nobody follows");
    assert_eq!(old.keeps_parts().await.dropped, 2);
    let floor = 2 * EVENTS - 1;
    assert_eq!(old.floor().await, floor);
    // Cursors: below the floor, at the beginning, at the floor.
    let read = |position| {
        let app = Arc::clone(&old.app);
        async move { feed(&app, Cursor { epoch: 1, positions: vec![position] }, 10).await }
    };
    assert!(matches!(read(5).await, Err(Error::Rejection(Rejection::CursorExpired))));
    for position in [0, floor] {
        assert_eq!(read(position).await.unwrap().0[0].position, floor + 1);
    }
    assert_eq!(old.storage.marks(Shard(0), floor, 10).await.unwrap().len(), 10);
    let behind = old.storage.place_of(old.began).await.unwrap();
    assert_eq!(behind.positions, [floor], "all that is kept is later");
    // Orders are all there, with what is kept of their histories.
    let owner = tenant("default");
    for (order_id, events) in [(first, 0), (kept, 1)] {
        assert!(old.storage.order(&owner, order_id).await.unwrap().is_some());
        let page = old.storage.order_events(&owner, order_id, 0, 100).await.unwrap().unwrap();
        assert_eq!((page.events.len(), page.next), (events, None));
        assert_eq!(old.storage.dossier(&owner, order_id, 100).await.unwrap().unwrap().events.len(), events);
    }
    let query = OrderQuery {
        accepted_to: Some(old.began.plus(DAY)),
        ..OrderQuery::all(owner.clone(), 200, old.clock.now())
    };
    assert_eq!(old.storage.orders(&query).await.unwrap().orders.len(), 200);
    let changes = old.storage.changes(&query, &Cursor { epoch: 1, positions: vec![0] }).await.unwrap();
    assert!(!changes.orders.is_empty() && u32::try_from(changes.orders.len()).unwrap() <= SCAN_MAX);
    // What happens to an old order now is the beginning of what is known of it.
    old.ships(first).await;
    let page = old.storage.order_events(&owner, first, 0, 100).await.unwrap().unwrap();
    assert_eq!(page.events.iter().map(|event| event.version).collect::<Vec<_>>(), [2]);
    assert!(old.app.accept(intake("old0-0").no_lines().build()).await.is_ok(), "a duplicate");
    assert_eq!(id_of(&intake("old0-0").build()).shard(1), Shard(0));
    old.is_sound().await;
}

/// A command that runs while the part goes, and one that holds it, are not in the way of intake.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_of_long_ago_holds_up_what_goes_and_nobody_else() {
    let old = old().await;
    old.admin.batch_execute("BEGIN; SELECT FROM journal_0_0 LIMIT 1").await.unwrap();
    assert_eq!(old.keeps_parts().await.raised, 1);
    assert_eq!(old.keeps_parts().await, PartsKept { put_off: 1, ..PartsKept::default() });
    old.takes("meanwhile", 10).await;
    old.admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(old.keeps_parts().await.dropped, 2);
    assert_eq!(audit::audit(&old.app, |_| {}).await.unwrap().findings, []);
}
