//! The end of the journal: who waits for an order is woken, who reads on gets everything once, who is too slow is cut.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::intake::Accepted;
use order_core::journal::{Cursor, Event};
use order_core::lane::LanePolicy;
use order_core::live::{Batch, End, KEPT_BYTES_MAX, Reader};
use order_core::process::{Worker, WorkerPolicy};
use order_core::state::Processing;
use order_core::{App, EventId, Fault, Order};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use testkit::build::intake;
use testkit::processors::Act;
use testkit::{ManualClock, MemoryStorage, ScriptedProcessor, SeededIds};
use tokio::time::Instant;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3_600);

struct Rig {
    app: Arc<App>,
    clock: Arc<ManualClock>,
}

impl Rig {
    fn new() -> Self {
        Self::over(MemoryStorage::new().port())
    }

    fn over(storage: Arc<dyn order_core::ports::Storage>) -> Self {
        let clock = ManualClock::new();
        let app = App::start(storage, clock.clone(), SeededIds::new(1), LanePolicy::default());
        Self { app, clock }
    }

    async fn order(&self, reference: &str) -> Order {
        self.clock.tick();
        match self.app.accept(intake(reference).build()).await.unwrap() {
            Accepted::New(order) => *order,
            duplicate => panic!("{duplicate:?}"),
        }
    }

    async fn work(&self, processor: Arc<ScriptedProcessor>) {
        self.clock.tick();
        Worker::new(Arc::clone(&self.app), processor, WorkerPolicy::default()).step().await.unwrap();
    }

    fn beginning(&self) -> Cursor {
        let install = self.app.storage.install();
        Cursor::beginning(install.epoch, install.shards)
    }

    async fn reader(&self, cursor: Cursor) -> Reader {
        Reader::open(Arc::clone(&self.app), cursor).await.unwrap()
    }

    /// Waits until so many wait.
    async fn until_waiting(&self, count: usize) {
        while self.app.tail.waits().count() != count {
            tokio::task::yield_now().await;
        }
    }

    async fn until_readers(&self, count: usize) {
        while self.app.tail.readers() != count {
            tokio::task::yield_now().await;
        }
    }
}

fn events(batch: &Batch) -> &[Event] {
    match batch {
        Batch::Shared(page) => &page.events,
        Batch::Own(_, events) => events,
        Batch::Idle => &[],
    }
}

/// Reads until so many events came.
async fn read(reader: &mut Reader, count: usize) -> Vec<Event> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = reader.next(Instant::now() + LONG).await.unwrap();
        all.extend_from_slice(events(&batch));
    }
    all
}

fn waiting(app: &Arc<App>, order: &Order, patience: Duration) -> tokio::task::JoinHandle<Option<Order>> {
    let (app, order) = (Arc::clone(app), order.clone());
    tokio::spawn(async move { app.when_settled(order, patience).await })
}

#[tokio::test]
async fn who_waits_is_answered_when_the_work_is_done_parked_or_withdrawn() {
    let rig = Rig::new();
    let (done, parked, withdrawn) = (rig.order("a").await, rig.order("b").await, rig.order("c").await);
    let waits = [&done, &parked, &withdrawn, &done].map(|order| waiting(&rig.app, order, LONG));
    rig.until_waiting(4).await;
    let target = Target {
        tenant: withdrawn.tenant.clone(),
        source: None,
        order_id: withdrawn.id,
        expected_version: None,
    };
    let kind = ChangeKind::Withdraw { reason: "r".to_owned(), by: "b".to_owned(), requeue: false };
    rig.app.change(target, kind).await.unwrap();
    let processor = ScriptedProcessor::new();
    processor.script(parked.id, [Act::hopeless("no")]);
    rig.work(processor).await;
    let mut ended = Vec::new();
    for wait in waits {
        let order = wait.await.unwrap().unwrap();
        ended.push((order.processing, order.withdrawn));
    }
    let withdrawn = ended.remove(2);
    assert!(withdrawn.1);
    let (done, parked) = ((Processing::Done, false), (Processing::Parked, false));
    assert_eq!(ended, [done, parked, done]);
    assert_eq!(rig.app.tail.waits().count(), 0, "who was answered waits no more");
}

