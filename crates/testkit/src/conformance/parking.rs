//! What a sink refuses for good: its order waits, all others go on, and it is sent again in order.

use super::Rig;
use crate::build::intake;
use crate::sinks::RecordingSink;
use order_core::breaker::BreakerPolicy;
use order_core::command::{AdvancePart, ChangeKind, Command, FollowerAction};
use order_core::error::Rejection;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ids::{OrderId, Shard};
use order_core::journal::Cursor;
use order_core::order::Order;
use order_core::parking::{ParkedStream, RefusedFor, Resent, WhichStreams};
use order_core::query::PAGE_BYTES_MAX;
use std::sync::Arc;

const ALL: WhichStreams = WhichStreams::Page { after: None, limit: 1_000 };

async fn ready(rig: &Rig, orders: usize) -> (Vec<Order>, Arc<RecordingSink>) {
    rig.app.ensure_follower("f", "recording", false).await.expect("it is made");
    let mut made = Vec::new();
    for index in 0..orders {
        made.push(rig.new_order(intake(&format!("o-{index}"))).await);
    }
    (made, RecordingSink::new())
}

fn runner(rig: &Rig, sink: &Arc<RecordingSink>) -> Follower {
    runner_with(rig, sink, FollowerPolicy { batch_size: 3, ..FollowerPolicy::default() })
}

fn runner_with(rig: &Rig, sink: &Arc<RecordingSink>, policy: FollowerPolicy) -> Follower {
    let sink: Arc<RecordingSink> = Arc::clone(sink);
    Follower::new(Arc::clone(&rig.app), "f", sink, policy)
}

async fn to_the_end(follower: &Follower) {
    while follower.step().await.expect("a step") != Progress::UpToDate {}
}

async fn ship(rig: &Rig, order: &Order) {
    let ship = ChangeKind::Ship { shipped_at: None, tracking_number: None };
    rig.change(order.id, ship).await.expect("it is shipped");
}

async fn deliver(rig: &Rig, order: &Order) {
    rig.change(order.id, ChangeKind::Deliver { delivered_at: rig.now() }).await.expect("it is delivered");
}

async fn parked(rig: &Rig) -> Vec<(OrderId, u64, bool)> {
    let streams = rig.storage().parked_streams("f", &ALL).await.expect("a read");
    let row = rig.storage().follower("f").await.expect("a read").expect("it is there");
    assert_eq!(row.parked, streams.len() as u64, "the follower knows how many");
    streams.iter().map(|stream| (stream.order_id, stream.from_version, stream.redriving)).collect()
}

async fn redrive(rig: &Rig, orders: Option<Vec<OrderId>>, skip: Option<&str>) -> u64 {
    rig.app.redrive_follower("f", orders, skip.map(str::to_owned)).await.expect("it is redriven")
}

fn versions(sink: &RecordingSink, order: &Order) -> Vec<u64> {
    sink.versions().remove(&order.id).unwrap_or_default()
}

/// All others go on; later events of that order wait; once redriven it comes in order from the refused version on.
pub async fn a_refused_event_holds_its_order_alone_until_it_is_redriven(rig: Rig) {
    let (orders, sink) = ready(&rig, 8).await;
    let (bad, good) = (&orders[2], &orders[3]);
    sink.refuse(bad.id, 1);
    let follower = runner(&rig, &sink);
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await, [(bad.id, 1, false)]);
    let stream =
        rig.storage().parked_streams("f", &WhichStreams::Of(vec![bad.id, good.id])).await.expect("a read");
    let expected = ParkedStream {
        shard: bad.id.shard(rig.storage().install().shards),
        order_id: bad.id,
        tenant: bad.tenant.clone(),
        from_version: 1,
        reason: RefusedFor::TooLarge,
        detail: "version 1 is refused".to_owned(),
        parked_at: rig.now(),
        redriving: false,
    };
    assert_eq!(stream, [expected], "it tells why");
    for order in [bad, good] {
        ship(&rig, order).await;
        deliver(&rig, order).await;
    }
    to_the_end(&follower).await;
    assert_eq!((versions(&sink, bad), versions(&sink, good)), (vec![], vec![1, 2, 3]));
    assert_eq!(sink.versions().len(), 7, "all others came");
    assert_eq!(redrive(&rig, Some(vec![good.id]), None).await, 0, "that one is not parked");
    assert_eq!(redrive(&rig, None, None).await, 1);
    assert_eq!(redrive(&rig, None, None).await, 0, "it is on its way");
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await, [(bad.id, 1, false)], "it is refused again");
    sink.refuse_nothing();
    assert_eq!(redrive(&rig, Some(vec![bad.id, bad.id]), None).await, 1);
    drop(follower);
    let rig = rig.reopen().await;
    rig.clock.advance(super::rig::LEASE);
    ship(&rig, good).await;
    to_the_end(&runner(&rig, &sink)).await;
    assert_eq!(versions(&sink, bad), [1, 2, 3], "in order");
    assert_eq!(parked(&rig).await, []);
    rig.assert_sound().await;
}

