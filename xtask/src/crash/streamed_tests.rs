use serde_json::json;

use super::*;

const ORDER: &str = "o";

fn said(number: u64, is_end: bool) -> Said {
    Said { number, is_end }
}

fn event(kind: &str, version: u64, named: Option<&str>) -> Event {
    let shown = json!({
        "event_id": format!("e{version}"), "order_id": "core", "version": version, "shard": 1, "position": version,
        "type": kind, "data": {"source": EVENTS, "reference": named},
    });
    Event::parse(&shown).unwrap()
}

/// An order that others made and changed, one that was placed here, and a record that nobody can read: all is well.
fn well() -> (Streamed, Vec<Event>) {
    let streamed = Streamed {
        said: HashMap::from([(ORDER.to_owned(), vec![said(1, false), said(0, false), said(0, false)])]),
        poison: vec!["{".to_owned()],
        told: HashSet::from(["p".to_owned()]),
        acks: HashMap::from([(ORDER.to_owned(), vec!["created".to_owned(), "updated".to_owned()])]),
        parked: vec!["{".to_owned()],
        placed: HashMap::from([("p".to_owned(), "u".to_owned())]),
        asked: HashSet::from(["u".to_owned(), "v".to_owned()]),
        shown: HashMap::from([
            (ORDER.to_owned(), Some(json!({"status": "done", "payload_json": {"n": 1}}))),
            ("p".to_owned(), Some(json!({"status": "done", "user_id": "u"}))),
        ]),
    };
    let feed = vec![
        event("order.accepted", 1, Some(ORDER)),
        event("order.revised", 2, None),
        event("order.processed", 3, None),
    ];
    (streamed, feed)
}

/// What is found after `spoil`.
fn found(spoil: impl FnOnce(&mut Streamed, &mut Vec<Event>)) -> Vec<Kind> {
    let (mut streamed, mut feed) = well();
    spoil(&mut streamed, &mut feed);
    let violations = Violations::default();
    check(&streamed, &feed, 0, &violations);
    violations.all().into_iter().map(|violation| violation.kind).collect()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(|_, _| {}), []);
}

#[test]
fn an_event_without_its_acknowledgement_is_found() {
    assert_eq!(found(|streamed, _| streamed.acks.clear()), [Kind::Message]);
    let only_deleted = |streamed: &mut Streamed, _: &mut Vec<Event>| {
        streamed.acks.insert(ORDER.to_owned(), vec!["deleted".to_owned()]);
    };
    assert_eq!(found(only_deleted), [Kind::Message, Kind::Message]);
}

#[test]
fn a_deletion_must_be_acknowledged_and_seen() {
    let deleted = |streamed: &mut Streamed, _: &mut Vec<Event>| {
        streamed.said.insert(ORDER.to_owned(), vec![said(0, false), said(1, false), said(2, true)]);
    };
    assert_eq!(found(deleted), [Kind::Message, Kind::Content]);
    let and_so_it_is = |streamed: &mut Streamed, feed: &mut Vec<Event>| {
        deleted(streamed, feed);
        streamed.acks.insert(ORDER.to_owned(), vec!["deleted".to_owned()]);
        streamed.shown.insert(ORDER.to_owned(), None);
        feed.push(event("order.withdrawn", 4, None));
    };
    assert_eq!(found(and_so_it_is), []);
}

#[test]
fn an_older_event_that_won_is_found() {
    let older = |streamed: &mut Streamed, _: &mut Vec<Event>| {
        let shown = json!({"status": "done", "payload_json": {"n": 0}});
        streamed.shown.insert(ORDER.to_owned(), Some(shown));
    };
    assert_eq!(found(older), [Kind::Content]);
}

#[test]
fn an_event_that_counted_twice_or_not_at_all_is_found() {
    assert_eq!(found(|_, feed| feed.push(event("order.revised", 4, None))), [Kind::Message]);
    assert_eq!(found(|_, feed| feed.push(event("order.withdrawn", 4, None))), [Kind::Message]);
    assert_eq!(found(|_, feed| feed.clear()), [Kind::Lost]);
}

#[test]
fn what_nobody_can_read_is_parked_once_and_nothing_else_is() {
    assert_eq!(found(|streamed, _| streamed.parked.clear()), [Kind::Message]);
    assert_eq!(found(|streamed, _| streamed.parked.push("{".to_owned())), [Kind::Message]);
    assert_eq!(found(|streamed, _| streamed.parked.push("{}".to_owned())), [Kind::Message]);
}

#[test]
fn an_order_placed_here_is_there_as_it_was_placed_and_told_of() {
    assert_eq!(found(|streamed, _| drop(streamed.shown.insert("p".to_owned(), None))), [Kind::Lost]);
    let of_another = json!({"status": "done", "user_id": "v"});
    assert_eq!(
        found(|streamed, _| drop(streamed.shown.insert("p".to_owned(), Some(of_another)))),
        [Kind::Content]
    );
    assert_eq!(found(|streamed, _| streamed.told.clear()), [Kind::SinkGap]);
}

#[test]
fn orders_of_nobody_are_not_known() {
    let (streamed, _) = well();
    assert!(streamed.knows(EVENTS, ORDER) && streamed.knows(HERE, "v"));
    assert!(!streamed.knows(EVENTS, "x") && !streamed.knows(HERE, "x") && !streamed.knows("api", ORDER));
}
