//! Reads: one order, lists, counts; and that one tenant never sees another's anything.

use super::Rig;
use super::rig::LEASE;
use crate::build::{intake, source, tenant};
use order_core::command::{Change, ChangeKind, Command};
use order_core::error::Rejection;
use order_core::ids::{OrderId, TenantId};
use order_core::lease::Outcome;
use order_core::order::Order;
use order_core::query::{OrderQuery, Tally};
use order_core::redrive::RedriveFilter;
use order_core::state::{Fulfilment, Processing};
use std::time::Duration;

fn all_of(rig: &Rig, owner: &TenantId, limit: u32) -> OrderQuery {
    OrderQuery::all(owner.clone(), limit, rig.now())
}

/// Reads all pages of a list; fails when a page is too long or the list does not come to its end.
async fn pages(rig: &Rig, mut query: OrderQuery) -> Vec<Order> {
    let mut orders = Vec::new();
    for _ in 0..10_000 {
        let page = rig.storage().orders(&query).await.expect("a list can be read");
        assert!(page.orders.len() <= query.limit as usize, "a page holds at most {} orders", query.limit);
        orders.extend(page.orders);
        match page.next {
            None => return orders,
            Some(next) => {
                assert!(
                    query.before.is_none_or(|before| next < before),
                    "each page must begin below the one before"
                );
                query.before = Some(next);
            }
        }
    }
    panic!("a list must come to its end: {query:?}");
}

/// Two tenants and sources with orders in every state, one lease live and one lapsed.
async fn a_bit_of_everything(rig: &Rig) -> Vec<Order> {
    let mut ids: Vec<(TenantId, OrderId)> = Vec::new();
    for index in 0..24_u64 {
        let name = format!("o-{index}");
        let owner = if index % 8 == 7 { "acme" } else { "default" };
        let from = if index % 3 == 0 { "shop" } else { "api" };
        let customer = format!("c-{}", index % 4);
        let order = rig.new_order(intake(&name).tenant(owner).source(from).customer(Some(&customer))).await;
        let change = |kind| {
            let change = Change { tenant: order.tenant.clone(), ..rig.change_command(order.id, kind) };
            rig.submit(Command::Change(Box::new(change)))
        };
        match index % 6 {
            1 => drop(rig.park("no").await),
            2 | 3 => {
                let leased = rig.claim_one().await;
                rig.clock.advance(Duration::from_millis(1_500 + index));
                rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
            }
            4 => {
                let leased = rig.claim_one().await;
                let at = rig.now().plus(LEASE * 100);
                rig.settle(&leased, Outcome::Retry { at, why: "later".to_owned() }).await.expect("held");
            }
            _ => drop(rig.claim_one().await),
        }
        if index % 5 == 1 {
            let withdraw =
                ChangeKind::Withdraw { reason: "r".into(), by: "b".into(), requeue: index % 2 == 0 };
            change(withdraw).await.expect("a withdrawal");
            // Nobody else may find its work in the next round.
            drop(rig.claim(1).await);
        } else if index % 5 == 2 {
            change(ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: None })
                .await
                .expect("a shipment");
        } else if index % 5 == 3 {
            change(ChangeKind::Deliver { delivered_at: rig.now() }).await.expect("a delivery");
        }
        rig.clock.advance(Duration::from_millis(1));
        ids.push((order.tenant, order.id));
    }
    let mut orders = Vec::new();
    for (owner, order_id) in ids {
        orders.push(rig.order_of(&owner, order_id).await.expect("the order is there"));
    }
    orders
}

/// Every filter, alone and together, gives what looking at every order gives, newest first, in pages of any length.
pub async fn lists_filter_and_page_as_looking_at_every_order_does(rig: Rig) {
    let orders = a_bit_of_everything(&rig).await;
    // The first leases have run out, the last ones have not.
    rig.clock.advance(LEASE - Duration::from_secs(6));
    let running = orders.iter().filter(|order| order.processing_at(rig.now()) == Processing::Running).count();
    let held = orders.iter().filter(|order| order.lease.is_some()).count();
    assert!(0 < running && running < held, "{running} of {held} leases are live");
    let mut filters = Vec::new();
    for processing in [
        None,
        Some(Processing::Queued),
        Some(Processing::Running),
        Some(Processing::Done),
        Some(Processing::Parked),
    ] {
        for fulfilment in
            [None, Some(Fulfilment::Unshipped), Some(Fulfilment::Shipped), Some(Fulfilment::Delivered)]
        {
            for withdrawn in [None, Some(true), Some(false)] {
                for customer in [None, Some("c-1"), Some("nobody")] {
                    filters.push((processing, fulfilment, withdrawn, customer));
                }
            }
        }
    }
    let mut found = 0;
    for (index, (processing, fulfilment, withdrawn, customer)) in filters.into_iter().enumerate() {
        let from = [None, Some("api"), Some("shop"), Some("nowhere")][index % 4];
        let owner = [TenantId::default_tenant(), tenant("acme"), tenant("nobody")][index % 11 % 3].clone();
        let query = OrderQuery {
            source: from.map(source),
            processing,
            fulfilment,
            withdrawn,
            customer: customer.map(str::to_owned),
            ..all_of(&rig, &owner, [1, 2, 3, 200][index % 4])
        };
        let mut expected: Vec<&Order> = orders.iter().filter(|order| query.matches(order)).collect();
        expected.sort_by_key(|order| std::cmp::Reverse(order.number));
        found += expected.len();
        let listed = pages(&rig, query.clone()).await;
        assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{query:?}");
    }
    assert!(found > 50, "the filters must find something to be worth anything: {found}");
    for (owner, count) in [("default", 21), ("acme", 3), ("nobody", 0)] {
        let listed = pages(&rig, all_of(&rig, &tenant(owner), 5)).await;
        assert_eq!(listed.len(), count, "all orders of {owner}");
    }
}

