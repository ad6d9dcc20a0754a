//! Lists by time, by text, and along what changed.

use super::Rig;
use crate::build::{intake, source, tenant};
use order_core::clock::Timestamp;
use order_core::command::{ChangeKind, Reply};
use order_core::error::Rejection;
use order_core::ids::{OrderId, TenantId};
use order_core::intake::Accepted;
use order_core::journal::Cursor;
use order_core::lease::Outcome;
use order_core::listing::{self, Search, SearchField, Since};
use order_core::order::{Content, Order};
use order_core::query::OrderQuery;
use order_core::state::{Fulfilment, Processing};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn all(rig: &Rig, limit: u32) -> OrderQuery {
    OrderQuery::all(TenantId::default_tenant(), limit, rig.now())
}

/// Every page of a list.
async fn listed(rig: &Rig, mut query: OrderQuery) -> Vec<Order> {
    let mut orders = Vec::new();
    loop {
        let page = rig.storage().orders(&query).await.expect("a list can be read");
        assert!(page.orders.len() <= query.limit as usize, "no page is longer than it may be");
        orders.extend(page.orders);
        query.before = page.next;
        if page.next.is_none() {
            return orders;
        }
    }
}

/// Every page of a search.
async fn found(rig: &Rig, query: &OrderQuery, text: &str) -> Vec<Order> {
    let mut search = Search { query: query.clone(), text: text.to_owned(), after: None };
    let mut orders = Vec::new();
    loop {
        let page = rig.storage().search(&search).await.expect("a search can be read");
        assert!(page.orders.len() <= query.limit as usize, "no page is longer than it may be");
        orders.extend(page.orders);
        assert!(page.next != search.after || page.next.is_none(), "each page must get on");
        search.after = page.next;
        if search.after.is_none() {
            return orders;
        }
    }
}

/// What a search must give, by looking at every order.
fn expected(orders: &[Order], query: &OrderQuery, text: &str) -> Vec<OrderId> {
    let search = Search { query: query.clone(), text: text.to_owned(), after: None };
    let fits = orders.iter().filter(|order| query.matches(order));
    let mut found: Vec<((SearchField, String), Reverse<i64>, OrderId)> =
        fits.filter_map(|order| Some((search.found_by(order)?, Reverse(order.number), order.id))).collect();
    found.sort();
    found.into_iter().map(|(_, _, id)| id).collect()
}

fn ids(orders: &[Order]) -> Vec<OrderId> {
    orders.iter().map(|order| order.id).collect()
}

fn revised(order: &Order, customer: Option<&str>) -> ChangeKind {
    let content = Content { customer: customer.map(str::to_owned), ..order.content.clone() };
    ChangeKind::Revise { content: Box::new(content), requeue: false }
}

/// By the beginning of id, reference and customer, of one's own orders alone, in pages of any length.
pub async fn a_search_finds_what_looking_at_every_order_does(rig: Rig) {
    let (mut orders, mut theirs) = (Vec::new(), Vec::new());
    for (index, reference) in
        ["A-1", "A-10", "a-1", "c-1", "é", "%", "_", "A-2", "é-1", "10"].into_iter().enumerate()
    {
        let customer = ["c-1", "c-10", "A-1", "é-2"][index % 4];
        let from = ["api", "shop"][index % 2];
        orders.push(rig.new_order(intake(reference).source(from).customer(Some(customer))).await);
        theirs.push(rig.new_order(intake(reference).tenant("acme").customer(Some(customer))).await);
    }
    for customer in [None, Some("c-1"), Some("A")] {
        orders.push(rig.new_order(intake("none").no_reference().customer(customer)).await);
    }
    let prefix_of_id = orders[0].id.to_string()[..3].to_owned();
    let whole_id = orders[1].id.to_string();
    let texts =
        ["A", "A-1", "A-10", "A-100", "a", "c", "c-1", "é", "é-", "%", "_", "1", "0", "f", "zzz", "-"];
    let mut hits = 0;
    for text in texts.into_iter().chain([prefix_of_id.as_str(), &whole_id, &whole_id.to_uppercase()]) {
        for limit in [1, 2, 200] {
            for from in [None, Some(source("shop"))] {
                let query = OrderQuery { source: from, ..all(&rig, limit) };
                let listed = found(&rig, &query, text).await;
                assert_eq!(ids(&listed), expected(&orders, &query, text), "{text:?}, {limit} a page");
                hits += listed.len();
            }
        }
    }
    assert!(hits > 100, "searches must find something to be worth anything: {hits}");
    let query = OrderQuery::all(tenant("acme"), 200, rig.now());
    let listed = found(&rig, &query, "A").await;
    assert_eq!(ids(&listed), expected(&theirs, &query, "A"), "another tenant finds its own");
    assert!(listed.len() > 4 && found(&rig, &query, &whole_id).await.is_empty(), "and no other's");
}

