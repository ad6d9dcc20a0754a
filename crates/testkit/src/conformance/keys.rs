//! Idempotency keys: the same key and content is the same request, anything else is refused.

use super::Rig;
use crate::build::intake;
use order_core::command::{ChangeKind, Command, Reply};
use order_core::error::Rejection;
use order_core::ids::OrderId;
use std::time::Duration;

fn reused(order_id: OrderId, differs: &[&str]) -> Rejection {
    Rejection::KeyReused { order_id, differs: differs.iter().map(|&pointer| pointer.to_owned()).collect() }
}

/// Without a reference the key alone makes a retry harmless.
pub async fn a_key_makes_a_retry_harmless(rig: Rig) {
    let sent = || intake("unused").no_reference().key("k-1");
    let order = rig.new_order(sent()).await;
    let (found, differs) = rig.duplicate(sent()).await;
    assert_eq!((found.id, differs), (order.id, Vec::new()), "the same key and content is the same request");
    let other = rig.accept(sent().total("20")).await;
    assert_eq!(other, Err(reused(order.id, &["/total"])), "the same key with other content is refused");
    assert_eq!(rig.journal_size().await, 1, "neither writes anything");
}

/// A key stands for its first answer, even when the order has been revised since.
pub async fn a_key_stands_for_what_was_sent_first(rig: Rig) {
    let sent = || intake("unused").no_reference().key("k-1");
    let order = rig.new_order(sent()).await;
    let revised = intake("unused").total("25").build().content;
    rig.changed(order.id, ChangeKind::Revise { content: Box::new(revised), requeue: false }).await;
    let (found, differs) = rig.duplicate(sent()).await;
    assert_eq!(
        (found.version, differs),
        (2, Vec::new()),
        "a retry is no difference, and sees the order as it is now"
    );
    let as_it_is_now = rig.accept(sent().total("25")).await;
    assert_eq!(
        as_it_is_now,
        Err(reused(order.id, &[])),
        "other content than the key's is refused, though it is the order's"
    );
}

/// With a reference too, the reference identifies: a key may not name two orders, and no reference is another one.
pub async fn a_key_may_not_name_two_references(rig: Rig) {
    let order = rig.new_order(intake("A-1").key("k-1")).await;
    assert_eq!(rig.duplicate(intake("A-1").key("k-1")).await, (order.clone(), Vec::new()), "a plain retry");
    let bare = || intake("unused").no_reference();
    for (sent, differs, what) in [
        (intake("A-2"), &["/reference"][..], "another reference"),
        (intake("A-2").total("20"), &["/reference", "/total"], "another reference and other content"),
        (intake("A-1").total("20"), &["/total"], "other content"),
        (bare(), &["/reference"], "no reference is another request than one with a reference"),
        (bare().total("20"), &["/reference", "/total"], "no reference and other content"),
        (intake("A-1").source("shop"), &["/source"], "another source has references of its own"),
    ] {
        assert_eq!(rig.accept(sent.key("k-1")).await, Err(reused(order.id, differs)), "{what}");
    }
    let plain = rig.new_order(bare().key("k-2")).await;
    let named = rig.accept(intake("A-1").key("k-2")).await;
    assert_eq!(named, Err(reused(plain.id, &["/reference"])), "a reference where there was none");
    assert_eq!(rig.journal_size().await, 2, "what is refused must not have made an order");
}

/// What is sent under a used key is held against the order as it is now only where it is not what the key was used for.
pub async fn a_key_names_no_content_that_was_sent_before(rig: Rig) {
    let order = rig.new_order(intake("A-1").key("k-1")).await;
    let revised = intake("A-1").total("25").build().content;
    rig.changed(order.id, ChangeKind::Revise { content: Box::new(revised), requeue: false }).await;
    let same = rig.accept(intake("A-2").key("k-1")).await;
    assert_eq!(
        same,
        Err(reused(order.id, &["/reference"])),
        "the content is the key's, though not the order's"
    );
    let other = rig.accept(intake("A-2").customer(None).key("k-1")).await;
    assert_eq!(other, Err(reused(order.id, &["/reference", "/customer", "/total"])), "other content");
}

/// A key that met an equal duplicate is used up by it; one that met a difference is free again.
pub async fn a_key_is_recorded_for_equal_duplicates_only(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    assert_eq!(rig.duplicate(intake("A-1").key("equal")).await.1, Vec::<String>::new());
    let again = rig.accept(intake("A-2").key("equal")).await;
    assert_eq!(again, Err(reused(order.id, &["/reference"])), "the key was used by the equal duplicate");
    assert_eq!(rig.duplicate(intake("A-1").total("20").key("different")).await.1, ["/total"]);
    rig.new_order(intake("A-3").key("different")).await;
}

/// Keys of other routes and tenants are other keys.
pub async fn keys_are_scoped_by_tenant_and_route(rig: Rig) {
    let sent = || intake("unused").no_reference();
    let first = rig.new_order(sent().key_on("v1.orders", "k")).await;
    let second = rig.new_order(sent().key_on("oscarps.orders", "k")).await;
    let third = rig.new_order(sent().key_on("v1.orders", "k").tenant("acme")).await;
    assert!(first.id != second.id && second.id != third.id);
    let longest = "é".repeat(127);
    let order = rig.new_order(sent().key(&longest)).await;
    assert_eq!(rig.duplicate(sent().key(&longest)).await.0.id, order.id, "a key of 254 bytes");
    rig.new_order(sent().key(&longest.to_uppercase())).await;
}

/// Old keys go, the oldest first and at most as many as asked for; then they are free again.
pub async fn a_sweep_takes_the_oldest_keys(rig: Rig) {
    let sent = |key: &str| intake("unused").no_reference().key(key);
    let mut first = Vec::new();
    for key in ["k-0", "k-1", "k-2", "k-3"] {
        first.push(rig.new_order(sent(key)).await.id);
        rig.clock.advance(Duration::from_secs(60));
    }
    let third = order_core::Timestamp::from_micros(crate::clock::START_MICROS).plus(Duration::from_secs(120));
    let sweep = |limit| rig.submit(Command::Sweep { before: third, limit });
    assert_eq!(sweep(1).await, Ok(Reply::Swept(1)), "two are old enough, one may go");
    rig.new_order(sent("k-0")).await;
    assert_eq!(rig.duplicate(sent("k-1")).await.0.id, first[1], "the second oldest is still there");
    assert_eq!(sweep(100).await, Ok(Reply::Swept(1)), "the second goes; `before` itself is not before");
    assert_eq!(sweep(100).await, Ok(Reply::Swept(0)));
    rig.new_order(sent("k-1")).await;
    for (index, key) in [(2, "k-2"), (3, "k-3")] {
        assert_eq!(rig.duplicate(sent(key)).await.0.id, first[index], "{key} is too young to go");
    }
}