/// A refused event that is skipped is never sent; what is behind it is.
pub async fn a_skipped_event_is_left_out(rig: Rig) {
    let (orders, sink) = ready(&rig, 3).await;
    let bad = &orders[0];
    ship(&rig, bad).await;
    sink.refuse(bad.id, 2);
    let follower = runner(&rig, &sink);
    to_the_end(&follower).await;
    deliver(&rig, bad).await;
    to_the_end(&follower).await;
    assert_eq!((versions(&sink, bad), parked(&rig).await), (vec![1], vec![(bad.id, 2, false)]));
    assert_eq!(redrive(&rig, None, Some("nobody wants it")).await, 1);
    assert_eq!(parked(&rig).await, [(bad.id, 3, true)]);
    assert_eq!(redrive(&rig, None, Some("twice")).await, 0, "it is skipped once");
    to_the_end(&follower).await;
    assert_eq!((versions(&sink, bad), parked(&rig).await), (vec![1, 3], vec![]));
    rig.assert_sound().await;
}

/// However they were told to: an order that is sent again and again because its sink fails can be let go on without it.
pub async fn what_is_on_its_way_may_be_skipped_too(rig: Rig) {
    let (orders, sink) = ready(&rig, 3).await;
    for order in &orders[..2] {
        ship(&rig, order).await;
        sink.refuse(order.id, 1);
    }
    let follower = runner(&rig, &sink);
    to_the_end(&follower).await;
    assert_eq!(redrive(&rig, None, None).await, 2);
    sink.fail("away");
    follower.step().await.expect_err("the sink fails");
    let (one, other) = (orders[0].id, orders[1].id);
    assert_eq!(redrive(&rig, Some(vec![one]), Some("nobody wants it")).await, 1, "on its way");
    assert_eq!(redrive(&rig, None, Some("nor the other")).await, 1, "and each once");
    assert_eq!(redrive(&rig, None, Some("twice")).await, 0);
    let mut expected = [(one, 2, true), (other, 2, true)];
    expected.sort_by_key(|(id, _, _)| (id.shard(rig.storage().install().shards), *id));
    assert_eq!(parked(&rig).await, expected);
    sink.recover();
    to_the_end(&follower).await;
    let taken = (versions(&sink, &orders[0]), versions(&sink, &orders[1]), parked(&rig).await);
    assert_eq!(taken, (vec![2], vec![2], vec![]));
    rig.assert_sound().await;
}

