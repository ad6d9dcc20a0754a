//! The AsyncAPI 3.0 document: where events can be read, and what each looks like. Made from the same types as the
//! OpenAPI document.

use super::event_schemas::{Described, described, event_of};
use crate::schema;
use edge::{Declared, Need};
use http::Method;
use order_core::event::EventType;
use serde_json::{Map, Value, json};

const ROOT: &str = "#/components/schemas/";

const DESCRIPTION: &str = "Everything that happens to an order is an event in the journal. Those of one order come in \
     its order, `version` by `version`, at least once; an `event_id` seen before is a repetition. `data` of a type only \
     ever gains members, and there will be more types: ignore what you do not know. Each schema alone is at \
     `/schemas/events`.";

const FEED: &str = "Events of all orders. As JSON it is read page by page: `next` of a page is `after` of the next one, \
     also at the end, where it stands still. With `Accept: text/event-stream` it is a stream without end (WHATWG \
     server-sent events): `id` is the cursor behind the event, `event` its type, `data` its JSON in one line; come back \
     with `Last-Event-ID`.";

const NDJSON: &str = "The file that the follower `ndjson` appends to: an event a line, in the form of the feed. A \
     replay appends the same events again. `ndjson.path` names another file, or standard output.";

/// The document for a server that is reached at `host`, such as `127.0.0.1:3000`, by TLS or without; what its routes need
/// is `declared`.
pub(crate) fn document(host: &str, tls: bool, declared: &[Declared]) -> Value {
    let protocol = if tls { "https" } else { "http" };
    let needs = |path: &str| {
        let route = declared.iter().find(|route| route.method == Method::GET && route.path == path);
        match route.map(|route| route.need) {
            Some(Need::Scope(scope)) => scope.name(),
            _ => "",
        }
    };
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "wellorder",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "here": {
                "host": host, "protocol": protocol, "description": "This server",
                "security": [{ "$ref": "#/components/securitySchemes/bearer" }],
            },
            "folder": {
                "host": "localhost", "pathname": "/events.ndjson", "protocol": "file",
                "description": "The data folder, on the machine of the server",
            },
        },
        "channels": channels(),
        "operations": {
            "readFeed": operation("feed", "A page of the feed", &["page"], needs("/events"), &json!({
                "type": "object", "properties": {
                    "after": { "type": "string", "description": "`next` of the page before" },
                    "limit": { "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 },
                },
            })),
            "followFeed": operation("feed", "The feed as a stream", &types(), needs("/events"), &json!({
                "type": "object", "properties": {
                    "after": { "type": "string", "description": "Where to begin; `Last-Event-ID` wins" },
                },
            })),
            "readOrder": operation(
                "order", "The events of one order", &["page"], needs("/orders/{order_id}/events"),
                &json!({ "type": "object", "properties": {} }),
            ),
            "writeFile": {
                "action": "send", "summary": "The feed as lines of a file", "channel": { "$ref": "#/channels/ndjson" },
                "messages": messages_of("ndjson", &types()),
            },
        },
        "components": {
            "messages": messages(),
            "schemas": schemas(),
            "securitySchemes": { "bearer": {
                "type": "http", "scheme": "bearer",
                "description": "An API key or a token; `wellorder dev` needs none",
            } },
        },
    })
}

/// The types that this version writes.
fn types() -> Vec<&'static str> {
    EventType::KNOWN.iter().map(EventType::as_str).collect()
}

fn channels() -> Value {
    let mut feed = types();
    feed.push("page");
    let from = |name: &&str| ((*name).to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }));
    let all = |names: &[&str]| names.iter().map(from).collect::<Map<_, _>>();
    json!({
        "feed": {
            "address": "/v1/events", "title": "The feed", "description": FEED,
            "servers": [{ "$ref": "#/servers/here" }], "messages": all(&feed),
        },
        "order": {
            "address": "/v1/orders/{order_id}/events", "title": "One order",
            "description": "What happened to one order, oldest first, page by page.",
            "servers": [{ "$ref": "#/servers/here" }], "messages": all(&["page"]),
            "parameters": { "order_id": { "description": "The order's id" } },
        },
        "ndjson": {
            "address": null, "title": "The file", "description": NDJSON,
            "servers": [{ "$ref": "#/servers/folder" }], "messages": all(&types()),
        },
    })
}

/// What this server sends to whoever asks.
fn operation(channel: &str, summary: &str, messages: &[&str], scope: &str, query: &Value) -> Value {
    json!({
        "action": "send", "summary": summary, "channel": { "$ref": format!("#/channels/{channel}") },
        "messages": messages_of(channel, messages),
        "bindings": { "http": { "method": "GET", "query": query, "bindingVersion": "0.3.0" } },
        "x-scope": scope,
    })
}

fn messages_of(channel: &str, names: &[&str]) -> Vec<Value> {
    let from = |name: &&str| json!({ "$ref": format!("#/channels/{channel}/messages/{name}") });
    names.iter().map(from).collect()
}

fn messages() -> Map<String, Value> {
    let event = |kind: &EventType| {
        let word = kind.as_str();
        let Described { schema, .. } = event_of(kind, ROOT)?;
        let message = json!({
            "name": word, "title": word, "summary": schema["description"], "contentType": "application/json",
            "payload": { "$ref": format!("{ROOT}{word}") },
            "examples": [{ "payload": schema["examples"][0] }],
        });
        Some((word.to_owned(), message))
    };
    let page = json!({
        "name": "page", "title": "A page of events", "contentType": "application/json",
        "payload": { "$ref": format!("{ROOT}EventList") },
    });
    let page = std::iter::once(("page".to_owned(), page));
    EventType::KNOWN.iter().filter_map(event).chain(page).collect()
}

fn schemas() -> Map<String, Value> {
    let events = EventType::KNOWN.iter().filter_map(|kind| event_of(kind, ROOT));
    let mut schemas = Map::new();
    for Described { name, schema, parts } in events.chain([described::<schema::EventList>(ROOT)]) {
        schemas.insert(name, schema);
        schemas.extend(parts);
    }
    schemas
}
