//! `parspec`: the documented calls, idempotency keys, counts.

use crate::harness::{Fixture, transcript};
use testkit::build;

const ORDER: &str = r#"{
  "userId": "user-123",
  "itemIds": ["item1", "item2"],
  "totalAmount": 59.99
}"#;

#[tokio::test]
async fn the_documented_calls_answer_as_documented() {
    let f = Fixture::new();
    assert_text!(transcript(&[
        f.parspec.get("/metrics").await,
        f.parspec.post(ORDER).await,
        f.parspec.get("/orders/1").await,
        f.parspec.get("/metrics").await,
    ]));
}

#[tokio::test]
async fn two_posts_are_two_orders() {
    let f = Fixture::new();
    let first = f.parspec.post(ORDER).await.expect(201).json();
    let second = f.parspec.post(ORDER).await.expect(201).json();
    assert_eq!((&first["order"]["id"], &second["order"]["id"]), (&1.into(), &2.into()));
    assert_eq!(f.parspec.get("/metrics").await.json()["totalOrders"], 2);
}

#[tokio::test]
async fn a_key_makes_one_order() {
    let f = Fixture::new();
    let key = "Idempotency-Key";
    assert_text!(transcript(&[
        f.parspec.post_with(key, "k-1", ORDER).await,
        f.parspec.post_with(key, "k-1", ORDER).await,
        f.parspec.post_with(key, "k-1", &ORDER.replace("59.99", "\"59.990\"")).await,
        f.parspec.post_with(key, "k-1", &ORDER.replace("item2", "item3").replace("59.99", "60")).await,
        f.parspec.post_with(key, "k-1", &ORDER.replace("user-123", "user-124")).await,
        f.parspec.post_with(key, "k-1", &ORDER.replace(", \"item2\"", "")).await,
        f.parspec.post_with(key, "k-2", ORDER).await,
    ]));
    assert_eq!(f.events().await, 2);
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_nothing_is_written() {
    let f = Fixture::new();
    let long = "k".repeat(256);
    for bad in [&b""[..], b"a b", b"caf\xc3\xa9", b"\xff", b"a\tb", long.as_bytes()] {
        let refused = f.parspec.post_with("Idempotency-Key", bad, ORDER).await.expect(400);
        assert_eq!(
            refused.text(),
            r#"{"error":"Invalid Idempotency-Key: one header of 1 to 255 visible ASCII characters is read"}"#
        );
    }
    let twice = http::Request::post("/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", "a")
        .header("idempotency-key", "a");
    f.parspec.send(twice.body(ORDER.as_bytes().to_vec()).unwrap()).await.expect(400);
    assert_eq!(f.storage.commits(), 0);
    f.parspec.post_with("Idempotency-Key", "k".repeat(255), ORDER).await.expect(201);
    f.parspec.post_with("Idempotency-Key", "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", ORDER).await.expect(201);
}

#[tokio::test]
async fn only_digits_are_an_id() {
    let f = Fixture::new();
    f.parspec.post(ORDER).await.expect(201);
    for good in ["1", "01", "000000000000000000000000001", "%31", "1?x=abc"] {
        f.parspec.get(&format!("/orders/{good}")).await.expect(200);
    }
    for unknown in ["0", "2", "9223372036854775807", "9223372036854775808", &"9".repeat(500)] {
        let refused = f.parspec.get(&format!("/orders/{unknown}")).await.expect(404);
        assert_eq!(refused.text(), r#"{"error":"Order not found"}"#);
    }
    for bad in ["abc", "-1", "+1", "1.0", "1e0", "0x1", "1%20", "%201", "1a", "%D9%A1", "1%2F2", "NaN"] {
        let refused = f.parspec.get(&format!("/orders/{bad}")).await.expect(400);
        assert_eq!(refused.text(), r#"{"error":"Invalid order ID"}"#);
    }
    for no_text in ["%00", "%FF"] {
        assert!(f.parspec.get(&format!("/orders/{no_text}")).await.expect(400).json()["error"].is_string());
    }
}

#[tokio::test]
async fn amounts_and_items_are_kept_as_they_were_sent() {
    let f = Fixture::new();
    let bodies = [
        (r#""itemIds":[],"totalAmount":0"#, r#""itemIds":[],"totalAmount":0,"#),
        (r#""itemIds":["1",1,"é",-7],"totalAmount":0.00"#, r#""itemIds":["1",1,"é",-7],"totalAmount":0.00,"#),
        (r#""itemIds":[],"totalAmount":"59.990""#, r#""itemIds":[],"totalAmount":59.990,"#),
        (
            r#""itemIds":[12345678901234567890123],"totalAmount":12345678901234567890123456.78"#,
            r#""itemIds":[12345678901234567890123],"totalAmount":12345678901234567890123456.78,"#,
        ),
        (r#""itemIds":[""],"totalAmount":1e2"#, r#""itemIds":[""],"totalAmount":100,"#),
    ];
    for (sent, shown) in bodies {
        let made = f.parspec.post(format!(r#"{{"userId":"u",{sent}}}"#)).await.expect(201);
        let id = made.json()["order"]["id"].clone();
        let read = f.parspec.get(&format!("/orders/{id}")).await.expect(200);
        for reply in [made, read] {
            assert!(reply.text().contains(shown), "{sent}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let f = Fixture::new();
    let body = r#"{"userId":"u","itemIds":[],"totalAmount":1,"id":9,"status":"COMPLETED","simulate":"fail"}"#;
    let order = &f.parspec.post(body).await.expect(201).json()["order"];
    assert_eq!((&order["id"], &order["status"]), (&1.into(), &"PENDING".into()));
    let attributes = f.order_by_number(1).await.content.attributes;
    assert_eq!(attributes.keys().collect::<Vec<_>>(), ["itemIds"]);
}

#[tokio::test]
async fn another_tenants_or_sources_order_is_not_there() {
    let f = Fixture::new();
    for intake in [
        build::intake("A").source("api"),
        build::intake("A").source("oscarps"),
        build::intake("A").source("parspec").tenant("other"),
    ] {
        let number = f.accept(intake).await.number;
        f.parspec.get(&format!("/orders/{number}")).await.expect(404);
    }
    assert_eq!(f.parspec.get("/metrics").await.json()["totalOrders"], 0);
}

#[tokio::test]
async fn a_key_of_another_contract_is_another_key() {
    let f = Fixture::new();
    f.accept(build::intake("A").no_reference().key_on("v1.orders", "k-1")).await;
    f.parspec.post_with("Idempotency-Key", "k-1", ORDER).await.expect(201);
}
