//! What must hold of orders that other programs told of over Kafka. Pure: every rule is shown to bite by a test below.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::gather::Event;
use super::report::{Kind, Violations};

/// The source of orders that came as events, and of those that were placed at this contract.
pub(super) const EVENTS: &str = "orderstream-events";
pub(super) const HERE: &str = "orderstream";

/// An event of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Said {
    /// The greater one is newer.
    pub(super) number: u64,
    /// Whether it deletes.
    pub(super) is_end: bool,
}

/// What others said, as the topic holds it, and what came of it.
#[derive(Default)]
pub(crate) struct Streamed {
    /// By order, as it lies in the topic; some of it lies there twice.
    pub(super) said: HashMap<String, Vec<Said>>,
    /// Records that nobody can read.
    pub(super) poison: Vec<String>,
    /// Orders that we told of in the same topic.
    pub(super) told: HashSet<String>,
    /// By order: what its acknowledgements say.
    pub(super) acks: HashMap<String, Vec<String>>,
    /// What lies among the parked.
    pub(super) parked: Vec<String>,
    /// Orders that were placed over HTTP and acknowledged, with their user.
    pub(super) placed: HashMap<String, String>,
    /// Users of all orders that were asked for over HTTP.
    pub(super) asked: HashSet<String>,
    /// As the contract shows them; none where it does not.
    pub(super) shown: HashMap<String, Option<Value>>,
}

/// What an order came to.
fn newest(said: &[Said]) -> Option<Said> {
    said.iter().copied().max_by_key(|said| said.number)
}

impl Streamed {
    /// Orders of others that were not acknowledged as what they were last told to be.
    pub(super) fn unacknowledged(&self) -> Vec<String> {
        let heard = |order_id: &String| self.acks.get(order_id).map(Vec::as_slice).unwrap_or_default();
        let is_missing = |(order_id, said): &(&String, &Vec<Said>)| {
            let deleted = newest(said).is_some_and(|newest| newest.is_end);
            !heard(order_id).iter().any(|status| (status == "deleted") == deleted)
        };
        self.said.iter().filter(is_missing).map(|(order_id, _)| order_id.clone()).collect()
    }

    /// Orders of others, their events, their acknowledgements, and what was parked.
    pub(super) fn counts(&self) -> [usize; 4] {
        let of = |lists: &HashMap<String, Vec<Said>>| lists.values().map(Vec::len).sum();
        let acks = self.said.keys().filter_map(|order_id| self.acks.get(order_id)).map(Vec::len).sum();
        [self.said.len(), of(&self.said), acks, self.parked.len()]
    }

    /// Whether somebody sent the order of this name.
    pub(super) fn knows(&self, source: &str, name: &str) -> bool {
        match source {
            EVENTS => self.said.contains_key(name),
            HERE => self.asked.contains(name),
            _ => false,
        }
    }
}

/// Checks all of it; `kills` is how often what is kept at least once may be repeated.
pub(super) fn check(streamed: &Streamed, feed: &[Event], kills: usize, found: &Violations) {
    for order_id in streamed.unacknowledged() {
        found.add(Kind::Message, order_id, "what was said last of it is not acknowledged");
    }
    for order_id in streamed.acks.keys() {
        let deleted = streamed.acks[order_id].iter().any(|status| status == "deleted");
        let may_be = streamed.said.get(order_id).is_some_and(|said| said.iter().any(|said| said.is_end));
        if deleted && !may_be {
            found.add(Kind::Message, order_id, "acknowledged as deleted, and nobody deleted it");
        }
    }
    for (order_id, said) in &streamed.said {
        shown(order_id, said, streamed.shown.get(order_id).and_then(Option::as_ref), found);
    }
    for (order_id, user_id) in &streamed.placed {
        match streamed.shown.get(order_id).and_then(Option::as_ref) {
            Some(order) if order["user_id"] == user_id.as_str() && order["status"] == "done" => {}
            Some(order) => {
                found.add(Kind::Content, order_id, format!("placed by {user_id}, shown as {order}"))
            }
            None => found.add(Kind::Lost, order_id, "was acknowledged and is not there"),
        }
        if !streamed.told.contains(order_id) {
            found.add(Kind::SinkGap, order_id, "no event told of it");
        }
    }
    changes(streamed, feed, found);
    parked(streamed, kills, found);
}

/// The newest event counts, whenever it was read; nothing is left of what is deleted.
fn shown(order_id: &str, said: &[Said], order: Option<&Value>, found: &Violations) {
    let Some(newest) = newest(said) else { return };
    let is_so = match order {
        None => newest.is_end,
        Some(order) if newest.is_end => order["status"] == "deleted",
        Some(order) => order["status"] == "done" && order["payload_json"]["n"] == newest.number,
    };
    if !is_so {
        let shown = order.map_or("not".to_owned(), Value::to_string);
        found.add(Kind::Content, order_id, format!("{newest:?} was said last, shown {shown}"));
    }
}

/// No event changes an order twice.
fn changes(streamed: &Streamed, feed: &[Event], found: &Violations) {
    let mut references: HashMap<&str, &str> = HashMap::new();
    let mut counts: HashMap<(&str, &str), usize> = HashMap::new();
    for event in feed {
        if let Some((source, name)) = &event.named
            && source == EVENTS
        {
            references.insert(&event.order_id, name);
        }
        *counts.entry((&event.order_id, &event.kind)).or_default() += 1;
    }
    let seen: HashSet<&str> = references.values().copied().collect();
    for order_id in streamed.said.keys().filter(|order_id| !seen.contains(order_id.as_str())) {
        found.add(Kind::Lost, order_id, "others told of it, and it is not in the journal");
    }
    for (order_id, reference) in references {
        let different: HashSet<Said> = streamed.said.get(reference).into_iter().flatten().copied().collect();
        let contents = different.iter().filter(|said| !said.is_end).count();
        let ends = different.len() - contents;
        for (kind, most) in
            [("order.accepted", 1), ("order.revised", contents.saturating_sub(1)), ("order.withdrawn", ends)]
        {
            let times = counts.get(&(order_id, kind)).copied().unwrap_or(0);
            if times > most {
                let detail = format!("{kind} {times} times, and others said so {most} times");
                found.add(Kind::Message, reference, detail);
            }
        }
    }
}

/// What nobody can read is parked, at most once more for each kill; and nothing else is.
fn parked(streamed: &Streamed, kills: usize, found: &Violations) {
    let mut parked: HashMap<&str, usize> = HashMap::new();
    for record in &streamed.parked {
        *parked.entry(record).or_default() += 1;
    }
    for poison in &streamed.poison {
        let times = parked.remove(poison.as_str()).unwrap_or(0);
        if times == 0 || times > 1 + kills {
            found.add(Kind::Message, poison, format!("parked {times} times"));
        }
    }
    for record in parked.into_keys() {
        found.add(Kind::Message, record, "parked, and not to be");
    }
}

#[cfg(test)]
#[path = "streamed_tests.rs"]
mod tests;
