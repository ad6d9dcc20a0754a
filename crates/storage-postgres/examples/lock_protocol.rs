//! Measures the lock protocol: two nodes on one database commit to the same shards at once. First intake alone, then
//! intake, claims, heartbeats, shipments and settles, those of one order on both nodes. Prints orders a second and
//! deadlocks for each number of lanes.
//!
//! `cargo run --release -p storage-postgres --example lock_protocol -- postgres://USER@HOST:PORT [SECONDS [LANES…]]`
//! makes a database for each number and deletes it again.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for developers"
)]

use order_core::Error;
use order_core::app::App;
use order_core::command::{Change, ChangeKind, Claim, Command, Heartbeat, Reply, Settle};
use order_core::desk::Desks;
use order_core::ids::{EventId, LeaseToken};
use order_core::lane::LanePolicy;
use order_core::lease::{Leased, Outcome};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage_postgres::{Options, PostgresStorage, Seed};
use testkit::SeededIds;
use testkit::build::intake;
use tokio_postgres::{Client, NoTls};

const NODES: usize = 2;
const CLIENTS: usize = 256;
const WORKERS: usize = 2;
const CLAIM: usize = 100;

#[derive(Default)]
struct Counts {
    accepted: AtomicU64,
    settled: AtomicU64,
    shipped: AtomicU64,
    lost: AtomicU64,
    faults: AtomicU64,
}

struct Bench {
    nodes: Vec<Arc<App>>,
    counts: Counts,
    stop: AtomicBool,
    next: AtomicU64,
}

impl Bench {
    async fn open(url: &str, lanes: usize) -> Arc<Self> {
        let mut nodes = Vec::new();
        for node in 0..NODES {
            let options = Options { lanes, readers: 4, ..Options::new(url) };
            let id = uuid::Uuid::from_u128(1);
            let seed = Seed { installation_id: id, cursor_key: [1; 32], key_pepper: [2; 32], shards: 16 };
            let storage = PostgresStorage::open(&options, &seed).await.unwrap().0;
            let clock = storage.clock();
            let ids =
                SeededIds::new(u64::try_from(node).unwrap() + Instant::now().elapsed().as_nanos() as u64);
            nodes.push(App::start(Arc::new(storage), clock, ids, LanePolicy::default()));
        }
        Arc::new(Self {
            nodes,
            counts: Counts::default(),
            stop: AtomicBool::new(false),
            next: AtomicU64::new(0),
        })
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn client(self: Arc<Self>, node: usize) {
        while self.goes_on() {
            let reference = format!("order-{}", self.next.fetch_add(1, Ordering::Relaxed));
            match self.nodes[node].accept(intake(&reference).build()).await {
                Ok(_) => drop(self.counts.accepted.fetch_add(1, Ordering::Relaxed)),
                Err(Error::Fault(order_core::Fault::Overloaded { .. })) => tokio::task::yield_now().await,
                Err(error) => self.fault(&error),
            }
        }
    }

    fn fault(&self, error: &Error) {
        if self.counts.faults.fetch_add(1, Ordering::Relaxed) == 0 {
            println!("  the first fault: {error}");
        }
    }

    async fn worker(self: Arc<Self>, node: usize) {
        while self.goes_on() {
            let app = &self.nodes[node];
            let ids = || (0..CLAIM).map(|_| app.ids.uuid_v4());
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
                Ok(Reply::Claimed(claimed)) if claimed.leased.is_empty() => tokio::task::yield_now().await,
                Ok(Reply::Claimed(claimed)) => self.work(node, claimed.leased).await,
                Ok(other) => println!("  a claim was answered {other:?}"),
                Err(error) => self.fault(&error),
            }
        }
    }

