//! Two nodes on one database: whatever both do at once, it is done once, and nobody waits for ever.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use fixture::server::{client, installed, options, seed};
use order_core::app::App;
use order_core::clock::Clock;
use order_core::command::{
    Change, ChangeKind, Claim, Command, FollowerAction, FollowerCommand, Heartbeat, Reply, Settle,
};
use order_core::desk::Desks;
use order_core::ids::{EventId, LeaseToken};
use order_core::intake::Accepted;
use order_core::lane::LanePolicy;
use order_core::lease::{Leased, Outcome};
use order_core::{Error, Fault, audit};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use storage_postgres::PostgresStorage;
use testkit::build::intake;
use testkit::{ManualClock, SeededIds};

struct Nodes {
    url: String,
    storages: Vec<Arc<PostgresStorage>>,
    apps: Vec<Arc<App>>,
}

impl Nodes {
    async fn new() -> Self {
        let url = installed().await;
        let clock = ManualClock::new();
        let (mut storages, mut apps) = (Vec::new(), Vec::new());
        for node in 0..2 {
            let storage = Arc::new(PostgresStorage::open(&options(&url), &seed()).await.unwrap().0);
            let clock: Arc<dyn Clock> = clock.clone();
            storages.push(Arc::clone(&storage));
            apps.push(App::start(storage, clock, SeededIds::new(node), LanePolicy::default()));
        }
        Self { url, storages, apps }
    }

    /// Runs the same on both nodes at once, `times` times.
    async fn both<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        times: usize,
        run: impl Fn(Arc<App>, usize) -> F,
    ) -> Vec<T> {
        let tasks: Vec<_> = (0..times)
            .flat_map(|index| self.apps.iter().map(move |app| (Arc::clone(app), index)))
            .map(|(app, index)| tokio::spawn(run(app, index)))
            .collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.unwrap());
        }
        results
    }

    async fn is_sound(&self) {
        let report = audit::audit(&self.apps[0], |_| {}).await.unwrap();
        assert!(report.findings.is_empty(), "{:#?}", report.findings);
        let admin = client(&self.url).await;
        // Statistics of a session are told when it has ended, or some time after.
        let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
        assert_eq!(admin.query_one(deadlocks, &[]).await.unwrap().get::<_, i64>(0), 0);
    }
}