/// An order is found by what it is now, in searches and lists alike, before a restart and after it.
pub async fn a_revised_order_is_found_by_what_it_is_now(rig: Rig) {
    let kept = rig.new_order(intake("kept").customer(Some("old"))).await;
    let order = rig.new_order(intake("A-1").customer(Some("old"))).await;
    let erased = rig.new_order(intake("A-2").customer(Some("older"))).await;
    rig.changed(order.id, revised(&order, Some("new"))).await;
    rig.changed(erased.id, revised(&erased, Some("new"))).await;
    let check = async |rig: &Rig, when: &str| {
        let of = |customer: &str| OrderQuery { customer: Some(customer.to_owned()), ..all(rig, 1) };
        assert_eq!(ids(&listed(rig, of("old")).await), [kept.id], "{when}: the old customer's");
        assert_eq!(ids(&listed(rig, of("new")).await), [erased.id, order.id], "{when}: the new customer's");
        assert_eq!(ids(&found(rig, &all(rig, 1), "old").await), [kept.id], "{when}: a search for the old");
        assert_eq!(ids(&found(rig, &all(rig, 1), "new").await), [erased.id, order.id], "{when}: for the new");
    };
    check(&rig, "at once").await;
    let rig = rig.reopen().await;
    check(&rig, "after a restart").await;
    rig.changed(order.id, revised(&order, Some("old"))).await;
    let query = OrderQuery { customer: Some("old".to_owned()), ..all(&rig, 200) };
    assert_eq!(ids(&listed(&rig, query).await), [order.id, kept.id], "and back, found once");
    rig.changed(erased.id, ChangeKind::Erase).await;
    for text in ["new", "older"] {
        let query = OrderQuery { customer: Some(text.to_owned()), ..all(&rig, 200) };
        assert_eq!(ids(&listed(&rig, query).await), [], "an erased order is nobody's: {text}");
        assert_eq!(ids(&found(&rig, &all(&rig, 200), text).await), [], "{text}");
    }
    assert_eq!(ids(&found(&rig, &all(&rig, 200), "A-2").await), [erased.id], "its reference stays");
    rig.assert_sound().await;
}

/// Takes in so many orders, in batches that come at these moments.
async fn accepted_at(rig: &Rig, moments: &[Timestamp], batch: usize) -> Vec<Order> {
    let references = rig.references(moments.len() * batch);
    let mut orders = Vec::new();
    for (moment, references) in moments.iter().zip(references.chunks(batch)) {
        rig.clock.set(*moment);
        let commands = references
            .iter()
            .enumerate()
            .map(|(index, reference)| {
                rig.accept_command(intake(reference).no_lines().customer(Some(["a", "b"][index % 2])))
            })
            .collect();
        for reply in rig.commit(commands).await {
            match reply {
                Ok(Reply::Accepted(Accepted::New(order))) => orders.push(*order),
                other => panic!("a new order, not {other:?}"),
            }
        }
    }
    orders
}

