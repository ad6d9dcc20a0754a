use serde_json::json;

use super::*;

const STORE: &str = "s";

fn answer(asked: &Asked) -> Answer {
    let (id, amount) = asked.order().unwrap();
    Answer::Order {
        id,
        amount,
        currency: "EUR".to_owned(),
        imported_at: "2026-01-01T00:00:00.123Z".to_owned(),
    }
}

fn row(asked: &Asked) -> Row {
    let (external_id, amount) = asked.order().unwrap_or_default();
    let is_order = asked.end() == "success";
    let text = |text: &str| if is_order { text.to_owned() } else { String::new() };
    Row {
        store: STORE.to_owned(),
        receipt: asked.receipt.clone(),
        state: asked.end().to_owned(),
        order_id: text("core"),
        external_id,
        amount,
        currency: text("EUR"),
        imported_at: text("2026-01-01T00:00:00.123456Z"),
        error: String::new(),
        is_due: asked.end() == "rate_limited",
    }
}

fn kept(row: &Row) -> Kept {
    Kept {
        store: STORE.to_owned(),
        receipt: row.receipt.clone(),
        order_id: row.order_id.clone(),
        total: row.amount.clone(),
        currency: row.currency.clone(),
        external_id: row.external_id.clone(),
    }
}

/// An order, a receipt of none, one that is refused for now, one that was and is an order since, and one that a shop tells of.
fn well() -> Imported {
    let mut imported = Imported::default();
    for receipt in ["a1", "b2", "c06", "d06"] {
        let mut asked = Asked::new(STORE, receipt, shops::verdict(receipt));
        asked.retried = usize::from(receipt == "d06");
        match asked.verdict {
            Verdict::Nothing => asked.answers.push(Answer::Failure(UNKNOWN.to_owned())),
            Verdict::Busy => asked.answers.push(Answer::Failure(BUSY.to_owned())),
            Verdict::Order { .. } => {}
        }
        if asked.order().is_some() {
            asked.answers.extend([answer(&asked), answer(&asked)]);
        }
        asked.answered();
        asked.called = 1 + asked.retried;
        imported.asked.insert(asked.key(), asked);
    }
    let listed = Asked::listed(STORE, 7, shops::listed(7, "1.10"));
    imported.asked.insert(listed.key(), listed);
    imported.rows = imported.asked.values().map(row).collect();
    imported.orders = imported.rows.iter().filter(|row| row.state == "success").map(kept).collect();
    imported
}

/// What is found after `spoil`, with so many kills.
fn found_with(kills: usize, spoil: impl FnOnce(&mut Imported)) -> Vec<Kind> {
    let mut imported = well();
    spoil(&mut imported);
    let violations = Violations::default();
    check(&imported, kills, &violations);
    violations.all().into_iter().map(|violation| violation.kind).collect()
}

fn found(spoil: impl FnOnce(&mut Imported)) -> Vec<Kind> {
    found_with(0, spoil)
}

fn asked<'i>(imported: &'i mut Imported, receipt: &str) -> &'i mut Asked {
    imported.asked.get_mut(&(STORE.to_owned(), receipt.to_owned())).unwrap()
}

fn row_of<'i>(imported: &'i mut Imported, receipt: &str) -> &'i mut Row {
    imported.rows.iter_mut().find(|row| row.receipt == receipt).unwrap()
}

#[test]
fn nothing_is_found_where_all_is_well() {
    assert_eq!(found(|_| {}), []);
    let imported = well();
    assert!(imported.open().is_empty());
    assert_eq!(imported.refused().iter().map(|row| row.receipt.as_str()).collect::<Vec<_>>(), ["c06"]);
    assert_eq!(imported.counts(), [5, 3, 5, 0]);
    assert!(
        imported.knows("store-s", "a1") && !imported.knows("store-s", "x") && !imported.knows("api", "a1")
    );
}