/// A sink that refuses too much is the one that is wrong, so its breaker opens; what is parked can be sent again all the same,
/// also where that is refused again.
pub async fn as_many_orders_are_parked_as_may_be(rig: Rig) {
    let (orders, sink) = ready(&rig, 4).await;
    for order in &orders[..2] {
        sink.refuse(order.id, 1);
    }
    let breaker = BreakerPolicy { calls: 2, failures_percent: 50, ..BreakerPolicy::default() };
    let policy = FollowerPolicy { batch_size: 100, parked_max: 2, breaker, ..FollowerPolicy::default() };
    let follower = runner_with(&rig, &sink, policy);
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await.len(), 2, "as many as may be");
    redrive(&rig, None, None).await;
    to_the_end(&follower).await;
    let still = parked(&rig).await;
    assert!(still.len() == 2 && still.iter().all(|stream| !stream.2), "refused again: {still:?}");
    let beginning = Cursor::beginning(rig.storage().install().epoch, rig.storage().install().shards);
    rig.app.follower("f", FollowerAction::Replay(beginning)).await.expect("a replay");
    to_the_end(&follower).await;
    assert_eq!(versions(&sink, &orders[3]), [1, 1], "what is parked holds nothing else up");

    let more = rig.new_order(intake("more")).await;
    sink.refuse(more.id, 1);
    let told = follower.step().await.expect_err("it is one too many").to_string();
    assert!(told.contains("more than 2 orders"), "{told}");
    let deliveries = sink.deliveries();
    assert!(
        matches!(follower.step().await, Ok(Progress::Held(_))),
        "half of the last two deliveries failed: it is left alone"
    );
    assert_eq!((sink.deliveries(), parked(&rig).await.len()), (deliveries, 2));
    sink.refuse_nothing();
    rig.clock.advance(BreakerPolicy::default().probe_every);
    redrive(&rig, None, None).await;
    to_the_end(&follower).await;
    assert_eq!((parked(&rig).await, versions(&sink, &more)), (vec![], vec![1]));
    rig.assert_sound().await;
}

/// A replay sends again what lies before the refused event, and leaves the rest to the redrive.
pub async fn a_replay_passes_parked_orders(rig: Rig) {
    let (orders, sink) = ready(&rig, 4).await;
    let bad = &orders[1];
    ship(&rig, bad).await;
    deliver(&rig, bad).await;
    sink.refuse(bad.id, 2);
    let follower = runner(&rig, &sink);
    to_the_end(&follower).await;
    let (epoch, shards) = (rig.storage().install().epoch, rig.storage().install().shards);
    let beginning = Cursor::beginning(epoch, shards);
    let end = rig.storage().follower("f").await.expect("a read").expect("it is there").cursor;
    let range = FollowerAction::ReplayRange { from: beginning.clone(), to: end };
    rig.app.follower("f", range).await.expect("a replay");
    sink.refuse_nothing();
    redrive(&rig, None, None).await;
    to_the_end(&follower).await;
    assert_eq!(versions(&sink, bad), [1, 1, 2, 3], "the redrive comes behind the replay");
    sink.refuse(bad.id, 2);
    rig.app.follower("f", FollowerAction::Replay(beginning)).await.expect("a replay");
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await, [(bad.id, 2, false)], "what was taken once may be refused now");
    sink.refuse_nothing();
    redrive(&rig, None, None).await;
    to_the_end(&follower).await;
    assert_eq!(versions(&sink, bad), [1, 1, 2, 3, 1, 2, 3]);
    rig.assert_sound().await;
}

/// A long history is sent again in steps, and a step that fails is done again from where it was.
pub async fn what_is_redriven_goes_on_in_steps(rig: Rig) {
    let (orders, sink) = ready(&rig, 1).await;
    let bad = &orders[0];
    sink.refuse(bad.id, 1);
    let follower = runner(&rig, &sink);
    to_the_end(&follower).await;
    for index in 0..9 {
        let mut content = bad.content.clone();
        content.attributes.insert("n".to_owned(), index.into());
        let revise = ChangeKind::Revise { content: Box::new(content), requeue: false };
        rig.change(bad.id, revise).await.expect("it is revised");
    }
    to_the_end(&follower).await;
    sink.refuse_nothing();
    redrive(&rig, None, None).await;
    assert_eq!(follower.step().await.expect("a step"), Progress::Carried(3));
    assert_eq!(parked(&rig).await, [(bad.id, 4, true)]);
    sink.fail("away");
    follower.step().await.expect_err("the sink fails");
    sink.recover();
    sink.refuse(bad.id, 8);
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await, [(bad.id, 8, false)], "it waits from there on");
    sink.refuse_nothing();
    redrive(&rig, None, None).await;
    to_the_end(&follower).await;
    assert_eq!((versions(&sink, bad), parked(&rig).await), ((1..=10).collect(), vec![]));
    rig.assert_sound().await;
}

