//! `kcat` at the topics of `orderstream`, and at the one of our own form.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{PATIENCE, STEP, Scene};
use crate::shell::wait_until;

const USER: &str = "4b1f8b7e-3f0c-4f0e-9a53-0d9a4b6f3c11";
/// Of an order that another program makes up; no other run has the topics.
const THEIRS: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

/// A record as `kcat` shows it.
struct Record(Value);

impl Record {
    fn key(&self) -> &str {
        self.0["key"].as_str().unwrap_or_default()
    }

    fn text(&self) -> &str {
        self.0["payload"].as_str().unwrap_or_default()
    }

    fn body(&self) -> Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    /// Names and values stand in turn.
    fn headers(&self) -> BTreeMap<&str, &str> {
        let all: Vec<&str> =
            self.0["headers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        all.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }
}

/// Everything in a topic; nothing while there is no such topic.
fn read(scene: &Scene, topic: &str) -> Result<Vec<Record>> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-C", "-q", "-e", "-J", "-b", &scene.brokers, "-t", topic]).stderr(Stdio::null());
    let out = kcat.output().context("cannot start kcat")?;
    if !out.status.success() {
        return Ok(Vec::new());
    }
    let lines = String::from_utf8(out.stdout)?;
    lines.lines().map(|line| Ok(Record(serde_json::from_str(line)?))).collect()
}

/// Waits until a topic has a record that is so, and returns the first that is.
fn until(scene: &Scene, topic: &str, what: &str, is: impl Fn(&Record) -> bool) -> Result<Record> {
    let mut found = Ok(None);
    wait_until(PATIENCE, STEP, || {
        found = read(scene, topic).map(|records| records.into_iter().find(&is));
        !matches!(found, Ok(None))
    });
    found?.with_context(|| format!("{topic} never has {what}"))
}

fn write(scene: &Scene, topic: &str, args: &[&str], value: &str) -> Result<()> {
    let mut kcat = Command::new("kcat");
    kcat.args(["-P", "-b", &scene.brokers, "-t", topic]).args(args).stdin(Stdio::piped());
    let mut kcat = kcat.spawn().context("cannot start kcat")?;
    let Some(mut input) = kcat.stdin.take() else { bail!("kcat takes nothing") };
    input.write_all(value.as_bytes())?;
    drop(input);
    ensure!(kcat.wait()?.success(), "kcat cannot write to {topic}");
    Ok(())
}

pub(super) fn check(scene: &Scene) -> Result<String> {
    let (events, acks) = (scene.named("events"), scene.named("acks"));
    let order_id = ours(scene, &events)?;
    native(scene, &order_id)?;
    theirs(scene, &events, &acks)?;
    unreadable(scene, &events)?;
    Ok("orders told of, in our own form too; those of others taken in and acknowledged, and what none can read parked".to_owned())
}

/// An order that comes over HTTP is told of as the contract says; its id.
fn ours(scene: &Scene, events: &str) -> Result<String> {
    let create = json!({ "order_id": "0", "user_id": USER, "payload": { "id": 7, "amount": "2.50" } });
    let reply = scene.http().post("/orders", create.to_string().as_bytes())?;
    ensure!(reply.status == 201, "POST /orders: {} {}", reply.status, reply.text());
    let reply = reply.json()?;
    let order_id = reply["order_id"].as_str().context("no order_id")?.to_owned();
    let told = until(scene, events, "the order", |record| record.key() == order_id)?;
    let body = told.body();
    let timestamp = body["timestamp"].clone();
    let wanted = json!({ "order_id": order_id, "external_id": "7", "user_id": USER, "payload": create["payload"],
        "status": "new", "timestamp": timestamp });
    ensure!(body == wanted && timestamp.is_string(), "{body} is not {wanted}");
    ensure!(told.headers().contains_key("wellorder-installation"), "nothing says whose it is: {}", told.0);
    Ok(order_id)
}

/// Our own form: what the feed says, as a CloudEvent in binary mode.
fn native(scene: &Scene, order_id: &str) -> Result<()> {
    let page = scene.http().get_json(&format!("/v1/orders/{order_id}/events"))?;
    let events = page["events"].as_array().filter(|events| !events.is_empty()).context("no events")?;
    for event in events {
        let (id, version) = (event["event_id"].as_str().unwrap_or_default(), event["version"].to_string());
        let is = |record: &Record| record.headers().get("ce_id") == Some(&id);
        let record = until(scene, &scene.named("all"), "an event of the feed", is)?;
        let (headers, kind) =
            (record.headers(), format!("wellorder.{}", event["type"].as_str().unwrap_or_default()));
        for (name, value) in [
            ("ce_specversion", "1.0"),
            ("ce_type", &kind),
            ("ce_subject", order_id),
            ("ce_sequence", &version),
            ("ce_time", event["occurred_at"].as_str().unwrap_or_default()),
            ("content-type", "application/json"),
        ] {
            ensure!(headers.get(name) == Some(&value), "{name} is not {value}: {headers:?}");
        }
        ensure!(record.key() == order_id && record.body() == event["data"], "{} is not {event}", record.0);
    }
    Ok(())
}

/// What another program writes, without a key and without a header, is taken in, carried out and acknowledged.
fn theirs(scene: &Scene, events: &str, acks: &str) -> Result<()> {
    let event = |status: &str, second: u32, amount: &str| {
        json!({ "order_id": THEIRS, "external_id": "e-1", "user_id": USER, "status": status,
            "payload": { "id": "e-1", "amount": amount }, "timestamp": format!("2025-12-20T10:00:{second:02}Z") })
        .to_string()
    };
    for (second, (status, amount, becomes)) in
        [("new", "5", "created"), ("new", "6.25", "updated"), ("deleted", "0", "deleted")]
            .into_iter()
            .enumerate()
    {
        write(scene, events, &["-p", "0"], &event(status, u32::try_from(second)?, amount))?;
        let is = |record: &Record| record.body()["order_id"] == THEIRS && record.body()["status"] == becomes;
        let record = until(scene, acks, becomes, is)?;
        let body = record.body();
        let wanted = json!({ "order_id": THEIRS, "status": becomes, "processed_at": body["processed_at"] });
        ensure!(record.key() == THEIRS && body == wanted && body["processed_at"].is_string(), "{}", record.0);
        if becomes == "updated" {
            let shown = scene.http().get_json(&format!("/orders/{THEIRS}"))?;
            ensure!(shown["order"]["amount"] == json!(6.25), "{shown}");
        }
    }
    Ok(())
}

/// What cannot be read is parked with its reason, and the partition goes on.
fn unreadable(scene: &Scene, events: &str) -> Result<()> {
    let parked = format!("{events}.parked");
    for text in ["null", "{\"order_id\":", "{\"order_id\": \"x\"}"] {
        write(scene, events, &["-p", "1"], text)?;
        let record = until(scene, &parked, text, |record| record.text() == text)?;
        ensure!(record.headers().get("wellorder-why").is_some_and(|why| !why.is_empty()), "{}", record.0);
    }
    // Without a value at all.
    write(scene, events, &["-p", "1", "-Z", "-K", ":"], "a-key:")?;
    until(scene, &parked, "a record without a value", |record| record.key() == "a-key")?;
    let after = "0b9f4a4e-7f43-4a6e-8b7e-3b1d1c5f7a21";
    let event = json!({ "order_id": after, "user_id": USER, "status": "new", "payload": {}, "timestamp": "2025-12-20T10:00:00Z" });
    write(scene, events, &["-p", "1"], &event.to_string())?;
    until(scene, &scene.named("acks"), "the order behind what cannot be read", |record| {
        record.body()["order_id"] == after
    })?;
    Ok(())
}
