//! Compares whole documents: OpenAPI, AsyncAPI, the JSON Schema of an event.

use crate::findings::Findings;
use crate::schemas::{Comparison, From, resolved};
use serde_json::{Map, Value};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// What comparing two OpenAPI documents comes to.
pub(crate) fn openapi(old: &Value, new: &Value) -> Findings {
    let mut it = Comparison::new(old, new);
    gone_and_new(&mut it, "path", &old["paths"], &new["paths"]);
    for (path, before) in members(&old["paths"]) {
        let Some(after) = new["paths"].get(path) else { continue };
        for method in METHODS {
            let place = format!("{} {path}", method.to_uppercase());
            match (before.get(method), after.get(method)) {
                (Some(before), Some(after)) => operation(&mut it, &place, before, after),
                (Some(_), None) => it.findings.breaks(&place, "the operation is gone"),
                (None, Some(_)) => it.findings.adds(&place, "the operation is new"),
                (None, None) => {}
            }
        }
    }
    security_schemes(&mut it, old, new);
    ended(it, old, new)
}

fn operation(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    it.findings.same(place, "operationId", &old["operationId"], &new["operationId"]);
    if old["security"] != new["security"] {
        let what = format!("it needs {}, needed {}", new["security"], old["security"]);
        it.findings.breaks(place, what);
    }
    parameters(it, place, old, new);
    body(it, place, &old["requestBody"], &new["requestBody"]);
    gone_and_new(it, &format!("{place}: response"), &old["responses"], &new["responses"]);
    for (status, before) in members(&old["responses"]) {
        let Some(after) = new["responses"].get(status) else { continue };
        let place = format!("{place}: response {status}");
        content(it, &place, before, after, From::Server);
        gone_and_new(it, &format!("{place}: header"), &before["headers"], &after["headers"]);
        for (name, header) in members(&before["headers"]) {
            if let Some(now) = after["headers"].get(name) {
                let place = format!("{place}: header {name}");
                it.schemas(&place, &header["schema"], &now["schema"], From::Server);
            }
        }
    }
}

fn parameters(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    let list = |operation: &Value| operation["parameters"].as_array().cloned().unwrap_or_default();
    let is = |one: &Value, other: &Value| one["in"] == other["in"] && one["name"] == other["name"];
    let (olds, news) = (list(old), list(new));
    let place = |one: &Value| format!("{place}: parameter {}", one["name"].as_str().unwrap_or("?"));
    for before in &olds {
        let Some(after) = news.iter().find(|after| is(before, after)) else {
            it.findings.breaks(&place(before), "is gone, and what is unknown is refused");
            continue;
        };
        match (before["required"] == true, after["required"] == true) {
            (false, true) => it.findings.breaks(&place(before), "is required now"),
            (true, false) => it.findings.adds(&place(before), "may be left out now"),
            _ => {}
        }
        it.schemas(&place(before), &before["schema"], &after["schema"], From::Client);
    }
    for after in news.iter().filter(|after| !olds.iter().any(|before| is(before, after))) {
        let required = after["required"] == true;
        it.findings.add(required, &place(after), if required { "is new and required" } else { "is new" });
    }
}

fn body(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    let place = format!("{place}: request");
    match (old.is_null(), new.is_null()) {
        (true, true) => {}
        (false, true) => it.findings.breaks(&place, "takes no body any more"),
        (true, false) => it.findings.add(new["required"] == true, &place, "takes a body now"),
        (false, false) => {
            match (old["required"] == true, new["required"] == true) {
                (false, true) => it.findings.breaks(&place, "the body is required now"),
                (true, false) => it.findings.adds(&place, "the body may be left out now"),
                _ => {}
            }
            content(it, &place, old, new, From::Client);
        }
    }
}

fn content(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value, from: From) {
    gone_and_new(it, place, &old["content"], &new["content"]);
    for (kind, before) in members(&old["content"]) {
        if let Some(after) = new["content"].get(kind) {
            it.schemas(&format!("{place} {kind}"), &before["schema"], &after["schema"], from);
        }
    }
}

