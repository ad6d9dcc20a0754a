//! What an order says may be done with it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod rig;

use async_trait::async_trait;
use edge::{Caller, Gate, Refusal, Scope, Scopes};
use http::request::Parts;
use order_core::TenantId;
use rig::{Rig, Said};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Everybody may do what the test says at the moment.
struct Changing(Mutex<Scopes>);

#[async_trait]
impl Gate for Changing {
    async fn admit(&self, _: &Parts) -> Result<Caller, Refusal> {
        let scopes = *self.0.lock().unwrap();
        Ok(Caller {
            tenant: TenantId::default_tenant(),
            subject: "somebody".into(),
            scopes,
            tenant_said: true,
        })
    }
}

fn rig() -> (Rig, Arc<Changing>) {
    let gate = Arc::new(Changing(Mutex::new(Scopes::all())));
    let given = Arc::clone(&gate);
    (Rig::with(|options| options.gate = given, TenantId::default_tenant()), gate)
}

fn names(order: &Value) -> Vec<String> {
    let name = |action: &Value| action["name"].as_str().unwrap().to_owned();
    order["actions"].as_array().unwrap().iter().map(name).collect()
}

fn path(order: &Value) -> String {
    format!("/v1/orders/{}", order["order_id"].as_str().unwrap())
}

/// Does what an action says, at the door that it names.
async fn act(rig: &Rig, order: &Value, action: &Value) -> Said {
    let body = match action["name"].as_str().unwrap() {
        "revise" => json!({"attributes": {"revised": order["version"]}}),
        "withdraw" => json!({"reason": "r"}),
        // What may be told of a shipment that is known.
        "ship" if order["fulfilment"] != "unshipped" => json!({"tracking_number": "T-1"}),
        "redrive" => json!({"filter": {"order_ids": [order["order_id"]]}, "reason": "r"}),
        _ => json!({}),
    };
    rig.clock.tick();
    let headers = [("content-type", "application/json"), ("if-match", "*")];
    let (method, href) = (action["method"].as_str().unwrap(), action["href"].as_str().unwrap());
    rig.ask(method, href, &headers, &body.to_string()).await
}

/// Every action that there is, wherever it may be taken.
fn all_actions(order: &Value) -> Vec<Value> {
    let path = path(order);
    let action =
        |name: &str, method: &str, href: String| json!({"name": name, "method": method, "href": href});
    vec![
        action("revise", "PATCH", path.clone()),
        action("withdraw", "POST", format!("{path}/withdrawals")),
        action("ship", "POST", format!("{path}/shipments")),
        action("deliver", "POST", format!("{path}/deliveries")),
        action("redrive", "POST", "/v1/redrives".to_owned()),
        action("erase", "POST", format!("{path}/erasures")),
    ]
}