/// A rare match is found behind many others, though a page looks at no more than its share.
pub async fn a_rare_match_is_found_page_by_page(rig: Rig) {
    let rare = rig.new_order(intake("rare").customer(Some("rare"))).await;
    // Not all at once: a slow machine sheds what waits for too long.
    for some in 0..13 {
        let some = (some * 400)..(some * 400 + 400);
        rig.new_orders(some.map(|index| intake(&format!("o-{index}")).no_lines().build()).collect()).await;
    }
    let query =
        OrderQuery { customer: Some("rare".to_owned()), ..all_of(&rig, &TenantId::default_tenant(), 10) };
    assert_eq!(pages(&rig, query).await, [rare], "the oldest of 5201 orders");
}

/// By number: one's own only.
pub async fn an_order_is_found_by_its_number(rig: Rig) {
    let mine = rig.new_order(intake("A-1")).await;
    let theirs = rig.new_order(intake("A-1").tenant("acme")).await;
    let cases = [
        (&mine.tenant, mine.number, Some(&mine)),
        (&theirs.tenant, theirs.number, Some(&theirs)),
        (&mine.tenant, theirs.number, None),
        (&theirs.tenant, mine.number, None),
        (&mine.tenant, 0, None),
        (&mine.tenant, -1, None),
        (&mine.tenant, i64::MAX, None),
    ];
    for (owner, number, expected) in cases {
        let found = rig.storage().order_by_number(owner, number).await.expect("a read");
        assert_eq!(found.as_ref(), expected, "number {number} as {owner} sees it");
    }
    let leased = rig.claim(2).await.leased;
    let found = rig.storage().order_by_number(&mine.tenant, mine.number).await.expect("a read");
    assert_eq!(
        found.and_then(|order| order.lease).map(|lease| lease.token),
        Some(leased[0].token),
        "with its lease"
    );
}

/// Nothing of another tenant is seen or changed, though it bears the same names.
pub async fn tenants_are_apart_in_every_read_and_change(rig: Rig) {
    let sent = || intake("A-1").key("k");
    let mine = rig.parked(sent(), "mine").await;
    let theirs = rig.parked(sent().tenant("acme"), "theirs").await;
    assert_ne!(mine.id, theirs.id, "the same reference of two tenants names two orders");
    let (me, acme, nobody) = (mine.tenant.clone(), theirs.tenant.clone(), tenant("nobody"));
    let storage = rig.storage();
    for (viewer, own, other) in [(&me, &mine, &theirs), (&acme, &theirs, &mine)] {
        assert_eq!(storage.order(viewer, own.id).await.expect("a read").as_ref(), Some(own));
        assert_eq!(
            storage.order(viewer, other.id).await.expect("a read"),
            None,
            "{viewer} sees a foreign order"
        );
        assert!(storage.order_events(viewer, own.id, 0, 1).await.expect("a read").is_some());
        assert_eq!(
            storage.order_events(viewer, other.id, 0, 1).await.expect("a read"),
            None,
            "{viewer} sees foreign events"
        );
        assert_eq!(
            pages(&rig, all_of(&rig, viewer, 10)).await,
            std::slice::from_ref(own),
            "the list of {viewer}"
        );
        let tally = storage.tally(viewer, &source("api"), rig.now()).await.expect("a tally");
        assert_eq!((tally.orders, tally.parked), (1, 1), "the tally of {viewer}");
        let count = storage.count_parked(viewer, &RedriveFilter::default()).await.expect("a count");
        assert_eq!((count.count, count.more), (1, false), "the parked orders of {viewer}");
        for kind in [ChangeKind::Erase, ChangeKind::Redrive { reason: "r".into(), by: "b".into() }] {
            let change = Change { tenant: viewer.clone(), ..rig.change_command(other.id, kind) };
            let refused = rig.submit(Command::Change(Box::new(change))).await;
            assert_eq!(refused, Err(Rejection::OrderUnknown), "{viewer} changes a foreign order");
        }
    }
    assert_eq!(pages(&rig, all_of(&rig, &nobody, 10)).await, []);
    let tally = storage.tally(&nobody, &source("api"), rig.now()).await.expect("a tally");
    assert_eq!(tally, Tally::default());
    let filter = RedriveFilter { order_ids: Some(vec![mine.id, theirs.id]), ..RedriveFilter::default() };
    let job = rig.start_redrive(&me, filter).await;
    assert_eq!(
        storage.redrive(&acme, job.redrive_id).await.expect("a read"),
        None,
        "a foreign job is unknown"
    );
    rig.step_redrive(job.redrive_id, 10).await.expect("a step");
    let job = storage.redrive(&me, job.redrive_id).await.expect("a read").expect("one's own job");
    assert_eq!((job.redriven, job.refused), (1, 1), "a job touches its own tenant's orders only");
    assert_eq!(
        rig.order_of(&acme, theirs.id).await.as_ref(),
        Some(&theirs),
        "the foreign order is as it was"
    );
    let job = rig.start_redrive(&nobody, RedriveFilter::default()).await;
    let job = rig.step_redrive(job.redrive_id, 10).await.expect("a step");
    assert_eq!((job.redriven, job.finished), (0, true), "nobody has nothing to redrive");
    assert_eq!(
        rig.order_of(&acme, theirs.id).await.as_ref(),
        Some(&theirs),
        "the foreign order is as it was"
    );
}

