//! Examples of every body, and what the names in paths stand for. A test holds each example against its schema.

use serde_json::{Map, Value};
use utoipa::openapi::RefOr;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{Components, Schema};

/// By the name of their schema.
const BODIES: &str = include_str!("examples.json");

/// Examples of bodies that have no schema, by operation and content type.
const TEXTS: [(&str, &str, &str); 3] = [
    ("metrics", "text/plain", "wellorder_journal_events 17\n"),
    (
        "list_events",
        "text/event-stream",
        "id: AQEG2aTYggd_lMpMIUs44c3mwA\nevent: order.processed\ndata: {\"event_id\":\"…\",\"type\":\"order.processed\",…}\n\n",
    ),
    (
        "create_orders",
        "application/x-ndjson",
        "{\"line\":1,\"status\":201,\"order_id\":\"230e0945-205f-8eaa-8fef-55ebf134b616\"}\n",
    ),
];

/// What stands in paths: its name, what it is, an example.
const NAMES: [(&str, &str, &str); 9] = [
    ("order_id", "The `order_id` of an order, a UUID", "230e0945-205f-8eaa-8fef-55ebf134b616"),
    ("redrive_id", "The `redrive_id` of the job, a UUID", "0193473d-5c1e-7d51-b0a6-6f2a1c5f2f11"),
    ("name", "The follower's `name`, 1 to 255 bytes", "ndjson"),
    ("backup", "The `name` of the copy, as the start of it answered", "wellorder-20260101020000-0193ab.db"),
    ("endpoint_id", "The `endpoint_id` of the endpoint, a UUID", "0193473d-5c1e-7d51-b0a6-6f2a1c5f2f13"),
    (
        "delivery_id",
        "The `delivery_id` of the delivery",
        "0193473d-5c1e-7d51-b0a6-6f2a1c5f2f13.230e0945-205f-8eaa-8fef-55ebf134b616.1",
    ),
    ("key_id", "The `key_id` of the key, 16 hexadecimal digits", "3a91670eb5cb686d"),
    ("store_id", "The `store_id` of a store, a UUID", "0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11"),
    ("receipt", "The receipt, percent-encoded", "order-101"),
];

/// Adds an example to each schema of a body that has none of its own.
pub(super) fn add_to_schemas(components: &mut Components) {
    let examples: Map<String, Value> = serde_json::from_str(BODIES).unwrap_or_default();
    for (name, example) in examples {
        match components.schemas.get_mut(&name) {
            Some(RefOr::T(Schema::Object(object))) => object.example = Some(example),
            Some(RefOr::T(Schema::OneOf(one_of))) => one_of.example = Some(example),
            _ => {}
        }
    }
}

/// Adds examples to what an operation takes in its path, and to texts that it answers.
pub(super) fn add_to_operation(operation: &mut Operation) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let known = NAMES.iter().find(|(name, ..)| parameter.name == *name);
        if let (Some((_, about, example)), ParameterIn::Path) = (known, &parameter.parameter_in) {
            let named = ParameterBuilder::from(parameter.clone());
            *parameter = named.description(Some(*about)).example(Some(Value::from(*example))).build();
        }
    }
    let id = operation.operation_id.clone().unwrap_or_default();
    for (_, content_type, text) in TEXTS.iter().filter(|(of, ..)| *of == id) {
        if let Some(RefOr::T(response)) = operation.responses.responses.get_mut("200")
            && let Some(RefOr::T(content)) = response.content.get_mut(*content_type)
        {
            content.example = Some(Value::from(*text));
        }
    }
}