    /// Extends, ships and settles what one node has claimed, on both.
    async fn work(self: &Arc<Self>, node: usize, leased: Vec<Leased>) {
        let app = &self.nodes[node];
        let now = app.clock.now();
        let held = leased.iter().map(|leased| (leased.order.id, leased.token)).collect();
        let mut commands = vec![(
            node,
            Command::Heartbeat(Heartbeat { held, now, until: now.plus(Duration::from_secs(30)) }),
        )];
        for (index, leased) in leased.iter().enumerate() {
            let other = (node + 1) % NODES;
            let event_id = || EventId(app.ids.uuid_v7(now));
            if index % 2 == 0 {
                let kind = ChangeKind::Ship { shipped_at: Some(now), tracking_number: None };
                let (tenant, order_id) = (leased.order.tenant.clone(), leased.order.id);
                let change = Change {
                    tenant,
                    source: None,
                    order_id,
                    expected_version: None,
                    event_id: event_id(),
                    now,
                    kind,
                    trace: None,
                    by: None,
                };
                commands.push((other, Command::Change(Box::new(change))));
            }
            let (order_id, token, outcome) = (leased.order.id, leased.token, Outcome::Done);
            let settle = Settle { order_id, token, outcome, event_id: event_id(), now, trace: None };
            commands.push(((node + index / 2) % NODES, Command::Settle(Box::new(settle))));
        }
        let sent = commands.into_iter().map(|(node, command)| {
            let bench = Arc::clone(self);
            tokio::spawn(async move { bench.send(node, command).await })
        });
        for sent in sent.collect::<Vec<_>>() {
            sent.await.unwrap();
        }
    }

    async fn send(&self, node: usize, command: Command) {
        match self.nodes[node].lanes.submit(command).await {
            Ok(Reply::Settled(_)) => drop(self.counts.settled.fetch_add(1, Ordering::Relaxed)),
            Ok(Reply::Changed(_)) => drop(self.counts.shipped.fetch_add(1, Ordering::Relaxed)),
            Ok(_) => {}
            Err(Error::Fault(order_core::Fault::Overloaded { .. })) => {}
            Err(Error::Rejection(_)) => drop(self.counts.lost.fetch_add(1, Ordering::Relaxed)),
            Err(error) => self.fault(&error),
        }
    }

    async fn run(self: &Arc<Self>, clients: usize, workers: usize, span: Duration) -> Duration {
        let began = Instant::now();
        let mut tasks = Vec::new();
        for node in 0..NODES {
            tasks.extend((0..clients).map(|_| tokio::spawn(Arc::clone(self).client(node))));
            tasks.extend((0..workers).map(|_| tokio::spawn(Arc::clone(self).worker(node))));
        }
        tokio::time::sleep(span).await;
        self.stop.store(true, Ordering::Relaxed);
        let took = began.elapsed();
        for task in tasks {
            task.await.unwrap();
        }
        self.stop.store(false, Ordering::Relaxed);
        took
    }

    fn taken(&self, counter: fn(&Counts) -> &AtomicU64, took: Duration) -> f64 {
        counter(&self.counts).swap(0, Ordering::Relaxed) as f64 / took.as_secs_f64()
    }
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let server = arguments.next().unwrap_or_else(|| "postgres://postgres@127.0.0.1:5432".to_owned());
    let span = Duration::from_secs(arguments.next().map_or(5, |seconds| seconds.parse().unwrap()));
    let mut lanes: Vec<usize> = arguments.map(|lanes| lanes.parse().unwrap()).collect();
    if lanes.is_empty() {
        lanes = vec![1, 2, 4, 8];
    }
    let admin = client(&format!("{server}/postgres")).await;
    for lanes in lanes {
        let name = format!("lock_protocol_{lanes}");
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await.unwrap();
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
        let bench = Bench::open(&format!("{server}/{name}"), lanes).await;
        // Plans and connections are made here.
        bench.run(8, 1, Duration::from_millis(500)).await;
        bench.taken(|counts| &counts.accepted, span);
        let took = bench.run(CLIENTS, 0, span).await;
        let intake = bench.taken(|counts| &counts.accepted, took);
        bench.taken(|counts| &counts.settled, took);
        bench.taken(|counts| &counts.shipped, took);
        let took = bench.run(CLIENTS / 2, WORKERS, span).await;
        let (accepted, settled) =
            (bench.taken(|counts| &counts.accepted, took), bench.taken(|counts| &counts.settled, took));
        let shipped = bench.taken(|counts| &counts.shipped, took);
        let row = admin
            .query_one("SELECT deadlocks FROM pg_stat_database WHERE datname = $1", &[&name])
            .await
            .unwrap();
        let deadlocks: i64 = row.get(0);
        println!(
            "{lanes} lanes a node: intake alone {intake:.0}/s; mixed: accepted {accepted:.0}/s, settled {settled:.0}/s, \
             shipped {shipped:.0}/s; leases lost {}, faults {}, deadlocks {deadlocks}",
            bench.counts.lost.load(Ordering::Relaxed),
            bench.counts.faults.load(Ordering::Relaxed),
        );
        drop(bench);
        admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    }
}