/// Large orders are those that are refused. Of them a step sends no more than fits, whatever the size of a batch.
pub async fn large_orders_are_redriven_a_few_at_a_time(rig: Rig) {
    const ORDERS: usize = 9;
    rig.app.ensure_follower("f", "recording", false).await.expect("it is made");
    let (sink, filling) = (RecordingSink::new(), format!("\"{}\"", "x".repeat(PAGE_BYTES_MAX / 4 + 1_000)));
    for number in 0..ORDERS {
        let sent = intake(&format!("large-{number}")).attribute("a", &filling);
        // One by one: together they would be more than a lane takes.
        sink.refuse(rig.new_order(sent).await.id, 1);
    }
    let follower = runner_with(&rig, &sink, FollowerPolicy { batch_size: 100, ..FollowerPolicy::default() });
    to_the_end(&follower).await;
    assert_eq!(parked(&rig).await.len(), ORDERS);
    sink.refuse_nothing();
    redrive(&rig, None, None).await;
    for carried in [4, 4, 1] {
        assert_eq!(follower.step().await.expect("a step"), Progress::Carried(carried));
    }
    assert_eq!((sink.versions().len(), parked(&rig).await), (ORDERS, vec![]));
}

/// Pages come by shard and id; what is redriving is found by shard; what moved meanwhile is refused.
pub async fn parked_orders_are_listed_in_pages_and_moved_from_where_they_are(rig: Rig) {
    let (orders, _) = ready(&rig, 12).await;
    let shards = rig.storage().install().shards;
    let mut command = rig.advance_command("f", AdvancePart::Cursor, Vec::new()).await;
    command.parked = orders
        .iter()
        .map(|order| ParkedStream {
            shard: order.id.shard(shards),
            order_id: order.id,
            tenant: order.tenant.clone(),
            from_version: 1,
            reason: RefusedFor::Unroutable,
            detail: "nobody listens: é".to_owned(),
            parked_at: rig.now(),
            redriving: false,
        })
        .collect();
    rig.submit(Command::Advance(command.clone())).await.expect("they are parked");
    let mut expected: Vec<(Shard, OrderId)> =
        orders.iter().map(|order| (order.id.shard(shards), order.id)).collect();
    expected.sort_unstable();
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page =
            rig.storage().parked_streams("f", &WhichStreams::Page { after, limit: 5 }).await.expect("a page");
        found.extend(page.iter().map(|stream| (stream.shard, stream.order_id)));
        after = found.last().copied();
        if page.len() < 5 {
            break;
        }
    }
    assert_eq!(found, expected);
    let some: Vec<OrderId> = orders[..4].iter().map(|order| order.id).collect();
    assert_eq!(redrive(&rig, Some(some.clone()), None).await, 4);
    let all = (0..shards).map(Shard).collect();
    let redriving = WhichStreams::Redriving { shards: all, limit: 100 };
    let redriving = rig.storage().parked_streams("f", &redriving).await.expect("a read");
    assert_eq!(redriving.len(), 4);
    let of_one = WhichStreams::Redriving { shards: vec![some[0].shard(shards)], limit: 100 };
    let of_one = rig.storage().parked_streams("f", &of_one).await.expect("a read");
    assert!(of_one.iter().all(|stream| stream.shard == some[0].shard(shards)) && !of_one.is_empty());
    command.parked.clear();
    let resent = |order_id: OrderId, from_version| Resent { order_id, from_version, next: None };
    command.resent = vec![resent(some[0], 1), resent(some[1], 2)];
    assert_eq!(rig.submit(Command::Advance(command.clone())).await, Err(Rejection::CursorInvalid));
    assert_eq!(parked(&rig).await.len(), 12, "a move that is refused moves nothing");
    command.resent = vec![resent(some[0], 1), Resent { next: Some(2), ..resent(some[1], 1) }];
    rig.submit(Command::Advance(command)).await.expect("they are parked so");
    assert_eq!(parked(&rig).await.len(), 11);
    assert!(parked(&rig).await.contains(&(some[1], 2, true)));
    rig.assert_sound().await;
}
