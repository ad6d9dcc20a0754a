//! A sound little history, and one damage for each rule: every rule bites.

use serde_json::json;

use super::*;
use crate::crash::order::Order;
use crate::rng::Rng;

/// Three orders, accepted and processed, with one effect each.
fn sound() -> Facts {
    let mut facts = Facts { kills: 1, ..Facts::default() };
    let mut positions: HashMap<u64, u64> = HashMap::new();
    for n in 0..3 {
        let order = Order::generate("t", 0, n, &mut Rng::new(n));
        let order_id = order.derived_id().unwrap();
        facts.orders.insert(order_id.clone(), shown(&order));
        for (version, kind) in [(1, "order.accepted"), (2, "order.processed")] {
            let shard = shard_of(&order_id).unwrap();
            let position = positions.entry(shard).or_default();
            *position += 1;
            let event = Event {
                event_id: format!("event-{n}-{version}"),
                order_id: order_id.clone(),
                version,
                shard,
                position: *position,
                kind: kind.to_owned(),
                named: (version == 1).then(|| (order.door.source().to_owned(), order.reference.clone())),
                digest: [n as u8; 16],
            };
            facts.feed.push(event.clone());
            sink(&mut facts).push(SinkLine {
                place: format!("f:{n}"),
                event: Ok(event),
                bytes: [n as u8; 16],
            });
        }
        let effect = Effect { order_id: order_id.clone(), taken: 1, ..Effect::default() };
        facts.effects.insert(format!("event-{n}-1"), effect);
        let known = Known { order: order.clone(), order_ids: vec![order_id], created: 1 };
        facts.history.insert(order.reference, known);
    }
    let shards = positions.iter().map(|(shard, head)| (*shard, *head, *head)).collect();
    let follower = Follower { name: "ndjson".to_owned(), state: "running".to_owned(), lag: 0, shards };
    facts.followers.push(follower);
    facts
}

fn sink(facts: &mut Facts) -> &mut Vec<SinkLine> {
    facts.sinks.entry("file".to_owned()).or_default()
}

/// The order as a server shows it that did everything right.
fn shown(order: &Order) -> Shown {
    let mut v1 = request(order);
    v1["source"] = json!(order.door.source());
    v1["version"] = json!(2);
    v1["processing"] = json!("done");
    if order.door != Door::Oscarps {
        return Shown { v1: Some(v1), oscarps: None };
    }
    v1["reference"] = v1["orderId"].clone();
    let mut row = request(order);
    row["status"] = json!("PROCESSED");
    Shown { v1: Some(v1), oscarps: Some(row) }
}

fn request(order: &Order) -> Value {
    serde_json::from_slice(&order.request().1).unwrap()
}

