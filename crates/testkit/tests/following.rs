//! A follower that goes on by itself: it reads on while its sink is busy, and nothing is overtaken or left out for that.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use async_trait::async_trait;
use order_core::app::App;
use order_core::change::Target;
use order_core::command::{ChangeKind, FollowerAction};
use order_core::follow::{Follower, FollowerPolicy};
use order_core::ids::OrderId;
use order_core::journal::Event;
use order_core::lane::LanePolicy;
use order_core::parking::RefusedFor;
use order_core::ports::{RefusedEvent, Sink, SinkFault};
use order_core::query::FollowerRow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use testkit::build::{id_of, intake, tenant};
use testkit::{ManualClock, MemoryStorage, SeededIds};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

type Answer = Result<(), SinkFault>;

/// Takes a delivery each time it is let, and answers as it is told.
struct Gate {
    /// Deliveries that have begun.
    begun: watch::Sender<Vec<Vec<Event>>>,
    lets: Semaphore,
    answers: Mutex<Vec<Answer>>,
}

impl Gate {
    fn new() -> Arc<Self> {
        let (begun, lets) = (watch::Sender::new(Vec::new()), Semaphore::new(0));
        Arc::new(Self { begun, lets, answers: Mutex::default() })
    }

    /// Waits until so many deliveries have begun; the sizes of all of them.
    async fn has_begun(&self, count: usize) -> Vec<usize> {
        let mut begun = self.begun.subscribe();
        let begun = begun.wait_for(|begun| begun.len() >= count).await.expect("it is there");
        begun.iter().map(Vec::len).collect()
    }

    /// Lets the next delivery end so.
    fn answer(&self, answer: Answer) {
        self.answers.lock().expect("no panic").push(answer);
        self.lets.add_permits(1);
    }

    /// Lets all that comes pass.
    fn open_wide(&self) {
        self.lets.add_permits(1_000);
    }

    fn versions(&self) -> BTreeMap<OrderId, Vec<u64>> {
        let mut versions: BTreeMap<OrderId, Vec<u64>> = BTreeMap::new();
        for event in self.begun.borrow().iter().flatten() {
            versions.entry(event.order_id).or_default().push(event.version);
        }
        versions
    }
}

#[async_trait]
impl Sink for Gate {
    fn kind(&self) -> &'static str {
        "gate"
    }

    async fn deliver(&self, events: &[Event]) -> Result<(), SinkFault> {
        self.begun.send_modify(|begun| begun.push(events.to_vec()));
        self.lets.acquire().await.expect("it is open").forget();
        let mut answers = self.answers.lock().expect("no panic");
        if answers.is_empty() { Ok(()) } else { answers.remove(0) }
    }
}

/// Lets all others do what they can.
async fn quiet() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

struct Stage {
    storage: MemoryStorage,
    app: Arc<App>,
    sink: Arc<Gate>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
}

