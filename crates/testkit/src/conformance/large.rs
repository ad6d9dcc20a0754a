//! Orders and histories of many bytes: no page holds much more than it may, and none is left out. What an erasure and a
//! shipment come to that are told again.

use super::Rig;
use crate::build::intake;
use order_core::command::ChangeKind;
use order_core::event::{EventBody, EventType};
use order_core::ids::TenantId;
use order_core::journal::{Cursor, Event, Head, Slice};
use order_core::lease::Outcome;
use order_core::listing::Search;
use order_core::order::Order;
use order_core::query::{OrderQuery, PAGE_BYTES_MAX};
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// Bytes of each order's text; a page holds four of them and no fifth.
const LARGE: usize = PAGE_BYTES_MAX / 4 + 1_000;
const ORDERS: usize = 11;

fn filling(number: usize) -> String {
    format!("\"{number}{}\"", "x".repeat(LARGE))
}

async fn large_orders(rig: &Rig) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for number in 0..ORDERS {
        let sent = intake(&format!("large-{number}")).attribute("a", &filling(number));
        // One by one: together they would be more than a lane takes.
        ids.insert(rig.new_order(sent.customer(Some("c-1"))).await.id.to_string());
    }
    ids
}

/// Puts a page to what was seen; it must be one, and no more than fits.
fn see(seen: &mut Vec<String>, page: &[Order]) {
    assert!((1..=4).contains(&page.len()), "{} large orders in a page", page.len());
    seen.extend(page.iter().map(|order| order.id.to_string()));
}

/// A list, a search and what changed end where they are full, and go on behind that.
pub async fn pages_of_large_orders_end_when_they_are_full(rig: Rig) {
    let expected = large_orders(&rig).await;
    let all = OrderQuery::all(TenantId::default_tenant(), 200, rig.now());
    let of_customer = OrderQuery { customer: Some("c-1".to_owned()), ..all.clone() };
    for mut query in [all.clone(), of_customer] {
        let mut seen = Vec::new();
        loop {
            let page = rig.storage().orders(&query).await.expect("a list can be read");
            see(&mut seen, &page.orders);
            query.before = page.next;
            if page.next.is_none() {
                break;
            }
        }
        assert_eq!((seen.len(), seen.into_iter().collect()), (ORDERS, expected.clone()));
    }

    let mut search = Search { query: all.clone(), text: "large-".to_owned(), after: None };
    let mut seen = Vec::new();
    loop {
        let page = rig.storage().search(&search).await.expect("a search can be read");
        see(&mut seen, &page.orders);
        search.after = page.next;
        if search.after.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), seen.into_iter().collect()), (ORDERS, expected.clone()));

    let install = rig.storage().install();
    let (mut after, mut seen) = (Cursor::beginning(install.epoch, install.shards), Vec::new());
    loop {
        let page = rig.storage().changes(&all, &after).await.expect("changes can be read");
        see(&mut seen, &page.orders);
        after = page.next;
        if page.up_to_date {
            break;
        }
    }
    assert_eq!((seen.len(), seen.into_iter().collect()), (ORDERS, expected));
}

/// Slices of several shards come in one page, each from its beginning; what makes the page full ends it.
pub async fn slices_come_in_a_page_that_ends_when_it_is_full(rig: Rig) {
    let heads = async || rig.storage().heads().await.expect("heads");
    let slices = |heads: &[Head], limit| -> Vec<Slice> {
        heads.iter().map(|head| Slice { shard: head.shard, after: 0, limit }).collect()
    };
    assert_eq!(rig.storage().slices(&[]).await.expect("a read"), Vec::<Vec<Event>>::new());
    for index in 0..60 {
        rig.new_order(intake(&format!("small-{index}"))).await;
    }
    let before = heads().await;
    for asked in [slices(&before, 100), slices(&before, 2)] {
        let read = rig.storage().slices(&asked).await.expect("a read");
        assert_eq!(read.len(), asked.len(), "all that was asked for");
        for (slice, events) in asked.iter().zip(&read) {
            let alone = rig.storage().journal(slice.shard, slice.after, slice.limit).await.expect("a read");
            assert_eq!(*events, alone);
        }
    }
    large_orders(&rig).await;
    let mut places: Vec<u64> = before.iter().map(|head| head.position).collect();
    let (mut seen, mut pages) = (0, 0);
    loop {
        let behind =
            heads().await.into_iter().filter(|head| places[usize::from(head.shard.0)] < head.position);
        let after = |head: &Head| places[usize::from(head.shard.0)];
        let asked: Vec<Slice> =
            behind.map(|head| Slice { shard: head.shard, after: after(&head), limit: 100 }).collect();
        if asked.is_empty() {
            break;
        }
        let read = rig.storage().slices(&asked).await.expect("a read");
        let bytes = |events: &Vec<Event>| events.iter().map(|event| event.data.len()).sum::<usize>();
        let all: usize = read.iter().map(bytes).sum();
        assert!(all <= 2 * PAGE_BYTES_MAX, "{all} bytes in a page");
        for (slice, events) in asked.iter().zip(&read) {
            let last = events.last().expect("what is answered has an event");
            places[usize::from(slice.shard.0)] = last.position;
            seen += events.len();
        }
        pages += 1;
    }
    assert_eq!(seen, ORDERS);
    assert!(pages > 1, "not all at once");
}