fn kinds(facts: &Facts) -> Vec<Kind> {
    let found = Violations::default();
    check(facts, &found);
    let mut kinds: Vec<Kind> = found.all().iter().map(|violation| violation.kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

fn damaged(damage: impl FnOnce(&mut Facts)) -> Vec<Kind> {
    let mut facts = sound();
    damage(&mut facts);
    kinds(&facts)
}

fn first_id(facts: &Facts) -> String {
    facts.feed[0].order_id.clone()
}

#[test]
fn a_sound_history_has_no_violation() {
    assert_eq!(kinds(&sound()), []);
}

#[test]
fn an_order_that_is_gone_is_lost() {
    let kinds = damaged(|facts| {
        let id = first_id(facts);
        facts.orders.get_mut(&id).unwrap().v1 = None;
    });
    assert_eq!(kinds, [Kind::Lost]);
    assert_eq!(
        damaged(|facts| facts.orders.values_mut().for_each(|shown| shown.oscarps = None)),
        [Kind::Lost]
    );
}

#[test]
fn a_digit_that_changed_is_content() {
    let kinds = damaged(|facts| {
        let id = first_id(facts);
        facts.orders.get_mut(&id).unwrap().v1.as_mut().unwrap()["total"] = json!("0.001");
    });
    assert_eq!(kinds, [Kind::Content]);
}

#[test]
fn a_second_order_for_a_reference_is_double() {
    let kinds = damaged(|facts| facts.history.values_mut().next().unwrap().created = 2);
    assert_eq!(kinds, [Kind::Double]);
    let kinds = damaged(|facts| {
        let id = facts.feed[2].order_id.clone();
        let event = facts.feed.iter_mut().find(|event| event.order_id == id && event.version == 1).unwrap();
        event.named = Some(("api".to_owned(), "t-0-0".to_owned()));
    });
    assert!(kinds.contains(&Kind::Double), "{kinds:?}");
}

#[test]
fn an_order_that_nobody_sent_is_a_stranger() {
    let kinds = damaged(|facts| facts.feed[0].named = Some(("api".to_owned(), "other".to_owned())));
    assert_eq!(kinds, [Kind::Stranger]);
}

#[test]
fn a_second_finish_is_double_processed() {
    let kinds = damaged(|facts| {
        let again = Event { event_id: "again".to_owned(), version: 3, ..facts.feed[1].clone() };
        facts.feed.push(again);
    });
    assert!(kinds.contains(&Kind::DoubleProcessed), "{kinds:?}");
}

#[test]
fn work_that_was_not_done_is_unprocessed() {
    let kinds = damaged(|facts| facts.feed[1].kind = "order.parked".to_owned());
    assert_eq!(kinds, [Kind::Unprocessed]);
    let kinds = damaged(|facts| {
        let id = first_id(facts);
        facts.orders.get_mut(&id).unwrap().v1.as_mut().unwrap()["processing"] = json!("running");
    });
    assert_eq!(kinds, [Kind::Unprocessed]);
}

#[test]
fn gaps_in_positions_and_versions_are_found() {
    let kinds = damaged(|facts| {
        facts.feed.remove(0);
        sink(facts).remove(0);
    });
    assert_eq!(kinds, [Kind::PositionGap, Kind::VersionGap, Kind::State, Kind::SinkGap]);
    assert!(damaged(|facts| facts.feed.swap(0, 1)).contains(&Kind::PositionGap));
}

#[test]
fn an_order_and_its_events_must_agree() {
    let kinds = damaged(|facts| {
        let id = first_id(facts);
        facts.orders.get_mut(&id).unwrap().v1.as_mut().unwrap()["version"] = json!(7);
    });
    assert_eq!(kinds, [Kind::State]);
}

#[test]
fn an_effect_has_one_key_and_few_repeats() {
    let effect =
        |change: fn(&mut Effect)| damaged(|facts| change(facts.effects.get_mut("event-0-1").unwrap()));
    assert_eq!(effect(|effect| effect.taken = 2), []);
    assert_eq!(effect(|effect| effect.taken = 3), [Kind::Effect]);
    assert_eq!(effect(|effect| effect.taken = 0), [Kind::Effect]);
    assert_eq!(effect(|effect| effect.order_id = "other".to_owned()), [Kind::Effect]);
    assert_eq!(effect(|effect| effect.wrong = Some("two orders".to_owned())), [Kind::Effect]);
    assert_eq!(damaged(|facts| facts.effects.clear()), [Kind::Effect]);
}

#[test]
fn a_sink_that_lacks_a_version_has_a_gap() {
    assert_eq!(damaged(|facts| drop(sink(facts).remove(0))), [Kind::SinkGap]);
    assert_eq!(damaged(|facts| drop(sink(facts).pop())), [Kind::SinkGap]);
    assert_eq!(damaged(|facts| sink(facts).swap(0, 1)), [Kind::SinkGap]);
}

#[test]
fn a_repeat_in_the_sink_has_the_same_bytes() {
    let first = |facts: &mut Facts| sink(facts)[0].clone();
    let again = |facts: &mut Facts| {
        let line = first(facts);
        sink(facts).push(line);
    };
    assert_eq!(damaged(again), []);
    let other = |facts: &mut Facts| {
        let line = SinkLine { bytes: [99; 16], ..first(facts) };
        sink(facts).push(line);
    };
    assert_eq!(damaged(other), [Kind::Sink]);
    assert_eq!(damaged(|facts| sink(facts)[0].event = Err("torn".to_owned())), [Kind::SinkGap, Kind::Sink]);
    assert_eq!(damaged(|facts| facts.feed[0].digest = [99; 16]), [Kind::Sink]);
}

#[test]
fn a_message_counts_once_and_poison_is_parked() {
    let sold = |facts: &mut Facts, kinds: &[&str]| {
        let known = facts.history.values_mut().next().unwrap();
        let order = known.order.clone().in_sales(&mut Rng::new(1));
        let id = order.derived_id().unwrap();
        let old = known.order_ids[0].clone();
        *known = Known { order: order.clone(), order_ids: vec![id.clone()], created: 1 };
        let mut v1 = facts.orders[&old].v1.clone().unwrap();
        v1["fulfilment"] = json!("delivered");
        facts.orders.insert(id.clone(), Shown { v1: Some(v1), oscarps: None });
        let like = facts.feed[0].clone();
        let event = |kind: &&str| Event { order_id: id.clone(), kind: (*kind).to_owned(), ..like.clone() };
        facts.feed.extend(kinds.iter().map(event));
    };
    let has = |kinds: &[&str]| damaged(|facts| sold(facts, kinds)).contains(&Kind::Message);
    assert!(!has(&["order.shipped", "order.delivered"]));
    assert!(has(&["order.shipped"]) && has(&["order.shipped", "order.delivered", "order.shipped"]));
    let letters = |dead: &[&str]| {
        damaged(|facts| {
            facts.poison = vec!["p".to_owned()];
            facts.parked = dead.iter().map(|letter| (*letter).to_owned()).collect();
        })
    };
    assert_eq!(letters(&["p"]), []);
    assert_eq!(letters(&["p", "p"]), [], "there was a kill");
    for wrong in [&[][..], &["p", "p", "p"], &["p", "q"]] {
        assert_eq!(letters(wrong), [Kind::Message]);
    }
}

#[test]
fn a_follower_that_lags_is_found() {
    assert_eq!(damaged(|facts| facts.followers[0].lag = 1), [Kind::Follower]);
    assert_eq!(damaged(|facts| facts.followers[0].shards[0].1 -= 1), [Kind::Follower]);
    assert_eq!(damaged(|facts| facts.followers.clear()), [Kind::Follower]);
}

#[test]
fn an_id_is_the_derived_one() {
    let kinds = damaged(|facts| {
        let known = facts.history.values_mut().next().unwrap();
        let other = Order::generate("t", 9, 9, &mut Rng::new(9)).derived_id().unwrap();
        let shown = facts.orders[&known.order_ids[0]].clone();
        facts.orders.insert(other.clone(), shown);
        known.order_ids = vec![other];
    });
    assert!(kinds.contains(&Kind::Identity), "{kinds:?}");
}

#[test]
fn a_key_that_made_two_orders_is_told() {
    let kinds = damaged(|facts| {
        let order = Order::generate("t", 0, 3, &mut Rng::new(3));
        assert_eq!((order.header("").is_some(), order.derived_id()), (true, None));
        let order_ids = vec![
            "00000000-0000-7000-8000-000000000001".to_owned(),
            "00000000-0000-7000-8000-000000000002".to_owned(),
        ];
        facts.history.insert(order.reference.clone(), Known { order, order_ids, created: 2 });
    });
    assert!(kinds.contains(&Kind::Double), "{kinds:?}");
}