impl Stage {
    /// A follower with pages of `batch_size`, that is not running yet.
    async fn new() -> Self {
        let storage = MemoryStorage::with(1, 1);
        let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(1), LanePolicy::default());
        app.ensure_follower("f", "gate", false).await.expect("made");
        Self { storage, app, sink: Gate::new(), stop: watch::Sender::new(false), running: None }
    }

    fn start(&mut self, batch_size: usize) {
        let policy = FollowerPolicy { batch_size, ..FollowerPolicy::default() };
        let sink: Arc<Gate> = Arc::clone(&self.sink);
        let follower = Follower::new(Arc::clone(&self.app), "f", sink, policy);
        self.running = Some(tokio::spawn(follower.run(self.stop.subscribe())));
    }

    async fn accept(&self, names: std::ops::Range<u32>) {
        for name in names {
            self.app.accept(intake(&format!("o-{name}")).build()).await.expect("an accept");
        }
    }

    async fn ship(&self, name: u32) {
        let order_id = id_of(&intake(&format!("o-{name}")).build());
        let target = Target { tenant: tenant("default"), source: None, order_id, expected_version: None };
        let ship = ChangeKind::Ship { shipped_at: None, tracking_number: None };
        self.app.change(target, ship).await.expect("it is shipped");
    }

    async fn row(&self) -> FollowerRow {
        self.app.storage.follower("f").await.expect("a read").expect("it is there")
    }

    /// Waits until the follower has passed so many events.
    async fn has_passed(&self, events: u64) {
        while self.row().await.cursor.positions[0] < events {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
    }

    async fn stopped(mut self) -> FollowerRow {
        self.stop.send_replace(true);
        self.running.take().expect("it runs").await.expect("it ends");
        self.row().await
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_at_hand_when_the_sink_has_taken_one_and_grows_until_then() {
    let mut stage = Stage::new().await;
    stage.accept(0..4).await;
    stage.start(4);
    assert_eq!(stage.sink.has_begun(1).await, [4]);
    stage.accept(4..6).await;
    quiet().await;
    stage.accept(6..12).await;
    quiet().await;
    assert_eq!(stage.row().await.cursor.positions, [0], "nothing is safe yet");
    stage.storage.down(Some(order_core::Fault::internal("no more reads")));
    stage.sink.answer(Ok(()));
    assert_eq!(stage.sink.has_begun(2).await, [4, 4], "the page is full, and was read before");
    stage.storage.down(None);
    stage.sink.open_wide();
    stage.has_passed(12).await;
    assert!(stage.sink.versions().values().all(|versions| versions.iter().all(|version| *version == 1)));
    assert_eq!(stage.sink.versions().len(), 12);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_keeps_the_place_behind_the_one_before() {
    let mut stage = Stage::new().await;
    stage.accept(0..6).await;
    stage.start(2);
    stage.sink.answer(Ok(()));
    stage.sink.answer(Err(SinkFault::transient("full")));
    assert_eq!(stage.sink.has_begun(3).await, [2, 2, 2]);
    assert_eq!(stage.row().await.cursor.positions, [2], "the first is behind it");
    let begun = stage.sink.begun.borrow().clone();
    assert_eq!(begun[1], begun[2], "what failed comes again, and nothing before it");
    stage.sink.open_wide();
    stage.has_passed(6).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_read_ahead_of_a_refusal_is_not_sent_behind_it() {
    let mut stage = Stage::new().await;
    stage.accept(0..2).await;
    stage.ship(0).await;
    stage.ship(1).await;
    stage.start(2);
    stage.sink.has_begun(1).await;
    // The shipments are at hand by now.
    quiet().await;
    let why = "too large".to_owned();
    stage.sink.answer(Err(SinkFault::Refused(vec![RefusedEvent {
        index: 0,
        reason: RefusedFor::TooLarge,
        why,
    }])));
    stage.sink.open_wide();
    stage.has_passed(4).await;
    let refused = id_of(&intake("o-0").build());
    assert_eq!(stage.sink.versions()[&refused], [1], "its shipment waits with what was refused");
    assert_eq!(stage.sink.versions().len(), 2);
    assert!(stage.sink.versions().iter().all(|(order, versions)| *order == refused || versions == &[1, 2]));
    assert_eq!(stage.row().await.parked, 1);
    stage.app.redrive_follower("f", None, None).await.expect("it is there");
    while stage.row().await.parked > 0 {
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(stage.sink.versions()[&refused], [1, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_a_follower_that_is_busy() {
    let mut stage = Stage::new().await;
    stage.accept(0..100).await;
    stage.start(2);
    stage.sink.has_begun(1).await;
    stage.app.follower("f", FollowerAction::Pause).await.expect("paused");
    tokio::time::advance(Duration::from_millis(150)).await;
    stage.sink.open_wide();
    quiet().await;
    let (row, begun) = (stage.row().await, stage.sink.begun.borrow().len() as u64);
    assert!(begun < 5, "{begun} pages of fifty were sent");
    assert_eq!(row.cursor.positions, [begun * 2], "and it is behind all of them");
    stage.app.follower("f", FollowerAction::Resume).await.expect("resumed");
    stage.has_passed(100).await;
    assert!(stage.sink.versions().values().all(|versions| versions == &[1]), "each came once");
}

#[tokio::test(start_paused = true)]
async fn a_replay_takes_a_busy_follower_back() {
    let mut stage = Stage::new().await;
    stage.accept(0..20).await;
    stage.start(5);
    stage.sink.answer(Ok(()));
    stage.sink.has_begun(2).await;
    stage.has_passed(5).await;
    let beginning = order_core::journal::Cursor::beginning(1, 1);
    stage.app.follower("f", FollowerAction::Replay(beginning)).await.expect("a replay");
    stage.sink.open_wide();
    stage.has_passed(20).await;
    let versions = stage.sink.versions();
    let twice = versions.values().filter(|versions| versions.len() == 2).count();
    assert!((10..=15).contains(&twice), "what had been sent by then comes twice, {twice} events");
    assert_eq!(versions.values().filter(|versions| versions.len() == 1).count(), 20 - twice);
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_is_stopped_ends_what_it_has_begun() {
    let mut stage = Stage::new().await;
    stage.accept(0..6).await;
    stage.start(2);
    stage.sink.has_begun(1).await;
    quiet().await;
    let (sink, app) = (Arc::clone(&stage.sink), Arc::clone(&stage.app));
    let stopped = tokio::spawn(stage.stopped());
    quiet().await;
    sink.open_wide();
    let row = stopped.await.expect("it ends");
    assert_eq!((row.cursor.positions, sink.begun.borrow().len()), (vec![2], 1), "that, and nothing more");
    assert!(row.holders.iter().all(Option::is_none), "and its shards are free");
    drop(app);
}

#[tokio::test(start_paused = true)]
async fn what_is_safe_is_not_lost_with_a_move_that_fails() {
    let mut stage = Stage::new().await;
    stage.accept(0..6).await;
    stage.start(2);
    stage.sink.has_begun(1).await;
    stage.storage.fail_next(order_core::Fault::internal("test"));
    stage.sink.open_wide();
    stage.has_passed(6).await;
    let versions = stage.sink.versions();
    assert_eq!(versions.len(), 6);
    assert!(versions.values().all(|versions| (1..=2).contains(&versions.len())), "{versions:?}");
}
