//! What was acknowledged is there, however the process ended.

use crate::harness::{Receiver, Server, post_in_peril};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

#[tokio::test]
async fn acknowledged_orders_are_there_after_a_kill_with_the_same_ids() {
    let mut server = Server::builder().start().await;
    let mut acknowledged = BTreeMap::new();
    for round in 0..3 {
        let mut posts = tokio::task::JoinSet::new();
        for number in 0..60 {
            let reference = format!("r-{round}-{number}");
            // Connected before anybody dies: whoever could not connect would tell nothing.
            let mut connection = server.connect().await;
            posts.spawn(async move {
                let body = json!({ "reference": reference, "total": 1 }).to_string();
                // Whoever is not answered does not know.
                let reply = post_in_peril(&mut connection, "/v1/orders", &[], &body).await?;
                assert_eq!(reply.status, 201, "{}", reply.text());
                Some((reference, reply.json()["order_id"].clone()))
            });
        }
        for _ in 0..30 {
            acknowledged.extend(posts.join_next().await.unwrap().unwrap());
        }
        // In the middle of the rest.
        server = server.restart().await;
        acknowledged.extend(posts.join_all().await.into_iter().flatten());
    }
    assert!(acknowledged.len() >= 90);
    for (reference, id) in &acknowledged {
        let found = server.by_reference(reference).await.unwrap_or_else(|| panic!("{reference} is lost"));
        assert_eq!(found["order_id"], *id);
        server.until_order(&found, "done").await;
    }
    let lines = server.carried().await;
    let in_file: BTreeSet<&str> =
        lines.iter().filter_map(|line| line["data"]["reference"].as_str()).collect();
    assert!(acknowledged.keys().all(|reference| in_file.contains(reference.as_str())));
    server.home().audited();
}

#[tokio::test]
async fn work_of_a_dead_process_is_due_at_once_and_no_attempt_is_burnt() {
    let receiver = Receiver::gated().await;
    // Longer than the test waits for anything: only a lease that was made due lets the work run again.
    let server = Server::builder()
        .env("WELLORDER_WORKER_LEASE_MS", "3600000")
        .processor(&receiver.url())
        .start()
        .await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    receiver.until_calls(1).await;
    server.until_order(&order, "running").await;
    let server = server.restart().await;
    assert_eq!(server.started["leases_expired"], 1);
    let calls = receiver.until_calls(2).await;
    assert_eq!([calls[0].attempt(), calls[1].attempt()], ["1", "1"]);
    assert_eq!(calls[0].key(), calls[1].key(), "the other side can tell that it is the same work");
    receiver.open();
    let done = server.until_order(&order, "done").await;
    assert_eq!(json!([done["attempt"], done["version"]]), json!([1, 2]));
    assert_eq!(server.history(&order).await, ["order.accepted", "order.processed"]);
    server.home().audited();
}

#[tokio::test]
async fn work_whose_process_dies_again_and_again_is_parked_and_not_tried_for_ever() {
    let receiver = Receiver::gated().await;
    let mut server =
        Server::builder().env("WELLORDER_WORKER_LAPSES_MAX", "3").processor(&receiver.url()).start().await;
    let order = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    for calls in 1..=3 {
        receiver.until_calls(calls).await;
        server = server.restart().await;
    }
    let parked = server.until_order(&order, "parked").await;
    assert!(parked["last_error"].as_str().unwrap().contains("leases"), "{parked}");
    assert_eq!(receiver.calls().len(), 3);
    server.home().audited();
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_its_event_comes_again() {
    let server = Server::builder().start().await;
    let first = server.accept(&json!({ "reference": "a", "total": 1 })).await;
    server.until_order(&first, "done").await;
    let before = server.carried().await;
    server.post("/v1/followers/ndjson/pause", "{}").await;
    let second = server.accept(&json!({ "reference": "b", "total": 1 })).await;
    server.until_order(&second, "done").await;
    let (events, _) = server.feed(100).await;
    let home = server.home();
    let builder = home.server();
    server.kill().await;
    // As a crash leaves it that comes in the middle of a write.
    let torn = events.iter().find(|event| event["data"]["reference"] == "b").unwrap().to_string();
    let path = home.data().join("events.ndjson");
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&torn.as_bytes()[..torn.len() / 2]).unwrap();
    drop(file);
    let server = builder.start().await;
    server.post("/v1/followers/ndjson/resume", "{}").await;
    let after = server.carried().await;
    assert_eq!(after.len(), 4, "{after:?}");
    assert_eq!(after[..before.len()], before[..]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.ends_with('\n') && text.lines().count() == 4, "{text}");
    let wanted: BTreeSet<String> = events.iter().map(Value::to_string).collect();
    let found: BTreeSet<String> = after.iter().map(Value::to_string).collect();
    assert_eq!(found, wanted);
}

#[tokio::test]
async fn a_redrive_that_was_cut_off_goes_on_at_the_next_start() {
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "1").start().await;
    for number in 0..300 {
        let simulate = json!({ "simulate": { "fail": 1 } });
        server
            .accept(&json!({ "reference": format!("r-{number}"), "total": 1, "attributes": simulate }))
            .await;
    }
    let body = r#"{"filter":{"all":true},"dry_run":true}"#;
    crate::harness::eventually("300 parked orders", async || {
        (server.post("/v1/redrives", body).await.json()["matched"] == 300).then_some(())
    })
    .await;
    let started = server.post("/v1/redrives", r#"{"filter":{"all":true},"reason":"x"}"#).await;
    let place = started.header("location").unwrap().to_owned();
    let server = server.restart().await;
    let finished = server.until(&place, |redrive| redrive["state"] == "finished").await;
    assert_eq!(json!([finished["redriven"], finished["refused"]]), json!([300, 0]));
    crate::harness::eventually("no parked order", async || {
        let parked = server.json("/v1/parked?limit=1").await;
        let open = server.json("/v1/orders?processing=queued&limit=1").await;
        let running = server.json("/v1/orders?processing=running&limit=1").await;
        [parked, open, running].iter().all(|page| page["orders"] == json!([])).then_some(())
    })
    .await;
    server.home().audited();
}
