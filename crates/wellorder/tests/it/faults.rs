//! A database that is locked, gone, or without room: refused with a wait, the process lives, and it recovers by itself.

use crate::bad_input::{APIS, V1, is_refusal};
use crate::harness::{Home, Receiver, Server, eventually, post_in_peril};
use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::path::Path;

/// Every API refuses to write, with a wait and in its own form; the process lives and is not ready.
async fn refuses_writes(server: &Server) {
    for api in &APIS {
        let body = api.valid.replace(r#""a""#, r#""meanwhile""#);
        let reply = server.post(api.path, &body).await;
        is_refusal(api, &reply, 503, None, "a write");
        let wait: u32 = reply.header("retry-after").expect("Retry-After").parse().unwrap();
        assert!((1..=60).contains(&wait));
    }
    let ready = server.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["status"]), (503, &json!("not-ready")));
    assert!(ready.header("retry-after").is_some());
    let verbose = server.get("/readyz?verbose").await;
    assert_eq!(verbose.json()["checks"][0]["ok"], false, "{}", verbose.text());
    assert_eq!(server.get("/livez").await.status, 200);
    assert_eq!(server.home().run(&["healthcheck"]).code(), 1);
}

/// Nothing of what was refused is there, what was there is, and everything works again.
async fn has_recovered(server: &Server, orders: &[Value]) {
    eventually("a server that is ready", async || (server.get("/readyz").await.status == 200).then_some(()))
        .await;
    for order in orders {
        server.until_order(order, "done").await;
    }
    assert_eq!(server.by_reference("meanwhile").await, None, "what was refused was not written");
    assert_eq!(server.get("/oscarps/orders/meanwhile").await.status, 404);
    for api in &APIS {
        let body = api.valid.replace(r#""a""#, r#""after""#);
        assert_eq!(server.post(api.path, &body).await.status, 201);
    }
    let after = server.by_reference("after").await.unwrap();
    server.until_order(&after, "done").await;
    assert_eq!(server.home().run(&["healthcheck"]).code(), 0);
    let lines = server.carried().await;
    assert!(lines.iter().any(|line| line["data"]["reference"] == "after"));
    server.home().audited();
}

#[tokio::test]
async fn while_another_program_holds_the_write_lock() {
    let receiver = Receiver::gated().await;
    let server = Server::builder()
        .env("WELLORDER_STORAGE_BUSY_TIMEOUT_MS", "10")
        .processor(&receiver.url())
        .start()
        .await;
    let order = server.accept(&json!({ "reference": "before", "total": 1 })).await;
    receiver.until_calls(1).await;
    let other = Connection::open(server.home().database()).unwrap();
    other.busy_timeout(crate::harness::PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    refuses_writes(&server).await;
    // What is done meanwhile is settled when that is possible again.
    receiver.open();
    server.stderr().until("cannot settle yet").await;
    assert_eq!(server.by_reference("before").await.unwrap()["order_id"], order["order_id"], "reads go on");
    assert_eq!(server.get("/v1/events").await.status, 200);
    other.execute_batch("ROLLBACK").unwrap();
    let done = server.until_order(&order, "done").await;
    assert_eq!(done["attempt"], 1);
    assert_eq!(receiver.calls().len(), 1, "the work was not done again");
    has_recovered(&server, &[order]).await;
}

#[tokio::test]
async fn while_the_database_file_is_away() {
    let server = Server::builder().start().await;
    let order = server.accept(&json!({ "reference": "before", "total": 1 })).await;
    let home = server.home();
    let away = home.path().join("away.db");
    std::fs::rename(home.database(), &away).unwrap();
    refuses_writes(&server).await;
    for path in ["/v1/orders", "/v1/events", "/oscarps/orders/a", "/parspec/metrics"] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, 503, "{path}: {}", reply.text());
        assert!(reply.header("retry-after").is_some(), "{path}");
    }
    std::fs::rename(&away, home.database()).unwrap();
    has_recovered(&server, &[order]).await;
}

#[tokio::test]
async fn while_another_database_lies_in_its_place() {
    let other = Server::builder().start().await;
    other.accept(&json!({ "reference": "theirs", "total": 1 })).await;
    let theirs = other.home();
    assert_eq!(other.terminate().await.code(), 0);
    let server = Server::builder().start().await;
    let order = server.accept(&json!({ "reference": "before", "total": 1 })).await;
    let home = server.home();
    let away = home.path().join("away");
    std::fs::create_dir(&away).unwrap();
    let all = ["wellorder.db", "wellorder.db-wal", "wellorder.db-shm"];
    let shift = |from: &Path, to: &Path| {
        for name in all {
            if from.join(name).exists() {
                std::fs::rename(from.join(name), to.join(name)).unwrap();
            }
        }
    };
    shift(&home.data(), &away);
    std::fs::copy(theirs.database(), home.database()).unwrap();
    let before = std::fs::read(home.database()).unwrap();
    refuses_writes(&server).await;
    assert!(std::fs::read(home.database()).unwrap() == before, "another's database is never written");
    for path in ["/v1/orders?reference=theirs", "/v1/orders", "/v1/events"] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, 503, "nor shown for ours: {path}: {}", reply.text());
    }
    for name in all {
        drop(std::fs::remove_file(home.data().join(name)));
    }
    shift(&away, &home.data());
    has_recovered(&server, &[order]).await;
}

