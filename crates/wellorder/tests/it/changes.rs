//! Changing an order that is there: one whole life, step by step as its `actions` offer it.

use crate::harness::{Home, Server, eventually};
use serde_json::{Value, json};
use testkit::http::Reply;

/// In everything personal that is sent here.
const CANARY: &str = "Ada-Lovelace-the-customer";

fn path(order: &Value) -> String {
    format!("/v1/orders/{}", order["order_id"].as_str().unwrap())
}

/// The names of what may be done with an order.
fn offered(order: &Value) -> Vec<&str> {
    order["actions"].as_array().unwrap().iter().map(|action| action["name"].as_str().unwrap()).collect()
}

/// Does what the order offers under this name.
async fn act(server: &Server, order: &Value, name: &str, if_match: Option<&str>, body: &Value) -> Reply {
    let actions = order["actions"].as_array().unwrap();
    let action = actions.iter().find(|action| action["name"] == name);
    let action = action.unwrap_or_else(|| panic!("{name} is not offered: {order}"));
    let (method, href) = (action["method"].as_str().unwrap(), action["href"].as_str().unwrap());
    let mut headers = vec![("content-type", "application/json"), ("idempotency-key", "harmless here")];
    headers.extend(if_match.map(|tag| ("if-match", tag)));
    server.send(method, href, &headers, body.to_string().as_bytes()).await
}

/// The same, which must succeed; returns the order.
async fn acted(server: &Server, order: &Value, name: &str, if_match: Option<&str>, body: &Value) -> Value {
    let reply = act(server, order, name, if_match, body).await;
    assert_eq!(reply.status, 200, "{name}: {}", reply.text());
    let order = reply.json();
    assert_eq!(reply.header("etag"), Some(format!("\"{}\"", order["version"]).as_str()));
    order
}

/// How often the canary is in the files of the database, or in its rows where a server has the files.
fn canaries(home: &Home) -> usize {
    if let Some(url) = home.url() {
        let sql = "SELECT (SELECT count(*) FROM orders o WHERE o::text LIKE '%' || $1 || '%') \
             + (SELECT count(*) FROM journal j WHERE j::text LIKE '%' || $1 || '%') \
             + (SELECT count(*) FROM term_tail t WHERE t::text LIKE '%' || $1 || '%') \
             + (SELECT count(*) FROM term_blocks b WHERE b::text LIKE '%' || $1 || '%')";
        return crate::harness::database::count(url, sql, CANARY);
    }
    let count = |name: &str| {
        let bytes = std::fs::read(home.data().join(name)).unwrap_or_default();
        bytes.windows(CANARY.len()).filter(|window| *window == CANARY.as_bytes()).count()
    };
    count("wellorder.db") + count("wellorder.db-wal")
}

/// From parked to done, twice: redriven, then revised and processed again.
async fn mended(server: &Server, parked: &Value) -> Value {
    let body = json!({"filter": {"order_ids": [parked["order_id"]]}, "reason": "again"});
    assert_eq!(act(server, parked, "redrive", None, &body).await.status, 202);
    let done = server.until_order(parked, "done").await;
    let tag = format!("\"{}\"", done["version"]);
    let patch = json!({"lines": [{"sku": "tea", "name": CANARY, "quantity": 3, "unit_price": "9.95"}]});
    let revised = acted(server, &done, "revise", Some(&tag), &patch).await;
    assert_eq!((&revised["total"], &revised["processing"]), (&json!("29.85"), &json!("done")));
    let stale = act(server, &revised, "revise", Some(&tag), &json!({"customer": "x"})).await;
    assert_eq!(
        (stale.status, stale.header("etag")),
        (412, Some(format!("\"{}\"", revised["version"]).as_str()))
    );
    assert_eq!(act(server, &revised, "revise", None, &json!({})).await.status, 428);

    let again = server
        .send(
            "PATCH",
            &format!("{}?requeue=true", path(&revised)),
            &[("content-type", "application/merge-patch+json"), ("if-match", "*")],
            json!({"attributes": {"simulate": null}}).to_string().as_bytes(),
        )
        .await;
    assert_eq!((again.status, &again.json()["processed_at"]), (200, &Value::Null), "{}", again.text());
    let done = server.until_order(&revised, "done").await;
    assert!(done["processed_at"].is_string());
    done
}

