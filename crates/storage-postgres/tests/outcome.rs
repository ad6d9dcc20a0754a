//! Connections that break, before and after a COMMIT: what was acknowledged is there, once; what is there was acknowledged.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::Fault;
use order_core::command::{Command, Reply};
use order_core::ids::TenantId;
use order_core::intake::Accepted;
use order_core::lane::Wakes;
use order_core::ports::{Committed, Storage};
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::{Options, PostgresStorage, TimeLimits};
use testkit::build::{accept, id_of, intake};
use testkit::chaos::{Chaos, Frame, Harm, Protocol, Side};
use testkit::{ManualClock, SeededIds};

/// What a lane sends before its COMMIT, and nobody else.
const LAST: &str = "SET LOCAL statement_timeout";

/// The COMMIT of a lane.
fn commit(frame: &Frame<'_>) -> bool {
    frame.is(Side::Client, "COMMIT") && frame.is_of(LAST)
}

/// The answer to it.
fn answer(frame: &Frame<'_>) -> bool {
    frame.is(Side::Server, "COMMIT") && frame.is_of(LAST)
}

struct Rig {
    way: Chaos,
    url: String,
    storage: PostgresStorage,
    ids: Arc<SeededIds>,
}

impl Rig {
    async fn new() -> Self {
        let url = installed().await;
        let (way, through) = Chaos::on_the_way(&url, Protocol::Postgres).await;
        // A server that hangs is soon given up.
        let limits = TimeLimits {
            statement: Duration::from_millis(700),
            lock: Duration::from_millis(500),
            idle_in_transaction: Duration::from_secs(1),
            unacknowledged: Duration::from_millis(300),
            ..TimeLimits::default()
        };
        let storage = open(&Options { limits, ..options(&through) }).await;
        Self { way, url, storage, ids: SeededIds::new(1) }
    }

    fn accept(&self, reference: &str) -> Command {
        accept(
            intake(reference).build(),
            self.ids.as_ref(),
            order_core::clock::Clock::now(&*ManualClock::new()),
        )
    }

    async fn commit(&self, batch: Vec<Command>) -> Result<Committed, Fault> {
        self.storage.commit(0, batch.into()).await
    }