/// Events are found at their places, and nothing where there is none; what makes the page full ends it.
pub async fn events_are_found_at_their_places_until_a_page_is_full(rig: Rig) {
    assert_eq!(rig.storage().events_at(&[]).await.expect("a read"), []);
    for index in 0..40 {
        rig.new_order(intake(&format!("small-{index}"))).await;
    }
    let mut all = Vec::new();
    for head in rig.storage().heads().await.expect("heads") {
        all.extend(rig.storage().journal(head.shard, 0, 100).await.expect("a read"));
    }
    let there = all.iter().map(|event| ((event.shard, event.position), Some(event.clone())));
    let mut there: BTreeMap<_, _> = there.collect();
    let (first, last) = (all[0].shard, all[39].shard);
    for place in [(first, 0), (first, 999), (all[20].shard, 999), (last, 0), (last, 999)] {
        there.insert(place, None);
    }
    let (places, expected): (Vec<_>, Vec<_>) = there.into_iter().unzip();
    assert_eq!(rig.storage().events_at(&places).await.expect("a read"), expected);
    assert_eq!(rig.storage().events_at(&places[..1]).await.expect("a read"), [None]);
    large_orders(&rig).await;
    let mut places = Vec::new();
    for head in rig.storage().heads().await.expect("heads") {
        places.extend((1..=head.position).map(|position| (head.shard, position)));
    }
    let (mut seen, mut pages) = (0, 0);
    while !places.is_empty() {
        let read = rig.storage().events_at(&places).await.expect("a read");
        let bytes: usize = read.iter().flatten().map(|event| event.data.len()).sum();
        assert!(bytes <= 2 * PAGE_BYTES_MAX, "{bytes} bytes in a page");
        assert!(!read.is_empty(), "a page has an event at least");
        for (place, event) in places.drain(..read.len()).zip(read) {
            let event = event.expect("an event");
            assert_eq!((event.shard, event.position), place);
            seen += 1;
        }
        pages += 1;
    }
    assert_eq!(seen, 40 + ORDERS);
    assert!(pages > 1, "not all at once");
}

/// A claim of large orders leases fewer than it may; the others stay due.
pub async fn a_claim_of_large_orders_leases_fewer_and_the_rest_stays_due(rig: Rig) {
    let expected = large_orders(&rig).await;
    let mut seen = Vec::new();
    while seen.len() < ORDERS {
        let claimed = rig.claim(100).await;
        let orders: Vec<Order> = claimed.leased.iter().map(|leased| leased.order.clone()).collect();
        see(&mut seen, &orders);
        let more = claimed.next_due.is_some_and(|due| due <= rig.now());
        assert_eq!(more, seen.len() < ORDERS, "what is left is due");
        for leased in &claimed.leased {
            rig.settle(leased, Outcome::Done).await.expect("the lease is held");
        }
    }
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    rig.assert_sound().await;
}

