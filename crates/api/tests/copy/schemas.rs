//! Compares JSON Schemas. What breaks depends on who writes the value: of what clients send, less must not be taken; of
//! what the server sends, more must not come. Members may always be added to what the server sends, and words to its
//! enumerations: readers ignore what they do not know. That a member or a word goes is breaking either way.

use crate::findings::Findings;
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashSet};

/// Who writes the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum From {
    Client,
    Server,
}

/// Keywords that bound from below.
const LOWER: [&str; 4] = ["minimum", "exclusiveMinimum", "minLength", "minItems"];
/// Keywords that bound from above.
const UPPER: [&str; 4] = ["maximum", "exclusiveMaximum", "maxLength", "maxItems"];
/// Keywords that allow less than their absence does, in ways that are not compared.
const NARROWING: [&str; 4] = ["pattern", "format", "multipleOf", "uniqueItems"];
const ALTERNATIVES: [&str; 2] = ["oneOf", "anyOf"];

/// A comparison within two documents, which references lead into.
pub(crate) struct Comparison<'d> {
    pub(crate) old: &'d Value,
    pub(crate) new: &'d Value,
    pub(crate) findings: Findings,
    seen: HashSet<(String, String, From)>,
}

impl<'d> Comparison<'d> {
    pub(crate) fn new(old: &'d Value, new: &'d Value) -> Self {
        Self { old, new, findings: Findings::default(), seen: HashSet::new() }
    }