#[tokio::test]
async fn a_failed_attempt_does_not_end_the_wait() {
    let rig = Rig::new();
    let order = rig.order("a").await;
    let wait = waiting(&rig.app, &order, LONG);
    rig.until_waiting(1).await;
    let processor = ScriptedProcessor::new();
    processor.script(order.id, [Act::fail("not yet")]);
    rig.work(Arc::clone(&processor)).await;
    assert_eq!(rig.app.storage.order(&order.tenant, order.id).await.unwrap().unwrap().attempt, 1);
    assert!(!wait.is_finished());
    rig.clock.advance(Duration::from_secs(60));
    rig.work(processor).await;
    assert_eq!(wait.await.unwrap().unwrap().processing, Processing::Done);
}

#[tokio::test]
async fn what_ended_before_the_wait_began_is_seen() {
    let rig = Rig::new();
    let order = rig.order("a").await;
    rig.work(ScriptedProcessor::new()).await;
    // The caller's own view is from before.
    let seen = rig.app.when_settled(order, LONG).await.unwrap();
    assert_eq!(seen.processing, Processing::Done);
}

#[tokio::test]
async fn patience_has_an_end_and_who_goes_away_is_forgotten() {
    let rig = Rig::new();
    let order = rig.order("a").await;
    let seen = rig.app.when_settled(order.clone(), Duration::from_millis(1)).await.unwrap();
    assert_eq!((seen.processing, seen.version), (Processing::Queued, 1));
    let wait = waiting(&rig.app, &order, LONG);
    rig.until_waiting(1).await;
    wait.abort();
    rig.until_waiting(0).await;
}

#[tokio::test]
async fn stopping_answers_everybody_at_once() {
    let rig = Rig::new();
    let order = rig.order("a").await;
    let wait = waiting(&rig.app, &order, LONG);
    rig.until_waiting(1).await;
    let mut reader = rig.reader(rig.beginning()).await;
    read(&mut reader, 1).await;
    let next = tokio::spawn(async move { reader.next(Instant::now() + LONG).await });
    rig.until_readers(1).await;
    rig.app.stop();
    assert_eq!(wait.await.unwrap().unwrap().version, 1);
    assert!(matches!(next.await.unwrap(), Err(End::Stopping)));
}

#[tokio::test]
async fn a_storage_that_cannot_be_read_takes_no_order_back() {
    let storage = MemoryStorage::new();
    let rig = Rig::over(storage.port());
    let order = rig.order("a").await;
    let wait = waiting(&rig.app, &order, LONG);
    rig.until_waiting(1).await;
    storage.down(Some(Fault::overloaded()));
    rig.app.stop();
    assert_eq!(wait.await.unwrap().unwrap(), order);
}

