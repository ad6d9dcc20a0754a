//! The invariants, checked on what was gathered. Pure: every rule is shown to bite by a test below.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use super::effects::Effect;
use super::gather::{Event, Follower, Shown, SinkLine};
use super::history::Known;
use super::hooked::{self, Hooked};
use super::imported::{self, Imported};
use super::order::{Door, shard_of};
use super::report::{Kind, Violations};
use super::streamed::{self, Streamed};

/// All that a run came to.
#[derive(Default)]
pub(crate) struct Facts {
    /// Number of kills: an effect may be repeated once for each.
    pub(crate) kills: usize,
    /// By reference.
    pub(crate) history: BTreeMap<String, Known>,
    /// The feed, read from the beginning, in its order.
    pub(crate) feed: Vec<Event>,
    /// By order id.
    pub(crate) orders: HashMap<String, Shown>,
    pub(crate) followers: Vec<Follower>,
    /// By name: what each sink was sent, in its order.
    pub(crate) sinks: BTreeMap<String, Vec<SinkLine>>,
    /// Messages to the sales door's consumers that nobody can read, of which the server confirmed that it has them.
    pub(crate) poison: Vec<String>,
    /// What lies among the parked.
    pub(crate) parked: Vec<String>,
    /// What programs that speak `orderstream` said, where there are any.
    pub(crate) streamed: Option<Streamed>,
    /// What programs imported, where there are any.
    pub(crate) imported: Option<Imported>,
    /// What receivers of webhooks were sent, where there are any.
    pub(crate) hooked: Option<Hooked>,
    /// By idempotency key.
    pub(crate) effects: HashMap<String, Effect>,
}

/// Checks everything.
pub(crate) fn check(facts: &Facts, found: &Violations) {
    let mut by_order: HashMap<&str, Vec<&Event>> = HashMap::new();
    for event in &facts.feed {
        by_order.entry(&event.order_id).or_default().push(event);
    }
    for known in facts.history.values() {
        acknowledged(known, facts, &by_order, found);
    }
    references(facts, found);
    positions(&facts.feed, found);
    for (order_id, events) in &by_order {
        versions(order_id, events, found);
        // What others tell changes an order, and each change is worked on: these have rules of their own.
        let of_others =
            |event: &&Event| event.named.as_ref().is_some_and(|(source, _)| source == streamed::EVENTS);
        if events.iter().any(of_others) {
            continue;
        }
        processing(order_id, events, found);
        effects(order_id, events, facts, found);
    }
    for (key, effect) in facts.effects.iter().filter(|(_, effect)| effect.wrong.is_some()) {
        found.add(Kind::Effect, key, effect.wrong.clone().unwrap_or_default());
    }
    for (name, lines) in &facts.sinks {
        sink(name, lines, &facts.feed, found);
    }
    followers(facts, found);
    messages(facts, &by_order, found);
    if let Some(said) = &facts.streamed {
        streamed::check(said, &facts.feed, facts.kills, found);
    }
    if let Some(hooked) = &facts.hooked {
        hooked::check(hooked, found);
    }
    if let Some(imported) = &facts.imported {
        imported::check(imported, facts.kills, found);
    }
}

/// An acknowledged order exists, once, as it was sent, and was processed.
fn acknowledged(known: &Known, facts: &Facts, by_order: &HashMap<&str, Vec<&Event>>, found: &Violations) {
    let reference = known.order.reference.as_str();
    if known.order_ids.len() > 1 || known.created > 1 {
        let ids = known.order_ids.join(", ");
        found.add(Kind::Double, reference, format!("acknowledged as {ids}, new {} times", known.created));
    }
    for order_id in &known.order_ids {
        if let Some(derived) = known.order.derived_id().filter(|derived| derived != order_id) {
            let detail = format!("{order_id} instead of the derived {derived}");
            found.add(Kind::Identity, reference, detail);
        }
        let shown = facts.orders.get(order_id);
        let Some(v1) = shown.and_then(|shown| shown.v1.as_ref()) else {
            found.add(Kind::Lost, reference, format!("{order_id} was acknowledged and is not there"));
            continue;
        };
        if let Some(differs) = known.order.differs_from_v1(v1) {
            found.add(Kind::Content, reference, differs);
        }
        if known.order.door == Door::Oscarps {
            oscarps(known, shown.and_then(|shown| shown.oscarps.as_ref()), found);
        }
        state(reference, v1, by_order.get(order_id.as_str()).map(Vec::as_slice).unwrap_or_default(), found);
    }
}

