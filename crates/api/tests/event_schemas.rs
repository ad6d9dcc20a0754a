//! The JSON Schemas of events and the AsyncAPI document say what the feed gives out.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod rig;

use jsonschema::Validator;
use order_core::event::EventType;
use order_core::process::{Worker, WorkerPolicy};
use rig::{Rig, order_id};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use testkit::ScriptedProcessor;
use testkit::processors::Act;

const TRICKY: &str = r#"{
    "reference": "a \"quoted\" \u0007 🫖", "customer": "c", "currency": "EUR",
    "lines": [{"sku": "tea", "quantity": 2, "unit_price": 9.95}, {"sku": "b", "quantity": 1, "unit_price": "0.10", "name": "B"}],
    "attributes": {"deep": [{"n": 1.10}, null], "simulate": true}
}"#;

/// The feed of an installation in which everything happened that can, some of it to an order that was erased after.
async fn everything() -> (Rig, Vec<Value>) {
    let rig = Rig::new();
    let orders = [rig.order(TRICKY).await, rig.order(r#"{"total": "0"}"#).await];
    let processor = ScriptedProcessor::new();
    processor.script(order_id(&orders[0]), [Act::fail("again"), Act::hopeless("no"), Act::done()]);
    let worker = Worker::new(Arc::clone(&rig.app), processor, WorkerPolicy::default());
    for _ in 0..2 {
        rig.clock.advance(std::time::Duration::from_secs(60));
        worker.step().await.unwrap();
    }
    let redrive = rig.post("/v1/redrives", r#"{"filter": {"all": true}, "reason": "back"}"#).await;
    let address = redrive.header("location").unwrap().to_owned();
    while rig.get(&address).await.json()["state"] != "finished" {
        tokio::task::yield_now().await;
    }
    rig.clock.advance(std::time::Duration::from_secs(60));
    worker.step().await.unwrap();
    for (order, tracking) in orders.iter().zip([r#"{"tracking_number": "1Z"}"#, "{}"]) {
        let path = format!("/v1/orders/{}", order["order_id"].as_str().unwrap());
        let headers = [("content-type", "application/merge-patch+json"), ("if-match", "*")];
        let patch = r#"{"customer": "other", "attributes": {"new": 1}}"#;
        assert_eq!(rig.ask("PATCH", &path, &headers, patch).await.status, 200);
        for (verb, body) in
            [("shipments", tracking), ("deliveries", "{}"), ("withdrawals", r#"{"reason": "late"}"#)]
        {
            let said = rig.post(&format!("{path}/{verb}"), body).await;
            assert_eq!(said.status, 200, "{verb}: {}", said.text);
        }
    }
    let events = feed(&rig).await;
    let path = format!("/v1/orders/{}/erasures", orders[0]["order_id"].as_str().unwrap());
    assert_eq!(rig.post(&path, "{}").await.status, 200);
    let blanked = feed(&rig).await;
    (rig, [events, blanked].concat())
}

async fn feed(rig: &Rig) -> Vec<Value> {
    let page = rig.get("/v1/events?limit=1000").await.json();
    page["events"].as_array().unwrap().clone()
}

async fn schema(rig: &Rig, name: &str) -> Value {
    let said = rig.get(&format!("/schemas/events/{name}.json")).await;
    assert_eq!((said.status, said.header("content-type")), (200, Some("application/schema+json")));
    said.json()
}

/// The schema without room for members that it does not name: readers ignore those, the server must not send them.
fn closed(schema: &Value) -> Value {
    match schema {
        Value::Object(members) => {
            let mut closed: serde_json::Map<String, Value> =
                members.iter().map(|(name, value)| (name.clone(), closed(value))).collect();
            if members.get("properties").is_some_and(Value::is_object) {
                closed.insert("additionalProperties".to_owned(), false.into());
            }
            closed.into()
        }
        Value::Array(items) => items.iter().map(closed).collect(),
        other => other.clone(),
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|error| panic!("no schema: {error}"));
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

/// Every value in which one member is added to, or one taken from, some object of `value`; not below `attributes`,
/// where everything is allowed.
fn spoilt(value: &Value) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    match value {
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("invented".to_owned(), 1.into());
            all.push(("/invented".to_owned(), more.into()));
            for (name, member) in members {
                let mut fewer = members.clone();
                fewer.remove(name);
                all.push((format!("/{name}"), fewer.into()));
                for (place, spoilt) in if name == "attributes" { Vec::new() } else { spoilt(member) } {
                    let mut other = members.clone();
                    other.insert(name.clone(), spoilt);
                    all.push((format!("/{name}{place}"), other.into()));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                for (place, spoilt) in spoilt(item) {
                    let mut other = items.clone();
                    other[index] = spoilt;
                    all.push((format!("/{index}{place}"), other.into()));
                }
            }
        }
        _ => {}
    }
    all
}

/// Whether it is a member that a type gained: events that were written before lack it, and are read by the same schema.
fn gained(word: &str, place: &str) -> bool {
    match place {
        "/data/by" => ["order.accepted", "order.revised", "order.shipped", "order.delivered", "order.erased"]
            .contains(&word),
        "/data/started_at" => word == "order.parked",
        _ => false,
    }
}

#[tokio::test]
async fn every_event_that_is_written_is_as_its_schema_says_with_nothing_more_and_nothing_less() {
    let (rig, events) = everything().await;
    let envelope = validator(&closed(&schema(&rig, "envelope").await));
    let mut by_type = BTreeMap::<&str, Vec<&Value>>::new();
    for event in &events {
        by_type.entry(event["type"].as_str().unwrap()).or_default().push(event);
    }
    let known: BTreeSet<&str> = EventType::KNOWN.iter().map(EventType::as_str).collect();
    assert_eq!(by_type.keys().copied().collect::<BTreeSet<_>>(), known, "each type happened");
    for (word, events) in by_type {
        let schema = schema(&rig, word).await;
        let (open, closed) = (validator(&schema), validator(&closed(&schema)));
        for event in events {
            for (name, validator) in [("closed", &closed), ("open", &open), ("envelope", &envelope)] {
                if let Err(error) = validator.validate(event) {
                    panic!("{name} {word} at {}: {error}\n{event}", error.instance_path());
                }
            }
            for member in
                ["by", "started_at"].into_iter().filter(|name| gained(word, &format!("/data/{name}")))
            {
                assert!(event["data"].get(member).is_some(), "{word} says {member} now: {event}");
            }
            for (place, spoilt) in spoilt(event).into_iter().filter(|(place, _)| !gained(word, place)) {
                assert!(!closed.is_valid(&spoilt), "{word}: {place} makes no difference");
                // Whoever reads by the schema as it is given out bears what is new, and misses what is gone.
                assert_eq!(open.is_valid(&spoilt), place.ends_with("/invented"), "{word}: {place}");
            }
        }
        let mut other = by_example(&schema);
        assert!(closed.is_valid(&other), "the example of {word}: {other}");
        other["type"] = "order.imagined".into();
        assert!(!open.is_valid(&other), "{word} is this type alone");
    }
}

fn by_example(schema: &Value) -> Value {
    schema["examples"][0].clone()
}

#[tokio::test]
async fn the_schemas_are_listed_and_each_stands_alone() {
    let rig = Rig::new();
    let list = rig.get("/schemas/events").await.json();
    let names: Vec<&str> =
        list["schemas"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    let types = EventType::KNOWN.iter().map(EventType::as_str);
    assert_eq!(names, std::iter::once("envelope").chain(types).collect::<Vec<_>>());
    let mut ids = BTreeSet::new();
    for one in list["schemas"].as_array().unwrap() {
        let schema = rig.get(one["href"].as_str().unwrap()).await.json();
        assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
        assert!(ids.insert(schema["$id"].to_string()), "{schema}");
        let text = schema.to_string();
        for (at, _) in text.match_indices("\"$ref\":\"") {
            assert!(text[at..].starts_with("\"$ref\":\"#/$defs/"), "{}", &text[at..]);
        }
    }
    for unknown in ["/schemas/events/order.imagined.json", "/schemas/events/order.accepted", "/schemas"] {
        assert_eq!(rig.get(unknown).await.problem(), "route-unknown", "{unknown}");
    }
}

async fn asyncapi(rig: &Rig, host: &str) -> Value {
    let said = rig.ask("GET", "/asyncapi.json", &[("host", host)], "").await;
    assert_eq!((said.status, said.header("content-type")), (200, Some("application/json")));
    said.json()
}

/// Every `$ref` in the document.
fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(members) => {
            let own = members.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(members.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn the_asyncapi_document_holds_together_and_names_the_server_that_was_asked() {
    let (rig, events) = everything().await;
    let document = asyncapi(&rig, "orders.example:8443").await;
    assert_eq!(document["asyncapi"], "3.0.0");
    let here = &document["servers"]["here"];
    assert_eq!((&here["host"], &here["protocol"]), (&json!("orders.example:8443"), &json!("http")));
    assert_eq!(api::described::asyncapi("x", true)["servers"]["here"]["protocol"], "https");
    assert_eq!(asyncapi(&rig, "a\"b").await["servers"]["here"]["host"], "localhost");
    for reference in references(&document) {
        let place = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads away"));
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    for (name, operation) in document["operations"].as_object().unwrap() {
        let channel = operation["channel"]["$ref"].as_str().unwrap();
        for message in operation["messages"].as_array().unwrap() {
            let message = message["$ref"].as_str().unwrap();
            assert!(message.starts_with(&format!("{channel}/messages/")), "{name}: {message}");
        }
        let Some(path) = document.pointer(&format!("{}/address", &channel[1..])).and_then(Value::as_str)
        else {
            continue;
        };
        let route = api::declared().into_iter().find(|route| format!("/v1{}", route.path) == path);
        let edge::Need::Scope(scope) = route.unwrap().need else { panic!("{path} needs nothing") };
        assert_eq!(operation["x-scope"], scope.name(), "{name}");
    }
    // What is said of a message here is what its own schema says.
    for event in &events {
        let word = event["type"].as_str().unwrap();
        let payload = &document["components"]["messages"][word]["payload"]["$ref"];
        assert_eq!(payload, &json!(format!("#/components/schemas/{word}")));
        let mut schema = closed(&document["components"]["schemas"][word]);
        schema["components"] = closed(&document["components"]);
        let validator = jsonschema::draft7::options().build(&schema).unwrap();
        assert!(validator.is_valid(event), "{word}: {event}");
    }
}

#[tokio::test]
async fn the_documents_link_to_each_other() {
    let rig = Rig::new();
    let page = rig.get("/").await.text;
    let openapi = rig.get("/openapi.json").await.json();
    let about = openapi["info"]["description"].as_str().unwrap();
    for link in ["/asyncapi.json", "/schemas/events"] {
        assert!(page.contains(&format!("href=\"{link}\"")), "{page}");
        assert!(about.contains(&format!("]({link})")), "{about}");
        assert_eq!(rig.get(link).await.status, 200);
    }
    let mut whole = api::described::openapi();
    assert_ne!(whole, openapi, "what this server does not serve is left out");
    whole["paths"].as_object_mut().unwrap().remove("/metrics");
    assert_eq!(whole, openapi, "what is printed without a server is what is served");
    assert_eq!(api::described::asyncapi("localhost", false), rig.get("/asyncapi.json").await.json());
}
