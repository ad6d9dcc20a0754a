//! Images of the data folder, taken at any moment under load: each is whole, and holds what was acknowledged before.

use crate::harness::{Home, Server, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// Images of one run.
const IMAGES: usize = 8;
/// Orders acknowledged between two images, at least.
const BETWEEN: usize = 40;

type Acknowledged = Arc<Mutex<Vec<String>>>;

/// Clients that post orders until they are dropped, and the references of what was acknowledged.
fn load(server: &Server) -> (Acknowledged, JoinSet<()>) {
    let acknowledged = Acknowledged::default();
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (acknowledged, http) = (Arc::clone(&acknowledged), server.client());
        clients.spawn(async move {
            for number in 0.. {
                let reference = format!("{client}-{number}");
                let body = json!({ "reference": reference, "total": 1 }).to_string();
                assert_eq!(http.post("/v1/orders", &body).await.status, 201);
                acknowledged.lock().unwrap().push(reference);
            }
        });
    }
    (acknowledged, clients)
}

/// Waits until so many orders were acknowledged, and returns them all.
async fn until_acknowledged(acknowledged: &Acknowledged, count: usize) -> Vec<String> {
    eventually("acknowledged orders", async || {
        Some(acknowledged.lock().unwrap().clone()).filter(|references| references.len() >= count)
    })
    .await
}

/// A copy of the folder as a power cut would leave it, were all writes on disk in their order. The process stands still
/// meanwhile; the shared memory of readers is not copied, for it does not survive a machine either.
fn image(of: &Path, server: &Server) -> Arc<Home> {
    let copy = Home::new();
    std::fs::create_dir(copy.data()).unwrap();
    server.signal(Signal::STOP);
    stands_still(server.pid());
    for name in ["wellorder.db", "wellorder.db-wal", "events.ndjson"] {
        if of.join(name).exists() {
            std::fs::copy(of.join(name), copy.data().join(name)).unwrap();
        }
    }
    server.signal(Signal::CONT);
    copy
}

/// A signal is sent, not delivered, when the call returns: look until every thread has stopped.
fn stands_still(pid: u32) {
    let stopped = |status: &str| status.lines().any(|line| line.starts_with("State:") && line.contains('T'));
    loop {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        let mut states = threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("status")));
        if states.all(|status| status.is_ok_and(|status| stopped(&status))) {
            return;
        }
        std::thread::yield_now();
    }
}

/// The references of all orders in a folder that no server holds.
fn references(home: &Home) -> BTreeSet<String> {
    let (mut found, mut cursor) = (BTreeSet::new(), None::<String>);
    loop {
        let mut args = vec!["orders", "list", "--json", "--limit", "200"];
        if let Some(cursor) = &cursor {
            args.extend(["--cursor", cursor]);
        }
        let ended = home.run(&args);
        assert_eq!(ended.code(), 0, "{ended:?}");
        let page = ended.json();
        let orders = page["orders"].as_array().unwrap();
        found.extend(orders.iter().map(|order| order["reference"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return found,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_image_is_sound_and_holds_what_was_acknowledged_before_it() {
    let server = Server::builder().start().await;
    let (acknowledged, mut clients) = load(&server);
    let mut images = Vec::new();
    for number in 1..=IMAGES {
        let before = until_acknowledged(&acknowledged, number * BETWEEN).await;
        images.push((before, image(&server.home().data(), &server)));
    }
    clients.shutdown().await;
    drop(server);
    for (before, copy) in images {
        let report = copy.audited();
        assert!(report["orders"].as_u64().unwrap() >= before.len() as u64);
        let found = references(&copy);
        for reference in &before {
            assert!(found.contains(reference), "{reference} was acknowledged and is not in the image");
        }
        // It is not only read: it goes on from there.
        let server = copy.server().start().await;
        let last = server.by_reference(before.last().unwrap()).await.unwrap();
        server.until_order(&last, "done").await;
        let order: Value = server.accept(&json!({ "reference": "after", "total": 1 })).await;
        server.until_order(&order, "done").await;
        assert_eq!(server.terminate().await.code(), 0);
        copy.audited();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_beside_a_busy_server_finds_nothing() {
    let server = Server::builder().start().await;
    let (acknowledged, mut clients) = load(&server);
    for round in 1..=5 {
        let before = until_acknowledged(&acknowledged, round * BETWEEN).await;
        let report = server.home().audited();
        assert!(report["orders"].as_u64().unwrap() >= before.len() as u64);
    }
    clients.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_online_copy_is_sound_and_can_be_started() {
    let server = Server::builder().start().await;
    let (acknowledged, mut clients) = load(&server);
    let before = until_acknowledged(&acknowledged, BETWEEN).await;
    let copy = Home::new();
    std::fs::create_dir(copy.data()).unwrap();
    let from = rusqlite::Connection::open(server.home().database()).unwrap();
    from.backup("main", copy.database(), None::<fn(rusqlite::backup::Progress)>).unwrap();
    clients.shutdown().await;
    drop((from, server));
    copy.audited();
    let found = references(&copy);
    assert!(before.iter().all(|reference| found.contains(reference)));
    let server = copy.server().start().await;
    let order = server.accept(&json!({ "reference": "after", "total": 1 })).await;
    server.until_order(&order, "done").await;
    copy.audited();
}