/// Moments that rise, but for a clock that is set back, and forth again.
fn moments(rig: &Rig) -> Vec<Timestamp> {
    let start = rig.now();
    let minutes = [1, 2, 3, 9, 4, 5, 2, 6, 7, 8, 10, 11];
    minutes.into_iter().map(|minute: u64| start.plus(Duration::from_secs(60 * minute))).collect()
}

/// By the moment of acceptance: exact, though clocks are set, and many orders lie around.
pub async fn orders_are_listed_by_when_they_were_accepted(rig: Rig) {
    let start = rig.now();
    let orders = accepted_at(&rig, &moments(&rig), 300).await;
    let minute = |minute: u64| Some(start.plus(Duration::from_secs(60 * minute)));
    for (from, to) in [
        (None, minute(2)),
        (minute(2), minute(3)),
        (minute(9), minute(10)),
        (minute(4), minute(6)),
        (minute(11), None),
        (minute(12), None),
        (None, minute(1)),
        (minute(6), minute(4)),
        (minute(1), minute(12)),
    ] {
        for customer in [None, Some("a".to_owned())] {
            let query = OrderQuery { accepted_from: from, accepted_to: to, customer, ..all(&rig, 200) };
            let mut expected: Vec<&Order> = orders.iter().filter(|order| query.matches(order)).collect();
            expected.reverse();
            let listed = listed(&rig, query.clone()).await;
            assert_eq!(listed.iter().collect::<Vec<_>>(), expected, "{from:?} to {to:?}");
        }
    }
}

/// A moment leads to the place behind which all lies that happened at it or since.
pub async fn a_moment_leads_to_its_place_in_the_journal(rig: Rig) {
    let start = rig.now();
    let orders = accepted_at(&rig, &moments(&rig), 300).await;
    let mut places: Vec<Cursor> = Vec::new();
    for minute in 0..=13_u64 {
        let moment = start.plus(Duration::from_secs(60 * minute));
        let place = rig.storage().place_of(moment).await.expect("a place");
        assert_eq!(place.epoch, rig.storage().install().epoch);
        let shards = rig.storage().heads().await.expect("heads");
        for head in shards {
            let position = place.positions[usize::from(head.shard.0)];
            let events = rig.storage().journal(head.shard, 0, 100_000).await.expect("a journal");
            let first = events.iter().find(|event| event.occurred_at >= moment);
            let expected = first.map_or(head.position, |event| event.position - 1);
            assert_eq!(position, expected, "minute {minute} in shard {}", head.shard);
        }
        places.push(place);
    }
    assert_eq!(places[0].positions.iter().sum::<u64>(), 0, "nothing happened before");
    assert_eq!(places[13].positions.iter().sum::<u64>(), orders.len() as u64, "nothing happened since");
}

/// One reader's copy of the orders, kept up with what changed.
struct Copy {
    orders: BTreeMap<OrderId, Order>,
    place: Cursor,
}

impl Copy {
    fn new(rig: &Rig) -> Self {
        let install = rig.storage().install();
        Self { orders: BTreeMap::new(), place: Cursor::beginning(install.epoch, install.shards) }
    }

    /// Reads one page; returns whether it is up to date.
    async fn read(&mut self, rig: &Rig, limit: u32) -> bool {
        let query = all(rig, limit);
        let page =
            listing::changes(&rig.app, &query, Since::Place(self.place.clone())).await.expect("a page");
        assert!(page.orders.len() <= limit as usize, "no page is longer than it may be");
        let distinct: std::collections::BTreeSet<_> = page.orders.iter().map(|order| order.id).collect();
        assert_eq!(distinct.len(), page.orders.len(), "each order once a page");
        for order in page.orders {
            let seen = self.orders.get(&order.id).map_or(0, |seen| seen.version);
            assert!(order.version >= seen, "an order must not go back");
            self.orders.insert(order.id, order);
        }
        self.place = page.next;
        page.up_to_date
    }
}

