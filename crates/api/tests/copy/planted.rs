//! Changes planted into the real documents: each must be told for what it is.

use crate::findings::Findings;
use crate::{Compare, documents, verdict};
use serde_json::{Value, json};

/// A change of a document, whether it breaks, and a part of what is said of it.
type Plant = (fn(&mut Value), bool, &'static str);

fn at<'d>(document: &'d mut Value, pointer: &str) -> &'d mut Value {
    document.pointer_mut(pointer).unwrap_or_else(|| panic!("nothing at {pointer}"))
}

fn remove(document: &mut Value, pointer: &str, name: &str) {
    let removed = at(document, pointer).as_object_mut().unwrap().remove(name);
    assert!(removed.is_some(), "no {name} at {pointer}");
}

/// Takes a word from a list.
fn unlist(document: &mut Value, pointer: &str, word: &str) {
    let list = at(document, pointer).as_array_mut().unwrap();
    let before = list.len();
    list.retain(|one| one != word);
    assert_eq!(list.len() + 1, before, "{word} at {pointer}");
}

fn push(document: &mut Value, pointer: &str, value: Value) {
    at(document, pointer).as_array_mut().unwrap().push(value);
}

fn set(document: &mut Value, pointer: &str, name: &str, value: Value) {
    at(document, pointer)[name] = value;
}

fn check(document: &Value, compare: Compare, plants: &[Plant]) {
    assert_eq!(compare(document, document).0, [], "the same is the same");
    for (index, (plant, breaks, said)) in plants.iter().enumerate() {
        let mut changed = document.clone();
        plant(&mut changed);
        assert_ne!(&changed, document, "plant {index} changes nothing");
        let Findings(found) = compare(document, &changed);
        let fitting = found.iter().find(|one| one.breaking == *breaks && one.to_string().contains(said));
        assert!(fitting.is_some(), "plant {index} ({said}, breaking: {breaks}) is told as {found:#?}");
        let breaking = found.iter().any(|one| one.breaking);
        assert_eq!(breaking, *breaks, "plant {index} ({said}): {found:#?}");
    }
}

const SCHEMAS: &str = "/components/schemas";

#[test]
fn breaking_changes_of_operations_are_told() {
    let plants: [Plant; 8] = [
        (|d| remove(d, "/paths", "/v1/parked"), true, "path /v1/parked: is gone"),
        (|d| remove(d, "/paths/~1v1~1orders", "post"), true, "POST /v1/orders: the operation is gone"),
        (|d| remove(d, "/paths/~1v1~1orders/post/responses", "201"), true, "response 201: is gone"),
        (
            |d| remove(d, "/paths/~1v1~1events/get/responses/200/content", "text/event-stream"),
            true,
            "text/event-stream: is gone",
        ),
        (
            |d| remove(d, "/paths/~1v1~1orders/post/responses/201/headers", "ETag"),
            true,
            "header ETag: is gone",
        ),
        (|d| d["paths"]["/v1/orders"]["get"]["security"] = json!([]), true, "GET /v1/orders: it needs []"),
        (
            |d| d["paths"]["/v1/orders"]["get"]["security"] = json!([{ "bearer": ["orders:write"] }]),
            true,
            "orders:write",
        ),
        (|d| d["paths"]["/v1/orders"]["get"]["operationId"] = json!("x"), true, "operationId"),
    ];
    check(&api::described::openapi(), documents::openapi, &plants);
}

