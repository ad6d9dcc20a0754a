//! Several nodes on one database with stores at marketplaces: nothing is asked for twice, and no order is there twice.

use crate::harness::{Answer, Builder, Home, Receiver, Server};
use crate::login::SECRETS_KEY;
use crate::nodes::node;
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the marketplace says of every receipt.
const FOUND: &str = r#"{"status":true,"orderId":"there","amount":12.50,"currency":"USD","importedAtUTC":"2026-01-01T00:00:00.000Z"}"#;

fn at(home: &Home, marketplace: &Receiver) -> Builder {
    let url = marketplace.url().replace("/work", "");
    // What one of them seals, the other opens.
    node(home, "api").env("WELLORDER_MARKETPLACE_MOCK_URL", &url).env("WELLORDER_SECRETS_KEY", SECRETS_KEY)
}

async fn store(server: &Server) -> String {
    store_of(server, "ext-1").await
}

async fn store_of(server: &Server, external_id: &str) -> String {
    let said = json!({ "organization": "org-1", "marketplace": "etsy", "external_id": external_id, "name": "My store",
        "access_token": "token", "currency": "USD" });
    let reply = server.post("/v1/stores", &said.to_string()).await;
    assert!((200..300).contains(&reply.status), "{}", reply.text());
    reply.json()["store_id"].as_str().unwrap().to_owned()
}

async fn import(server: &Server, store: &str, receipt: &str) -> Value {
    let asked = json!({ "store_id": store, "receipt": receipt }).to_string();
    let reply = server.post("/v1/imports", &asked).await;
    assert!((200..300).contains(&reply.status), "{}", reply.text());
    reply.json()
}

