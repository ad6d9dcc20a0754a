//! `POST /v1/orders` and `GET /v1/orders/{order_id}`.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::order::Content;
use order_core::{Fault, TenantId};
use rig::{Rig, Said, order_id};
use serde_json::{Value, json};
use std::time::Duration;

const EXAMPLE: &str = r#"{"reference": "A-1001", "customer": "c-42", "currency": "EUR",
 "lines": [{"sku": "tea", "quantity": 2, "unit_price": "9.95", "name": "Green tea"}],
 "total": "19.90", "attributes": {"gift": true}}"#;

#[tokio::test]
async fn an_order_is_taken_in_and_shown() {
    let rig = Rig::new();
    let said = rig.post("/v1/orders", EXAMPLE).await;
    assert_eq!(said.status, 201, "{}", said.text);
    let order = said.json();
    let id = order["order_id"].as_str().unwrap();
    let path = format!("/v1/orders/{id}");
    assert_eq!(said.header("location"), Some(path.as_str()));
    assert_eq!((said.header("etag"), said.header("content-type")), (Some("\"1\""), Some("application/json")));
    let expected = json!({
        "order_id": id, "number": order["number"], "source": "api", "reference": "A-1001", "customer": "c-42",
        "currency": "EUR",
        "lines": [{"sku": "tea", "name": "Green tea", "quantity": 2, "unit_price": "9.95", "amount": "19.90"}],
        "total": "19.90", "attributes": {"gift": true}, "version": 1, "processing": "queued",
        "fulfilment": "unshipped", "withdrawn": false, "attempt": 0, "last_error": null,
        "accepted_at": "2025-02-22T10:00:00.000000Z", "updated_at": "2025-02-22T10:00:00.000000Z",
        "processed_at": null, "shipped_at": null, "tracking_number": null, "delivered_at": null,
        "actions": [
            {"name": "revise", "method": "PATCH", "href": path},
            {"name": "withdraw", "method": "POST", "href": format!("{path}/withdrawals")},
            {"name": "ship", "method": "POST", "href": format!("{path}/shipments")},
            {"name": "deliver", "method": "POST", "href": format!("{path}/deliveries")},
            {"name": "erase", "method": "POST", "href": format!("{path}/erasures")}
        ]
    });
    assert_eq!(order.to_string(), expected.to_string());
    let shown = rig.get(&format!("/v1/orders/{id}")).await;
    assert_eq!(
        (shown.status, shown.text.as_str(), shown.header("etag")),
        (200, said.text.as_str(), Some("\"1\""))
    );
    rig.work(&[]).await;
    let shown = rig.get(&format!("/v1/orders/{id}")).await;
    assert_eq!((shown.json()["processing"].as_str(), shown.header("etag")), (Some("done"), Some("\"2\"")));
}

