//! What waits for a commit is bounded, by number and by bytes.
#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

use order_core::App;
use order_core::command::{Command, Reply};
use order_core::error::{Error, Fault};
use order_core::intake::{Accepted, Intake};
use order_core::lane::LanePolicy;
use std::sync::Arc;
use testkit::build::intake;
use testkit::{ManualClock, MemoryStorage, SeededIds};

fn start(policy: LanePolicy) -> Arc<App> {
    App::start(MemoryStorage::new().port(), ManualClock::new(), SeededIds::new(1), policy)
}

fn order(name: &str, bytes: usize) -> Intake {
    intake(name).attribute("filling", &format!("\"{}\"", "x".repeat(bytes))).build()
}

/// Sends orders with fillings of so many bytes at once, and says which were taken. The test's runtime has one thread and
/// runs tasks in turn, so all of them ask before the lane takes any.
async fn taken(app: &Arc<App>, fillings: &[usize]) -> Vec<bool> {
    let accept = |(index, bytes): (usize, &usize)| {
        let (app, order) = (Arc::clone(app), order(&format!("o-{index}-{bytes}"), *bytes));
        tokio::spawn(async move { app.accept(order).await })
    };
    let asked: Vec<_> = fillings.iter().enumerate().map(accept).collect();
    let mut outcomes = Vec::new();
    for one in asked {
        outcomes.push(one.await.expect("the task ends"));
    }
    let taken = |outcome: &Result<Accepted, Error>| match outcome {
        Ok(accepted) => {
            assert!(matches!(accepted, Accepted::New(_)), "{accepted:?}");
            true
        }
        Err(Error::Fault(Fault::Overloaded { .. })) => false,
        Err(error) => panic!("{error}"),
    };
    outcomes.iter().map(taken).collect()
}

#[tokio::test]
async fn what_waits_is_bounded_by_its_bytes() {
    let app = start(LanePolicy { queue_bytes: 100_000, ..LanePolicy::default() });
    // 30 kB each: three fit, and a small one behind them.
    assert_eq!(taken(&app, &[30_000, 30_000, 30_000, 30_000, 1_000]).await, [true, true, true, false, true]);
    assert_eq!(app.lanes.queued_bytes(), 0, "what was committed holds nothing");
    assert_eq!(taken(&app, &[40_000, 40_000]).await, [true, true], "there is room again");
}

/// Else an order that the edge lets through would be refused for ever.
#[tokio::test]
async fn a_command_that_is_larger_than_the_bound_is_taken_when_it_is_alone() {
    let app = start(LanePolicy { queue_bytes: 100_000, ..LanePolicy::default() });
    assert_eq!(taken(&app, &[200_000]).await, [true]);
    assert_eq!(taken(&app, &[1_000, 200_000]).await, [true, false]);
    assert_eq!(taken(&app, &[200_001, 1_000]).await, [true, false]);
}

#[tokio::test]
async fn what_waits_is_bounded_by_its_number() {
    let app = start(LanePolicy { queue_max: 2, ..LanePolicy::default() });
    assert_eq!(taken(&app, &[1, 2, 3]).await, [true, true, false]);
    assert_eq!(app.lanes.queued_bytes(), 0, "what was refused holds nothing");
}

#[tokio::test]
async fn what_ends_work_is_never_refused_for_its_bytes() {
    let app = start(LanePolicy { queue_bytes: 1, ..LanePolicy::default() });
    let (accepted, probed) = tokio::join!(app.accept(order("a", 1_000)), app.lanes.submit(Command::Probe));
    accepted.expect("the first is taken");
    assert_eq!(probed.expect("a probe waits for its turn"), Reply::Done);
}