#[tokio::test]
async fn while_there_is_less_room_than_must_stay_free() {
    let home = Home::new();
    let server = home.server().start().await;
    let order = server.accept(&json!({ "reference": "before", "total": 1 })).await;
    server.until_order(&order, "done").await;
    assert_eq!(server.terminate().await.code(), 0);
    // More than any machine has that runs this.
    let full = home.server().env("WELLORDER_STORAGE_FREE_SPACE_MIN_MIB", "1048576").start().await;
    refuses_writes(&full).await;
    let found = full.by_reference("before").await.unwrap();
    assert_eq!(json!([found["order_id"], found["processing"]]), json!([order["order_id"], "done"]));
    assert_eq!(full.get("/v1/events").await.status, 200);
    assert_eq!(full.terminate().await.code(), 0);
    let server = home.server().start().await;
    has_recovered(&server, &[order]).await;
}

#[tokio::test]
async fn more_writes_than_may_wait_are_refused_at_once_and_the_others_are_answered() {
    let server = Server::builder()
        .api_alone()
        .env("WELLORDER_LANE_QUEUE_MAX", "1")
        .env("WELLORDER_LANE_BATCH_MAX", "1")
        .env("WELLORDER_STORAGE_BUSY_TIMEOUT_MS", "3600000")
        .start()
        .await;
    let other = Connection::open(server.home().database()).unwrap();
    other.busy_timeout(crate::harness::PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut posts = tokio::task::JoinSet::new();
    for number in 0..8 {
        let client = server.client();
        posts.spawn(async move {
            let body = json!({ "reference": format!("r-{number}"), "total": 1 }).to_string();
            (format!("r-{number}"), client.post("/v1/orders", &body).await)
        });
    }
    // One or two are being written, one waits; the rest is told so while the database is still locked.
    let (mut refused, mut accepted) = (Vec::new(), Vec::new());
    while refused.len() < 5 {
        let (reference, reply) = posts.join_next().await.unwrap().unwrap();
        is_refusal(&V1, &reply, 503, None, "a full queue");
        assert!(reply.header("retry-after").is_some());
        refused.push(reference);
    }
    other.execute_batch("ROLLBACK").unwrap();
    for (reference, reply) in posts.join_all().await {
        match reply.status {
            201 => accepted.push(reference),
            503 => refused.push(reference),
            _ => panic!("{}", reply.text()),
        }
    }
    assert!(!accepted.is_empty(), "the one that was being written is answered");
    for reference in refused {
        assert_eq!(server.by_reference(&reference).await, None);
    }
    for reference in accepted {
        assert!(server.by_reference(&reference).await.is_some());
    }
    server.home().audited();
}

#[tokio::test]
async fn a_log_that_somebody_deletes_takes_no_acknowledged_order_with_it() {
    let server = Server::builder().api_alone().start().await;
    let home = server.home();
    let mut references = Vec::new();
    for (round, gone) in
        [&["wellorder.db-wal"][..], &["wellorder.db-wal", "wellorder.db-shm"]].iter().enumerate()
    {
        for number in 0..10 {
            let reference = format!("{round}-{number}");
            server.accept(&json!({ "reference": reference, "total": 1 })).await;
            references.push(reference);
            if number == 5 {
                for name in *gone {
                    std::fs::remove_file(home.data().join(name)).unwrap();
                }
            }
        }
    }
    let server = server.restart().await;
    for reference in &references {
        assert!(server.by_reference(reference).await.is_some(), "{reference} is lost");
    }
    home.audited();
}

#[tokio::test]
async fn without_free_descriptors_it_lives_and_goes_on_when_there_are_some() {
    let server = Server::builder().start().await;
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap());
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count() as u64;
    // The hard limit stays as it is: only the privileged may raise one.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let maximum = files.split_whitespace().nth(4).unwrap().parse().ok();
    let few = Rlimit { current: Some(open + 4), maximum };
    let before = prlimit(pid, Resource::Nofile, few).unwrap();
    let mut kept = server.connect().await;
    let first =
        post_in_peril(&mut kept, "/v1/orders", &[], r#"{"reference":"first","total":1}"#).await.unwrap();
    assert!([201, 503].contains(&first.status), "{}", first.text());
    let mut waiting = Vec::new();
    for _ in 0..30 {
        waiting.push(server.connect().await);
    }
    server.stderr().until("cannot accept").await;
    for number in 0..10 {
        let body = json!({ "reference": format!("r-{number}"), "total": 1 }).to_string();
        let reply = post_in_peril(&mut kept, "/v1/orders", &[], &body).await.unwrap();
        assert!([201, 503].contains(&reply.status), "{}", reply.text());
    }
    drop(waiting);
    let order = server.accept(&json!({ "reference": "after", "total": 1 })).await;
    server.until_order(&order, "done").await;
    prlimit(pid, Resource::Nofile, before).unwrap();
    server.home().audited();
}
