//! `orderstream`: the documented calls, and every way to be refused.

use crate::harness::{Client, Exchange, Fixture, transcript};
use http::Request;
use order_core::SourceId;
use order_core::ids::Reference;
use order_core::{OrderId, TenantId};
use serde_json::{Value, json};
use testkit::build;

pub(crate) const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";
const OTHER: &str = "5c2f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c12";
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// A new order with this payload.
pub(crate) fn create(payload: &Value) -> String {
    json!({ "order_id": "0", "user_id": USER, "payload": payload }).to_string()
}

/// The id of the order that a reply is about.
pub(crate) fn id(exchange: &Exchange) -> String {
    exchange.json()["order_id"].as_str().expect("an id").to_owned()
}

/// The order as it is shown.
pub(crate) async fn get(client: &Client, id: &str) -> Value {
    client.get(&format!("/orders/{id}")).await.expect(200).json()["order"].clone()
}

#[tokio::test]
async fn the_documented_calls_answer_as_documented() {
    let f = Fixture::new();
    let client = &f.orderstream;
    let payload = json!({"id": "external-123", "items": [{"price": 9.95, "qty": 2}]});
    let mut seen = vec![client.get("/health").await, client.post(create(&payload)).await];
    let id = id(&seen[1]);
    let update =
        json!({"order_id": id, "user_id": USER, "payload": {"id": "external-123", "amount": "25.00"}});
    let delete = json!({"order_id": id, "user_id": USER, "status": "deleted"});
    seen.push(client.get(&format!("/orders/{id}")).await);
    seen.push(client.get(&format!("/orders/by-external/external-123?user_id={USER}")).await);
    seen.push(client.post(update.to_string()).await);
    seen.push(client.get(&format!("/orders/{id}")).await);
    seen.push(client.post(delete.to_string()).await);
    seen.push(client.get(&format!("/orders/{id}")).await);
    seen.push(client.post(delete.to_string()).await);
    seen.push(client.post(update.to_string()).await);
    seen.push(client.get(&format!("/orders/{UNKNOWN}")).await);
    assert_text!(transcript(&seen));
}