/// An order brought into a state: each step an action, or an end of its work.
async fn made(rig: &Rig, steps: &[&str]) -> Value {
    let order = rig.order(r#"{"customer": "c", "total": 1}"#).await;
    for step in steps {
        match *step {
            "done" => rig.work(&[]).await,
            "park" => rig.work(&[(&order, "no")]).await,
            name => {
                let action = all_actions(&order).into_iter().find(|action| action["name"] == name).unwrap();
                assert_eq!(act(rig, &order, &action).await.status, 200, "{steps:?}: {step}");
            }
        }
    }
    rig.get(&path(&order)).await.json()
}

const STATES: &[&[&str]] = &[
    &[],
    &["done"],
    &["park"],
    &["ship"],
    &["done", "ship"],
    &["park", "ship"],
    &["deliver"],
    &["deliver", "ship"],
    &["park", "ship", "deliver"],
    &["withdraw"],
    &["ship", "withdraw"],
    &["deliver", "withdraw"],
    &["done", "erase"],
];

#[tokio::test]
async fn an_action_that_is_told_is_possible_and_no_other_changes_anything() {
    let (rig, _) = rig();
    let mut seen = BTreeSet::new();
    for steps in STATES {
        let order = made(&rig, steps).await;
        for action in all_actions(&order) {
            let fresh = made(&rig, steps).await;
            let told = names(&fresh).contains(&action["name"].as_str().unwrap().to_owned());
            let own: Value =
                all_actions(&fresh).into_iter().find(|own| own["name"] == action["name"]).unwrap();
            if told {
                assert!(
                    fresh["actions"].as_array().unwrap().contains(&own),
                    "{steps:?}: {}",
                    fresh["actions"]
                );
                seen.insert(action["name"].to_string());
            }
            // An erasure is always told of: whether anything is left to erase is found in the history alone.
            let told = told && !(action["name"] == "erase" && steps.contains(&"erase"));
            let said = act(&rig, &fresh, &own).await;
            if action["name"] == "redrive" {
                assert_eq!(said.status, 202);
                let job = said.header("location").unwrap().to_owned();
                let done = loop {
                    let job = rig.get(&job).await.json();
                    if job["state"] == "finished" {
                        break job["redriven"] == 1;
                    }
                    tokio::task::yield_now().await;
                };
                assert_eq!(done, told, "{steps:?} {action}");
                continue;
            }
            let now = rig.get(&path(&fresh)).await.json();
            let changed = now["version"] != fresh["version"];
            assert_eq!(changed, told, "{steps:?} {action}: {}", said.text);
            assert_eq!(
                said.status == 200 && said.header("idempotent-replayed").is_none(),
                told,
                "{}",
                said.text
            );
        }
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[tokio::test]
async fn nobody_is_told_what_they_may_not_do() {
    let (rig, gate) = rig();
    let order = made(&rig, &["park"]).await;
    let all = ["revise", "withdraw", "ship", "deliver", "redrive", "erase"];
    assert_eq!(names(&order), all);
    for (scopes, told) in [
        (vec![Scope::OrdersRead], vec![]),
        (vec![Scope::OrdersRead, Scope::OrdersWrite], vec!["revise", "ship", "deliver"]),
        (vec![Scope::OrdersRead, Scope::OrdersCancel], vec!["withdraw", "erase"]),
        (vec![Scope::OrdersRead, Scope::WorkRedrive], vec!["redrive"]),
    ] {
        *gate.0.lock().unwrap() = scopes.iter().copied().collect();
        let shown = rig.get(&path(&order)).await.json();
        assert_eq!(names(&shown), told, "{scopes:?}");
        let listed = rig.get("/v1/orders").await.json()["orders"][0].clone();
        assert_eq!(listed, shown, "a list shows the same");
        assert_eq!(rig.get("/v1/parked").await.json()["orders"][0], shown);
        for action in all_actions(&order) {
            if !told.contains(&action["name"].as_str().unwrap()) {
                let said = act(&rig, &order, &action).await;
                assert_eq!((said.status, said.problem().as_str()), (403, "forbidden"), "{scopes:?} {action}");
            }
        }
    }
}

#[tokio::test]
async fn actions_are_the_last_member_wherever_an_order_is_answered() {
    let (rig, _) = rig();
    let created = rig.post("/v1/orders", r#"{"reference": "A-1", "total": 1}"#).await;
    let order = created.json();
    let again = rig.post("/v1/orders", r#"{"reference": "A-1", "total": 1}"#).await;
    let revised = act(&rig, &order, &all_actions(&order)[0]).await;
    for said in [created, again, revised, rig.get(&path(&order)).await] {
        assert_eq!(said.json().as_object().unwrap().keys().next_back().unwrap(), "actions", "{}", said.text);
        assert_eq!(names(&said.json()), ["revise", "withdraw", "ship", "deliver", "erase"]);
    }
    let feed = rig.get("/v1/events").await.text;
    assert!(!feed.contains("actions"), "{feed}");
}
