//! What a process does when it is told to do a part only, and the demonstration, which does everything.

use crate::harness::{Home, Receiver, Server};
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test]
async fn each_role_does_its_own_and_every_role_answers_for_its_health() {
    let home = Home::new();
    let api = home.server().args(&["--role", "api"]).start().await;
    let order = api.accept(&json!({ "reference": "a", "total": 1 })).await;
    assert_eq!(api.get("/v1/followers").await.json()["followers"], json!([]), "nobody follows");
    assert_eq!(api.terminate().await.code(), 0);
    assert!(home.ndjson().is_empty());
    assert_eq!(home.audited()["work"], 1, "it is still to be done");

    let receiver = Receiver::gated().await;
    let worker = home.server().args(&["--role", "worker"]).processor(&receiver.url()).start().await;
    receiver.until_calls(1).await;
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/v1/orders", 404),
        ("/oscarps/health", 404),
        ("/docs", 404),
    ] {
        assert_eq!(worker.get(path).await.status, status, "{path}");
    }
    receiver.open();
    crate::harness::eventually("the work to be done", async || {
        worker
            .get("/metrics")
            .await
            .text()
            .contains(r#"wellorder_orders{source="api",state="done"} 1"#)
            .then_some(())
    })
    .await;
    assert_eq!(worker.terminate().await.code(), 0);
    assert!(home.ndjson().is_empty());

    let relay = home.server().args(&["--role", "relay"]).start().await;
    assert_eq!(relay.get("/readyz").await.status, 200);
    crate::harness::eventually("the events", async || (home.ndjson().len() == 2).then_some(())).await;
    assert_eq!(relay.terminate().await.code(), 0);
    let both = home.server().args(&["--role", "api", "--role", "worker"]).start().await;
    assert_eq!(both.until_order(&order, "done").await["attempt"], 1);
}

#[tokio::test]
async fn the_demonstration_shows_orders_arriving_failing_and_being_repaired() {
    let server = Server::builder().args(&["--demo"]).for_people().start().await;
    let said = server.stdout().until("Try next").await;
    assert!(!said.is_empty());
    let mut wanted: BTreeSet<&str> = [
        "order.accepted",
        "order.processed",
        "order.processing_failed",
        "order.parked",
        "order.redriven",
        "order.shipped",
        "order.delivered",
    ]
    .into();
    let mut sources: BTreeSet<String> = BTreeSet::new();
    crate::harness::eventually("events of every kind", async || {
        let (events, _) = server.feed(1000).await;
        for event in &events {
            wanted.remove(event["type"].as_str().unwrap());
            sources.extend(event["data"]["source"].as_str().map(str::to_owned));
        }
        wanted.is_empty().then_some(())
    })
    .await;
    assert_eq!(sources.into_iter().collect::<Vec<_>>(), ["api", "oscarps", "parspec"]);
    server.stdout().until("redriven").await;
    let home = server.home();
    assert_eq!(server.terminate().await.code(), 0);
    home.audited();
}