/// How often each receipt was asked for.
fn asked(marketplace: &Receiver) -> BTreeMap<String, usize> {
    let mut asked = BTreeMap::new();
    for call in marketplace.calls() {
        *asked.entry(call.order["receipt"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    asked
}

#[tokio::test(flavor = "multi_thread")]
async fn one_receipt_that_two_nodes_are_asked_for_at_once_is_one_call_and_one_order() {
    let home = Home::new();
    let marketplace = Receiver::start(|_| Answer::Tells(200, FOUND)).await;
    let (one, other) = (at(&home, &marketplace).start().await, at(&home, &marketplace).start().await);
    let store = store(&one).await;
    for receipt in ["a", "b", "c"] {
        let asking = (0..16).map(|turn| import(if turn % 2 == 0 { &one } else { &other }, &store, receipt));
        let mut answers = join_all(asking).await;
        answers.dedup();
        assert_eq!(answers.len(), 1, "all are answered the same: {answers:?}");
        assert_eq!(answers[0]["state"], "success", "{answers:?}");
    }
    assert_eq!(asked(&marketplace).into_values().collect::<Vec<_>>(), [1, 1, 1], "one call each");
    let orders = other.json("/v1/orders").await;
    assert_eq!(orders["orders"].as_array().unwrap().len(), 3);
    let store = other.json(&format!("/v1/stores/{store}")).await;
    assert_eq!(store["imports"]["success"], 3, "{store}");
    drop((one, other));
    assert_eq!(home.audited()["orders"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_that_sync_at_once_ask_for_nothing_twice() {
    const RECEIPTS: usize = 60;
    let home = Home::new();
    let open = Arc::new(AtomicBool::new(false));
    let is_open = Arc::clone(&open);
    let marketplace = Receiver::start(move |_| match is_open.load(Ordering::SeqCst) {
        true => Answer::Tells(200, FOUND),
        false => Answer::Says(503, ""),
    })
    .await;
    let (one, other) = (at(&home, &marketplace).start().await, at(&home, &marketplace).start().await);
    let store = store(&one).await;
    for number in 0..RECEIPTS {
        let tried = import(&one, &store, &format!("r-{number}")).await;
        assert_eq!(tried["state"], "failed", "{tried}");
        let retried = other.post(&format!("/v1/imports/{store}/r-{number}/retry"), r#"{"now":true}"#).await;
        assert_eq!(retried.json()["state"], "failed", "what is known of it stands: {}", retried.text());
    }
    open.store(true, Ordering::SeqCst);
    let first = one.post("/v1/syncs", "");
    let second = async {
        // While the first is at it.
        marketplace.until_calls(RECEIPTS + 5).await;
        join_all((0..4).map(|_| other.post("/v1/syncs", ""))).await
    };
    let (first, second) = tokio::join!(first, second);
    for reply in second.iter().chain([&first]) {
        assert_eq!((reply.status, &reply.json()["faults"]), (200, &json!(0)), "{}", reply.text());
    }
    let twice: Vec<_> = asked(&marketplace).into_iter().filter(|(_, times)| *times != 2).collect();
    assert_eq!(twice, [], "once before, and once by one of the syncs");
    let runs = other.json(&format!("/v1/stores/{store}/runs")).await;
    let told: Vec<_> = runs["runs"].as_array().unwrap().iter().map(|run| run["processed"].clone()).collect();
    assert_eq!(told, [json!(RECEIPTS)], "one run, of one node: {runs}");
    drop((one, other));
    assert_eq!(home.audited()["orders"], RECEIPTS);
}

/// Two nodes, of which one was told by an operator to try a receipt again: what either says of it is true until that was done.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_tried_again_is_told_truthfully_until_it_was() {
    let home = Home::new();
    let marketplace = Receiver::start(|call| match call.order["receipt"].as_str() {
        Some("busy") => Answer::Says(429, ""),
        _ => Answer::Tells(200, FOUND),
    })
    .await;
    let (one, other) = (at(&home, &marketplace).start().await, at(&home, &marketplace).start().await);
    let store = store(&one).await;
    // As the role `sync` would have done a moment ago.
    assert_eq!(one.post("/v1/syncs", "").await.json()["synced"], 1);
    assert_eq!(import(&one, &store, "busy").await["state"], "rate_limited");
    assert_eq!(one.post("/v1/syncs", "").await.json()["found"], 0, "not within a minute");
    let retry = format!("/v1/imports/{store}/busy/retry");
    let retried = other.post(&retry, r#"{"now":true}"#).await.json();
    let seen = json!([retried["state"], retried["error"], retried["attempt"]]);
    assert_eq!(seen, json!(["rate_limited", "rate_limited", 1]), "{retried}");
    let path = format!("/v1/stores/{store}");
    assert_eq!(one.json(&path).await["status"], "partial");
    assert_eq!(import(&one, &store, "good").await["state"], "success");
    assert_eq!(other.json(&path).await["status"], "partial", "something waits still");
    // A result is known: nobody is called for it but by the sync, which is due at once.
    assert_eq!(import(&other, &store, "busy").await["state"], "rate_limited");
    assert_eq!(asked(&marketplace)["busy"], 1);
    let round = one.post("/v1/syncs", "").await.json();
    assert_eq!(json!([round["found"], round["synced"]]), json!([1, 1]), "{round}");
    assert_eq!(asked(&marketplace)["busy"], 2);
    assert_eq!(one.post("/v1/syncs", "").await.json()["found"], 0);
    let tried = import(&other, &store, "busy").await;
    assert_eq!(tried["attempt"], 2, "{tried}");
}

/// A marketplace that says when to come back is left alone until then: by every node, for every receipt of that store, and for no other.
#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_a_marketplace_names_holds_for_a_store_on_every_node() {
    let home = Home::new();
    let marketplace = Receiver::start(|call| match call.order["receipt"].as_str() {
        Some("busy") => Answer::Says(429, "retry-after: 600\r\n"),
        _ => Answer::Tells(200, FOUND),
    })
    .await;
    let (one, other) = (at(&home, &marketplace).start().await, at(&home, &marketplace).start().await);
    let (busy, idle) = (store_of(&one, "ext-1").await, store_of(&one, "ext-2").await);
    assert_eq!(import(&one, &busy, "busy").await["state"], "rate_limited");
    for node in [&one, &other] {
        assert_eq!(import(node, &busy, "good").await["state"], "rate_limited");
        assert_eq!(import(node, &idle, "good").await["state"], "success");
    }
    assert_eq!(asked(&marketplace), BTreeMap::from([("busy".to_owned(), 1), ("good".to_owned(), 1)]));
}