#[test]
fn an_import_that_is_gone_or_there_twice_is_found() {
    assert_eq!(found(|imported| imported.rows.retain(|row| row.receipt != "a1")), [Kind::Lost]);
    assert_eq!(found(|imported| imported.rows.push(imported.rows[0].clone())), [Kind::Double]);
    let of_nobody = |imported: &mut Imported| {
        let row = Row { receipt: "x".to_owned(), ..imported.rows[0].clone() };
        imported.rows.push(row);
    };
    assert_eq!(found(of_nobody), [Kind::Stranger]);
}

#[test]
fn a_receipt_is_one_order_or_none() {
    assert_eq!(found(|imported| imported.orders.clear()), [Kind::Lost; 3]);
    assert_eq!(found(|imported| imported.orders.push(imported.orders[0].clone())), [Kind::Double]);
    let for_nothing = |imported: &mut Imported| {
        let order = Kept { receipt: "b2".to_owned(), ..imported.orders[0].clone() };
        imported.orders.push(order);
    };
    assert_eq!(found(for_nothing), [Kind::Stranger]);
    assert_eq!(found(|imported| imported.orders[0].order_id = "other".to_owned()), [Kind::Content]);
    assert_eq!(found(|imported| imported.orders[0].total = "1".to_owned()), [Kind::Content]);
}

#[test]
fn an_import_that_is_not_what_the_marketplace_says_is_found() {
    let other_amount = |imported: &mut Imported| {
        row_of(imported, "a1").amount = "1".to_owned();
        imported.orders.iter_mut().for_each(|order| {
            if order.receipt == "a1" {
                order.total = "1".to_owned();
            }
        });
    };
    assert_eq!(found(other_amount), [Kind::Content]);
    assert_eq!(found(|imported| row_of(imported, "a1").imported_at = "2026".to_owned()), [Kind::Content]);
    let refused = |why: &str| Answer::Failure(why.to_owned());
    for (receipt, why) in [("a1", BUSY), ("b2", BUSY), ("c06", UNKNOWN), ("a1", "marketplace_unavailable")] {
        let kinds = found(|imported| asked(imported, receipt).answers.insert(0, refused(why)));
        assert_eq!(kinds, [Kind::Content], "{receipt} {why}");
    }
    assert_eq!(
        found(|imported| asked(imported, "7").answers.push(refused(BUSY))),
        [],
        "a shop's calls are counted"
    );
}

#[test]
fn what_was_answered_once_is_answered_for_ever() {
    let kinds = found(|imported| asked(imported, "d06").answers.push(Answer::Failure(BUSY.to_owned())));
    assert_eq!(kinds, [Kind::Content]);
    let later = |imported: &mut Imported| {
        let asked = asked(imported, "a1");
        let Answer::Order { id, amount, currency, .. } = answer(asked) else { return };
        asked.answers.push(Answer::Order { id, amount, currency, imported_at: "later".to_owned() });
    };
    assert_eq!(found(later), [Kind::Content]);
}

#[test]
fn what_is_left_in_between_is_found() {
    for (receipt, state) in [("a1", "pending"), ("d06", "rate_limited"), ("7", "pending")] {
        let kinds = found(|imported| {
            let row = row_of(imported, receipt);
            (row.state, row.is_due) = (state.to_owned(), state == "rate_limited");
            imported.orders.retain(|order| order.receipt != receipt);
            assert_eq!(imported.open(), [(STORE.to_owned(), receipt.to_owned())]);
        });
        assert!(kinds.contains(&Kind::Import), "{receipt} {kinds:?}");
    }
    assert_eq!(
        found(|imported| row_of(imported, "c06").is_due = false),
        [Kind::Import],
        "it would wait for ever"
    );
    assert_eq!(found(|imported| row_of(imported, "a1").is_due = true), [Kind::Import]);
}

