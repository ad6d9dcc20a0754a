//! JSON Schemas (2020-12) of events, made from the types that describe them in [`crate::schema`].

use crate::schema;
use crate::schema::events as data;
use order_core::event::EventType;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// The name under which the schema of all events goes.
pub(crate) const ENVELOPE: &str = "envelope";

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A schema with the schemas that it refers to.
pub(crate) struct Described {
    /// Its name among schemas.
    pub(crate) name: String,
    pub(crate) schema: Value,
    /// What it refers to, by name.
    pub(crate) parts: Map<String, Value>,
}

/// The schema of `T`; references begin with `root`.
pub(crate) fn described<T: ToSchema>(root: &str) -> Described {
    let mut collected = Vec::new();
    T::schemas(&mut collected);
    let value = |schema: &_| mended(serde_json::to_value(schema).unwrap_or_default(), root);
    let parts = collected.iter().map(|(name, schema)| (name.clone(), value(schema))).collect();
    Described { name: T::name().into_owned(), schema: value(&T::schema()), parts }
}

/// What the `data` of a type of event holds; `None` for a type that this version does not write.
pub(crate) fn data_of(kind: &EventType, root: &str) -> Option<Described> {
    Some(match kind {
        EventType::OrderAccepted => described::<data::OrderAccepted>(root),
        EventType::OrderRevised => described::<data::OrderRevised>(root),
        EventType::OrderProcessed => described::<data::OrderProcessed>(root),
        EventType::ProcessingFailed => described::<data::OrderProcessingFailed>(root),
        EventType::OrderParked => described::<data::OrderParked>(root),
        EventType::OrderRedriven => described::<data::OrderRedriven>(root),
        EventType::OrderShipped => described::<data::OrderShipped>(root),
        EventType::OrderDelivered => described::<data::OrderDelivered>(root),
        EventType::OrderWithdrawn => described::<data::OrderWithdrawn>(root),
        EventType::OrderErased => described::<data::OrderErased>(root),
        EventType::Unknown(_) => return None,
    })
}

/// An event of one type: the envelope with its `type` and its `data`. References begin with `root`.
pub(crate) fn event_of(kind: &EventType, root: &str) -> Option<Described> {
    let data = data_of(kind, root)?;
    let Described { schema: mut event, .. } = described::<schema::Event>(root);
    let word = kind.as_str();
    let example = example(&event, &data.schema, word);
    event["title"] = word.into();
    event["description"] = data.schema.get("description").cloned().unwrap_or_default();
    event["examples"] = json!([example]);
    event["properties"]["type"] = json!({ "const": word, "description": "What happened." });
    event["properties"]["data"] = json!({ "$ref": format!("{root}{}", data.name) });
    let mut parts = data.parts;
    parts.insert(data.name, data.schema);
    Some(Described { name: word.to_owned(), schema: event, parts })
}

/// The example of an event in general, with the example of this type's `data` in it.
fn example(event: &Value, data: &Value, word: &str) -> Value {
    let mut example = event["examples"][0].clone();
    if word == EventType::OrderAccepted.as_str() {
        example["version"] = 1.into();
    }
    example["type"] = word.into();
    example["data"] = data["examples"][0].clone();
    example
}

/// A document of its own: the schema of a type of event, or of all events for [`ENVELOPE`].
pub(crate) fn document(name: &str) -> Option<Value> {
    const ROOT: &str = "#/$defs/";
    let (described, id) = if name == ENVELOPE {
        let mut envelope = described::<schema::Event>(ROOT);
        envelope.schema["title"] = "event".into();
        (envelope, "urn:wellorder:event".to_owned())
    } else {
        let kind = EventType::from_word(name);
        (event_of(&kind, ROOT)?, format!("urn:wellorder:event:{name}"))
    };
    let mut document = Map::new();
    document.insert("$schema".to_owned(), DIALECT.into());
    document.insert("$id".to_owned(), id.into());
    if let Value::Object(members) = described.schema {
        document.extend(members);
    }
    if !described.parts.is_empty() {
        document.insert("$defs".to_owned(), described.parts.into());
    }
    Some(document.into())
}

/// The names of all documents: the envelope, then each type.
pub(crate) fn names() -> Vec<String> {
    let types = EventType::KNOWN.iter().map(|kind| kind.as_str().to_owned());
    std::iter::once(ENVELOPE.to_owned()).chain(types).collect()
}

/// The schema as JSON Schema says it: references into `root`, a list of examples.
fn mended(schema: Value, root: &str) -> Value {
    match schema {
        Value::Object(members) => {
            let mend = |(name, value): (String, Value)| match (name.as_str(), value) {
                ("$ref", Value::String(target)) => {
                    let part = target.rsplit('/').next().unwrap_or_default();
                    (name, format!("{root}{part}").into())
                }
                ("example", example) => ("examples".to_owned(), json!([example])),
                ("examples" | "enum" | "default" | "const", value) => (name, value),
                (_, value) => (name, mended(value, root)),
            };
            members.into_iter().map(mend).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.into_iter().map(|item| mended(item, root)).collect(),
        other => other,
    }
}