#[tokio::test]
async fn what_is_refused_is_refused_with_its_reason_and_nothing_is_written() {
    let f = Fixture::new();
    let user = format!(r#""user_id":"{USER}""#);
    let mut seen = Vec::new();
    for body in [
        "{".to_owned(),
        "".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        r#"{"payload":{}}"#.to_owned(),
        r#"{"user_id":"u-1","payload":{}}"#.to_owned(),
        r#"{"user_id":7,"payload":{}}"#.to_owned(),
        format!(r#"{{{user},"order_id":0,"payload":{{}}}}"#),
        format!(r#"{{{user},"order_id":"17","payload":{{}}}}"#),
        format!(r#"{{{user},"status":true,"payload":{{}}}}"#),
        format!(r#"{{{user},"status":"deleted"}}"#),
        format!(r#"{{{user}}}"#),
        format!(r#"{{{user},"payload":null,"payload_json":""}}"#),
        format!(r#"{{{user},"payload":[]}}"#),
        format!(r#"{{{user},"payload":7,"payload_json":{{}}}}"#),
        format!(r#"{{{user},"payload":"[1]"}}"#),
        format!(r#"{{{user},"payload_json":"{{"}}"#),
        format!(r#"{{{user},"payload_json":"{{\"a\":1,\"a\":2}}"}}"#),
        format!(r#"{{{user},"payload":{{"amount":"a lot"}}}}"#),
        format!(r#"{{{user},"payload":{{"amount":[1]}}}}"#),
        format!(r#"{{{user},"payload":{{"items":[{{"price":1}},{{"price":"x"}}]}}}}"#),
        format!(r#"{{{user},"payload":{{"amount":{}}}}}"#, "9".repeat(29)),
        format!(r#"{{{user},"payload":{{"a":1,"a":2}}}}"#),
        format!(r#"{{{user},"payload":{{"a":"\u0000"}}}}"#),
    ] {
        seen.push(f.orderstream.post(body).await.expect(400));
    }
    for body in [
        format!(r#"{{{user},"order_id":"{UNKNOWN}","payload":{{}}}}"#),
        format!(r#"{{{user},"order_id":"{UNKNOWN}","status":"deleted"}}"#),
    ] {
        seen.push(f.orderstream.post(body).await.expect(404));
    }
    for path in ["/orders/17", "/orders/%20", "/orders/by-external/x", "/orders/by-external/x?user_id=7"] {
        seen.push(f.orderstream.get(path).await.expect(400));
    }
    seen.push(f.orderstream.get(&format!("/orders/by-external/x?user_id={USER}")).await.expect(404));
    assert!(seen.iter().all(|refused| refused.json()["error"].is_string()));
    assert_text!(transcript(&seen));
    assert_eq!(f.events().await, 0);
}

#[tokio::test]
async fn any_content_type_is_read_as_json() {
    let f = Fixture::new();
    for kind in [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("nonsense")] {
        let mut request = Request::post("/orders");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let body = create(&json!({})).into_bytes();
        f.orderstream.send(request.body(body).unwrap()).await.expect(202);
    }
}

#[tokio::test]
async fn an_order_id_is_random_and_its_first_byte_is_the_bucket() {
    let f = Fixture::new();
    for absent in [json!(null), json!(""), json!("0")] {
        let body = json!({"order_id": absent, "user_id": USER, "payload": {}});
        let id = id(&f.orderstream.post(body.to_string()).await.expect(202));
        assert_eq!(&id[14..15], "4", "{id} is of version 4");
        let bucket = u8::from_str_radix(&id[..2], 16).unwrap() % 4;
        let upper = id.to_uppercase();
        for same in [id.as_str(), upper.as_str(), &id.replace('-', "")] {
            assert_eq!(get(&f.orderstream, same).await["bucket"], bucket);
        }
    }
}

#[tokio::test]
async fn payloads_are_kept_as_they_came_and_amounts_are_exact() {
    let f = Fixture::new();
    for (payload, amount) in [
        (
            r#"{"z":1.0,"a":{"b":[1e+2,null,"é"]},"amount":12345678901234567890.10}"#,
            "12345678901234567890.10",
        ),
        (r#"{"items":[{"price":"0.1"},{"price":0.2,"qty":3}]}"#, "0.7"),
        (r#"{"amount":"-3.50"}"#, "-3.50"),
        ("{}", "0"),
    ] {
        let user = format!(r#""user_id":"{USER}""#);
        let text = Value::from(payload).to_string();
        for body in [
            format!(r#"{{{user},"payload":{payload}}}"#),
            format!(r#"{{{user},"payload":{text}}}"#),
            format!(r#"{{{user},"payload_json":{payload}}}"#),
            format!(r#"{{{user},"payload":null,"payload_json":{text}}}"#),
        ] {
            let id = id(&f.orderstream.post(body).await.expect(202));
            let shown = f.orderstream.get(&format!("/orders/{id}")).await.expect(200);
            let expected = format!(r#""amount":{amount},"status":"new","payload_json":{payload},"#);
            assert!(shown.text().contains(&expected), "{expected}: {}", shown.text());
        }
    }
}

#[tokio::test]
async fn the_newest_order_of_a_user_is_found_by_its_external_id() {
    let f = Fixture::new();
    let client = &f.orderstream;
    let find = async |external: &str, user: &str| -> Option<String> {
        let found = client.get(&format!("/orders/by-external/{external}?user_id={user}")).await;
        if found.status == 404 { None } else { found.json()["order"]["order_id"].as_str().map(str::to_owned) }
    };
    let made = async |payload: Value| id(&client.post(create(&payload)).await.expect(202));
    let older = made(json!({"id": "x/y ü"})).await;
    assert_eq!(find("x%2Fy%20%C3%BC", USER).await.as_deref(), Some(older.as_str()));
    let newer = made(json!({"id": "x/y ü"})).await;
    assert_eq!(find("x%2Fy%20%C3%BC", USER).await.as_deref(), Some(newer.as_str()));
    assert_eq!(find("x%2Fy%20%C3%BC", &USER.to_uppercase()).await.as_deref(), Some(newer.as_str()));
    assert_eq!(find("x%2Fy%20%C3%BC", OTHER).await, None);
    let number = made(json!({"id": 42})).await;
    assert_eq!(find("42", USER).await.as_deref(), Some(number.as_str()));
    let update = json!({"order_id": newer, "user_id": OTHER, "payload": {"id": 42}});
    client.post(update.to_string()).await.expect(202);
    assert_eq!(
        find("x%2Fy%20%C3%BC", USER).await.as_deref(),
        Some(older.as_str()),
        "the newer has another id now"
    );
    assert_eq!(find("42", USER).await.as_deref(), Some(number.as_str()), "that came in last");
    assert_eq!(get(client, &newer).await["user_id"], USER, "an update changes nobody's order into another's");
    for none in ["", "nothing", "%00"] {
        assert!(find(none, USER).await.is_none());
    }
}

#[tokio::test]
async fn an_order_of_a_foreign_event_goes_by_the_id_it_came_with() {
    let f = Fixture::new();
    let foreign = "aaaaaaaa-0000-4000-8000-000000000001";
    let payload = r#"{"id":"ext-9"}"#;
    let intake = build::intake(foreign)
        .source("orderstream-events")
        .customer(Some(USER))
        .attribute("payload", payload)
        .attribute("external_id", "\"ext-9\"");
    let order = f.accept(intake).await;
    let shown = get(&f.orderstream, foreign).await;
    assert_eq!((&shown["order_id"], &shown["bucket"]), (&foreign.into(), &(0xaa % 4).into()));
    f.orderstream.get(&format!("/orders/{}", order.id)).await.expect(404);
    let found = f.orderstream.get(&format!("/orders/by-external/ext-9?user_id={USER}")).await.expect(200);
    assert_eq!(found.json()["order"], shown);
    let update = json!({"order_id": foreign, "user_id": USER, "payload": {"amount": 3}});
    assert_eq!(id(&f.orderstream.post(update.to_string()).await.expect(202)), foreign);
    let source = SourceId::new("orderstream-events").unwrap();
    let derived = OrderId::derived(&TenantId::default_tenant(), &source, &Reference::new(foreign).unwrap());
    assert_eq!(derived, order.id);
}

#[tokio::test]
async fn another_tenants_or_sources_order_is_not_there() {
    let f = Fixture::new();
    for intake in [
        build::intake("A").source("api"),
        build::intake("A").source("orderstream").tenant("other").customer(Some(USER)),
    ] {
        let order = f.accept(intake.attribute("external_id", "\"e\"")).await;
        f.orderstream.get(&format!("/orders/{}", order.id)).await.expect(404);
        let delete = json!({"order_id": order.id.to_string(), "user_id": USER, "status": "deleted"});
        f.orderstream.post(delete.to_string()).await.expect(404);
    }
    f.orderstream.get(&format!("/orders/by-external/e?user_id={USER}")).await.expect(404);
}

#[tokio::test]
async fn health_is_text_or_json_as_asked_for() {
    let f = Fixture::new();
    let health = async |accept: Option<&str>| {
        let mut request = Request::get("/health");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        f.orderstream.send(request.body(Vec::new()).unwrap()).await.expect(200).text().to_owned()
    };
    for text in [None, Some("*/*"), Some("text/plain"), Some("text/html,*/*;q=0.8")] {
        assert_eq!(health(text).await, "ok");
    }
    for json in ["application/json", "text/html, Application/JSON;q=0.5"] {
        assert_eq!(health(Some(json)).await, r#"{"status":"ok"}"#);
    }
}
