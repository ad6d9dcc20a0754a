//! Who did what to an order is told with it, whoever it was; refused logins are kept, few rows for many.

use crate::harness::{Home, Server};
use crate::login::{Token, ask, offline_key, serving};
use serde_json::{Value, json};

/// What an order's timeline says of who did what, as (type, by).
async fn told(server: &Server, bearer: &str, order_id: &str) -> Vec<(String, Value)> {
    let path = format!("/v1/orders/{order_id}/timeline");
    let timeline = ask(server, "GET", &path, Some(bearer), None).await.json();
    let entries = timeline["entries"].as_array().unwrap_or_else(|| panic!("{timeline}"));
    let brief = |entry: &Value| (entry["type"].as_str().unwrap().to_owned(), entry["by"].clone());
    entries.iter().map(brief).collect()
}

/// The same of the events, where consumers read it.
async fn carried(server: &Server, bearer: &str, order_id: &str) -> Vec<(String, Value)> {
    let path = format!("/v1/orders/{order_id}/events");
    let events = ask(server, "GET", &path, Some(bearer), None).await.json();
    let brief = |event: &Value| (event["type"].as_str().unwrap().to_owned(), event["data"]["by"].clone());
    events["events"].as_array().unwrap().iter().map(brief).collect()
}

fn all_by(types: &[&str], by: &str) -> Vec<(String, Value)> {
    types.iter().map(|name| (format!("order.{name}"), json!(by))).collect()
}

#[tokio::test]
async fn who_brought_revised_shipped_delivered_and_erased_an_order_is_told() {
    let home = Home::new();
    let key = offline_key(&home, "acme", &["orders:read", "orders:write", "orders:cancel"]);
    let server = serving(&home).api_alone().start().await;
    let (key, person) = (format!("Bearer {key}"), Token::all("acme").bearer());
    let by_key = format!("key:{}", key.split('_').nth(1).unwrap());
    let made = ask(&server, "POST", "/v1/orders", Some(&key), Some(r#"{"total": "1"}"#)).await;
    let id = made.json()["order_id"].as_str().unwrap().to_owned();
    let path = format!("/v1/orders/{id}");
    for (method, path, bearer, body) in [
        ("PATCH", path.clone(), &key, r#"{"total": "1000000"}"#),
        ("POST", format!("{path}/shipments"), &person, r#"{"tracking_number": "x"}"#),
        ("POST", format!("{path}/deliveries"), &key, "{}"),
        ("POST", format!("{path}/withdrawals"), &key, r#"{"reason": "back"}"#),
        ("POST", format!("{path}/erasures"), &person, "{}"),
    ] {
        let reply = ask(&server, method, &path, Some(bearer), Some(body)).await;
        assert_eq!(reply.status, 200, "{method} {path}: {}", reply.text());
    }
    let mut expected =
        all_by(&["accepted", "revised", "shipped", "delivered", "withdrawn", "erased"], &by_key);
    expected[2].1 = json!("tester");
    expected[5].1 = json!("tester");
    assert_eq!(told(&server, &key, &id).await, expected);
    assert_eq!(carried(&server, &key, &id).await, expected, "an erasure leaves who it was");
    let lines = ask(&server, "POST", "/v1/orders/bulk", Some(&key), Some("{\"total\":\"1\"}\n")).await;
    let id = lines.json()["order_id"].as_str().unwrap_or_else(|| panic!("{}", lines.text())).to_owned();
    assert_eq!(carried(&server, &key, &id).await, all_by(&["accepted"], &by_key));
    server.terminate().await;
    home.audited();
}

#[tokio::test]
async fn an_order_of_a_contract_without_a_login_names_the_contract() {
    let server =
        serving(&Home::new()).env("WELLORDER_CONTRACTS_OSCARPS_PUBLIC", "true").api_alone().start().await;
    let body = r#"{"orderId": "A-1", "customer": "c", "total": 1}"#;
    assert_eq!(ask(&server, "POST", "/oscarps/orders", None, Some(body)).await.status, 201);
    let default = Token::all("default").bearer();
    let seen = ask(&server, "GET", "/v1/orders", Some(&default), None).await.json();
    let id = seen["orders"][0]["order_id"].as_str().unwrap();
    assert_eq!(told(&server, &default, id).await, all_by(&["accepted"], "contract:oscarps"));
}

#[tokio::test]
async fn refused_logins_are_few_rows_of_the_operators_action_log() {
    let home = Home::new();
    let start = || serving(&home).env("WELLORDER_AUTH_OPERATOR_TENANT", "ops").api_alone().start();
    let server = start().await;
    for (bearer, times) in [("Bearer wo_canary", 3), ("Bearer x.y.z", 1)] {
        for _ in 0..times {
            assert_eq!(ask(&server, "GET", "/v1/orders", Some(bearer), None).await.status, 401);
        }
    }
    assert_eq!(ask(&server, "GET", "/v1/orders", None, None).await.status, 401, "no credential is no login");
    // What was not kept yet is kept at the end.
    assert_eq!(server.terminate().await.code(), 0);
    assert_eq!(home.run(&["audit", "--actions"]).code(), 0);
    let server = start().await;
    let rows = async |tenant| {
        let bearer = Token::all(tenant).bearer();
        let page = ask(&server, "GET", "/v1/actions", Some(&bearer), None).await.json();
        page["actions"].as_array().unwrap().clone()
    };
    let ops = rows("ops").await;
    let brief = |row: &Value| json!([row["action"], row["by"], row["address"], row["details"]["count"]]);
    let mut counts: Vec<_> = ops.iter().map(brief).collect();
    counts.sort_by_key(Value::to_string);
    let expected = [1, 3].map(|count| json!(["logins.refused", "nobody", "127.0.0.1", count]));
    assert_eq!(counts, expected, "{ops:?}");
    assert!(ops.iter().any(|row| row["subject"] == "api-key"), "{ops:?}");
    assert!(!json!(ops).to_string().contains("canary"), "no part of what was shown: {ops:?}");
    assert_eq!(rows("acme").await, Vec::<Value>::new(), "of no business of other tenants");
}