/// The history of one order is read from any version on, so many at a time, and no more than fits.
pub async fn the_events_of_an_order_come_in_pages(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let between = rig.new_order(intake("A-2")).await;
    for number in 0..9 {
        let content = Box::new(intake("A-1").attribute("a", &filling(number)).build().content);
        rig.changed(order.id, ChangeKind::Revise { content, requeue: false }).await;
        let content = Box::new(intake("A-2").total(&number.to_string()).build().content);
        rig.change(between.id, ChangeKind::Revise { content, requeue: false }).await.expect("a revision");
    }
    let tenant = TenantId::default_tenant();
    let page = async |after: u64, limit: u32| {
        let page = rig.storage().order_events(&tenant, order.id, after, limit).await;
        let page = page.expect("a read").expect("the order is there");
        (page.events.iter().map(|event| event.version).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(page(0, 1).await, (vec![1], Some(1)));
    assert_eq!(page(0, 3).await, (vec![1, 2, 3], Some(3)));
    assert_eq!(page(1, 100).await, (vec![2, 3, 4, 5], Some(5)), "four large ones make it full");
    assert_eq!(page(8, 2).await, (vec![9, 10], None), "that was the last one");
    assert_eq!(page(9, 100).await, (vec![10], None));
    for beyond in [10, 11, u64::MAX] {
        assert_eq!(page(beyond, 100).await, (vec![], None));
    }
    let events: Vec<Event> = rig.events(order.id).await;
    assert_eq!(events.iter().map(|event| event.version).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.order_id == order.id));
    assert_eq!(rig.events(between.id).await.len(), 10);
}

/// An erasure names what it blanked and nothing else; told again it does nothing, until something comes that can be erased.
pub async fn an_erasure_names_what_it_blanked_and_is_told_once(rig: Rig) {
    let pointers =
        async |order: &Order| match EventBody::parse(rig.events(order.id).await.last().expect("events")) {
            Ok(EventBody::Erased { pointers, .. }) => pointers,
            other => panic!("no erasure: {other:?}"),
        };
    let bare = rig.new_order(intake("A-1").customer(None).no_lines()).await;
    let erased = rig.changed(bare.id, ChangeKind::Erase).await;
    assert_eq!(pointers(&erased).await, [""; 0], "whoever followed it hears of the first one all the same");

    // What is in its history alone is blanked too.
    let order = rig.new_order(intake("A-2").customer(Some("Ada")).no_lines()).await;
    let content = Box::new(intake("A-2").customer(None).no_lines().build().content);
    rig.changed(order.id, ChangeKind::Revise { content: content.clone(), requeue: false }).await;
    let erased = rig.changed(order.id, ChangeKind::Erase).await;
    assert_eq!(pointers(&erased).await, ["/customer"]);
    assert!(rig.events(order.id).await.iter().all(|event| !event.data.contains("Ada")));

    let leased = rig.claim_one().await;
    let leased = if leased.order.id == order.id { leased } else { rig.claim_one().await };
    let again = rig.change(order.id, ChangeKind::Erase).await.expect("a repetition is no error");
    assert_eq!((again.changed, again.order.version), (false, erased.version));
    assert!(again.order.lease.is_some(), "and no lease is taken away");
    rig.settle(&leased, Outcome::Park { why: "Ada is not at home".to_owned() }).await.expect("it is held");
    let erased = rig.changed(order.id, ChangeKind::Erase).await;
    assert_eq!((pointers(&erased).await, erased.last_error), (vec!["/last_error".to_owned()], None));
    rig.assert_sound().await;
}

/// A tracking number may come after the shipment: a second event with the same time. Nothing else is told twice.
pub async fn a_tracking_number_may_be_told_later(rig: Rig) {
    let ship = |shipped_at, number: Option<&str>| ChangeKind::Ship {
        shipped_at,
        tracking_number: number.map(str::to_owned),
    };
    let order = rig.new_order(intake("A-1")).await;
    let at = rig.changed(order.id, ship(None, None)).await.shipped_at;
    assert_eq!(at, Some(rig.now()), "shipped now, unless it is said otherwise");
    rig.clock.tick();
    let told = async |kind| rig.change(order.id, kind).await.expect("it was shipped").changed;
    assert!(!told(ship(None, None)).await && !told(ship(at, None)).await);
    assert!(!told(ship(Some(rig.now()), Some("T"))).await, "of another shipment nothing is known");
    let known = rig.changed(order.id, ship(None, Some("T"))).await;
    assert_eq!((known.shipped_at, known.tracking_number.as_deref(), known.version), (at, Some("T"), 3));
    assert!(!told(ship(None, Some("T"))).await && !told(ship(None, Some("U"))).await, "once");
    let withdraw = ChangeKind::Withdraw { reason: "r".to_owned(), by: "b".to_owned(), requeue: false };
    rig.changed(order.id, withdraw.clone()).await;
    assert!(!told(ship(at, Some("T"))).await, "it is so, also when it was withdrawn since");
    let kinds: Vec<EventType> = rig.events(order.id).await.into_iter().map(|event| event.kind).collect();
    assert_eq!(kinds[1..], [EventType::OrderShipped, EventType::OrderShipped, EventType::OrderWithdrawn]);

    let bare = rig.new_order(intake("A-2")).await;
    rig.changed(bare.id, ship(None, None)).await;
    rig.changed(bare.id, withdraw).await;
    let late = rig.change(bare.id, ship(None, Some("T"))).await.expect("it was shipped");
    assert_eq!(
        (late.changed, late.order.tracking_number),
        (false, None),
        "nothing new of what was withdrawn"
    );
    rig.assert_sound().await;
}
