//! Commands of a caller that sends many share commits with those of callers that send one, and neither starves the other.
#![expect(clippy::unwrap_used, reason = "tests")]

use order_core::App;
use order_core::command::Command;
use order_core::error::{Error, Fault};
use order_core::intake::Accepted;
use order_core::lane::LanePolicy;
use std::sync::{Arc, Mutex};
use testkit::build::intake;
use testkit::{ManualClock, MemoryStorage, SeededIds, Wrapped};

/// References of the orders of each commit.
type Commits = Arc<Mutex<Vec<Vec<String>>>>;

fn start(policy: LanePolicy) -> (Arc<App>, Commits) {
    let commits = Commits::default();
    let seen = Arc::clone(&commits);
    let look = move |batch: &[Command]| {
        let reference = |command: &Command| match command {
            Command::Accept(accept) => accept.intake.reference.as_ref().map(|it| it.as_str().to_owned()),
            _ => None,
        };
        seen.lock().unwrap().push(batch.iter().filter_map(reference).collect());
        None::<Fault>
    };
    let storage = Wrapped::failing(MemoryStorage::new().port(), Box::new(look), Box::new(|_| None));
    (App::start(storage, ManualClock::new(), SeededIds::new(1), policy), commits)
}

/// Queues orders as lines of one caller, and waits for all answers in order.
async fn many(app: Arc<App>, count: usize) -> Vec<Result<Accepted, Error>> {
    let mut queued = Vec::new();
    for number in 0..count {
        queued.push(app.queue_accept(intake(&format!("bulk-{number:03}")).build()).await.unwrap());
    }
    let mut answers = Vec::new();
    for one in queued {
        answers.push(one.await);
    }
    answers
}

fn bulk(commit: &[String]) -> usize {
    commit.iter().filter(|reference| reference.starts_with("bulk")).count()
}

// The runtime of these tests has one thread and runs tasks in turn: all ask before the lane takes anything.

#[tokio::test]
async fn commits_carry_as_many_as_they_may_in_the_order_of_the_lines() {
    let (app, commits) = start(LanePolicy { batch_max: 16, ..LanePolicy::default() });
    let answers = many(app, 100).await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(Accepted::New(_)))));
    let commits = commits.lock().unwrap();
    let all: Vec<String> = commits.concat();
    assert!(all.is_sorted() && all.len() == 100, "{all:?}");
    assert!(commits.len() <= 8, "16 at a time: {commits:?}");
}

#[tokio::test]
async fn one_order_goes_before_many_that_came_earlier() {
    let (app, commits) = start(LanePolicy { batch_max: 16, ..LanePolicy::default() });
    let lines = tokio::spawn(many(Arc::clone(&app), 16));
    let one = tokio::spawn({
        let app = Arc::clone(&app);
        async move { app.accept(intake("one").build()).await }
    });
    one.await.unwrap().unwrap();
    lines.await.unwrap();
    let commits = commits.lock().unwrap();
    assert_eq!(commits[0][0], "one");
    assert_eq!(bulk(&commits[0]), 15, "they share the commit: {commits:?}");
}

#[tokio::test]
async fn a_crowd_leaves_room_for_many_lines() {
    let (app, commits) = start(LanePolicy { batch_max: 8, ..LanePolicy::default() });
    let crowd: Vec<_> = (0..60)
        .map(|number| {
            let app = Arc::clone(&app);
            tokio::spawn(async move { app.accept(intake(&format!("one-{number}")).build()).await })
        })
        .collect();
    let lines = tokio::spawn(many(Arc::clone(&app), 8));
    for one in crowd {
        one.await.unwrap().unwrap();
    }
    lines.await.unwrap();
    let commits = commits.lock().unwrap();
    let until_all = commits.iter().take_while(|commit| bulk(commit) > 0).collect::<Vec<_>>();
    assert!(until_all.len() <= 4, "two of eight at least: {commits:?}");
    assert!(until_all.iter().all(|commit| bulk(commit) < commit.len()), "the crowd goes on: {commits:?}");
}

#[tokio::test]
async fn lines_wait_for_room_and_are_not_refused() {
    let policy = LanePolicy { queue_max: 1, queue_bytes: 1, batch_max: 4, ..LanePolicy::default() };
    let (app, _) = start(policy);
    let answers = many(Arc::clone(&app), 4).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!((app.lanes.queued(), app.lanes.queued_bytes()), (0, 0));
}
