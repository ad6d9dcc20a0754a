//! A lane with too much to do: what it takes on no more, and that nothing is refused which the storage may have done.
#![expect(clippy::expect_used, reason = "tests")]

use futures_util::FutureExt;
use order_core::command::{Command, FollowerAction, FollowerCommand, Reply};
use order_core::error::{Error, Fault};
use order_core::intake::Accepted;
use order_core::lane::LanePolicy;
use order_core::shed::Shed;
use order_core::{App, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use testkit::build::intake;
use testkit::{ManualClock, MemoryStorage, SeededIds, Wrapped};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// An app whose commits wait for the gate.
struct Fixture {
    app: Arc<App>,
    memory: MemoryStorage,
    gate: Arc<Semaphore>,
}

fn fixture(policy: LanePolicy) -> Fixture {
    let (memory, gate) = (MemoryStorage::new(), Arc::new(Semaphore::new(0)));
    let storage = Wrapped::gated(memory.port(), Arc::clone(&gate));
    Fixture { app: App::start(storage, ManualClock::new(), SeededIds::new(1), policy), memory, gate }
}

impl Fixture {
    /// An order that is on its way.
    fn send(&self, name: &str) -> JoinHandle<Result<Accepted, Error>> {
        let (app, order) = (Arc::clone(&self.app), intake(name).build());
        tokio::spawn(async move { app.accept(order).await })
    }

    fn sheds(&self) -> [u64; 4] {
        Shed::ALL.map(|why| self.app.lanes.sheds().of(why))
    }

    /// Lets everything run that can.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
}

fn is_overloaded<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Fault(Fault::Overloaded { .. })))
}

#[tokio::test(start_paused = true)]
async fn what_waited_too_long_is_refused_before_the_storage_sees_it() {
    let fixture = fixture(LanePolicy::default());
    fixture.gate.add_permits(100);
    let mut late = Box::pin(fixture.app.accept(intake("late").build()));
    assert!((&mut late).now_or_never().is_none(), "it is queued");
    tokio::time::advance(Duration::from_millis(1_001)).await;
    assert!(is_overloaded(late.await));
    assert_eq!((fixture.sheds(), fixture.memory.commits()), ([0, 0, 0, 1], 0));
    assert_eq!(fixture.app.lanes.queued_bytes(), 0, "what was refused holds nothing");
    let again = fixture.app.accept(intake("late").build()).await;
    assert!(matches!(again, Ok(Accepted::New(_))), "nothing of it was there: {again:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_to_the_storage_is_never_refused_and_reads_go_on_while_it_hangs() {
    let fixture = fixture(LanePolicy::default());
    let begun = fixture.send("begun");
    fixture.settle().await;
    tokio::time::advance(Duration::from_secs(3)).await;
    // The commit that runs has been running for longer than anybody may wait.
    assert!(is_overloaded(fixture.app.accept(intake("a").build()).await));
    assert!(fixture.app.lanes.room().is_err());
    assert_eq!(fixture.sheds(), [0, 0, 2, 0]);
    assert!(fixture.app.storage.heads().await.is_ok(), "who reads is served");
    // What ends work waits for its turn, as ever.
    let mut probe = Box::pin(fixture.app.probe());
    assert!((&mut probe).now_or_never().is_none());
    fixture.gate.add_permits(100);
    assert!(matches!(begun.await.expect("the task ends"), Ok(Accepted::New(_))));
    probe.await.expect("a probe is not refused");
    assert!(fixture.app.lanes.room().is_ok(), "it is over");
}

#[tokio::test(start_paused = true)]
async fn what_would_wait_too_long_is_refused_at_once() {
    // Four in a commit.
    let fixture = fixture(LanePolicy { batch_max: 4, ..LanePolicy::default() });
    let commit = async || {
        tokio::time::advance(Duration::from_millis(100)).await;
        fixture.gate.add_permits(1);
        fixture.settle().await;
    };
    // Commits take 100 ms each.
    let first = fixture.send("first");
    fixture.settle().await;
    commit().await;
    first.await.expect("the task ends").expect("it is taken");
    // One commit runs; eleven orders behind it are two commits and a part: 200 ms.
    let waiting: Vec<_> = (0..12).map(|index| fixture.send(&format!("o-{index}"))).collect();
    fixture.settle().await;
    let more: Vec<_> = (0..6).map(|index| fixture.send(&format!("p-{index}"))).collect();
    fixture.settle().await;
    assert!(fixture.app.lanes.room().is_err(), "{:?}", fixture.app.lanes.queued());
    let action = FollowerAction::Ensure { sink: "s".to_owned(), from_now: false };
    let command = FollowerCommand { name: "f".to_owned(), now: Timestamp::from_micros(0), action };
    let mut operator = Box::pin(fixture.app.lanes.submit(Command::Follower(command)));
    assert!((&mut operator).now_or_never().is_none(), "what an operator asks for waits");
    fixture.gate.add_permits(1_000);
    for one in waiting {
        assert!(one.await.expect("the task ends").is_ok());
    }
    let mut refused = 0;
    for one in more {
        refused += u64::from(is_overloaded(one.await.expect("the task ends")));
    }
    assert!(refused > 0, "{:?}", fixture.sheds());
    assert_eq!(fixture.sheds(), [0, 0, refused + 1, 0]);
    assert_eq!(operator.await.expect("it is carried out"), Reply::Done);
}