    /// Compares two schemas that stand at `place`; one that is absent (null) allows everything.
    pub(crate) fn schemas(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        if let (Some(old), Some(new)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((old.to_owned(), new.to_owned(), from))
        {
            return;
        }
        let (old, new) = (resolved(self.old, old), resolved(self.new, new));
        if old == new && references_are_none(old) {
            return;
        }
        if ALTERNATIVES.iter().any(|name| old.get(name).is_some() || new.get(name).is_some()) {
            self.alternatives(place, old, new, from);
        } else {
            self.plain(place, old, new, from);
        }
    }

    /// Each way that was taken must still be; each way that comes must have been there.
    fn alternatives(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        let (olds, news) = (ways(old), ways(new));
        let fits = |old: &Value, new: &Value| {
            let mut inner = Comparison::new(self.old, self.new);
            inner.schemas(place, old, new, from);
            !inner.findings.any_breaks()
        };
        let lost: Vec<String> = match from {
            From::Client => {
                let lost = olds.iter().filter(|old| !news.iter().any(|new| fits(old, new)));
                lost.map(|old| format!("one of the ways it was taken is gone: {old}")).collect()
            }
            From::Server => {
                let more = news.iter().filter(|new| !olds.iter().any(|old| fits(old, new)));
                more.map(|new| format!("it may come in another way: {new}")).collect()
            }
        };
        for what in &lost {
            self.findings.breaks(place, what);
        }
        if lost.is_empty() && olds != news {
            self.findings.adds(place, "its ways changed");
        }
    }

    fn plain(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        self.types(place, old, new, from);
        self.words(place, old, new, from);
        for (names, sign) in [(LOWER, 1.0), (UPPER, -1.0)] {
            for name in names {
                self.limit(place, name, [old, new].map(|schema| schema[name].as_f64()), sign, from);
            }
        }
        for name in NARROWING {
            self.narrowing(place, name, &old[name], &new[name], from);
        }
        if old["default"] != new["default"] {
            let breaking = from == From::Client && !old["default"].is_null();
            let what = format!("default is {}, was {}", new["default"], old["default"]);
            self.findings.add(breaking, place, what);
        }
        self.members(place, old, new, from);
        for name in ["items", "additionalProperties"] {
            let [before, after] = [old, new].map(|schema| &schema[name]);
            let closed = json!(false);
            match (*before == closed, *after == closed) {
                (true, true) => {}
                (false, true) if from == From::Client => self.findings.breaks(place, "takes no others now"),
                (true, false) | (false, true) => self.findings.adds(place, format!("{name} changed")),
                (false, false) => self.schemas(&format!("{place}/*"), before, after, from),
            }
        }
    }

    fn types(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        let (before, after) = (types(old), types(new));
        let covers = |wide: &BTreeSet<&str>, one: &str| {
            wide.contains(one) || (one == "integer" && wide.contains("number"))
        };
        for gone in before.iter().filter(|one| !covers(&after, one)) {
            self.findings.add(from == From::Client, place, format!("is no {gone} any more"));
        }
        for more in after.iter().filter(|one| !covers(&before, one)) {
            self.findings.add(from == From::Server, place, format!("may be {more} now"));
        }
    }

    fn words(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        match (words(old), words(new)) {
            (Some(before), Some(after)) => {
                for gone in before.iter().filter(|word| !after.contains(word)) {
                    self.findings.breaks(place, format!("{gone} is gone"));
                }
                for more in after.iter().filter(|word| !before.contains(word)) {
                    self.findings.adds(place, format!("{more} is new"));
                }
            }
            (None, Some(_)) => self.findings.add(from == From::Client, place, "is one of a few words now"),
            (Some(_), None) => self.findings.add(from == From::Server, place, "may be any word now"),
            (None, None) => {}
        }
    }

    /// `sign` is 1 for a lower limit, -1 for an upper one.
    fn limit(&mut self, place: &str, name: &str, limits: [Option<f64>; 2], sign: f64, from: From) {
        let none = f64::NEG_INFINITY;
        let [old, new] = limits.map(|limit| limit.map_or(none, |limit| limit * sign));
        let shown = limits.map(|limit| limit.map_or("none".to_owned(), |limit| limit.to_string()));
        let what = format!("{name} is {}, was {}", shown[1], shown[0]);
        if new > old {
            self.findings.add(from == From::Client, place, what);
        } else if new < old {
            self.findings.add(from == From::Server, place, what);
        }
    }

    fn narrowing(&mut self, place: &str, name: &str, old: &Value, new: &Value, from: From) {
        if old == new {
            return;
        }
        let breaking = match (old.is_null(), new.is_null()) {
            (true, false) => from == From::Client,
            (false, true) => from == From::Server,
            _ => true,
        };
        self.findings.add(breaking, place, format!("{name} is {new}, was {old}"));
    }

    fn members(&mut self, place: &str, old: &Value, new: &Value, from: From) {
        let none = Map::new();
        let [before, after] = [old, new].map(|schema| schema["properties"].as_object().unwrap_or(&none));
        let [needed, needs] = [old, new].map(required);
        for (name, schema) in before {
            let place = format!("{place}/{name}");
            let Some(now) = after.get(name) else {
                self.findings.breaks(&place, "is gone");
                continue;
            };
            self.schemas(&place, schema, now, from);
            match (needed.contains(name.as_str()), needs.contains(name.as_str())) {
                (false, true) => self.findings.add(from == From::Client, &place, "is required now"),
                (true, false) => self.findings.add(from == From::Server, &place, "may be missing now"),
                _ => {}
            }
        }
        for name in after.keys().filter(|name| !before.contains_key(*name)) {
            let place = format!("{place}/{name}");
            if from == From::Client && needs.contains(name.as_str()) {
                self.findings.breaks(&place, "is new and required");
            } else {
                self.findings.adds(&place, "is new");
            }
        }
    }
}

/// What a reference stands for.
pub(crate) fn resolved<'d>(document: &'d Value, value: &'d Value) -> &'d Value {
    let place = value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#'));
    match place {
        Some(place) => document.pointer(place).unwrap_or(&Value::Null),
        None => value,
    }
}

/// Whether nothing in there leads elsewhere, where something else may stand now.
fn references_are_none(value: &Value) -> bool {
    !value.to_string().contains("\"$ref\"")
}

fn ways(schema: &Value) -> Vec<&Value> {
    let listed = ALTERNATIVES.iter().find_map(|name| schema.get(name)?.as_array());
    listed.map_or_else(|| vec![schema], |ways| ways.iter().collect())
}

fn types(schema: &Value) -> BTreeSet<&str> {
    match &schema["type"] {
        Value::String(one) => BTreeSet::from([one.as_str()]),
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ if words(schema).is_some() => BTreeSet::from(["string"]),
        _ => BTreeSet::from(["null", "boolean", "number", "string", "array", "object"]),
    }
}

fn words(schema: &Value) -> Option<Vec<&Value>> {
    match (schema.get("const"), &schema["enum"]) {
        (Some(word), _) => Some(vec![word]),
        (None, Value::Array(words)) => Some(words.iter().collect()),
        _ => None,
    }
}

fn required(schema: &Value) -> BTreeSet<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}
