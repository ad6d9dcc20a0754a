//! Desks: who works at some claims from these alone, whatever lies at others.

use super::Rig;
use super::rig::{LAPSES_MAX, LEASE};
use crate::build::{intake, source, tenant};
use order_core::clock::Timestamp;
use order_core::command::{ChangeKind, Claim, Claimed, Command, Reply};
use order_core::desk::{Desk, Desks};
use order_core::ids::{OrderId, TenantId};
use order_core::lease::Outcome;
use std::collections::BTreeSet;
use std::sync::Arc;

fn at(origin: &str) -> Desks {
    Desk::of(&source(origin)).into()
}

async fn claim(rig: &Rig, owner: Option<&str>, desks: Desks, count: usize) -> Claimed {
    let claim = Claim { tenant: owner.map(tenant), desks, ..rig.claim_command(count) };
    match rig.submit(Command::Claim(claim)).await {
        Ok(Reply::Claimed(claimed)) => claimed,
        other => panic!("a claim was answered {other:?}"),
    }
}

fn ids_of(claimed: &Claimed) -> Vec<OrderId> {
    claimed.leased.iter().map(|leased| leased.order.id).collect()
}

async fn next_due(rig: &Rig, owner: &str, desks: Desks) -> Option<Timestamp> {
    rig.storage().next_due(&tenant(owner), desks).await.expect("a read")
}

/// Of one tenant or of any; from several desks what is due first comes first, wherever it lies.
pub async fn a_claim_takes_from_its_desks_alone(rig: Rig) {
    let mut orders = Vec::new();
    for (index, origin) in ["sales", "api", "parspec", "shop", "sales", "parspec"].into_iter().enumerate() {
        orders.push(rig.new_order(intake(&format!("o-{index}")).source(origin)).await);
        rig.clock.tick();
    }
    let foreign = rig.new_order(intake("o-6").source("sales").tenant("acme")).await;
    let id = |index: usize| orders[index].id;
    assert_eq!(claim(&rig, None, Desks::NONE, 10).await, Claimed::default(), "nobody works at no desk");
    assert_eq!(claim(&rig, None, at("oscarps"), 10).await, Claimed::default(), "nothing lies there");
    let common = claim(&rig, None, at("api"), 10).await;
    assert_eq!(
        (ids_of(&common), common.next_due),
        (vec![id(1), id(3)], None),
        "all that came by no contract"
    );
    let one = claim(&rig, Some("default"), at("sales"), 1).await;
    assert_eq!((ids_of(&one), one.next_due), (vec![id(0)], Some(orders[4].accepted_at)));
    let rest = claim(&rig, None, at("api").others(), 3).await;
    assert_eq!(ids_of(&rest), [id(2), id(4), id(5)], "what is due first before the rest, from all of these");
    assert_eq!(rest.next_due, Some(foreign.accepted_at));
    assert_eq!(ids_of(&claim(&rig, Some("acme"), Desks::ALL, 10).await), [foreign.id]);
    rig.clock.advance(LEASE * 2);
    assert_eq!(claim(&rig, None, at("parspec"), 10).await.lapsed, 2, "leases run out at each desk");
    rig.assert_sound().await;
}

/// Whoever waits for work hears of that at its own desks.
pub async fn what_is_due_next_is_known_of_each_desk(rig: Rig) {
    let sale = rig.new_order(intake("A-1").source("sales")).await;
    rig.clock.tick();
    let order = rig.new_order(intake("A-2")).await;
    rig.new_order(intake("A-3").source("parspec").tenant("acme")).await;
    assert_eq!(next_due(&rig, "default", Desks::ALL).await, Some(sale.accepted_at));
    assert_eq!(next_due(&rig, "default", at("sales").others()).await, Some(order.accepted_at));
    assert_eq!(next_due(&rig, "default", at("parspec")).await, None, "that is another tenant's");
    assert_eq!(next_due(&rig, "default", Desks::NONE).await, None);
}

/// Work that is made anew lies where it lay.
pub async fn work_that_is_made_anew_lies_at_its_desk(rig: Rig) {
    let order = rig.new_order(intake("A-1").source("orderstream-events")).await;
    let here = at("orderstream");
    let leased = claim(&rig, None, here, 1).await.leased.pop().expect("work must be due");
    rig.settle(&leased, Outcome::Retry { at: rig.now(), why: "no".to_owned() }).await.expect("held");
    let leased = claim(&rig, None, here, 1).await.leased.pop().expect("due again");
    rig.settle(&leased, Outcome::Park { why: "no".to_owned() }).await.expect("held");
    let redrive = ChangeKind::Redrive { reason: "mended".to_owned(), by: "ops".to_owned() };
    rig.changed(order.id, redrive).await;
    assert_eq!(claim(&rig, None, here.others(), 1).await, Claimed::default());
    let leased = claim(&rig, None, here, 1).await.leased.pop().expect("a redrive makes work");
    rig.settle(&leased, Outcome::Done).await.expect("held");
    let content = Box::new(intake("A-1").total("7").build().content);
    rig.changed(order.id, ChangeKind::Revise { content, requeue: true }).await;
    assert_eq!(claim(&rig, None, here.others(), 1).await, Claimed::default());
    assert_eq!(ids_of(&claim(&rig, None, here, 1).await), [order.id]);
    rig.assert_sound().await;
}

/// However much lies before it at other desks.
pub async fn much_at_one_desk_hides_nothing_at_another(rig: Rig) {
    for index in 0..120 {
        rig.new_order(intake(&format!("s-{index}")).source("sales")).await;
    }
    let last = rig.new_order(intake("A-1")).await;
    let claimed = claim(&rig, None, at("sales").others(), 10).await;
    assert_eq!((ids_of(&claimed), claimed.next_due), (vec![last.id], None));
    // Leases that run out at one desk park nothing at another.
    for _ in 0..=LAPSES_MAX {
        rig.clock.advance(LEASE);
        claim(&rig, None, at("sales").others(), 10).await;
    }
    assert_eq!(claim(&rig, None, at("sales"), 200).await.leased.len(), 120);
    rig.assert_sound().await;
}

/// Claims of several desks that go on at once: nobody gets what lies elsewhere, nothing is handed out twice or forgotten.
pub async fn claims_of_several_desks_never_overlap(rig: Rig) {
    let origins = ["api", "sales", "parspec"];
    for index in 0..60 {
        rig.new_order(intake(&format!("o-{index}")).source(origins[index % 3])).await;
    }
    let sets = [at("api"), at("api").others(), at("sales").others(), Desks::ALL];
    let tasks: Vec<_> = (0..16)
        .map(|worker| {
            let (app, desks) = (Arc::clone(&rig.app), sets[worker % sets.len()]);
            tokio::spawn(async move {
                (desks, app.claim(None, desks, 5, LEASE, LAPSES_MAX).await.expect("a claim"))
            })
        })
        .collect();
    let mut seen: BTreeSet<OrderId> = BTreeSet::new();
    for task in tasks {
        let (desks, claimed) = task.await.expect("a task");
        for leased in claimed.leased {
            assert!(desks.has(Desk::of(&leased.order.source)), "from another desk: {leased:?}");
            assert!(seen.insert(leased.order.id), "the same work was handed out twice");
        }
    }
    while seen.len() < 60 {
        let left = rig.app.claim(Some(TenantId::default_tenant()), Desks::ALL, 60, LEASE, LAPSES_MAX).await;
        let left = left.expect("a claim").leased;
        assert!(!left.is_empty(), "{} pieces of work are gone", 60 - seen.len());
        seen.extend(left.iter().map(|leased| leased.order.id));
    }
    rig.assert_sound().await;
}