fn oscarps(known: &Known, row: Option<&Value>, found: &Violations) {
    let reference = known.order.reference.as_str();
    match row {
        None => found.add(Kind::Lost, reference, "not there by the contract's own path"),
        Some(row) => {
            if let Some(differs) = known.order.differs_from_oscarps(row) {
                found.add(Kind::Content, reference, differs);
            }
            if row["status"] != "PROCESSED" {
                found.add(Kind::Unprocessed, reference, format!("oscarps shows {}", row["status"]));
            }
        }
    }
}

/// The order as it is shown is where its events left it.
fn state(reference: &str, v1: &Value, events: &[&Event], found: &Violations) {
    if events.is_empty() {
        found.add(Kind::State, reference, "the order has no events");
    }
    let last = events.iter().map(|event| event.version).max().unwrap_or(0);
    if v1["version"].as_u64() != Some(last) {
        found.add(Kind::State, reference, format!("shown at version {}, last event {last}", v1["version"]));
    }
    if v1["processing"] != "done" {
        found.add(Kind::Unprocessed, reference, format!("processing is {}", v1["processing"]));
    }
}

/// One reference, one order; and no order that nobody sent.
fn references(facts: &Facts, found: &Violations) {
    let mut ids: HashMap<&(String, String), HashSet<&str>> = HashMap::new();
    for event in &facts.feed {
        if let Some(named) = &event.named {
            ids.entry(named).or_default().insert(&event.order_id);
        }
    }
    for ((source, reference), ids) in ids {
        if ids.len() > 1 {
            found.add(Kind::Double, reference, format!("one reference, the orders {ids:?}"));
        }
        let sent = facts.history.get(reference).is_some_and(|known| known.order.door.source() == source);
        let said = facts.streamed.as_ref().is_some_and(|streamed| streamed.knows(source, reference));
        let asked = facts.imported.as_ref().is_some_and(|imported| imported.knows(source, reference));
        if !sent && !said && !asked {
            found.add(Kind::Stranger, reference, format!("source {source}: nobody sent this"));
        }
    }
}

/// Positions of a shard are 1, 2, 3 … as the feed goes, and an order is in the shard of its id.
fn positions(feed: &[Event], found: &Violations) {
    let mut last: HashMap<u64, u64> = HashMap::new();
    for event in feed {
        let due = last.get(&event.shard).unwrap_or(&0) + 1;
        if event.position != due {
            let detail = format!("position {} where {due} is due (event {})", event.position, event.event_id);
            found.add(Kind::PositionGap, format!("shard {}", event.shard), detail);
        }
        last.insert(event.shard, event.position);
        if shard_of(&event.order_id) != Some(event.shard) {
            found.add(Kind::Identity, &event.order_id, format!("is in shard {}", event.shard));
        }
    }
}

/// Versions of an order are 1, 2, 3 … as the feed goes.
fn versions(order_id: &str, events: &[&Event], found: &Violations) {
    for (event, due) in events.iter().zip(1..) {
        if event.version != due {
            let detail = format!("version {} where {due} is due", event.version);
            found.add(Kind::VersionGap, order_id, detail);
            return;
        }
    }
}

/// Accepted first, processed once, never parked.
fn processing(order_id: &str, events: &[&Event], found: &Violations) {
    let count = |kind: &str| events.iter().filter(|event| event.kind == kind).count();
    if count("order.accepted") != 1 || events.first().is_some_and(|first| first.kind != "order.accepted") {
        found.add(Kind::State, order_id, format!("accepted {} times, or not first", count("order.accepted")));
    }
    match count("order.processed") {
        1 => {}
        0 if count("order.parked") > 0 => found.add(Kind::Unprocessed, order_id, "parked"),
        0 => found.add(Kind::Unprocessed, order_id, "no order.processed in the journal"),
        n => found.add(Kind::DoubleProcessed, order_id, format!("processed {n} times")),
    }
}

/// The effect of an order came at least once, and under the one key that makes its repeats harmless.
fn effects(order_id: &str, events: &[&Event], facts: &Facts, found: &Violations) {
    let Some(accepted) = events.iter().find(|event| event.kind == "order.accepted") else {
        return;
    };
    let Some(effect) = facts.effects.get(&accepted.event_id) else {
        if events.iter().any(|event| event.kind == "order.processed") {
            found.add(Kind::Effect, order_id, "processed without an effect under the key of its acceptance");
        }
        return;
    };
    if effect.order_id != order_id {
        found.add(Kind::Effect, order_id, format!("its key carried the order {}", effect.order_id));
    }
    if effect.taken == 0 || effect.taken > 1 + facts.kills {
        found.add(Kind::Effect, order_id, format!("taken {} times with {} kills", effect.taken, facts.kills));
    }
}