#[tokio::test]
async fn what_another_process_commits_is_found_by_looking() {
    let storage = MemoryStorage::new();
    let (here, there) = (Rig::over(storage.port()), Rig::over(storage.port()));
    let order = here.order("a").await;
    let mut reader = here.reader(here.beginning()).await;
    read(&mut reader, 1).await;
    let wait = waiting(&here.app, &order, LONG);
    here.until_waiting(1).await;
    there.work(ScriptedProcessor::new()).await;
    assert_eq!(wait.await.unwrap().unwrap().processing, Processing::Done);
    assert_eq!(read(&mut reader, 1).await[0].order_id, order.id);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reader_gets_every_event_once_wherever_it_begins() {
    let rig = Arc::new(Rig::new());
    let mut readers = Vec::new();
    let writing = tokio::spawn({
        let rig = Arc::clone(&rig);
        async move {
            for number in 0..600 {
                rig.order(&format!("r-{number}")).await;
            }
        }
    });
    for _ in 0..20 {
        let mut reader = rig.reader(rig.beginning()).await;
        readers.push(tokio::spawn(async move {
            let all = read(&mut reader, 600).await;
            (all, reader.cursor().clone())
        }));
        rig.order(&format!("between-{}", readers.len())).await;
    }
    writing.await.unwrap();
    let heads = rig.app.storage.heads().await.unwrap();
    let end = Cursor::at_heads(rig.app.storage.install().epoch, &heads);
    for reader in readers {
        let (mut all, cursor) = reader.await.unwrap();
        // It may have stopped before the last ones came: it goes on from its cursor.
        let mut reader = rig.reader(cursor).await;
        let rest = read(&mut reader, 620 - all.len()).await;
        all.extend(rest);
        let ids: BTreeSet<EventId> = all.iter().map(|event| event.event_id).collect();
        assert_eq!((all.len(), ids.len()), (620, 620));
        assert_eq!(*reader.cursor(), end);
    }
    rig.until_readers(0).await;
}

#[tokio::test]
async fn readers_at_the_end_share_what_is_read() {
    let rig = Rig::new();
    rig.order("a").await;
    let (mut one, mut two) = (rig.reader(rig.beginning()).await, rig.reader(rig.beginning()).await);
    read(&mut one, 1).await;
    read(&mut two, 1).await;
    let (mut next_one, mut next_two) =
        (Box::pin(one.next(Instant::now() + LONG)), Box::pin(two.next(Instant::now() + LONG)));
    assert!(is_pending(&mut next_one).await && is_pending(&mut next_two).await, "both wait");
    rig.until_readers(2).await;
    rig.order("b").await;
    let (Batch::Shared(one), Batch::Shared(two)) = (next_one.await.unwrap(), next_two.await.unwrap()) else {
        panic!("each read for itself");
    };
    assert!(Arc::ptr_eq(&one, &two));
    let tenant = &one.events[0].tenant;
    let text = one.text(tenant, |page| page.events[0].to_json());
    assert!(Arc::ptr_eq(&text, &two.text(tenant, |_| panic!("it was made"))));
}

/// Whether a future is still pending after everything else had its turn.
async fn is_pending<T>(future: &mut (impl Future<Output = T> + Unpin)) -> bool {
    for _ in 0..50 {
        let pending = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())
        });
        if !pending.await {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[tokio::test]
async fn a_slow_reader_is_cut_and_comes_back_without_loss() {
    let rig = Rig::new();
    rig.order("first").await;
    let mut slow = rig.reader(rig.beginning()).await;
    let mut rest = read(&mut slow, 1).await;
    let mut idle = Box::pin(slow.next(Instant::now() + LONG));
    assert!(is_pending(&mut idle).await);
    drop(idle);
    rig.until_readers(1).await;
    // More than is kept, while it does not look.
    let size = 200_000;
    let count = KEPT_BYTES_MAX / size + 5;
    for number in 0..count {
        rig.clock.tick();
        let sent =
            intake(&format!("big-{number}")).attribute("a", &json!("x".repeat(size)).to_string()).build();
        rig.app.accept(sent).await.unwrap();
    }
    let mut quick = rig.reader(rig.beginning()).await;
    let all = read(&mut quick, count + 1).await;
    let end = loop {
        match slow.next(Instant::now() + LONG).await {
            Ok(batch) => rest.extend_from_slice(events(&batch)),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, End::Slow), "{end:?}");
    let mut again = rig.reader(slow.cursor().clone()).await;
    drop(slow);
    rest.extend(read(&mut again, count + 1 - rest.len()).await);
    // Between orders no sequence is promised.
    let ids = |events: &[Event]| events.iter().map(|event| event.event_id).collect::<BTreeSet<_>>();
    assert_eq!((rest.len(), ids(&rest)), (count + 1, ids(&all)));
}

#[tokio::test]
async fn a_reader_waits_no_longer_than_it_is_told() {
    let rig = Rig::new();
    rig.order("a").await;
    let mut reader = rig.reader(rig.beginning()).await;
    read(&mut reader, 1).await;
    let batch = reader.next(Instant::now()).await.unwrap();
    assert!(matches!(batch, Batch::Idle));
}

#[tokio::test]
async fn faults_of_reading_are_waited_out() {
    let storage = MemoryStorage::new();
    let rig = Rig::over(storage.port());
    let order = rig.order("a").await;
    let wait = waiting(&rig.app, &order, LONG);
    rig.until_waiting(1).await;
    storage.fail_next_read(Fault::overloaded());
    rig.work(ScriptedProcessor::new()).await;
    assert_eq!(wait.await.unwrap().unwrap().processing, Processing::Done);
}

#[tokio::test]
async fn while_nobody_is_interested_nothing_is_read() {
    let storage = MemoryStorage::new();
    let rig = Rig::over(storage.port());
    storage.fail_next_read(Fault::overloaded());
    for number in 0..10 {
        rig.order(&format!("{number}")).await;
    }
    assert!(rig.app.storage.heads().await.is_err(), "this was the next read");
}
