//! Our own API: taking in, telling duplicates apart, lists, the feed.

use crate::harness::Server;
use crate::{is_moment, names};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use testkit::http::Reply;

const ORDER: [&str; 22] = [
    "order_id",
    "number",
    "source",
    "reference",
    "customer",
    "currency",
    "lines",
    "total",
    "attributes",
    "version",
    "processing",
    "fulfilment",
    "withdrawn",
    "attempt",
    "last_error",
    "accepted_at",
    "updated_at",
    "processed_at",
    "shipped_at",
    "tracking_number",
    "delivered_at",
    "actions",
];

fn documented() -> Value {
    json!({
        "reference": "A-1001", "customer": "c-42", "currency": "EUR",
        "lines": [{"sku": "tea", "quantity": 2, "unit_price": "9.95", "name": "Green tea"}],
        "total": "19.90", "attributes": {"gift": true}
    })
}

async fn post(server: &Server, key: Option<&str>, order: &Value) -> Reply {
    let mut headers = vec![("content-type", "application/json")];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    server.send("POST", "/v1/orders", &headers, order.to_string().as_bytes()).await
}

/// The name of a problem, and the pointers that it names.
fn problem(reply: &Reply) -> (u16, String, Vec<String>) {
    assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{}", reply.text());
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status);
    assert_eq!(problem["request_id"].as_str(), reply.header("x-request-id"));
    let name = problem["type"].as_str().unwrap().strip_prefix("urn:wellorder:problem:").unwrap().to_owned();
    let errors = problem["errors"].as_array().cloned().unwrap_or_default();
    let pointer = |error: &Value| error["pointer"].as_str().unwrap().to_owned();
    (reply.status, name, errors.iter().map(pointer).collect())
}

#[tokio::test]
async fn the_documented_order_is_taken_in_once() {
    let server = Server::builder().api_alone().start().await;
    let created = post(&server, None, &documented()).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let order = created.json();
    let id = order["order_id"].as_str().unwrap();
    assert_eq!(created.header("location"), Some(format!("/v1/orders/{id}").as_str()));
    assert_eq!(created.header("etag"), Some("\"1\""));
    assert_eq!(names(&order), ORDER);
    let line =
        json!({"sku": "tea", "name": "Green tea", "quantity": 2, "unit_price": "9.95", "amount": "19.90"});
    let found =
        json!([order["number"], order["source"], order["lines"], order["total"], order["attributes"]]);
    assert_eq!(found, json!([1, "api", [line], "19.90", { "gift": true }]));
    let found = json!([order["version"], order["processing"], order["fulfilment"], order["withdrawn"]]);
    assert_eq!(found, json!([1, "queued", "unshipped", false]));
    let found = json!([order["attempt"], order["last_error"], order["processed_at"]]);
    assert_eq!(found, json!([0, null, null]));
    assert!(is_moment(&order["accepted_at"], 6) && order["accepted_at"] == order["updated_at"], "{order}");
    assert_eq!(server.json(&format!("/v1/orders/{id}")).await, order);

    let again = post(&server, None, &documented()).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json(), order);
    let mut equal = documented();
    equal["total"] = "19.9".into();
    equal["lines"][0]["unit_price"] = "9.950".into();
    assert_eq!(post(&server, None, &equal).await.status, 200, "equal by value");
    let mut other = documented();
    other["customer"] = "c-43".into();
    other["attributes"] = json!({ "gift": false });
    let refused = post(&server, None, &other).await;
    let pointers = ["/customer", "/attributes/gift"].map(str::to_owned).to_vec();
    assert_eq!(problem(&refused), (422, "duplicate-differs".to_owned(), pointers));
    assert_eq!(refused.json()["order_id"], id);
    other["source"] = "shop".into();
    assert_eq!(post(&server, None, &other).await.status, 201, "another source has references of its own");
    assert_eq!(server.home().audited()["orders"], 2);
}

