//! `oscarps`: the documented calls, ids, money, duplicates.

use crate::harness::{Fixture, transcript};
use metrics_exporter_prometheus::PrometheusBuilder;
use order_core::TenantId;
use std::sync::Arc;
use testkit::build;

const ORDER: &str = r#"{"orderId":"A-1001","customer":"c-42","total":199.99}"#;

#[tokio::test]
async fn the_documented_calls_answer_as_documented() {
    let f = Fixture::new();
    assert_text!(transcript(&[
        f.oscarps.post(ORDER).await,
        f.oscarps.post(ORDER).await,
        f.oscarps.get("/orders/A-1001").await,
        f.oscarps.get("/orders/A-1002").await,
        f.oscarps.get("/health").await,
    ]));
    assert_eq!(f.events().await, 1);
}

#[tokio::test]
async fn a_duplicate_that_differs_says_where_and_changes_nothing() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    assert_text!(transcript(&[
        f.oscarps.post(r#"{"total":"199.990","customer":"c-42","orderId":"A-1001"}"#).await,
        f.oscarps.post(r#"{"orderId":"A-1001","customer":"c-42","total":200}"#).await,
        f.oscarps.post(r#"{"orderId":"A-1001","customer":"c-43","total":0.01}"#).await,
    ]));
    assert_eq!(f.events().await, 1);
}

#[test]
fn only_duplicates_that_differ_are_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    metrics::with_local_recorder(&recorder, || {
        runtime.block_on(async {
            let f = Fixture::new();
            f.oscarps.post(ORDER).await.expect(201);
            f.oscarps.post(ORDER).await.expect(200);
            for _ in 0..2 {
                f.oscarps.post(r#"{"orderId":"A-1001","customer":"c-43","total":199.99}"#).await.expect(200);
            }
        });
    });
    let rendered = recorder.handle().render();
    assert!(rendered.contains("wellorder_duplicates_differing_total{contract=\"oscarps\"} 2"), "{rendered}");
}

#[tokio::test]
async fn a_difference_that_this_contract_cannot_show_is_none() {
    let f = Fixture::new();
    let made = build::intake("A-1001").source("oscarps").no_lines().total("199.99").currency(Some("EUR"));
    f.accept(made.attribute("gift", "true")).await;
    let again = f.oscarps.post(ORDER).await.expect(200);
    assert_eq!(again.header("wellorder-duplicate-differs"), None, "{again}");
}

#[tokio::test]
async fn posts_at_once_of_one_id_make_one_order() {
    let f = Arc::new(Fixture::new());
    let mut posts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let f = f.clone();
        posts.spawn(async move { f.oscarps.post(ORDER).await });
    }
    let replies = posts.join_all().await;
    let created = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!((created, replies.iter().filter(|reply| reply.status == 200).count()), (1, 19));
    assert!(replies.iter().all(|reply| reply.body == replies[0].body));
    assert_eq!(f.events().await, 1);
}

#[tokio::test]
async fn every_id_of_up_to_255_bytes_can_be_read_back() {
    let f = Fixture::new();
    let longest = "é/".repeat(85);
    assert_eq!(longest.len(), 255);
    let ids = [
        "A-1", "a/b/c", "/", "100%", "a b+c", "ключ", "%2F", "?x=1", "#", "{id}", "😀", ".a", "\"'\\",
        &longest,
    ];
    for id in ids {
        let body = serde_json::json!({"orderId": id, "customer": "c", "total": 1});
        f.oscarps.post(body.to_string()).await.expect(201);
        let path: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let read = f.oscarps.get(&format!("/orders/{path}")).await.expect(200);
        assert_eq!(read.json()["orderId"], id);
    }
    for unknown in ["nope", &"a".repeat(256), "A-1%20", "a-1"] {
        let refused = f.oscarps.get(&format!("/orders/{unknown}")).await.expect(404);
        assert_eq!(refused.text(), r#"{"message":"Order not found"}"#);
    }
    for no_text in ["%00", "%FF", "%C3%28", "%", "%zz", "100%"] {
        let refused = f.oscarps.get(&format!("/orders/{no_text}")).await.expect(400);
        assert!(refused.json()["message"].is_string());
    }
}

#[tokio::test]
async fn query_strings_are_ignored() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    f.oscarps.get("/orders/A-1001?verbose=1&x=%20").await.expect(200);
    f.oscarps.get("/health?x").await.expect(200);
}

#[tokio::test]
async fn money_keeps_its_digits_and_is_a_number() {
    let f = Fixture::new();
    let totals = [
        ("199.99", "199.99"),
        ("199.990", "199.990"),
        (r#""199.99""#, "199.99"),
        ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
        ("9999999999999999999999999999", "9999999999999999999999999999"),
        (r#""12345678901234567890123456.78""#, "12345678901234567890123456.78"),
        ("9007199254740993", "9007199254740993"),
        ("0.1", "0.1"),
        ("1e3", "1000"),
        (r#""1.5E-2""#, "0.015"),
    ];
    for (index, (sent, shown)) in totals.into_iter().enumerate() {
        let body = format!(r#"{{"orderId":"T-{index}","customer":"c","total":{sent}}}"#);
        let made = f.oscarps.post(body.as_str()).await.expect(201);
        let read = f.oscarps.get(&format!("/orders/T-{index}")).await.expect(200);
        for reply in [made, read] {
            assert!(reply.text().contains(&format!(r#""total":{shown},"#)), "{sent}: {}", reply.text());
        }
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored() {
    let f = Fixture::new();
    let body =
        r#"{"orderId":"A-1001","customer":"c-42","total":199.99,"status":"PROCESSED","attempts":7,"id":"x"}"#;
    let made = f.oscarps.post(body).await.expect(201).json();
    assert_eq!((&made["status"], &made["attempts"]), (&"PENDING".into(), &0.into()));
    let again = f.oscarps.post(ORDER).await.expect(200);
    assert_eq!(again.header("wellorder-duplicate-differs"), None);
}

#[tokio::test]
async fn another_tenants_or_sources_order_is_not_there() {
    let f = Fixture::new();
    f.accept(build::intake("A-1001")).await;
    f.accept(build::intake("A-1001").source("parspec")).await;
    f.accept(build::intake("A-1001").source("oscarps").tenant("other")).await;
    f.oscarps.get("/orders/A-1001").await.expect(404);
    f.oscarps.post(ORDER).await.expect(201);
    assert_eq!(f.events().await, 4);
}

#[tokio::test]
async fn an_order_is_the_tenants_of_the_mount() {
    let f = Fixture::new();
    f.oscarps.post(ORDER).await.expect(201);
    let order = f.order_by_number(1).await;
    assert_eq!((order.tenant, order.source.as_str()), (TenantId::default_tenant(), "oscarps"));
    assert_eq!(order.reference.unwrap().as_str(), "A-1001");
    assert_eq!(order.content.customer.as_deref(), Some("c-42"));
    assert!(order.content.attributes.is_empty() && order.content.lines.is_empty());
}