/// Who sees the orders of one source only cannot change another's.
pub async fn a_change_within_one_source_does_not_reach_another(rig: Rig) {
    let order = rig.new_order(intake("A-1").source("shop")).await;
    let within = |name: &str| {
        let change = Change { source: Some(source(name)), ..rig.change_command(order.id, ChangeKind::Erase) };
        rig.submit(Command::Change(Box::new(change)))
    };
    assert_eq!(within("api").await, Err(Rejection::OrderUnknown), "another source's order is unknown");
    assert_eq!(rig.order(order.id).await.version, 1);
    within("shop").await.expect("one's own source");
}

/// The tally is what counting gives, at every moment: a lease that ran out is not running.
pub async fn the_tally_is_what_counting_gives(rig: Rig) {
    let orders = a_bit_of_everything(&rig).await;
    for step in 0..5 {
        for owner in ["default", "acme", "nobody"] {
            for from in ["api", "shop", "nowhere"] {
                let mut counted = Tally::default();
                for order in
                    orders.iter().filter(|it| it.tenant.as_str() == owner && it.source.as_str() == from)
                {
                    count(&mut counted, order, order.processing_at(rig.now()));
                }
                let tally =
                    rig.storage().tally(&tenant(owner), &source(from), rig.now()).await.expect("a tally");
                assert_eq!(tally, counted, "{owner}/{from} after {step} steps of 10 s");
            }
        }
        let sources = ["api", "nowhere", "shop"].map(source);
        let over_all = rig.storage().tallies(&sources, rig.now()).await.expect("tallies");
        for (from, tally) in sources.iter().zip(over_all) {
            let mut counted = Tally::default();
            for order in orders.iter().filter(|it| it.source == *from) {
                count(&mut counted, order, order.processing_at(rig.now()));
            }
            assert_eq!(tally, counted, "{from} of all tenants after {step} steps of 10 s");
        }
        rig.clock.advance(LEASE / 3);
    }
    rig.assert_sound().await;
}

fn count(tally: &mut Tally, order: &Order, now: Processing) {
    tally.orders += 1;
    tally.queued += u64::from(order.processing == Processing::Queued);
    tally.running += u64::from(now == Processing::Running);
    tally.parked += u64::from(order.processing == Processing::Parked);
    if let (Some(started), Some(processed)) = (order.started_at, order.processed_at) {
        tally.processed += 1;
        tally.processing_micros += u64::try_from(processed.since(started).as_micros()).expect("a short time");
    }
}

/// An order is read with its work and its newest events, as many as are asked for.
pub async fn an_order_is_read_with_its_work_and_its_newest_events(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    for total in 1..=4 {
        let content = Box::new(intake("A-1").total(&total.to_string()).build().content);
        rig.changed(order.id, ChangeKind::Revise { content, requeue: false }).await;
    }
    rig.new_order(intake("A-2").no_reference()).await;
    let owner = TenantId::default_tenant();
    let leased = rig.claim_one().await;
    let all = rig.events(order.id).await;
    for events_max in [1, 2, 5, 1_000] {
        let found = rig.storage().dossier(&owner, order.id, events_max).await.expect("a read");
        let dossier = found.expect("the order is there");
        assert_eq!(dossier.order, rig.order(order.id).await, "the order, with its lease");
        let shown = all.len().min(usize::try_from(events_max).expect("a small number"));
        assert_eq!(dossier.events, all[all.len() - shown..], "the newest {events_max}, oldest first");
        let work = dossier.work.expect("its work is open");
        assert_eq!((work.token, work.due_at), (Some(leased.token), leased.until));
        assert_eq!((work.attempt, work.lapses, work.claimed_at), (0, 0, Some(leased.began_at)));
    }
    rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    let found = rig.storage().dossier(&owner, order.id, 1).await.expect("a read");
    assert_eq!(found.expect("the order is there").work, None, "nothing is left to do");
    for (tenant, order_id) in [(tenant("acme"), order.id), (owner, OrderId(uuid::Uuid::from_u128(7)))] {
        let found = rig.storage().dossier(&tenant, order_id, 10).await.expect("a read");
        assert_eq!(found, None, "another tenant's, or none");
    }
}