/// A sink holds every event of the feed, each order's in the order of versions; repeats are the same bytes.
fn sink(name: &str, lines: &[SinkLine], feed: &[Event], found: &Violations) {
    let mut last: HashMap<&str, u64> = HashMap::new();
    let mut bytes: HashMap<&str, [u8; 16]> = HashMap::new();
    let mut digests: HashMap<&str, [u8; 16]> = HashMap::new();
    for line in lines {
        let event = match &line.event {
            Ok(event) => event,
            Err(fault) => {
                found.add(Kind::Sink, &line.place, fault);
                continue;
            }
        };
        let last = last.entry(&event.order_id).or_default();
        if event.version > *last + 1 {
            let detail = format!("{}: version {} after {last}", line.place, event.version);
            found.add(Kind::SinkGap, &event.order_id, detail);
        }
        *last = event.version.max(*last);
        if bytes.insert(&event.event_id, line.bytes).is_some_and(|before| before != line.bytes) {
            found.add(Kind::Sink, &line.place, format!("{} again, with other bytes", event.event_id));
        }
        digests.insert(&event.event_id, event.digest);
    }
    for event in feed {
        match digests.remove(event.event_id.as_str()) {
            None => {
                let detail = format!("version {} ({}) never reached {name}", event.version, event.event_id);
                found.add(Kind::SinkGap, &event.order_id, detail);
            }
            Some(digest) if digest != event.digest => {
                found.add(Kind::Sink, &event.event_id, format!("{name} and the feed show it differently"));
            }
            Some(_) => {}
        }
    }
    for event_id in digests.keys() {
        found.add(Kind::Sink, *event_id, format!("in {name}, and not in the feed"));
    }
}

/// Every follower is running and at the head of every shard.
fn followers(facts: &Facts, found: &Violations) {
    let mut heads: HashMap<u64, u64> = HashMap::new();
    for event in &facts.feed {
        let head = heads.entry(event.shard).or_default();
        *head = event.position.max(*head);
    }
    if facts.followers.is_empty() {
        found.add(Kind::Follower, "-", "there is none, though there are sinks");
    }
    for follower in &facts.followers {
        if follower.state != "running" || follower.lag != 0 {
            found.add(Kind::Follower, &follower.name, format!("{}, lag {}", follower.state, follower.lag));
        }
        for (shard, position, head) in &follower.shards {
            if position != head || *head != heads.get(shard).copied().unwrap_or(0) {
                let detail =
                    format!("shard {shard}: position {position}, head {head}, feed {:?}", heads.get(shard));
                found.add(Kind::Follower, &follower.name, detail);
            }
        }
    }
}

/// What other programs said of orders counted, once; and what nobody can read is parked, at most once more for each
/// kill.
fn messages(facts: &Facts, by_order: &HashMap<&str, Vec<&Event>>, found: &Violations) {
    let sold = facts.history.values().filter(|known| known.order.door == Door::Sales);
    for order_id in sold.flat_map(|known| &known.order_ids) {
        let events = by_order.get(order_id.as_str()).map(Vec::as_slice).unwrap_or_default();
        for kind in ["order.shipped", "order.delivered"] {
            let times = events.iter().filter(|event| event.kind == kind).count();
            if times != 1 {
                found.add(Kind::Message, order_id, format!("{kind} {times} times"));
            }
        }
        let shown = facts.orders.get(order_id).and_then(|shown| shown.v1.as_ref());
        if shown.is_some_and(|v1| v1["fulfilment"] != "delivered") {
            found.add(Kind::Message, order_id, "it is not shown as delivered");
        }
    }
    let mut dead: HashMap<&str, usize> = HashMap::new();
    for letter in &facts.parked {
        *dead.entry(letter).or_default() += 1;
    }
    for poison in &facts.poison {
        let times = dead.remove(poison.as_str()).unwrap_or(0);
        if times == 0 || times > 1 + facts.kills {
            found.add(Kind::Message, poison, format!("parked {times} times"));
        }
    }
    for letter in dead.into_keys() {
        found.add(Kind::Message, letter, "parked, and not to be");
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