/// What comparing two AsyncAPI documents comes to.
pub(crate) fn asyncapi(old: &Value, new: &Value) -> Findings {
    let mut it = Comparison::new(old, new);
    it.findings.same(
        "document",
        "defaultContentType",
        &old["defaultContentType"],
        &new["defaultContentType"],
    );
    for part in ["servers", "channels", "operations"] {
        gone_and_new(&mut it, part.trim_end_matches('s'), &old[part], &new[part]);
    }
    for (name, before, after) in both(&old["servers"], &new["servers"]) {
        for what in ["protocol", "security"] {
            it.findings.same(&format!("server {name}"), what, &before[what], &after[what]);
        }
    }
    for (name, before, after) in both(&old["channels"], &new["channels"]) {
        let place = format!("channel {name}");
        for what in ["address", "servers"] {
            it.findings.same(&place, what, &before[what], &after[what]);
        }
        for part in ["messages", "parameters"] {
            gone_and_new(&mut it, &format!("{place}: {part}"), &before[part], &after[part]);
        }
        for (message, before, after) in both(&before["messages"], &after["messages"]) {
            self::message(&mut it, &format!("{place}: {message}"), before, after);
        }
    }
    for (name, before, after) in both(&old["operations"], &new["operations"]) {
        async_operation(&mut it, &format!("operation {name}"), before, after);
    }
    security_schemes(&mut it, old, new);
    ended(it, old, new)
}

fn message(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    let (was, is) = (resolved(it.old, old), resolved(it.new, new));
    for what in ["name", "contentType"] {
        it.findings.same(place, what, &was[what], &is[what]);
    }
    it.schemas(place, &was["payload"], &is["payload"], From::Server);
}

fn async_operation(it: &mut Comparison<'_>, place: &str, old: &Value, new: &Value) {
    for what in ["action", "channel", "x-scope"] {
        it.findings.same(place, what, &old[what], &new[what]);
    }
    let list = |operation: &Value| operation["messages"].as_array().cloned().unwrap_or_default();
    let (before, after) = (list(old), list(new));
    for gone in before.iter().filter(|message| !after.contains(message)) {
        it.findings.breaks(place, format!("the message {gone} is gone"));
    }
    for more in after.iter().filter(|message| !before.contains(message)) {
        it.findings.adds(place, format!("the message {more} is new"));
    }
    let [before, after] = [old, new].map(|operation| &operation["bindings"]["http"]);
    it.findings.same(place, "method", &before["method"], &after["method"]);
    it.schemas(&format!("{place}: query"), &before["query"], &after["query"], From::Client);
}

/// What comparing two JSON Schemas of an event comes to.
pub(crate) fn event(old: &Value, new: &Value) -> Findings {
    let mut it = Comparison::new(old, new);
    it.findings.same("schema", "$id", &old["$id"], &new["$id"]);
    it.schemas("event", old, new, From::Server);
    ended(it, old, new)
}

fn security_schemes(it: &mut Comparison<'_>, old: &Value, new: &Value) {
    let [old, new] = [old, new].map(|document| &document["components"]["securitySchemes"]);
    gone_and_new(it, "login", old, new);
    for (name, before, after) in both(old, new) {
        for what in ["type", "scheme"] {
            it.findings.same(&format!("login {name}"), what, &before[what], &after[what]);
        }
    }
}

/// What was named before and is not now is breaking; what is named now and was not before is added.
fn gone_and_new(it: &mut Comparison<'_>, what: &str, old: &Value, new: &Value) {
    for (name, _) in members(old).filter(|(name, _)| new.get(name).is_none()) {
        it.findings.breaks(&format!("{what} {name}"), "is gone");
    }
    for (name, _) in members(new).filter(|(name, _)| old.get(name).is_none()) {
        it.findings.adds(&format!("{what} {name}"), "is new");
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

/// What both name.
fn both<'d>(old: &'d Value, new: &'d Value) -> impl Iterator<Item = (&'d String, &'d Value, &'d Value)> {
    members(old).filter_map(|(name, before)| Some((name, before, new.get(name)?)))
}

/// What differs and was not found above is words: descriptions, examples.
fn ended(mut it: Comparison<'_>, old: &Value, new: &Value) -> Findings {
    if it.findings.0.is_empty() && old != new {
        it.findings.adds("document", "its words changed");
    }
    it.findings
}