async fn claim(app: &App, count: usize) -> Vec<Leased> {
    let ids = || (0..count).map(|_| app.ids.uuid_v4());
    let claim = Claim {
        tenant: None,
        desks: Desks::ALL,
        tokens: ids().map(LeaseToken).collect(),
        event_ids: ids().map(EventId).collect(),
        now: app.clock.now(),
        lease: Duration::from_secs(30),
        lapses_max: 10,
    };
    match app.lanes.submit(Command::Claim(claim)).await {
        Ok(Reply::Claimed(claimed)) => claimed.leased,
        other => panic!("a claim was answered {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_reference_and_one_key_make_one_order_on_both() {
    let nodes = Nodes::new().await;
    let replies = nodes
        .both(60, |app, index| async move {
            let named = app.accept(intake(&format!("r-{index}")).build()).await.unwrap();
            // Its id is fresh on each node, so only the key says that it is the same request.
            let keyed = intake("none").no_reference().key(&format!("k-{index}")).build();
            (index, named, app.accept(keyed).await.unwrap())
        })
        .await;
    let id = |accepted: &Accepted| match accepted {
        Accepted::New(order) | Accepted::Duplicate { order, .. } => (order.id, order.number),
    };
    let is_new = |accepted: &Accepted| matches!(accepted, Accepted::New(_));
    for pick in [
        |reply: &(usize, Accepted, Accepted)| reply.1.clone(),
        |reply: &(usize, Accepted, Accepted)| reply.2.clone(),
    ] {
        let mut ids = BTreeSet::new();
        for index in 0..60 {
            let both: Vec<Accepted> = replies.iter().filter(|reply| reply.0 == index).map(pick).collect();
            assert_eq!(both.iter().filter(|reply| is_new(reply)).count(), 1, "{both:?}");
            assert_eq!(id(&both[0]), id(&both[1]));
            ids.insert(id(&both[0]));
        }
        assert_eq!(ids.len(), 60);
    }
    nodes.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registers_give_no_number_twice() {
    let nodes = Nodes::new().await;
    let numbers = nodes
        .both(15, |app, index| async move {
            let actor = order_core::action_log::local();
            let new = order_core::api_key::NewApiKey {
                name: format!("k-{index}"),
                scopes: "orders:read".to_owned(),
                by: "op".to_owned(),
                expires_at: None,
            };
            let pepper = app.storage.install().key_pepper.clone();
            let name = format!("f-{index}");
            app.ensure_follower(&name, "recording", true).await.unwrap();
            let action = FollowerAction::Pause;
            app.lanes
                .submit(Command::Follower(FollowerCommand { name, now: app.clock.now(), action }))
                .await
                .unwrap();
            let tenant = actor.tenant.clone();
            let create = app.create_api_key(&tenant, new, &pepper);
            order_core::action_log::within(Some(Arc::new(actor)), create).await.unwrap().0.number
        })
        .await;
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 30);
    assert_eq!(nodes.apps[0].storage.followers().await.unwrap().len(), 15);
    nodes.is_sound().await;
}

/// Extends, ships and settles what one node has claimed, on both nodes at once.
async fn work(app: Arc<App>, other: Arc<App>, leased: Vec<Leased>) -> usize {
    let now = app.clock.now();
    let held = leased.iter().map(|leased| (leased.order.id, leased.token)).collect();
    let beat = Command::Heartbeat(Heartbeat { held, now, until: now.plus(Duration::from_secs(30)) });
    let mut commands = vec![(Arc::clone(&app), beat)];
    for (index, leased) in leased.into_iter().enumerate() {
        let event_id = || EventId(app.ids.uuid_v7(now));
        let order_id = leased.order.id;
        let kind = ChangeKind::Ship { shipped_at: Some(now), tracking_number: None };
        let (tenant, trace) = (leased.order.tenant.clone(), None);
        let change = Change {
            tenant,
            source: None,
            order_id,
            expected_version: None,
            event_id: event_id(),
            now,
            kind,
            trace,
            by: None,
        };
        commands.push((Arc::clone(&other), Command::Change(Box::new(change))));
        let (token, outcome) = (leased.token, Outcome::Done);
        let settle = Settle { order_id, token, outcome, event_id: event_id(), now, trace };
        let by = if index % 2 == 0 { &app } else { &other };
        commands.push((Arc::clone(by), Command::Settle(Box::new(settle))));
    }
    let sent: Vec<_> = commands
        .into_iter()
        .map(|(app, command)| tokio::spawn(async move { app.lanes.submit(command).await }))
        .collect();
    let mut settled = 0;
    for sent in sent {
        match sent.await.unwrap() {
            Ok(Reply::Settled(_)) => settled += 1,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    }
    settled
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mixed_batches_of_two_nodes_meet_no_deadlock() {
    const EACH: usize = 300;
    let nodes = Nodes::new().await;
    let [one, two] = [Arc::clone(&nodes.apps[0]), Arc::clone(&nodes.apps[1])];
    let workers: Vec<_> = [(one.clone(), two.clone()), (two, one)]
        .into_iter()
        .map(|(app, other)| {
            tokio::spawn(async move {
                let (mut settled, mut idle) = (0, 0);
                // Until the other side has stopped taking orders in, and a little longer.
                while idle < 2_000 {
                    let leased = claim(&app, 20).await;
                    idle = if leased.is_empty() { idle + 1 } else { 0 };
                    settled += work(Arc::clone(&app), Arc::clone(&other), leased).await;
                    if settled >= EACH / 2 && idle > 200 {
                        break;
                    }
                }
                settled
            })
        })
        .collect();
    let accepted = nodes
        .both(EACH, |app, index| async move {
            loop {
                let node = app.ids.uuid_v4();
                match app.accept(intake(&format!("r-{index}-{node}")).build()).await {
                    Ok(_) => return,
                    Err(Error::Fault(Fault::Overloaded { .. })) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
    let mut settled = 0;
    for worker in workers {
        settled += worker.await.unwrap();
    }
    // What came in after the workers had stopped.
    loop {
        let leased = claim(&nodes.apps[0], 100).await;
        if leased.is_empty() {
            break;
        }
        settled += work(Arc::clone(&nodes.apps[0]), Arc::clone(&nodes.apps[1]), leased).await;
    }
    assert_eq!(settled, accepted.len());
    nodes.is_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_node_commits_wakes_the_other() {
    let nodes = Nodes::new().await;
    let shared: Vec<_> = nodes
        .storages
        .iter()
        .zip(&nodes.apps)
        .map(|(storage, app)| storage.share_wakes(app.wakes.clone()))
        .collect();
    let wakes = nodes.apps[1].wakes.clone();
    let mut journal = wakes.journal.subscribe();
    // Once it listens it wakes everybody, for what it may have missed.
    journal.changed().await.unwrap();
    wakes.work.notified().await;
    nodes.apps[0].accept(intake("r-1").build()).await.unwrap();
    journal.changed().await.unwrap();
    wakes.work.notified().await;
    drop(shared);
}

/// Whatever the machine's clock says, it is the server's time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_the_servers() {
    let nodes = Nodes::new().await;
    let admin = client(&nodes.url).await;
    let clock = nodes.storages[0].clock();
    let moment = || async {
        let row =
            admin.query_one("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint", &[]).await;
        row.unwrap().get::<_, i64>(0)
    };
    let (before, now, after) = (moment().await, clock.now().micros(), moment().await);
    // What the way there and back may have taken.
    let slack = 1_000_000;
    assert!(before - slack <= now && now <= after + slack, "{before} {now} {after}");
    let drift = clock.measure().await.unwrap();
    assert!(drift.abs() < slack, "{drift}");
}