#[test]
fn what_takes_longer_than_a_lease_may_be_asked_for_again() {
    let slow = |imported: &mut Imported| {
        called(imported, "a1", 2);
        let asked = asked(imported, "a1");
        asked.ended = Some(asked.began + LEASE);
    };
    assert_eq!(found(slow), []);
}

#[test]
fn what_was_refused_for_now_is_an_order_once_it_was_asked_for_again() {
    let again = |imported: &mut Imported| {
        let asked = asked(imported, "c06");
        (asked.called, asked.broken) = (2, 1);
        let row = row(asked);
        imported.orders.push(kept(&row));
        *row_of(imported, "c06") = row;
    };
    assert_eq!(found(again), []);
    assert_eq!(found(|imported| asked(imported, "c06").called = 2), [Kind::Import, Kind::Calls]);
}

#[test]
fn a_failure_is_excused_by_kills_alone() {
    let failed = |why: &'static str| {
        move |imported: &mut Imported| {
            let row = Row { error: why.to_owned(), ..row_of(imported, "a1").clone() };
            imported.failures.push(row);
        }
    };
    assert_eq!(found(failed(BROKEN_OFF)), [Kind::Import]);
    assert_eq!(found_with(3, failed(BROKEN_OFF)), []);
    assert_eq!(found_with(3, failed("marketplace_unavailable")), [Kind::Import]);
}

/// So many calls for a receipt were counted.
fn called(imported: &mut Imported, receipt: &str, times: usize) {
    asked(imported, receipt).called = times;
}

#[test]
fn a_call_too_many_is_found_unless_something_broke_off() {
    let twice = |imported: &mut Imported| called(imported, "a1", 2);
    assert_eq!(found(twice), [Kind::Calls]);
    assert_eq!(found_with(9, twice), [Kind::Calls], "kills at other times are no excuse");
    let broken = |imported: &mut Imported| {
        twice(imported);
        asked(imported, "a1").broken = 1;
    };
    assert_eq!(found(broken), []);
    let killed = |imported: &mut Imported| {
        twice(imported);
        imported.upsets.push((Instant::now(), "random".to_owned()));
    };
    assert_eq!(found(killed), []);
    assert_eq!(found(|imported| called(imported, "d06", 3)), [Kind::Calls]);
    assert_eq!(found_with(1, |imported| called(imported, "d06", 3)), []);
    assert_eq!(found(|imported| called(imported, "b2", 0)), [Kind::Calls], "nobody asked the marketplace");
}

#[test]
fn a_shop_that_is_not_left_alone_is_found() {
    let now = Instant::now();
    let soon = |imported: &mut Imported| {
        let asked = now + Duration::from_secs(2);
        imported.early.push(Early { shop: "shop".to_owned(), refused: now, asked });
    };
    assert_eq!(found(soon), [Kind::Calls]);
    let killed = |how: &'static str| {
        move |imported: &mut Imported| {
            soon(imported);
            imported.upsets.push((now + Duration::from_secs(1), how.to_owned()));
        }
    };
    assert_eq!(found(killed("random")), []);
    assert_eq!(found(killed("sync.after_429")), [Kind::Calls], "who died there had kept it");
}

#[test]
fn answers_and_rows_are_read_as_they_are_shown() {
    let said = json!({"success": true, "orderId": "o", "amount": 507, "currency": "EUR", "importedAt": "t"});
    let Answer::Order { id, amount, .. } = Answer::read(&said) else { panic!("no order") };
    assert_eq!((id.as_str(), amount.as_str()), ("o", "507"));
    let said = json!({"success": false, "error": "rate_limited"});
    assert_eq!(Answer::read(&said), Answer::Failure(BUSY.to_owned()));
    let row = Row::read(
        &json!({"store_id": "s", "receipt": "r", "state": "pending", "due_at": "t", "error": null}),
    );
    assert_eq!((row.key(), row.is_due, row.error.as_str()), (("s".to_owned(), "r".to_owned()), true, ""));
}
