//! A worker beside a flood of work that is parked as it is claimed.
#![expect(clippy::expect_used, reason = "tests")]

use order_core::app::App;
use order_core::command::Command;
use order_core::desk::Desks;
use order_core::lane::LanePolicy;
use order_core::ports::Processed;
use order_core::process::{Worker, WorkerPolicy};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use testkit::build::{id_of, intake};
use testkit::processors::Act;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds, Wrapped};
use tokio::sync::{Semaphore, watch};

const MANY: usize = 1_000_000;

/// What a commit held, in letters: a claim, a heartbeat, the end of a try.
fn letters(batch: &[Command]) -> String {
    let letter = |command: &Command| match command {
        Command::Claim(_) => 'c',
        Command::Heartbeat(_) => 'h',
        Command::Settle(_) => 's',
        _ => '-',
    };
    batch.iter().map(letter).collect()
}

/// Each round of a claim waits for commits, and a commit may take long.
#[tokio::test(start_paused = true)]
async fn leases_are_extended_while_a_claim_goes_on() {
    let (storage, clock, gate) = (MemoryStorage::new(), ManualClock::new(), Arc::new(Semaphore::new(MANY)));
    let commits: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&commits);
    let record = move |batch: &[Command]| {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(letters(batch));
        None
    };
    let recorded = Wrapped::failing(storage.port(), Box::new(record), Box::new(|_| None));
    let start = |port| {
        let now: Arc<ManualClock> = Arc::clone(&clock);
        App::start(port, now, SeededIds::new(1), LanePolicy::default())
    };
    let app = start(Wrapped::gated(recorded, Arc::clone(&gate)));
    let processor = ScriptedProcessor::new();
    processor.script(id_of(&intake("slow").build()), [Act::Hang(Processed::Done)]);
    app.accept(intake("slow").build()).await.expect("an accept");
    let policy = WorkerPolicy { batch_size: 2, ..WorkerPolicy::default() };
    let runs: Arc<ScriptedProcessor> = Arc::clone(&processor);
    let (stop, stopping) = watch::channel(false);
    let worker = Worker::new(Arc::clone(&app), runs, policy);
    let running = tokio::spawn(worker.run(stopping, Duration::from_secs(1)));
    processor.began(1).await;

    // From here on each commit hangs, and there is much whose leases keep running out.
    gate.forget_permits(MANY);
    let other = start(storage.port());
    for number in 0..9 {
        other.accept(intake(&format!("S-{number}")).build()).await.expect("an accept");
    }
    for _ in 0..policy.lease.lapses_max {
        let claimed = other.claim(None, Desks::ALL, 9, Duration::from_micros(1), u32::MAX).await;
        assert_eq!(claimed.expect("a claim").leased.len(), 9);
        clock.tick();
    }
    for _ in 0..policy.lease.heartbeat.as_secs() * 2 {
        tokio::time::advance(Duration::from_secs(1)).await;
    }
    let before = commits.lock().unwrap_or_else(PoisonError::into_inner).len();
    gate.add_permits(MANY);
    let claims = |commits: &[String]| commits.iter().filter(|commit| commit.contains('c')).count();
    let since = loop {
        let since = commits.lock().unwrap_or_else(PoisonError::into_inner)[before..].to_vec();
        if claims(&since) >= 2 {
            break since;
        }
        tokio::task::yield_now().await;
    };
    let until = since.iter().position(|commit| commit.contains('h')).unwrap_or(since.len());
    assert_eq!(claims(&since[..until]), 1, "the heartbeat comes before the next round: {since:?}");

    stop.send_replace(true);
    processor.release();
    running.await.expect("the worker ends");
}
