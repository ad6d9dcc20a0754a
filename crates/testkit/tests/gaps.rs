//! A follower stops at a gap in the journal: whatever belongs there would never reach its sink.
#![expect(clippy::expect_used, reason = "tests")]

use order_core::app::App;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::lane::LanePolicy;
use std::sync::Arc;
use testkit::build::{id_of, intake};
use testkit::memory::Tamper;
use testkit::{ManualClock, MemoryStorage, RecordingSink, SeededIds};

#[tokio::test]
async fn a_follower_never_reads_past_a_gap() {
    let storage = MemoryStorage::with(1, 1);
    let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    app.ensure_follower("f", "recording", false).await.expect("made");
    let sink = RecordingSink::new();
    let feeds: Arc<RecordingSink> = Arc::clone(&sink);
    let follower = Follower::new(Arc::clone(&app), "f", feeds, FollowerPolicy::default());
    app.accept(intake("a").build()).await.expect("accepted");
    assert_eq!(follower.step().await.expect("a step"), Progress::Carried(1));
    for name in ["b", "c", "d"] {
        app.accept(intake(name).build()).await.expect("accepted");
    }
    storage.tamper(id_of(&intake("c").build()), Tamper::DropOldestEvent);
    let stuck = follower.step().await.expect_err("positions 2, 4 are no stretch without a gap");
    assert!(stuck.to_string().contains("no positions 3 to 3"), "{stuck}");
    assert_eq!(sink.events().len(), 1, "nothing behind the gap was sent");
    assert_eq!(storage.cursor("f", order_core::Shard(0)), Some(1), "nor did the cursor move");
}
