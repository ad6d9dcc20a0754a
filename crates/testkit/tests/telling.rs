//! Orders as they were at an event.
#![expect(clippy::expect_used, reason = "tests")]

use order_core::app::App;
use order_core::journal::Event;
use order_core::lane::LanePolicy;
use order_core::process::{Worker, WorkerPolicy};
use order_core::query::PAGE_BYTES_MAX;
use order_core::state::Processing;
use order_core::telling::AsOf;
use std::sync::Arc;
use std::time::Duration;
use testkit::build::{id_of, intake};
use testkit::processors::Act;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds};

/// The history of two orders: one fails once before it is done.
async fn histories() -> (MemoryStorage, Vec<Event>) {
    let (storage, clock) = (MemoryStorage::new(), ManualClock::new());
    let now: Arc<ManualClock> = Arc::clone(&clock);
    let app = App::start(storage.port(), now, SeededIds::new(1), LanePolicy::default());
    let processor = ScriptedProcessor::new();
    let worker = Worker::new(Arc::clone(&app), Arc::clone(&processor) as _, WorkerPolicy::default());
    for name in ["flaky", "plain"] {
        app.accept(intake(name).build()).await.expect("an accept");
    }
    processor.script(id_of(&intake("flaky").build()), [Act::fail("once"), Act::done()]);
    worker.step().await.expect("a step");
    clock.advance(Duration::from_secs(60));
    worker.step().await.expect("a step");
    let heads = app.storage.heads().await.expect("the heads");
    let mut events = Vec::new();
    for head in heads {
        events.extend(app.storage.journal(head.shard, 0, 100).await.expect("the journal"));
    }
    (storage, events)
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_not_as_it_is() {
    let (storage, events) = histories().await;
    let flaky = id_of(&intake("flaky").build());
    let port = storage.port();
    // However it is asked: each by itself, all in order, backwards, or only now and then.
    for asked in [vec![2, 1, 3, 2], vec![1, 2, 3], vec![3, 2, 1], vec![3]] {
        let mut as_of = AsOf::new(port.as_ref());
        for version in asked {
            let event = events.iter().find(|one| one.order_id == flaky && one.version == version);
            let (before, order) = as_of.around(event.expect("an event")).await.expect("the order");
            assert_eq!(before.map(|before| before.version), Some(version - 1).filter(|version| *version > 0));
            let expected = if version == 3 { Processing::Done } else { Processing::Queued };
            assert_eq!((order.version, order.processing), (version, expected));
            assert_eq!(order.last_error.is_some(), version == 2);
        }
    }
}

#[tokio::test]
async fn an_order_whose_beginning_is_not_kept_is_shown_as_it_is() {
    let (storage, events) = histories().await;
    let flaky = id_of(&intake("flaky").build());
    let of = |version| events.iter().find(|one| one.order_id == flaky && one.version == version);
    let first = of(1).expect("an event");
    storage.raise_floor(first.shard, first.position);
    let port = storage.port();
    let mut as_of = AsOf::new(port.as_ref());
    for version in [2, 3] {
        let (before, order) = as_of.around(of(version).expect("an event")).await.expect("the order");
        assert!(before.is_some(), "it is not new");
        assert_eq!((order.version, order.processing), (3, Processing::Done));
    }
}

#[tokio::test]
async fn what_was_passed_saves_the_read() {
    let (_, events) = histories().await;
    // This one has none of the orders: whatever is shown was folded from what was passed.
    let nothing = MemoryStorage::new();
    let port = nothing.port();
    let mut as_of = AsOf::new(port.as_ref());
    for event in &events {
        let last = events
            .iter()
            .filter(|one| one.order_id == event.order_id)
            .all(|one| one.version <= event.version);
        if last {
            assert_eq!(as_of.around(event).await.expect("folded").1.version, event.version);
        } else {
            as_of.pass(event);
        }
    }
    let mut as_of = AsOf::new(port.as_ref());
    let late = events.iter().find(|event| event.version > 1).expect("one");
    assert!(as_of.around(late).await.is_err(), "a history that is not there is a fault");
}

/// A batch may be of many small events of large orders.
#[tokio::test]
async fn no_more_large_orders_are_kept_than_fit() {
    let storage = MemoryStorage::new();
    let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(1), LanePolicy::default());
    let filling = format!("\"{}\"", "x".repeat(PAGE_BYTES_MAX / 5));
    for number in 0..12 {
        let sent = intake(&format!("large-{number}")).attribute("a", &filling);
        app.accept(sent.build()).await.expect("an accept");
    }
    let worker = Worker::new(Arc::clone(&app), ScriptedProcessor::new(), WorkerPolicy::default());
    while worker.step().await.expect("a step").claimed > 0 {}
    let (mut made, mut done) = (Vec::new(), Vec::new());
    for head in app.storage.heads().await.expect("the heads") {
        for event in app.storage.journal(head.shard, 0, 100).await.expect("the journal") {
            if event.version == 1 { made.push(event) } else { done.push(event) }
        }
    }
    // This one has none of the orders: whatever is shown was kept.
    let nothing = MemoryStorage::new();
    let port = nothing.port();
    let mut as_of = AsOf::new(port.as_ref());
    for event in &made {
        as_of.pass(event);
    }
    let mut kept = 0;
    for event in &done {
        kept += usize::from(as_of.around(event).await.is_ok());
    }
    assert!((1..5).contains(&kept), "{kept} of {} are kept", done.len());
    // Whoever has them reads them again.
    let port = storage.port();
    let mut as_of = AsOf::new(port.as_ref());
    made.iter().for_each(|event| as_of.pass(event));
    for event in &done {
        assert_eq!(as_of.around(event).await.expect("the order").1.version, 2);
    }
}