#[test]
fn breaking_changes_of_what_is_asked_are_told() {
    let plants: [Plant; 9] = [
        (
            |d| {
                at(d, "/paths/~1v1~1orders/get/parameters")
                    .as_array_mut()
                    .unwrap()
                    .retain(|p| p["name"] != "q")
            },
            true,
            "parameter q: is gone",
        ),
        (
            |d| {
                let new = json!({"in": "query", "name": "x", "required": true, "schema": {"type": "string"}});
                push(d, "/paths/~1v1~1orders/get/parameters", new);
            },
            true,
            "parameter x: is new and required",
        ),
        (
            |d| {
                let list = at(d, "/paths/~1v1~1orders/get/parameters").as_array_mut().unwrap();
                let limit = list.iter_mut().find(|p| p["name"] == "limit").unwrap();
                limit["schema"]["maximum"] = json!(100);
            },
            true,
            "parameter limit: maximum is 100, was 200",
        ),
        (
            |d| {
                let list = at(d, "/paths/~1v1~1orders/get/parameters").as_array_mut().unwrap();
                list.iter_mut().find(|p| p["name"] == "limit").unwrap()["required"] = json!(true);
            },
            true,
            "parameter limit: is required now",
        ),
        (
            |d| {
                set(d, "/paths/~1v1~1orders~1{order_id}~1shipments/post/requestBody", "required", json!(true))
            },
            true,
            "the body is required now",
        ),
        (|d| remove(d, "/paths/~1v1~1orders/post", "requestBody"), true, "takes no body any more"),
        (
            |d| remove(d, "/paths/~1v1~1orders/post/requestBody/content", "application/json"),
            true,
            "request application/json: is gone",
        ),
        (|d| remove(d, "/components/securitySchemes", "bearer"), true, "login bearer: is gone"),
        (
            |d| {
                let body = json!({"required": true, "content": {}});
                set(d, "/paths/~1v1~1followers~1{name}~1pause/post", "requestBody", body);
            },
            true,
            "takes a body now",
        ),
    ];
    check(&api::described::openapi(), documents::openapi, &plants);
}

#[test]
fn breaking_changes_of_values_are_told() {
    let plants: [Plant; 16] = [
        (|d| remove(d, "/components/schemas/Order/properties", "total"), true, "/total: is gone"),
        (|d| unlist(d, "/components/schemas/Order/required", "total"), true, "/total: may be missing now"),
        (|d| set(d, SCHEMAS, "Money", json!({"type": ["string", "null"]})), true, "may be null now"),
        (|d| set(d, SCHEMAS, "Money", json!({"type": "number"})), true, "may be number now"),
        (|d| unlist(d, "/components/schemas/Processing/enum", "parked"), true, "\"parked\" is gone"),
        (|d| remove(d, "/components/schemas/NewOrder/properties", "customer"), true, "/customer: is gone"),
        (
            |d| set(d, "/components/schemas/NewOrder", "required", json!(["reference"])),
            true,
            "is required now",
        ),
        (
            |d| {
                set(d, "/components/schemas/NewOrder/properties", "x", json!({"type": "string"}));
                set(d, "/components/schemas/NewOrder", "required", json!(["x"]));
            },
            true,
            "/x: is new and required",
        ),
        (
            |d| set(d, "/components/schemas/NewLine/properties/quantity", "maximum", json!(10)),
            true,
            "/quantity: maximum is 10",
        ),
        (
            |d| set(d, "/components/schemas/NewLine/properties/quantity", "minimum", json!(2)),
            true,
            "minimum is 2",
        ),
        (
            |d| set(d, "/components/schemas/NewOrder/properties/reference", "maxLength", json!(64)),
            true,
            "maxLength is 64, was 255",
        ),
        (
            |d| set(d, "/components/schemas/NewOrder/properties/source", "pattern", json!("^[a-z]$")),
            true,
            "pattern is",
        ),
        (
            |d| set(d, "/components/schemas/NewOrder/properties/reference", "type", json!("string")),
            true,
            "is no null any more",
        ),
        (
            |d| {
                at(d, "/components/schemas/NewMoney/oneOf").as_array_mut().unwrap().pop();
            },
            true,
            "one of the ways it was taken is gone",
        ),
        (|d| push(d, "/components/schemas/Matched/oneOf", json!({"type": "boolean"})), true, "another way"),
        (
            |d| set(d, "/components/schemas/NewRedrive/properties/dry_run", "default", json!(true)),
            true,
            "default is true",
        ),
    ];
    check(&api::described::openapi(), documents::openapi, &plants);
}

