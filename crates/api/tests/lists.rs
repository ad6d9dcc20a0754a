//! Lists by text, by time, and along what changed.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use order_core::TenantId;
use rig::Rig;
use serde_json::{Value, json};

fn references(page: &Value) -> Vec<&str> {
    page["orders"].as_array().unwrap().iter().map(|order| order["reference"].as_str().unwrap()).collect()
}

async fn accept(rig: &Rig, reference: &str, customer: &str) -> Value {
    rig.order(&json!({"reference": reference, "customer": customer, "total": "1"}).to_string()).await
}

/// All pages of a list, each asked for by the cursor of the one before.
async fn all_pages(rig: &Rig, path: &str) -> Vec<String> {
    let (mut seen, mut asked) = (Vec::new(), path.to_owned());
    loop {
        let page = rig.get(&asked).await.json();
        seen.extend(references(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { return seen };
        asked = format!("{path}&after={next}");
    }
}

#[tokio::test]
async fn a_text_finds_references_before_customers() {
    let rig = Rig::new();
    for (reference, customer) in [("A-2", "c-1"), ("c-1", "A-9"), ("A-1", "c-1"), ("B", "a")] {
        accept(&rig, reference, customer).await;
    }
    for (query, expected) in [
        ("q=A-", &["A-1", "A-2", "c-1"][..]),
        ("q=c-1", &["c-1", "A-1", "A-2"]),
        ("q=c-1&customer=c-1", &["A-1", "A-2"]),
        ("q=nothing", &[]),
        ("q=B&withdrawn=false&processing=queued&source=api", &["B"]),
    ] {
        for limit in [1, 2, 50] {
            let path = format!("/v1/orders?{query}&limit={limit}");
            assert_eq!(all_pages(&rig, &path).await, expected, "{path}");
        }
    }
    let b = rig.get("/v1/orders?reference=B").await.json()["orders"][0].clone();
    let beginning = &b["order_id"].as_str().unwrap()[..13];
    assert_eq!(all_pages(&rig, &format!("/v1/orders?q={beginning}")).await, ["B"], "by id");
    assert_eq!(all_pages(&rig, &format!("/v1/orders?q={}", beginning.to_uppercase())).await, ["B"]);
}

#[tokio::test]
async fn orders_are_listed_by_when_they_came() {
    let rig = Rig::new();
    let orders =
        [accept(&rig, "one", "c").await, accept(&rig, "two", "c").await, accept(&rig, "three", "c").await];
    let at = |index: usize| orders[index]["accepted_at"].as_str().unwrap();
    for (query, expected) in [
        (format!("accepted_from={}", at(1)), &["three", "two"][..]),
        (format!("accepted_to={}", at(1)), &["one"]),
        (format!("accepted_from={}&accepted_to={}", at(1), at(2)), &["two"]),
        (format!("accepted_from={}&q=t", at(1)), &["three", "two"]),
        ("accepted_from=2999-01-01T00:00:00Z".to_owned(), &[]),
    ] {
        assert_eq!(all_pages(&rig, &format!("/v1/orders?limit=1&{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn parked_orders_are_found_by_their_error_and_their_text() {
    let rig = Rig::new();
    let orders = [accept(&rig, "a1", "c").await, accept(&rig, "a2", "d").await, accept(&rig, "b", "c").await];
    rig.work(&[(&orders[0], "timed out"), (&orders[1], "out of stock"), (&orders[2], "timed out (again)")])
        .await;
    accept(&rig, "a3", "c").await;
    for (query, expected) in [
        ("error_contains=timed%20out", &["b", "a1"][..]),
        ("error_contains=stock&customer=d", &["a2"]),
        ("error_contains=%25", &[]),
        ("q=a", &["a1", "a2"]),
        ("q=a&error_contains=timed", &["a1"]),
        ("accepted_from=2000-01-01T00:00:00Z&customer=c", &["b", "a1"]),
    ] {
        assert_eq!(all_pages(&rig, &format!("/v1/parked?limit=1&{query}")).await, expected, "{query}");
    }
}

#[tokio::test]
async fn who_goes_on_from_next_hears_of_every_change() {
    let rig = Rig::new();
    let first = accept(&rig, "r1", "c").await;
    accept(&rig, "r2", "c").await;
    let page = rig.get("/v1/orders?updated_since=beginning&limit=1").await.json();
    assert!(
        page.as_object().unwrap().keys().eq(["next", "orders", "up_to_date"]) || page["up_to_date"] == false
    );
    assert_eq!((references(&page), &page["up_to_date"]), (vec!["r1"], &json!(false)));
    let next = page["next"].as_str().unwrap();
    let rest = rig.get(&format!("/v1/orders?updated_since={next}")).await.json();
    assert_eq!((references(&rest), &rest["up_to_date"]), (vec!["r2"], &json!(true)));
    let same = rig.get(&format!("/v1/orders?updated_since=beginning&after={next}")).await.json();
    assert_eq!(same, rest, "after says the same");
    let next = rest["next"].as_str().unwrap().to_owned();
    let nothing = rig.get(&format!("/v1/orders?updated_since={next}")).await.json();
    assert_eq!(nothing, json!({"orders": [], "next": next, "up_to_date": true}), "nothing has changed");
    rig.work(&[(&first, "no")]).await;
    let changed = rig.get(&format!("/v1/orders?updated_since={next}")).await.json();
    let mut seen = references(&changed);
    seen.sort_unstable();
    assert_eq!(seen, ["r1", "r2"]);
    let parked = rig.get(&format!("/v1/orders?updated_since={next}&processing=parked")).await;
    assert_eq!(parked.problem(), "cursor-invalid", "a cursor is good for its filters");
    let parked = rig.get("/v1/orders?updated_since=beginning&processing=parked").await.json();
    assert_eq!(references(&parked), ["r1"]);
    let moment = changed["orders"][0]["updated_at"].as_str().unwrap();
    let since = rig.get(&format!("/v1/orders?updated_since={moment}")).await.json();
    assert_eq!(references(&since).len(), 2, "by a moment");
    let late = rig.get("/v1/orders?updated_since=2999-01-01T00:00:00Z").await.json();
    assert_eq!(late["orders"], json!([]));
}

#[tokio::test]
async fn a_cursor_of_changes_from_an_earlier_history_is_gone() {
    let rig = Rig::new();
    accept(&rig, "r1", "c").await;
    let page = rig.get("/v1/orders?updated_since=beginning").await.json();
    let restored = Rig::over(rig.storage.restored());
    let next = page["next"].as_str().unwrap();
    for path in [
        format!("/v1/orders?updated_since={next}"),
        format!("/v1/orders?updated_since=beginning&after={next}"),
    ] {
        let said = restored.get(&path).await;
        assert_eq!((said.status, said.problem().as_str()), (410, "epoch-changed"), "{path}");
    }
}

/// Numbers go on from where the copy ended: a place of before would lead into another list.
#[tokio::test]
async fn a_place_in_any_list_of_an_earlier_history_is_gone() {
    let rig = Rig::new();
    for number in 1..=3 {
        accept(&rig, &format!("r{number}"), "c").await;
    }
    let order = rig.get("/v1/orders?limit=1").await.json()["orders"][0].clone();
    let events = format!("/v1/orders/{}/events?limit=1", order["order_id"].as_str().unwrap());
    rig.post(&events.replace("events?limit=1", "shipments"), "{}").await;
    let restored = Rig::over(rig.storage.restored());
    for path in ["/v1/orders?limit=1", "/v1/orders?q=r&limit=1", "/v1/orders?customer=c&limit=1", &events] {
        let next = rig.get(path).await.json()["next"].as_str().unwrap().to_owned();
        let path = format!("{path}&after={next}");
        assert_eq!(rig.get(&path).await.status, 200, "{path}");
        let said = restored.get(&path).await;
        assert_eq!((said.status, said.problem().as_str()), (410, "epoch-changed"), "{path}");
        assert_eq!(said.errors(), ["/after epoch-changed"]);
    }
}

#[tokio::test]
async fn the_history_of_an_order_comes_in_pages() {
    let rig = Rig::new();
    accept(&rig, "r1", "c").await;
    let order = rig.get("/v1/orders").await.json()["orders"][0].clone();
    let path = |what: &str| format!("/v1/orders/{}/{what}", order["order_id"].as_str().unwrap());
    for (what, body) in [("shipments", "{}"), ("deliveries", "{}"), ("withdrawals", r#"{"reason": "x"}"#)] {
        assert_eq!(rig.post(&path(what), body).await.status, 200);
    }
    let whole = rig.get(&path("events")).await.json();
    assert_eq!((whole["events"].as_array().unwrap().len(), &whole["next"]), (4, &json!(null)));
    let mut events = Vec::new();
    let mut after = String::new();
    loop {
        let page = rig.get(&format!("{}{after}", path("events?limit=3"))).await.json();
        events.extend(page["events"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(json!(events), whole["events"]);
    accept(&rig, "r2", "c").await;
    let other = rig.get("/v1/orders?limit=1").await.json()["orders"][0]["order_id"].clone();
    let said = rig.get(&format!("/v1/orders/{}/events?{}", other.as_str().unwrap(), &after[1..])).await;
    assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "of another order");
    for (query, error) in
        [("limit=0", "/limit form"), ("limit=1001", "/limit form"), ("x=1", "/x unknown-parameter")]
    {
        assert_eq!(rig.get(&path(&format!("events?{query}"))).await.errors(), [error]);
    }
}

#[tokio::test]
async fn parameters_of_lists_are_strict() {
    let rig = Rig::new();
    accept(&rig, "r1", "c").await;
    accept(&rig, "r2", "c").await;
    for (path, errors) in [
        ("/v1/orders?q=", &["/q form"][..]),
        ("/v1/orders?accepted_from=yesterday&accepted_to=1", &["/accepted_from form", "/accepted_to form"]),
        ("/v1/orders?q=a&reference=b", &["/q contradicts"]),
        ("/v1/orders?q=a&updated_since=beginning", &["/q contradicts"]),
        ("/v1/orders?reference=a&updated_since=beginning", &["/updated_since contradicts"]),
        ("/v1/orders?reference=a&after=AQ", &["/after contradicts"]),
        ("/v1/orders?limit=%2B5", &["/limit form"]),
        ("/v1/events?limit=%2B5", &["/limit form"]),
        ("/v1/parked?limit=-5", &["/limit form"]),
        ("/v1/orders?error_contains=x", &["/error_contains unknown-parameter"]),
        ("/v1/parked?updated_since=beginning", &["/updated_since unknown-parameter"]),
    ] {
        let said = rig.get(path).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "invalid-parameter"), "{path}");
        assert_eq!(said.errors(), errors, "{path}");
    }
    let next = |page: Value| page["next"].as_str().unwrap().to_owned();
    let list = next(rig.get("/v1/orders?limit=1").await.json());
    let search = next(rig.get("/v1/orders?q=r&limit=1").await.json());
    let changes = next(rig.get("/v1/orders?updated_since=beginning&limit=1").await.json());
    for path in [
        format!("/v1/orders?after={search}"),
        format!("/v1/orders?q=r&after={list}"),
        format!("/v1/orders?q=r1&after={search}"),
        format!("/v1/orders?q=r&customer=c&after={search}"),
        format!("/v1/orders?after={list}&withdrawn=false"),
        format!("/v1/parked?after={list}"),
        format!("/v1/orders?updated_since={list}"),
        "/v1/orders?updated_since=yesterday".to_owned(),
        format!("/v1/orders?updated_since=yesterday&after={changes}"),
        format!("/v1/events?after={changes}"),
    ] {
        let said = rig.get(&path).await;
        assert_eq!((said.status, said.problem().as_str()), (400, "cursor-invalid"), "{path}");
    }
    for path in [format!("/v1/orders?after={list}&limit=7"), format!("/v1/orders?q=r&limit=7&after={search}")]
    {
        assert_eq!(rig.get(&path).await.status, 200, "pages of a list may differ in length: {path}");
    }
    let other = Rig::with(|_| {}, TenantId::new("other").unwrap());
    for (path, kind) in [
        (format!("/v1/orders?q=r&after={search}"), "cursor-invalid"),
        (format!("/v1/orders?updated_since={changes}"), "cursor-invalid"),
    ] {
        assert_eq!(other.get(&path).await.problem(), kind, "another tenant's: {path}");
    }
}
