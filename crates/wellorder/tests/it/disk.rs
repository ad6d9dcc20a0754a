//! A disk that is full or fails, under load: a shim in C (`shim.c`) makes the calls fail that write files.
//! Not acknowledged may be absent; acknowledged is present; the process lives and recovers by itself.

use crate::harness::{Disk, Home, Receiver, Server, eventually};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinSet;

/// Connections that post at once.
const CLIENTS: usize = 4;

/// Clients that post orders without end, and what they were told.
struct Load {
    stop: Arc<AtomicBool>,
    told: Arc<Told>,
    clients: JoinSet<()>,
}

#[derive(Default)]
struct Told {
    /// Acknowledged: reference and id.
    accepted: Mutex<BTreeMap<String, String>>,
    refused: AtomicUsize,
}

impl Load {
    fn start(server: &Server, name: &str) -> Self {
        let (stop, told) = (Arc::<AtomicBool>::default(), Arc::<Told>::default());
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (stop, told, http, name) =
                (Arc::clone(&stop), Arc::clone(&told), server.client(), name.to_owned());
            clients.spawn(async move {
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let reference = format!("{name}-{client}-{number}");
                    let body = json!({ "reference": reference, "total": 1, "attributes": { "n": number } });
                    let reply = http.post("/v1/orders", &body.to_string()).await;
                    match reply.status {
                        201 => {
                            let id = reply.json()["order_id"].as_str().unwrap().to_owned();
                            told.accepted.lock().unwrap().insert(reference, id);
                        }
                        503 => {
                            assert!(reply.header("retry-after").is_some(), "{}", reply.text());
                            told.refused.fetch_add(1, Ordering::Relaxed);
                        }
                        status => panic!("{status}: {}", reply.text()),
                    }
                }
            });
        }
        Self { stop, told, clients }
    }

    async fn until_accepted(&self, more: usize) {
        let before = self.told.accepted.lock().unwrap().len();
        eventually("more acknowledged orders", async || {
            (self.told.accepted.lock().unwrap().len() >= before + more).then_some(())
        })
        .await;
    }

    async fn until_refused(&self, more: usize) {
        let before = self.told.refused.load(Ordering::Relaxed);
        eventually("more refused orders", async || {
            (self.told.refused.load(Ordering::Relaxed) >= before + more).then_some(())
        })
        .await;
    }

    async fn end(mut self) -> BTreeMap<String, String> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.told.accepted.lock().unwrap().clone()
    }
}

/// All that was acknowledged is there under its id and gets processed; the audit finds nothing.
async fn is_all_there(server: &Server, accepted: &BTreeMap<String, String>) {
    for (reference, id) in accepted {
        let order = server.json(&format!("/v1/orders/{id}")).await;
        assert_eq!(order["reference"], reference.as_str());
        server.until_order(&order, "done").await;
    }
    server.home().audited();
}