/// Shipped, delivered, sent back.
async fn fulfilled(server: &Server, done: &Value) -> Value {
    let shipment = json!({"shipped_at": "2026-11-20T16:30:00Z", "tracking_number": format!("T-{CANARY}")});
    let shipped = acted(server, done, "ship", None, &shipment).await;
    assert_eq!(
        (&shipped["fulfilment"], offered(&shipped)),
        (&json!("shipped"), vec!["withdraw", "deliver", "erase"])
    );
    let again = act(server, done, "ship", None, &shipment).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(act(server, done, "revise", Some("*"), &json!({"customer": "x"})).await.status, 409);
    let delivered = acted(server, &shipped, "deliver", None, &json!({})).await;
    assert_eq!(delivered["fulfilment"], "delivered");
    let reason = json!({"reason": format!("{CANARY} sent it back")});
    let withdrawn = acted(server, &delivered, "withdraw", None, &reason).await;
    assert_eq!(offered(&withdrawn), ["erase"]);
    withdrawn
}

#[tokio::test]
async fn a_whole_life_of_an_order() {
    let server = Server::builder().env("WORKER_MAX_ATTEMPTS", "1").start().await;
    let sent = json!({
        "reference": "A-1001", "customer": CANARY, "currency": "EUR",
        "lines": [{"sku": "tea", "name": format!("{CANARY}'s tea"), "quantity": 2, "unit_price": "9.95"}],
        "attributes": {"note": format!("for {CANARY}"), "simulate": {"fail": 1}}
    });
    let accepted = server.accept(&sent).await;
    assert_eq!(offered(&accepted), ["revise", "withdraw", "ship", "deliver", "erase"]);
    let parked = server.until_order(&accepted, "parked").await;
    assert_eq!(offered(&parked), ["revise", "withdraw", "ship", "deliver", "redrive", "erase"]);
    let shown = server.json(&format!("{}/timeline", path(&parked))).await;
    assert!(shown["now"]["summary"].as_str().unwrap().starts_with("Parked since 20"), "{shown}");

    let done = mended(&server, &parked).await;
    let withdrawn = fulfilled(&server, &done).await;

    assert!(canaries(&server.home()) > 0, "what is looked for is there at first");
    let erased = act(&server, &withdrawn, "erase", None, &json!({})).await;
    assert_eq!(erased.status, 200, "{}", erased.text());
    assert_eq!(erased.json()["order"]["customer"], Value::Null);
    eventually("files without what was erased", async || (canaries(&server.home()) == 0).then_some(())).await;

    server.until("/v1/followers/ndjson", |follower| follower["lag"] == 0).await;
    let shown = server.json(&format!("{}/timeline", path(&withdrawn))).await;
    let of = |name: &str| -> Vec<Value> {
        shown["entries"].as_array().unwrap().iter().map(|entry| entry[name].clone()).collect()
    };
    let types = [
        "accepted",
        "parked",
        "redriven",
        "processed",
        "revised",
        "revised",
        "processed",
        "shipped",
        "delivered",
        "withdrawn",
        "erased",
    ];
    assert_eq!(of("type"), types.map(|name| json!(format!("order.{name}"))), "{shown}");
    assert_eq!(json!(of("caused_by")), json!([null, 1, 2, 3, null, null, 6, null, null, null, null]));
    assert_eq!(shown["followers"][0]["carried"], true);
    assert!(!shown.to_string().contains(CANARY), "{shown}");
    assert_eq!(server.home().audited()["orders"], 1);

    let server = server.restart().await;
    assert_eq!(server.json(&path(&withdrawn)).await, erased.json()["order"]);
    assert_eq!(canaries(&server.home()), 0);
}

/// A worker has the old content in hand: its result counts for nothing, the new content is processed.
#[tokio::test]
async fn what_is_processed_is_the_newest_content() {
    let receiver = crate::harness::Receiver::gated().await;
    let server = Server::builder().processor(&receiver.url()).start().await;
    let order = server.accept(&json!({"customer": "old", "total": 1})).await;
    receiver.until_calls(1).await;
    let running = server.until_order(&order, "running").await;
    let revised = acted(&server, &running, "revise", Some("\"1\""), &json!({"customer": "new"})).await;
    assert_eq!(revised["version"], 2);
    let calls = receiver.until_calls(2).await;
    receiver.open();
    let done = server.until_order(&order, "done").await;
    assert_eq!((&done["version"], &done["attempt"]), (&json!(3), &json!(1)));
    assert_eq!((&calls[0].order["customer"], &calls[1].order["customer"]), (&json!("old"), &json!("new")));
    assert_ne!(calls[0].key(), calls[1].key(), "another content is another effect");
    assert_eq!(calls[1].order.get("actions"), None, "a processor is told no actions");
    assert_eq!(server.history(&order).await, ["order.accepted", "order.revised", "order.processed"]);
}
