//! The fakes do what they promise, under the real worker and follower.
#![expect(clippy::expect_used, reason = "tests")]

use order_core::app::App;
use order_core::error::{Error, Fault};
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::lane::LanePolicy;
use order_core::ports::Processed;
use order_core::process::{Worker, WorkerPolicy};
use order_core::query::Space;
use order_core::state::Processing;
use std::sync::Arc;
use std::time::Duration;
use testkit::build::{id_of, intake, tenant};
use testkit::http::Client;
use testkit::processors::Act;
use testkit::{ManualClock, MemoryStorage, RecordingSink, ScriptedProcessor, SeededIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

struct Stage {
    storage: MemoryStorage,
    clock: Arc<ManualClock>,
    app: Arc<App>,
    processor: Arc<ScriptedProcessor>,
    worker: Worker,
}

impl Stage {
    fn new() -> Self {
        let (storage, clock) = (MemoryStorage::new(), ManualClock::new());
        let now: Arc<ManualClock> = Arc::clone(&clock);
        let app = App::start(storage.port(), now, SeededIds::new(1), LanePolicy::default());
        let processor = ScriptedProcessor::new();
        let runs: Arc<ScriptedProcessor> = Arc::clone(&processor);
        let worker = Worker::new(Arc::clone(&app), runs, WorkerPolicy::default());
        Self { storage, clock, app, processor, worker }
    }

    async fn state(&self, reference: &str) -> (Processing, u32) {
        let order_id = id_of(&intake(reference).build());
        let order =
            self.app.storage.order(&tenant("default"), order_id).await.expect("a read").expect("it is there");
        (order.processing, order.attempt)
    }
}

#[tokio::test]
async fn tries_follow_their_script() {
    let stage = Stage::new();
    for name in ["plain", "flaky", "hopeless", "panics"] {
        stage.app.accept(intake(name).build()).await.expect("an accept");
    }
    let id = |name: &str| id_of(&intake(name).build());
    stage.processor.script(id("flaky"), [Act::fail("once"), Act::done()]);
    stage.processor.script(id("hopeless"), [Act::hopeless("never")]);
    stage.processor.script(id("panics"), [Act::Panic]);
    assert_eq!(stage.worker.step().await.expect("a step").claimed, 4);
    assert_eq!(stage.state("plain").await, (Processing::Done, 1));
    assert_eq!(stage.state("flaky").await, (Processing::Queued, 1));
    assert_eq!(stage.state("hopeless").await, (Processing::Parked, 1));
    assert_eq!(stage.state("panics").await, (Processing::Queued, 1));
    stage.clock.advance(Duration::from_secs(60));
    assert_eq!(stage.worker.step().await.expect("a step").claimed, 2);
    assert_eq!(stage.state("flaky").await, (Processing::Done, 2));
    let tries = stage.processor.tries();
    assert_eq!(tries.len(), 6);
    for leased in tries.iter().filter(|leased| leased.order.id != id("hopeless")) {
        assert_eq!(stage.processor.effects(leased.effect_key), 1, "each effect came to its end once");
    }
}

#[tokio::test]
async fn a_try_hangs_until_it_is_released() {
    let stage = Stage::new();
    stage.app.accept(intake("slow").build()).await.expect("an accept");
    stage.processor.script(id_of(&intake("slow").build()), [Act::Hang(Processed::Done)]);
    let worker = stage.worker.clone();
    let step = tokio::spawn(async move { worker.step().await });
    stage.processor.began(1).await;
    assert_eq!(stage.state("slow").await.0, Processing::Queued);
    stage.processor.release();
    step.await.expect("the task ends").expect("a step");
    assert_eq!(stage.state("slow").await, (Processing::Done, 1));
}

#[tokio::test]
async fn faults_come_when_they_were_ordered() {
    let stage = Stage::new();
    let down = || Fault::Unavailable { why: "test".to_owned(), retry_after: Duration::from_secs(2) };
    stage.storage.fail_next(down());
    let refused = stage.app.accept(intake("a").build()).await;
    assert!(matches!(refused, Err(Error::Fault(Fault::Unavailable { .. }))), "{refused:?}");
    stage.app.accept(intake("a").build()).await.expect("the next commit works");
    stage.storage.refuse_reference("b");
    let refused = stage.app.accept(intake("b").build()).await;
    assert!(matches!(refused, Err(Error::Fault(Fault::Data { .. }))), "{refused:?}");
    stage.storage.fail_next_read(down());
    assert!(stage.app.storage.heads().await.is_err());
    assert!(stage.app.storage.heads().await.is_ok());
    stage.storage.down(Some(down()));
    assert!(stage.app.probe().await.is_err() && stage.app.storage.heads().await.is_err());
    stage.storage.down(None);
    stage.app.probe().await.expect("it is up again");
    let space = Space { free: 7, least: 8 };
    stage.storage.set_space(Some(space));
    assert_eq!(stage.app.storage.space().await, Some(space));
    assert!(!space.is_enough());
}

#[tokio::test]
async fn a_sink_takes_what_it_took_before_it_failed() {
    let stage = Stage::new();
    for index in 0..5 {
        stage.app.accept(intake(&format!("o-{index}")).build()).await.expect("an accept");
    }
    stage.app.ensure_follower("f", "recording", false).await.expect("made");
    let sink = RecordingSink::new();
    let feeds: Arc<RecordingSink> = Arc::clone(&sink);
    let follower = Follower::new(Arc::clone(&stage.app), "f", feeds, FollowerPolicy::default());
    sink.fail_after(2, "full");
    follower.step().await.expect_err("the sink fails");
    assert_eq!((sink.events().len(), sink.deliveries()), (2, 1));
    sink.recover();
    assert_eq!(follower.step().await.expect("a step"), Progress::Carried(5));
    assert_eq!((sink.events().len(), sink.versions().len()), (7, 5));
}

#[tokio::test]
async fn a_sink_that_fails_too_often_is_only_probed_until_it_works_again() {
    let stage = Stage::new();
    stage.app.accept(intake("o").build()).await.expect("an accept");
    stage.app.ensure_follower("f", "recording", false).await.expect("made");
    let sink = RecordingSink::new();
    let feeds: Arc<RecordingSink> = Arc::clone(&sink);
    let follower = Follower::new(Arc::clone(&stage.app), "f", feeds, FollowerPolicy::default());
    let ails = || stage.app.follower_faults.of("f");
    sink.fail("full");
    for delivery in 1..=20 {
        follower.step().await.expect_err("the sink fails");
        assert_eq!(sink.deliveries(), delivery);
    }
    let seconds = Duration::from_secs;
    assert_eq!(follower.step().await.expect("a step"), Progress::Held(seconds(5)));
    stage.clock.advance(seconds(4));
    assert_eq!(follower.step().await.expect("a step"), Progress::Held(seconds(1)));
    assert_eq!(sink.deliveries(), 20, "nothing is sent to it");
    stage.clock.advance(seconds(1));
    follower.step().await.expect_err("the probe fails");
    assert_eq!(follower.step().await.expect("a step"), Progress::Held(seconds(5)));
    assert_eq!(sink.deliveries(), 21, "one probe each time");
    assert!(ails().expect("it is failing").contains("full"), "what the sink said is still told");
    sink.recover();
    assert_eq!(follower.step().await.expect("a step"), Progress::Held(seconds(5)), "nobody knows yet");
    stage.clock.advance(seconds(5));
    assert_eq!(follower.step().await.expect("a step"), Progress::Carried(1));
    assert_eq!((follower.step().await.expect("a step"), ails()), (Progress::UpToDate, None));
    assert_eq!(sink.events().len(), 1, "in order and none twice");
}

/// Faults of the storage say nothing about the sink.
#[tokio::test]
async fn only_the_sinks_own_failures_count_against_it() {
    let stage = Stage::new();
    stage.app.accept(intake("o").build()).await.expect("an accept");
    stage.app.ensure_follower("f", "recording", false).await.expect("made");
    let follower =
        Follower::new(Arc::clone(&stage.app), "f", RecordingSink::new(), FollowerPolicy::default());
    for _ in 0..30 {
        stage.storage.fail_next_read(Fault::internal("test"));
        follower.step().await.expect_err("the storage fails");
    }
    assert_eq!(follower.step().await.expect("a step"), Progress::Carried(1));
}

#[tokio::test]
async fn the_client_reads_lengths_chunks_and_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let replies = [
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nX-A: 1\r\nContent-Length: 7\r\n\r\n{\"a\":1}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n{\"a\":1}",
    ];
    let server = tokio::spawn(async move {
        let mut requests = Vec::new();
        for reply in replies {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut buffer = [0_u8; 4096];
            let read = stream.read(&mut buffer).await.expect("a request");
            requests.push(String::from_utf8_lossy(&buffer[..read]).into_owned());
            stream.write_all(reply.as_bytes()).await.expect("the client listens");
        }
        requests
    });
    let client = Client::new(address);
    let created = client.post("/orders?x=1", "{}").await;
    assert_eq!(
        (created.status, created.header("x-a"), created.json()["a"].as_u64()),
        (201, Some("1"), Some(1))
    );
    for _ in 0..2 {
        let reply = client.get("/").await;
        assert_eq!((reply.status, reply.text()), (200, "{\"a\":1}"));
    }
    let requests = server.await.expect("the server ends");
    assert!(requests[0].starts_with("POST /orders?x=1 HTTP/1.1\r\nhost: localhost\r\n"), "{}", requests[0]);
    assert!(
        requests[0].ends_with("content-length: 2\r\ncontent-type: application/json\r\n\r\n{}"),
        "{}",
        requests[0]
    );
}