/// The log of the database fails under load: what is not on disk is not acknowledged.
async fn survives_a_failing_log(how: &str) {
    let home = Home::new();
    let disk = Disk::new(home.path());
    let server = disk.under(home.server()).start().await;
    let load = Load::start(&server, "r");
    load.until_accepted(20).await;
    for _ in 0..3 {
        disk.fail(how);
        disk.failed(3).await;
        load.until_refused(8).await;
        assert_eq!(server.get("/livez").await.status, 200, "{how}");
        assert_eq!(server.get("/readyz").await.status, 503, "{how}");
        assert_eq!(server.get("/v1/orders?limit=1").await.status, 200, "{how}: reads go on");
        disk.heal();
        load.until_accepted(20).await;
    }
    assert_eq!(server.get("/readyz").await.status, 200, "{how}");
    let accepted = load.end().await;
    is_all_there(&server, &accepted).await;
    disk.fail(how);
    let refused = server.post("/v1/orders", r#"{"reference":"last","total":"1"}"#).await;
    assert_eq!(refused.status, 503, "{how}: {}", refused.text());
    // It dies while the disk fails; the next process finds a disk that is well.
    server.kill().await;
    disk.heal();
    let server = home.server().start().await;
    is_all_there(&server, &accepted).await;
}

#[tokio::test]
async fn the_log_finds_no_room() {
    survives_a_failing_log("ENOSPC write wellorder.db-wal").await;
}

#[tokio::test]
async fn the_log_is_written_by_halves() {
    survives_a_failing_log("ENOSPC torn wellorder.db-wal").await;
}

#[tokio::test]
async fn the_log_cannot_be_written() {
    survives_a_failing_log("EIO write wellorder.db-wal").await;
}

#[tokio::test]
async fn the_log_cannot_be_flushed() {
    survives_a_failing_log("EIO sync wellorder.db-wal").await;
}

/// The database itself fails while the log is carried into it: that harms nobody, and is done again.
async fn survives_a_failing_checkpoint(how: &str) {
    let home = Home::new();
    let disk = Disk::new(home.path());
    let server = disk.under(home.server()).start().await;
    let load = Load::start(&server, "before");
    load.until_accepted(50).await;
    let mut accepted = load.end().await;
    disk.fail(how);
    // With nothing to do it carries the log over.
    disk.failed(1).await;
    assert_eq!(server.get("/v1/orders?limit=1").await.status, 200, "{how}: reads go on");
    disk.heal();
    let load = Load::start(&server, "after");
    load.until_accepted(50).await;
    accepted.extend(load.end().await);
    is_all_there(&server, &accepted).await;
    assert_eq!(server.get("/readyz").await.status, 200);
    let log = home.data().join("wellorder.db-wal");
    eventually("a log that was carried over", async || {
        std::fs::metadata(&log).is_ok_and(|log| log.len() == 0).then_some(())
    })
    .await;
    let server = server.restart().await;
    is_all_there(&server, &accepted).await;
    assert_eq!(server.terminate().await.code(), 0);
}

#[tokio::test]
async fn the_database_finds_no_room() {
    survives_a_failing_checkpoint("ENOSPC write wellorder.db").await;
}

#[tokio::test]
async fn the_database_is_written_by_halves() {
    survives_a_failing_checkpoint("EIO torn wellorder.db").await;
}

#[tokio::test]
async fn the_database_cannot_be_flushed() {
    survives_a_failing_checkpoint("EIO sync wellorder.db").await;
}

#[tokio::test]
async fn the_log_cannot_be_emptied() {
    survives_a_failing_checkpoint("EIO truncate wellorder.db-wal").await;
}

/// The file of events fails: orders are taken in all the same, and every event lies in it in the end.
async fn survives_a_failing_sink(how: &str) {
    let home = Home::new();
    let disk = Disk::new(home.path());
    let server = disk.under(home.server()).start().await;
    let load = Load::start(&server, "r");
    load.until_accepted(20).await;
    disk.fail(how);
    disk.failed(2).await;
    server.until("/v1/followers/ndjson", |follower| follower["state"] == "failing").await;
    load.until_accepted(20).await;
    assert_eq!(server.get("/readyz").await.status, 200, "{how}");
    disk.heal();
    server.until("/v1/followers/ndjson", |follower| follower["state"] == "running").await;
    let accepted = load.end().await;
    is_all_there(&server, &accepted).await;
    let lines = server.carried().await;
    let (events, _) = server.feed(1000).await;
    let mut seen = BTreeMap::<String, u64>::new();
    for line in &lines {
        let (order, version) = (line["order_id"].to_string(), line["version"].as_u64().unwrap());
        let newest = seen.entry(order).or_default();
        assert!(version <= *newest + 1, "{how}: a gap before {line}");
        *newest = version.max(*newest);
    }
    for event in &events {
        assert!(lines.contains(event), "{how}: {event} is not in the file");
    }
    let text = std::fs::read_to_string(home.data().join("events.ndjson")).unwrap();
    assert!(text.ends_with('\n'), "{how}");
}

#[tokio::test]
async fn the_events_find_no_room() {
    survives_a_failing_sink("ENOSPC write events.ndjson").await;
}

#[tokio::test]
async fn the_events_are_written_by_halves() {
    survives_a_failing_sink("ENOSPC torn events.ndjson").await;
}

#[tokio::test]
async fn the_events_cannot_be_flushed() {
    survives_a_failing_sink("EIO sync events.ndjson").await;
}

#[tokio::test]
async fn a_start_on_a_failing_disk_waits_for_it_to_be_well() {
    let home = Home::new();
    let disk = Disk::new(home.path());
    let receiver = Receiver::gated().await;
    // Longer than the test waits for anything: the dead process's lease must be made due, which is a write.
    let builder = || home.server().env("WELLORDER_WORKER_LEASE_MS", "3600000").processor(&receiver.url());
    let mut server = builder().start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    let mut calls = 1;
    for how in ["EIO write wellorder.db-wal", "EIO sync wellorder.db-wal", "ENOSPC write wellorder.db-wal"] {
        receiver.until_calls(calls).await;
        server.kill().await;
        disk.fail(how);
        server = disk.under(builder()).start().await;
        assert_eq!(server.get("/readyz").await.status, 503, "{how}");
        let refused = server.post("/v1/orders", r#"{"total":"1"}"#).await;
        assert_eq!(refused.status, 503, "{how}: {}", refused.text());
        assert_eq!(
            server.by_reference("a").await.unwrap()["order_id"],
            order["order_id"],
            "{how}: reads go on"
        );
        disk.heal();
        calls += 1;
    }
    let calls = receiver.until_calls(calls).await;
    assert!(calls.iter().all(|call| call.attempt() == "1"), "no attempt is burnt");
    receiver.open();
    server.until_order(&order, "done").await;
    home.audited();
}