#[tokio::test]
async fn a_key_makes_one_order_and_serves_for_nothing_else() {
    let server = Server::builder().api_alone().start().await;
    let plain = json!({ "total": "1.00" });
    let new = post(&server, Some("k-1"), &plain).await;
    assert_eq!((new.status, new.header("idempotent-replayed")), (201, None));
    let same = post(&server, Some("k-1"), &json!({ "total": 1 })).await;
    assert_eq!((same.status, same.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(same.json(), new.json());
    let other = post(&server, Some("k-1"), &json!({ "total": "2" })).await;
    assert_eq!(problem(&other), (422, "key-reused".to_owned(), vec!["/total".to_owned()]));
    assert_eq!(post(&server, Some("k-2"), &plain).await.status, 201);
    assert_eq!(post(&server, None, &plain).await.status, 201);

    let with_reference = json!({ "reference": "A-1", "total": "1.00" });
    assert_eq!(post(&server, Some("k-3"), &with_reference).await.status, 201);
    assert_eq!(post(&server, Some("k-3"), &with_reference).await.status, 200);
    assert_eq!(post(&server, None, &with_reference).await.status, 200, "the reference identifies");
    assert_eq!(post(&server, Some("k-4"), &with_reference).await.status, 200);
    let other = json!({ "reference": "A-2", "total": "1.00" });
    let (status, name, _) = problem(&post(&server, Some("k-3"), &other).await);
    assert_eq!((status, name.as_str()), (422, "key-reused"));
    for key in ["", "a b", &"x".repeat(256)] {
        let (status, name, _) = problem(&post(&server, Some(key), &plain).await);
        assert_eq!((status, name.as_str()), (400, "invalid-key"), "{key:?}");
    }
    assert_eq!(server.home().audited()["orders"], 4);
}

#[tokio::test]
async fn many_at_once_with_one_reference_are_one_order() {
    let server = Server::builder().api_alone().start().await;
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let client = server.client();
        posts.spawn(async move { client.post("/v1/orders", r#"{"reference":"same","total":"1"}"#).await });
    }
    let replies = posts.join_all().await;
    let count = |status| replies.iter().filter(|reply| reply.status == status).count();
    assert_eq!((count(201), count(200)), (1, 39));
    let id = &replies[0].json()["order_id"];
    assert!(replies.iter().all(|reply| reply.json()["order_id"] == *id));
    assert_eq!(server.home().audited()["orders"], 1);
}

#[tokio::test]
async fn lists_come_newest_first_page_by_page_and_filtered() {
    let server = Server::builder().api_alone().start().await;
    for number in 1..=5 {
        let customer = if number % 2 == 0 { "even" } else { "odd" };
        let order = json!({ "reference": format!("r-{number}"), "customer": customer, "total": number });
        server.accept(&order).await;
    }
    server.post("/oscarps/orders", r#"{"orderId":"o","customer":"odd","total":1}"#).await;
    let (mut numbers, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("/v1/orders?limit=2{after}")).await;
        let orders = page["orders"].as_array().unwrap().clone();
        assert!(orders.len() <= 2);
        numbers.extend(orders.iter().map(|order| order["number"].as_i64().unwrap()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(numbers, [6, 5, 4, 3, 2, 1]);
    for (filter, expected) in [
        ("source=oscarps", vec![6]),
        ("customer=even", vec![4, 2]),
        ("customer=odd&source=api", vec![5, 3, 1]),
        ("reference=r-3", vec![3]),
        ("reference=o", vec![]),
        ("reference=o&source=oscarps", vec![6]),
        ("processing=queued&limit=200", vec![6, 5, 4, 3, 2, 1]),
        ("processing=done", vec![]),
        ("fulfilment=shipped", vec![]),
        ("withdrawn=true", vec![]),
    ] {
        let page = server.json(&format!("/v1/orders?{filter}")).await;
        let orders = page["orders"].as_array().unwrap();
        let found: Vec<i64> = orders.iter().map(|order| order["number"].as_i64().unwrap()).collect();
        assert_eq!(found, expected, "{filter}");
    }
}

#[tokio::test]
async fn the_feed_gives_every_event_once_and_each_order_in_its_order() {
    let server = Server::builder().start().await;
    let mut orders = Vec::new();
    for number in 0..20 {
        orders.push(server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await);
    }
    for order in &orders {
        server.until_order(order, "done").await;
    }
    let (events, end) = server.feed(7).await;
    assert_eq!(events.len(), 40);
    let mut versions = BTreeMap::<String, Vec<u64>>::new();
    let mut positions = BTreeMap::<u64, Vec<u64>>::new();
    for event in &events {
        let expected = [
            "event_id",
            "order_id",
            "version",
            "shard",
            "position",
            "type",
            "occurred_at",
            "epoch",
            "data_version",
            "data",
        ];
        assert_eq!(names(event), expected);
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let number = |name: &str| event[name].as_u64().unwrap();
        versions.entry(text("order_id")).or_default().push(number("version"));
        positions.entry(number("shard")).or_default().push(number("position"));
    }
    assert!(versions.values().all(|versions| versions == &[1, 2]), "{versions:?}");
    for (shard, positions) in &positions {
        let gapless: Vec<u64> = (1..=positions.len() as u64).collect();
        assert_eq!(positions, &gapless, "shard {shard}");
    }
    assert_eq!(server.history(&orders[0]).await, ["order.accepted", "order.processed"]);

    let behind = server.json(&format!("/v1/events?after={end}")).await;
    assert_eq!(behind["events"], json!([]));
    server.accept(&json!({ "reference": "later", "total": 1 })).await;
    let path = format!("/v1/events?after={end}");
    let later = server.until(&path, |page| page["events"].as_array().unwrap().len() == 2).await;
    assert_eq!(later["events"][0]["data"]["reference"], "later");
}

#[tokio::test]
async fn cursors_survive_a_restart_and_no_other_use() {
    let server = Server::builder().api_alone().start().await;
    for number in 0..3 {
        server.accept(&json!({ "reference": format!("r-{number}"), "total": 1 })).await;
    }
    let feed = server.json("/v1/events?limit=1").await["next"].as_str().unwrap().to_owned();
    let list = server.json("/v1/orders?limit=1").await["next"].as_str().unwrap().to_owned();
    let server = server.restart().await;
    assert_eq!(server.json(&format!("/v1/events?after={feed}")).await["events"].as_array().unwrap().len(), 2);
    assert_eq!(server.json(&format!("/v1/orders?after={list}")).await["orders"].as_array().unwrap().len(), 2);
    let mut changed = feed.clone().into_bytes();
    let last = changed.len() - 6;
    changed[last] = if changed[last] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    for path in [
        format!("/v1/events?after={list}"),
        format!("/v1/orders?after={feed}"),
        format!("/v1/events?after={changed}"),
        "/v1/events?after=".to_owned(),
        "/v1/events?after=AAAA".to_owned(),
    ] {
        let (status, name, _) = problem(&server.get(&path).await);
        assert_eq!((status, name.as_str()), (400, "cursor-invalid"), "{path}");
    }
}

#[tokio::test]
async fn attributes_are_kept_digit_by_digit() {
    let server = Server::builder().api_alone().start().await;
    let attributes = r#"{"n":1.10,"big":123456789012345678901234567890,"deep":{"ü":[null,false,"\u0001"]}}"#;
    let body = format!(r#"{{"total":"0.1000000000000000000000000001","attributes":{attributes}}}"#);
    let created = server.post("/v1/orders", &body).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let path = created.header("location").unwrap().to_owned();
    let text = server.get(&path).await.text().to_owned();
    assert!(text.contains(r#""total":"0.1000000000000000000000000001""#), "{text}");
    assert!(text.contains(attributes), "{text}");
}
