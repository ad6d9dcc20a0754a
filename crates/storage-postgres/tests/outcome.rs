//! Connections that break, before and after a COMMIT: what was acknowledged is there, once; what is there was acknowledged.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::Fault;
use order_core::command::{Command, Reply};
use order_core::ids::TenantId;
use order_core::intake::Accepted;
use order_core::ports::{Committed, Storage};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use storage_postgres::{Options, PostgresStorage};
use testkit::build::{accept, id_of, intake};
use testkit::{ManualClock, SeededIds};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const PASS: u8 = 0;
/// The COMMIT arrives, its answer does not.
const SWALLOW_ANSWER: u8 = 1;
/// The COMMIT does not arrive.
const CUT_BEFORE: u8 = 2;
/// The COMMIT arrives, its answer does not, and nobody is let in any more.
const SWALLOW_ANSWER_AND_CLOSE: u8 = 3;
const CLOSED: u8 = 4;

/// What a lane sends before its COMMIT, and nobody else.
const LAST: &[u8] = b"SET LOCAL statement_timeout";

/// A way to the server that does harm once, to the next COMMIT that passes.
struct Way {
    harm: AtomicU8,
    harmed: AtomicU32,
}

impl Way {
    async fn to(url: &str) -> (Arc<Self>, String) {
        let way = Arc::new(Self { harm: AtomicU8::new(PASS), harmed: AtomicU32::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (rest, name) = url.rsplit_once('/').unwrap();
        let server = rest.rsplit_once('@').unwrap().1.to_owned();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::clone(&way);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if passed.harm.load(Ordering::SeqCst) == CLOSED {
                    continue;
                }
                let server = TcpStream::connect(&server).await.unwrap();
                tokio::spawn(Arc::clone(&passed).carry(client, server));
            }
        });
        (way, format!("postgres://postgres@127.0.0.1:{port}/{name}"))
    }

    async fn carry(self: Arc<Self>, client: TcpStream, server: TcpStream) {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let swallow = Arc::new(Mutex::new(false));
        let swallowing = Arc::clone(&swallow);
        let back = tokio::spawn(async move {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
                if *swallowing.lock().unwrap() {
                    if has(&bytes[..count], b"COMMIT") {
                        return;
                    }
                    continue;
                }
                if to_client.write_all(&bytes[..count]).await.is_err() {
                    return;
                }
            }
        });
        let mut bytes = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from_client.read(&mut bytes).await {
            let harm = self.harm.load(Ordering::SeqCst);
            if has(&bytes[..count], LAST) && ![PASS, CLOSED].contains(&harm) {
                let next = if harm == SWALLOW_ANSWER_AND_CLOSE { CLOSED } else { PASS };
                self.harm.store(next, Ordering::SeqCst);
                self.harmed.fetch_add(1, Ordering::SeqCst);
                if harm == CUT_BEFORE {
                    return back.abort();
                }
                *swallow.lock().unwrap() = true;
            }
            if to_server.write_all(&bytes[..count]).await.is_err() {
                return;
            }
            if *swallow.lock().unwrap() && has(&bytes[..count], b"COMMIT") {
                // Ends once the answer is here.
                back.await.unwrap();
                return;
            }
        }
    }
}

fn has(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

struct Rig {
    way: Arc<Way>,
    url: String,
    storage: PostgresStorage,
    ids: Arc<SeededIds>,
}

impl Rig {
    async fn new() -> Self {
        let url = installed().await;
        let (way, through) = Way::to(&url).await;
        let storage = open(&options(&through)).await;
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

    async fn harm(&self, harm: u8, reference: &str) -> Result<Committed, Fault> {
        // Connected, so that nothing but the commit is harmed.
        let before = self.commit(vec![self.accept("before")]).await;
        before.unwrap();
        self.way.harm.store(harm, Ordering::SeqCst);
        let committed = self.commit(vec![self.accept(reference)]).await;
        assert_eq!(self.way.harmed.load(Ordering::SeqCst), 1);
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
    let committed = rig.harm(SWALLOW_ANSWER, "r-1").await.unwrap();
    assert!(is_new(&committed), "{:?}", committed.replies);
    assert_eq!(rig.events("r-1").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_never_arrived_is_done_again() {
    let rig = Rig::new().await;
    let committed = rig.harm(CUT_BEFORE, "r-1").await.unwrap();
    assert!(is_new(&committed), "{:?}", committed.replies);
    assert_eq!(rig.events("r-1").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_which_nothing_can_be_found_out_says_so() {
    let rig = Rig::new().await;
    let outcome = rig.harm(SWALLOW_ANSWER_AND_CLOSE, "r-1").await;
    assert!(matches!(outcome, Err(Fault::OutcomeUnknown)), "{outcome:?}");
    assert_eq!(rig.events("r-1").await, 1);
    // While nobody is let in, nothing is begun.
    let outcome = rig.commit(vec![rig.accept("r-2")]).await;
    assert!(matches!(outcome, Err(Fault::Unavailable { .. })), "{outcome:?}");
    rig.way.harm.store(PASS, Ordering::SeqCst);
    assert!(is_new(&rig.commit(vec![rig.accept("r-2")]).await.unwrap()));
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