#[tokio::test]
async fn amounts_are_exact_whether_they_are_strings_or_numbers() {
    let rig = Rig::new();
    for (sent, shown) in [
        ("12345678901234567.89", "12345678901234567.89"),
        ("\"0.1000\"", "0.1000"),
        ("1e3", "1000"),
        ("0", "0"),
        ("\"-0\"", "0"),
    ] {
        let order = rig.order(&format!(r#"{{"total": {sent}}}"#)).await;
        assert_eq!(order["total"], shown, "{sent}");
        assert_eq!(
            (&order["reference"], &order["lines"], &order["attributes"]),
            (&Value::Null, &json!([]), &json!({}))
        );
    }
    let order = rig.order(r#"{"lines": [{"sku": "a", "quantity": 3, "unit_price": 0.1}, {"sku": "b", "quantity": 1, "unit_price": "2"}]}"#).await;
    assert_eq!((&order["total"], &order["lines"][0]["amount"]), (&json!("2.3"), &json!("0.3")));
    let order =
        rig.order(r#"{"total": "2.30", "lines": [{"sku": "a", "quantity": 23, "unit_price": 0.1}]}"#).await;
    assert_eq!(order["total"], "2.30");
}

#[tokio::test]
async fn the_same_again_is_answered_with_the_order_as_it_is() {
    let rig = Rig::new();
    let first = rig.order(EXAMPLE).await;
    rig.work(&[]).await;
    let again = rig
        .post(
            "/v1/orders",
            &EXAMPLE.replace("\"19.90\"", "19.9").replace("EUR\",", "EUR\", \"source\": \"api\","),
        )
        .await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    let order = again.json();
    assert_eq!(order["order_id"], first["order_id"]);
    assert_eq!((&order["processing"], again.header("etag")), (&json!("done"), Some("\"2\"")));

    let other = rig.post("/v1/orders", &EXAMPLE.replace("c-42", "c-43").replace("true", "false")).await;
    assert_eq!((other.status, other.problem().as_str()), (422, "duplicate-differs"));
    assert_eq!(other.errors(), ["/customer differs", "/attributes/gift differs"]);
    assert_eq!(other.json()["pointers"], json!(["/customer", "/attributes/gift"]));
    assert_eq!(other.json()["order_id"], first["order_id"]);
    // Another source is another order.
    rig.order(&EXAMPLE.replace("EUR\",", "EUR\", \"source\": \"shop-1\",")).await;
}

/// Posts an order with an idempotency key.
async fn post_with_key(rig: &Rig, key: &str, body: &str) -> Said {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    rig.ask("POST", "/v1/orders", &headers, body).await
}

#[tokio::test]
async fn a_key_serves_for_one_reference_and_content() {
    let rig = Rig::new();
    let first = post_with_key(&rig, "k-1", r#"{"reference": "A-1", "total": "1"}"#).await;
    assert_eq!(first.status, 201);
    for (body, errors) in [
        (r#"{"reference": "A-2", "total": "1"}"#, &["/reference differs"][..]),
        (r#"{"total": "1"}"#, &["/reference differs"]),
        (r#"{"reference": "A-2", "total": "2"}"#, &["/reference differs", "/total differs"]),
        (
            r#"{"total": "2", "customer": "c"}"#,
            &["/reference differs", "/customer differs", "/total differs"],
        ),
        (r#"{"reference": "A-1", "total": "2"}"#, &["/total differs"]),
        (r#"{"reference": "A-1", "source": "shop", "total": "1"}"#, &["/source differs"]),
    ] {
        let said = post_with_key(&rig, "k-1", body).await;
        assert_eq!((said.status, said.problem().as_str()), (422, "key-reused"), "{body}");
        assert_eq!(said.errors(), errors, "{body}");
        assert_eq!(said.json()["order_id"], first.json()["order_id"], "{body}");
    }
    let again = post_with_key(&rig, "k-1", r#"{"reference": "A-1", "total": "1"}"#).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(rig.get("/v1/orders").await.json()["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_whose_order_became_what_is_sent_names_the_body() {
    let rig = Rig::new();
    let first = post_with_key(&rig, "k-1", r#"{"total": "1"}"#).await.json();
    let target = Target {
        tenant: TenantId::default_tenant(),
        source: None,
        order_id: order_id(&first),
        expected_version: None,
    };
    let content = Content { total: testkit::build::money("2"), ..Content::default() };
    rig.app.change(target, ChangeKind::Revise { content: Box::new(content), requeue: false }).await.unwrap();
    let said = post_with_key(&rig, "k-1", r#"{"total": "2"}"#).await;
    assert_eq!((said.status, said.problem().as_str()), (422, "key-reused"));
    assert_eq!(said.errors(), [" differs"]);
}

#[tokio::test]
async fn a_key_makes_one_order() {
    let rig = Rig::new();
    let post = async |key: &str, body: &str| post_with_key(&rig, key, body).await;
    let first = post("\"8e03978e\"", r#"{"total": 1}"#).await;
    assert_eq!(first.status, 201);
    let again = post("\"8e03978e\"", r#"{"total": "1.0"}"#).await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (200, Some("true")));
    assert_eq!(again.json()["order_id"], first.json()["order_id"]);
    let reused = post("\"8e03978e\"", r#"{"total": 2}"#).await;
    assert_eq!((reused.status, reused.problem().as_str()), (422, "key-reused"));
    assert_eq!(
        (reused.errors(), &reused.json()["order_id"]),
        (vec!["/total differs".to_owned()], &first.json()["order_id"])
    );
    assert_eq!(post("other", r#"{"total": 1}"#).await.status, 201);
    assert_eq!(post(&"k".repeat(255), r#"{"total": 1}"#).await.status, 201);
    for bad in ["", "a b", "é", &"k".repeat(256)] {
        let said = post(bad, r#"{"total": 1}"#).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-key"), "{bad}");
    }
}

#[tokio::test]
async fn what_is_malformed_is_named() {
    let rig = Rig::new();
    let commits = rig.storage.commits();
    for (body, errors) in [
        ("[]", &[" wrong-type"][..]),
        ("null", &[" wrong-type"]),
        (r#"{"total": true}"#, &["/total wrong-type"]),
        (r#"{"total": "1", "lines": {}}"#, &["/lines wrong-type"]),
        (r#"{"total": "1", "lines": [7]}"#, &["/lines/0 wrong-type"]),
        (
            r#"{"total": "1", "reference": 17, "attributes": []}"#,
            &["/reference wrong-type", "/attributes wrong-type"],
        ),
        (
            r#"{"total": "1", "status": "done", "a/b~c": 1}"#,
            &["/status unknown-field", "/a~1b~0c unknown-field"],
        ),
        (
            r#"{"lines": [{"sku": 1, "quantity": "2", "unit_price": [], "amount": "1"}]}"#,
            &[
                "/lines/0/amount unknown-field",
                "/lines/0/sku wrong-type",
                "/lines/0/quantity wrong-type",
                "/lines/0/unit_price wrong-type",
            ],
        ),
        // What is refused as well is named too.
        (r#"{"total": "1", "customer": "", "currency": 1}"#, &["/customer empty", "/currency wrong-type"]),
    ] {
        let said = rig.post("/v1/orders", body).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-body"), "{body}: {}", said.text);
        assert_eq!(said.errors(), errors, "{body}");
    }
    for (body, error) in [
        ("", " missing"),
        (" \r\n", " missing"),
        ("{\"total\": NaN}", " malformed"),
        (r#"{"total": 1, "total": 2}"#, "/total duplicate-key"),
        ("{\"customer\": \"a\\u0000\"}", "/customer nul"),
        (&format!("{{\"attributes\": {}{}}}", "[".repeat(40), "]".repeat(40)), "too-deep"),
    ] {
        let said = rig.post("/v1/orders", body).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-json"), "{body}");
        assert!(said.errors()[0].ends_with(error), "{body}: {:?}", said.errors());
    }
    let nothing = rig.post("/v1/orders", "").await.json();
    let detail = "A body is needed, and there is none: send one as Content-Type says, described at /v1/docs";
    assert_eq!(
        (&nothing["detail"], &nothing["errors"][0]["message"]),
        (&json!(detail), &json!("a body is needed: send JSON"))
    );
    assert_eq!(rig.post("/v1/orders?x=1", EXAMPLE).await.errors(), ["/x unknown-parameter"]);
    let plain = rig.ask("POST", "/v1/orders", &[("content-type", "text/plain")], EXAMPLE).await;
    assert_eq!((plain.status, plain.problem().as_str()), (415, "media-type-unsupported"));
    let large = rig.post("/v1/orders", &format!("{{\"customer\": \"{}\"}}", "x".repeat(300_000))).await;
    assert_eq!((large.status, large.problem().as_str()), (413, "body-too-large"));
    assert_eq!(rig.storage.commits(), commits, "nothing is written");
}

#[tokio::test]
async fn values_that_are_refused_are_named() {
    let rig = Rig::new();
    let line = |quantity: &str, price: &str| {
        format!(r#"{{"lines": [{{"sku": "a", "quantity": {quantity}, "unit_price": {price}}}]}}"#)
    };
    let long = "x".repeat(256);
    let nines = "9".repeat(28);
    for (body, errors) in [
        ("{}".to_owned(), &["/total missing"][..]),
        (r#"{"lines": []}"#.to_owned(), &["/total missing"]),
        (r#"{"total": null}"#.to_owned(), &["/total missing"]),
        (r#"{"total": "-0.01"}"#.to_owned(), &["/total negative"]),
        (r#"{"total": -1}"#.to_owned(), &["/total negative"]),
        (r#"{"total": "abc"}"#.to_owned(), &["/total not-a-number"]),
        (r#"{"total": "NaN"}"#.to_owned(), &["/total not-a-number"]),
        (r#"{"total": 1e400}"#.to_owned(), &["/total too-many-digits"]),
        (
            format!(r#"{{"total": 1, "customer": "{long}", "reference": ""}}"#),
            &["/reference empty", "/customer too-long"],
        ),
        (r#"{"total": 1, "currency": "eur"}"#.to_owned(), &["/currency form"]),
        (r#"{"total": 1, "currency": "EURO"}"#.to_owned(), &["/currency form"]),
        (r#"{"total": 1, "source": "Shop"}"#.to_owned(), &["/source form"]),
        (r#"{"total": 1, "source": "oscarps"}"#.to_owned(), &["/source reserved"]),
        (r#"{"total": 1, "source": "orderstream-events"}"#.to_owned(), &["/source reserved"]),
        (line("0", "1"), &["/lines/0/quantity range"]),
        (line("-1", "1"), &["/lines/0/quantity range"]),
        (line("1.5", "1"), &["/lines/0/quantity range"]),
        (line("2147483648", "1"), &["/lines/0/quantity range"]),
        (line("2147483647", &format!("\"{nines}\"")), &["/lines/0/unit_price too-many-digits"]),
        (
            r#"{"lines": [{}]}"#.to_owned(),
            &["/lines/0/sku missing", "/lines/0/quantity missing", "/lines/0/unit_price missing"],
        ),
        (
            r#"{"total": "3", "customer": "", "lines": [{"sku": "a", "quantity": 1, "unit_price": "1"}]}"#
                .to_owned(),
            &["/customer empty", "/total disagrees"],
        ),
        (
            format!(
                r#"{{"lines": [{{"sku": "a", "quantity": 1, "unit_price": "{nines}"}}, {{"sku": "b", "quantity": 1, "unit_price": "0.1"}}]}}"#
            ),
            &["/lines too-many-digits"],
        ),
    ] {
        let said = rig.post("/v1/orders", &body).await;
        assert_eq!((said.status, said.problem().as_str()), (422, "value-refused"), "{body}: {}", said.text);
        assert_eq!(said.errors(), errors, "{body}");
    }
    let many = format!(r#"{{"total": 1, "lines": [{}7]}}"#, "7,".repeat(5_000));
    assert_eq!(rig.post("/v1/orders", &many).await.errors().len(), 100);
    assert!(rig.get("/v1/orders").await.json()["orders"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn an_order_that_is_not_there_or_not_ours_is_unknown() {
    let rig = Rig::new();
    let unknown = rig.get("/v1/orders/230e0945-205f-8eaa-8fef-55ebf134b616").await;
    assert_eq!((unknown.status, unknown.problem().as_str()), (404, "order-unknown"));
    let foreign = testkit::build::intake("A-1").tenant("other").build();
    let order_core::intake::Accepted::New(foreign) = rig.app.accept(foreign).await.unwrap() else {
        unreachable!()
    };
    assert_eq!(rig.get(&format!("/v1/orders/{}", foreign.id)).await.problem(), "order-unknown");
    assert_eq!(rig.get(&format!("/v1/orders/{}/events", foreign.id)).await.problem(), "order-unknown");
    for bad in ["x", "230e0945205f8eaa8fef55ebf134b616", "{230e0945-205f-8eaa-8fef-55ebf134b616}", "%20"] {
        let said = rig.get(&format!("/v1/orders/{}", bad.replace('{', "%7B").replace('}', "%7D"))).await;
        assert_eq!((said.status, said.errors()), (400, vec!["/order_id form".to_owned()]), "{bad}");
    }
    assert_eq!(rig.get("/v1/orders/%ff").await.problem(), "uri-invalid");
}

#[tokio::test]
async fn a_storage_that_is_away_is_said_to_be() {
    let rig = Rig::new();
    let away = || Fault::Unavailable {
        why: "disk I/O error in /var/lib".into(),
        retry_after: Duration::from_secs(3),
    };
    rig.storage.down(Some(away()));
    for said in
        [rig.post("/v1/orders", EXAMPLE).await, rig.get("/v1/orders").await, rig.get("/v1/events").await]
    {
        assert_eq!(
            (said.status, said.problem().as_str(), said.header("retry-after")),
            (503, "unavailable", Some("3"))
        );
        assert!(!said.text.contains("disk"), "{}", said.text);
    }
    rig.storage.down(None);
    rig.order(EXAMPLE).await;
    rig.storage.refuse_reference("A-2");
    let said = rig.post("/v1/orders", &EXAMPLE.replace("A-1001", "A-2")).await;
    assert_eq!((said.status, said.problem().as_str()), (500, "internal"));
}

#[tokio::test]
async fn a_line_may_cost_nothing() {
    let rig = Rig::new();
    let order = rig
        .order(
            r#"{"lines": [{"sku": "sample", "quantity": 3, "unit_price": "0.00"},
                {"sku": "tea", "quantity": 1, "unit_price": 5}, {"sku": "card", "quantity": 1, "unit_price": "0.000"}]}"#,
        )
        .await;
    assert_eq!(order["total"], "5.000");
}

/// `2.0` is an integer to JSON Schema, and an amount as a string has the form that the schema states.
#[tokio::test]
async fn numbers_are_taken_as_the_schema_states_them() {
    let rig = Rig::new();
    for quantity in ["2", "2.0", "2e0", "20e-1"] {
        let body = format!(r#"{{"lines": [{{"sku": "a", "quantity": {quantity}, "unit_price": 1e2}}]}}"#);
        let order = rig.order(&body).await;
        assert_eq!(
            (&order["lines"][0]["quantity"], &order["total"]),
            (&json!(2), &json!("200")),
            "{quantity}"
        );
    }
    for quantity in ["2.5", "0.0", "-1.0", "1e99", "2147483648.0"] {
        let body = format!(r#"{{"lines": [{{"sku": "a", "quantity": {quantity}, "unit_price": 1}}]}}"#);
        let said = rig.post("/v1/orders", &body).await;
        assert_eq!(
            (said.status, said.errors()),
            (422, vec!["/lines/0/quantity range".to_owned()]),
            "{quantity}"
        );
    }
    for total in ["1e2", "1E2", "1e0"] {
        let said = rig.post("/v1/orders", &json!({ "total": total }).to_string()).await;
        assert_eq!((said.status, said.errors()), (422, vec!["/total not-a-number".to_owned()]), "{total}");
    }
    let claimed = rig.post("/v1/work/claim", r#"{"max": 1.0, "lease_seconds": 6e1}"#).await;
    assert_eq!(claimed.status, 200, "{}", claimed.text);
}

/// What is wrong with a body that is compressed is not its type.
#[tokio::test]
async fn a_coded_body_is_refused_by_its_coding() {
    let rig = Rig::new();
    let order = rig.order(r#"{"total": 1}"#).await;
    let address = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
    let shipments = format!("{address}/shipments");
    for (method, path, kind) in [
        ("POST", "/v1/orders", "application/json"),
        ("POST", "/v1/orders/bulk", "application/x-ndjson"),
        ("PATCH", address.as_str(), "application/merge-patch+json"),
        ("POST", shipments.as_str(), "application/json"),
    ] {
        let headers = [("content-type", kind), ("content-encoding", "gzip"), ("if-match", "*")];
        let said = rig.ask(method, path, &headers, "{}").await;
        assert_eq!((said.status, said.problem().as_str()), (415, "content-coded"), "{path}: {}", said.text);
        assert_eq!(said.header("accept-encoding"), Some("identity"), "{path}");
        let detail = said.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("Content-Encoding") && detail.contains("not compressed"), "{detail}");
    }
}