    /// Commits an order, while one frame comes to harm.
    async fn harm(
        &self,
        reference: &str,
        judge: impl Fn(&Frame<'_>) -> Option<Harm> + Send + Sync + 'static,
    ) -> Result<Committed, Fault> {
        // Connected, so that nothing but the commit is harmed.
        self.commit(vec![self.accept("before")]).await.unwrap();
        let harms = self.way.harms();
        self.way.harm(1, judge);
        let committed = self.commit(vec![self.accept(reference)]).await;
        assert_eq!(self.way.harms(), harms + 1);
        committed
    }

    async fn events(&self, reference: &str) -> usize {
        let direct = open(&options(&self.url)).await;
        let order_id = id_of(&intake(reference).build());
        let events = direct.order_events(&TenantId::default_tenant(), order_id, 0, 100).await.unwrap();
        events.map_or(0, |page| page.events.len())
    }
}

async fn open(options: &Options) -> PostgresStorage {
    PostgresStorage::open(options, &seed()).await.unwrap().0
}

fn is_new(committed: &Committed) -> bool {
    matches!(committed.replies[..], [Ok(Reply::Accepted(Accepted::New(_)))])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_found() {
    let rig = Rig::new().await;
    // Cut off, or left waiting for ever.
    for (reference, harm) in [("r-1", Harm::Cut), ("r-2", Harm::Hang)] {
        let committed = rig.harm(reference, move |frame| answer(frame).then_some(harm)).await.unwrap();
        assert!(is_new(&committed), "{harm:?}: {:?}", committed.replies);
        assert_eq!(rig.events(reference).await, 1, "{harm:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_done_again() {
    let rig = Rig::new().await;
    let committed = rig.harm("r-1", |frame| commit(frame).then_some(Harm::Cut)).await.unwrap();
    assert!(is_new(&committed), "{:?}", committed.replies);
    assert_eq!(rig.events("r-1").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_while_its_connection_ends_is_done_once() {
    let rig = Rig::new().await;
    for number in 0..20 {
        let reference = format!("r-{number}");
        let committed = rig.harm(&reference, |frame| commit(frame).then_some(Harm::CutBehind)).await.unwrap();
        assert!(is_new(&committed), "{:?}", committed.replies);
        assert_eq!(rig.events(&reference).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_which_nothing_can_be_found_out_says_so() {
    let rig = Rig::new().await;
    rig.commit(vec![rig.accept("before")]).await.unwrap();
    // Whoever is in stays in.
    rig.way.close();
    let outcome = rig.harm("r-1", |frame| answer(frame).then_some(Harm::Cut)).await;
    assert!(matches!(outcome, Err(Fault::OutcomeUnknown)), "{outcome:?}");
    assert_eq!(rig.events("r-1").await, 1);
    // While nobody is let in, nothing is begun.
    let outcome = rig.commit(vec![rig.accept("r-2")]).await;
    assert!(matches!(outcome, Err(Fault::Unavailable { .. })), "{outcome:?}");
    rig.way.open();
    assert!(is_new(&rig.commit(vec![rig.accept("r-2")]).await.unwrap()));
}

/// Which frames are meant.
type Place = Box<dyn Fn(&Frame<'_>) -> bool + Send + Sync>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_hangs_is_given_up_wherever_it_does() {
    let rig = Rig::new().await;
    let asks = |from: Side| move |frame: &Frame<'_>| frame.from == from && frame.is_of("FROM journal_heads");
    let places: [(&str, Place); 3] = [
        ("r-1", Box::new(asks(Side::Client))),
        ("r-2", Box::new(asks(Side::Server))),
        ("r-3", Box::new(commit)),
    ];
    for (reference, place) in places {
        let committed = rig.harm(reference, move |frame| place(frame).then_some(Harm::Hang)).await;
        assert!(is_new(&committed.unwrap()), "{reference}");
        assert_eq!(rig.events(reference).await, 1, "{reference}");
    }
    // One that is only just made.
    rig.way.harm(1, |frame| (frame.name.starts_with("SET statement_timeout")).then_some(Harm::Hang));
    rig.way.cut();
    let mut failed = 0;
    while rig.storage.heads().await.is_err() || rig.way.harms() < 4 {
        failed += 1;
        assert!(failed < 20, "it never ends");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_refuses_for_now_and_is_used_again() {
    let rig = Rig::new().await;
    rig.commit(vec![rig.accept("r-1")]).await.unwrap();
    rig.storage.heads().await.unwrap();
    rig.way.hang(&[Side::Server]);
    let (read, wrote) = tokio::join!(rig.storage.heads(), rig.commit(vec![rig.accept("r-2")]));
    assert!(matches!(read, Err(Fault::Unavailable { .. })), "{read:?}");
    assert!(matches!(wrote, Err(Fault::Unavailable { .. })), "{wrote:?}");
    rig.way.release();
    rig.storage.heads().await.unwrap();
    assert!(is_new(&rig.commit(vec![rig.accept("r-2")]).await.unwrap()));
    assert_eq!(rig.events("r-2").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hears_of_other_nodes_hears_of_them_again() {
    let (rig, wakes) = (Rig::new().await, Wakes::default());
    let other = open(&options(&rig.url)).await;
    let _telling = other.share_wakes(Wakes::default());
    let _hearing = rig.storage.share_wakes(wakes.clone());
    let mut heard = wakes.journal.subscribe();
    // At the beginning it is taken for granted that there is something.
    heard.changed().await.unwrap();
    let mut number = 0;
    let harms: [&dyn Fn(); 4] = [
        &|| assert_eq!(rig.way.cut_those_that_said("LISTEN"), 1),
        &|| {},
        // What it is told waits for ever, and nothing says so.
        &|| rig.way.harm(1, |frame| frame.is(Side::Server, "A").then_some(Harm::Hang)),
        &|| {},
    ];
    for harm in harms {
        harm();
        heard.mark_unchanged();
        number += 1;
        other.commit(0, vec![rig.accept(&format!("r-{number}"))].into()).await.unwrap();
        heard.changed().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_the_server_ends_are_made_anew() {
    let rig = Rig::new().await;
    rig.commit(vec![rig.accept("r-1")]).await.unwrap();
    assert_eq!(rig.storage.heads().await.unwrap().len(), 16);
    let admin = client(&rig.url).await;
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'wellorder' \
               AND datname = current_database()";
    admin.batch_execute(end).await.unwrap();
    assert!(is_new(&rig.commit(vec![rig.accept("r-2")]).await.unwrap()));
    // A read that finds its session ended says so; the next has a new one.
    let mut tries = 0;
    while let Err(fault) = rig.storage.heads().await {
        tries += 1;
        assert!(tries < 5 && matches!(fault, Fault::Unavailable { .. }), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_waits_for_whoever_holds_its_shard() {
    let rig = Rig::new().await;
    let mut admin = client(&rig.url).await;
    let holding = admin.transaction().await.unwrap();
    holding.execute("SELECT FROM journal_heads ORDER BY shard FOR UPDATE", &[]).await.unwrap();
    let watching = client(&rig.url).await;
    let batch: Arc<[Command]> = vec![rig.accept("r-1")].into();
    let storage = Arc::new(rig.storage);
    let committing = tokio::spawn({
        let storage = Arc::clone(&storage);
        async move { storage.commit(0, batch).await }
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while watching.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
    holding.commit().await.unwrap();
    assert!(is_new(&committing.await.unwrap().unwrap()));
}