#[test]
fn additions_are_told_from_what_breaks() {
    let plants: [Plant; 13] = [
        (|d| set(d, "/paths", "/v1/more", json!({"get": {}})), false, "path /v1/more: is new"),
        (|d| set(d, "/paths/~1v1~1orders", "put", json!({})), false, "PUT /v1/orders: the operation is new"),
        (|d| set(d, "/paths/~1v1~1orders/get/responses", "206", json!({})), false, "response 206: is new"),
        (
            |d| {
                let new = json!({"in": "query", "name": "x", "schema": {"type": "string"}});
                push(d, "/paths/~1v1~1orders/get/parameters", new);
            },
            false,
            "parameter x: is new",
        ),
        (
            |d| {
                set(d, "/components/schemas/Order/properties", "x", json!({"type": "string"}));
                push(d, "/components/schemas/Order/required", json!("x"));
            },
            false,
            "/x: is new",
        ),
        (
            |d| set(d, "/components/schemas/NewOrder/properties", "x", json!({"type": "string"})),
            false,
            "/x: is new",
        ),
        (|d| push(d, "/components/schemas/Processing/enum", json!("held")), false, "\"held\" is new"),
        (
            |d| push(d, "/components/schemas/NewMoney/oneOf", json!({"type": "null"})),
            false,
            "its ways changed",
        ),
        (
            |d| set(d, "/components/schemas/NewLine/properties/quantity", "minimum", json!(0)),
            false,
            "minimum is 0, was 1",
        ),
        (|d| unlist(d, "/components/schemas/NewLine/required", "sku"), false, "may be missing now"),
        (
            |d| set(d, "/components/schemas/Order/properties/number", "minimum", json!(2)),
            false,
            "minimum is 2, was 1",
        ),
        (|d| set(d, "/info", "description", json!("other words")), false, "its words changed"),
        (|d| set(d, "/components/schemas/Order", "example", json!({})), false, "its words changed"),
    ];
    check(&api::described::openapi(), documents::openapi, &plants);
}

#[test]
fn changes_of_channels_and_events_are_told() {
    let plants: [Plant; 10] = [
        (|d| remove(d, "/channels", "ndjson"), true, "channel ndjson: is gone"),
        (|d| set(d, "/channels/feed", "address", json!("/v2/events")), true, "address is \"/v2/events\""),
        (|d| remove(d, "/channels/feed/messages", "order.parked"), true, "messages order.parked: is gone"),
        (|d| remove(d, "/operations", "followFeed"), true, "operation followFeed: is gone"),
        (|d| set(d, "/operations/readFeed", "x-scope", json!("keys:admin")), true, "x-scope"),
        (|d| set(d, "/components/messages/page", "contentType", json!("text/xml")), true, "contentType"),
        (
            |d| remove(d, "/components/schemas/OrderParked/properties", "error"),
            true,
            "channel feed: order.parked/data/error: is gone",
        ),
        (|d| set(d, "/operations/readFeed/bindings/http", "method", json!("POST")), true, "method is"),
        (
            |d| set(d, "/components/schemas/OrderParked/properties", "x", json!({"type": "null"})),
            false,
            "/data/x: is new",
        ),
        (|d| set(d, "/channels", "kafka", json!({})), false, "channel kafka: is new"),
    ];
    check(&api::described::asyncapi("localhost", false), documents::asyncapi, &plants);
    let plants: [Plant; 6] = [
        (|d| remove(d, "/properties", "position"), true, "event/position: is gone"),
        (|d| remove(d, "/$defs/OrderAccepted/properties", "currency"), true, "/data/currency: is gone"),
        (
            |d| set(d, "/$defs/OrderAccepted/properties", "number", json!({"type": "string"})),
            true,
            "may be string",
        ),
        (|d| set(d, "/properties/type", "const", json!("order.taken")), true, "\"order.accepted\" is gone"),
        (|d| set(d, "", "$id", json!("urn:other")), true, "$id"),
        (|d| set(d, "/$defs/OrderAccepted/properties", "x", json!({})), false, "/data/x: is new"),
    ];
    check(&api::described::event_schema("order.accepted").unwrap(), documents::event, &plants);
}

#[test]
fn what_breaks_and_what_is_added_are_worded_apart() {
    let lines = ["  openapi.json: x".to_owned()];
    assert_eq!(verdict(&[], false), None);
    let breaking = verdict(&lines, true).unwrap();
    assert!(breaking.contains("BREAKS clients") && !breaking.contains("Refresh the copy"), "{breaking}");
    let addition = verdict(&lines, false).unwrap();
    assert!(addition.contains("Refresh the copy with `cargo xtask api --write`"), "{addition}");
    assert!(!addition.contains("BREAK") && addition.contains(&lines[0]), "{addition}");
}
