//! Whatever is sent: no 5xx, no inner detail, and nothing written unless it is an order.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use proptest::prelude::*;
use rig::Rig;
use serde_json::{Map, Value, json};

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_filter("a number", |number| number.is_finite()).prop_map(|number| json!(number)),
        "[a-z0-9.-]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((field(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "reference", "source", "customer", "currency", "lines", "total", "attributes", "sku", "name", "quantity",
            "unit_price", "filter", "reason", "dry_run", "order_ids", "all", "error_contains", "from",
            "shipped_at", "tracking_number", "delivered_at",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn body() -> impl Strategy<Value = Value> {
    prop_oneof![
        any_json(),
        prop::collection::vec((field(), any_json()), 0..6)
            .prop_map(|members| Value::Object(members.into_iter().collect())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_is_refused_and_writes_nothing(body in body(), path in "[a-z0-9%/?=&._~-]{0,40}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            for target in ["/v1/orders", "/v1/redrives", "/v1/followers/x/replay"] {
                let said = rig.post(target, &body.to_string()).await;
                assert!(said.status < 500, "{target} {body}: {}", said.text);
                for inner in ["panicked", "src/", ".rs", "SQLITE"] {
                    assert!(!said.text.contains(inner) || body.to_string().contains(inner), "{}", said.text);
                }
                let written = !rig.get("/v1/orders").await.json()["orders"].as_array().unwrap().is_empty();
                assert_eq!(written, target == "/v1/orders" && said.status == 201 || written && target != "/v1/orders");
            }
            if let Ok(uri) = format!("/v1/{path}").parse::<http::Uri>() {
                let said = rig.get(&uri.to_string()).await;
                assert!(said.status < 500, "{uri}: {}", said.text);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_about_an_order_changes_it_or_is_refused(body in body(), if_match in "[ -~]{0,12}", query in "[a-z=&]{0,8}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let order = rig.order(r#"{"lines": [{"sku": "a", "quantity": 1, "unit_price": 1}]}"#).await;
            let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
            for (method, what) in
                [("PATCH", ""), ("POST", "/shipments"), ("POST", "/deliveries"), ("POST", "/withdrawals"), ("POST", "/erasures")]
            {
                for (if_match, query) in [("*", ""), (if_match.as_str(), query.as_str())] {
                    let before = rig.get(&path).await.json();
                    let headers = [("content-type", "application/json"), ("if-match", if_match)];
                    let target = format!("{path}{what}?{query}");
                    let said = rig.ask(method, &target, &headers, &body.to_string()).await;
                    assert!(said.status < 500, "{method} {target} {body}: {}", said.text);
                    let after = rig.get(&path).await.json();
                    assert!(said.status == 200 || after == before, "{method} {target} {body}: {}", said.text);
                }
            }
        });
    }
}