/// A reader who goes on from where it was misses nothing, whatever happens between its pages, and whatever clocks say.
pub async fn who_reads_on_misses_no_change(rig: Rig) {
    let (mut slow, mut fast) = (Copy::new(&rig), Copy::new(&rig));
    assert!(fast.read(&rig, 10).await, "nothing has changed yet");
    let mut orders: Vec<Order> = Vec::new();
    for round in 0..40_u64 {
        let name = format!("o-{round}");
        orders.push(rig.new_order(intake(&name)).await);
        rig.new_order(intake(&name).tenant("acme")).await;
        // A clock that is set back hides nothing.
        let jump = Duration::from_secs(round * 7 % 5);
        rig.clock.set(Timestamp::from_micros(rig.now().micros() - 3_000_000).plus(jump));
        let other = orders[usize::try_from(round * 13 % (round + 1)).expect("an index")].clone();
        match round % 4 {
            0 => drop(rig.change(other.id, revised(&other, Some(&name))).await),
            1 => {
                let ship = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: None };
                drop(rig.change(other.id, ship).await);
            }
            _ => {
                rig.clock.advance(Duration::from_secs(60));
                let leased = rig.claim_one().await;
                rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
            }
        }
        slow.read(&rig, 1).await;
        while !fast.read(&rig, 3).await {}
    }
    while !slow.read(&rig, 2).await {}
    for copy in [&slow, &fast] {
        assert_eq!(copy.orders.len(), orders.len(), "one's own orders, and all of them");
        for order in &orders {
            assert_eq!(copy.orders[&order.id], rig.order(order.id).await, "as it is now");
        }
    }
    let before = fast.place.clone();
    assert!(fast.read(&rig, 10).await);
    assert_eq!(fast.place, before, "nothing has changed since");
}

/// Readers and writers at once: every change is seen.
pub async fn readers_beside_writers_miss_no_change(rig: Rig) {
    let mut copy = Copy::new(&rig);
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let app = Arc::clone(&rig.app);
            tokio::spawn(async move {
                for index in 0..40 {
                    let sent = intake(&format!("w-{writer}-{index}")).no_lines().build();
                    app.accept(sent).await.expect("an order");
                }
            })
        })
        .collect();
    for writer in writers {
        copy.read(&rig, 7).await;
        writer.await.expect("a writer");
    }
    while !copy.read(&rig, 7).await {}
    assert_eq!(copy.orders.len(), 320, "every order that was taken in");
}

/// Filters of what changed look at the order as it is now; places that cannot be are refused.
pub async fn what_changed_is_filtered_as_it_is_now(rig: Rig) {
    let (one, two) = (rig.new_order(intake("one")).await, rig.new_order(intake("two")).await);
    rig.clock.tick();
    rig.changed(one.id, ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: None }).await;
    let since = async |query: &OrderQuery, since| listing::changes(&rig.app, query, since).await;
    let shipped = OrderQuery { fulfilment: Some(Fulfilment::Shipped), ..all(&rig, 10) };
    let page = since(&shipped, Since::Beginning).await.expect("a page");
    assert_eq!((ids(&page.orders), page.up_to_date), (vec![one.id], true));
    let page = since(&all(&rig, 10), Since::Moment(rig.now())).await.expect("a page");
    assert_eq!(ids(&page.orders), [one.id], "what changed at that moment");
    let queued = OrderQuery { processing: Some(Processing::Queued), ..all(&rig, 10) };
    let page = since(&queued, Since::Beginning).await.expect("a page");
    let mut both = ids(&page.orders);
    both.sort();
    let mut expected = vec![one.id, two.id];
    expected.sort();
    assert_eq!(both, expected);
    let mut beyond = page.next.clone();
    beyond.positions[0] += 1_000;
    let refused = since(&queued, Since::Place(beyond)).await;
    assert!(
        matches!(refused, Err(order_core::Error::Rejection(Rejection::CursorInvalid))),
        "a place that the journal has not reached: {refused:?}"
    );
}
