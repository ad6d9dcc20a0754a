//! Leases of followers: each shard is one node's at a time, what is lost is refused, and what is given up is free at once.

use super::Rig;
use super::rig::LEASE;
use crate::build::intake;
use crate::sinks::RecordingSink;
use order_core::app::App;
use order_core::command::{Advance, AdvancePart, Command};
use order_core::error::Rejection;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ids::{LeaseToken, Shard};
use order_core::journal::Head;
use order_core::lane::LanePolicy;
use order_core::query::FollowerRow;
use order_core::share::Share;
use std::sync::Arc;
use std::time::Duration;

async fn made(rig: &Rig) {
    rig.app.ensure_follower("f", "recording", false).await.expect("it is made");
}

async fn row(rig: &Rig) -> FollowerRow {
    rig.storage().follower("f").await.expect("a read").expect("the follower is there")
}

async fn share(rig: &Rig, token: LeaseToken) {
    rig.submit(Command::Share(rig.share_command("f", token))).await.expect("it shares");
}

async fn leave(rig: &Rig, token: LeaseToken) {
    let share = Share { until: None, ..rig.share_command("f", token) };
    rig.submit(Command::Share(share)).await.expect("it leaves");
}

/// How many shards each of the nodes holds, and nobody.
async fn held(rig: &Rig, nodes: &[LeaseToken]) -> (Vec<usize>, usize) {
    let (row, now) = (row(rig).await, rig.now());
    let holders: Vec<_> =
        (0..).map(Shard).take(row.holders.len()).map(|shard| row.holder(shard, now)).collect();
    let count = |node: Option<LeaseToken>| holders.iter().filter(|holder| **holder == node).count();
    (nodes.iter().map(|node| count(Some(*node))).collect(), count(None))
}

async fn advance(rig: &Rig, token: LeaseToken, moves: Vec<(Shard, u64, u64)>) -> Result<(), Rejection> {
    let (now, epoch) = (rig.now(), rig.storage().install().epoch);
    let (follower, part, until) = ("f".to_owned(), AdvancePart::Cursor, now.plus(LEASE));
    let (resent, parked) = (Vec::new(), Vec::new());
    let advance = Advance { follower, part, epoch, moves, token, until, resent, parked, now };
    rig.submit(Command::Advance(advance)).await.map(drop)
}

async fn write(rig: &Rig, names: std::ops::Range<u32>) {
    rig.new_orders(names.map(|index| intake(&format!("o-{index}")).build()).collect()).await;
}

/// Another node on the same storage.
fn node(rig: &Rig) -> Arc<App> {
    let (clock, ids) = (Arc::clone(&rig.clock), Arc::clone(&rig.ids));
    App::start(Arc::clone(&rig.app.storage), clock, ids, LanePolicy::default())
}

fn runner(app: &Arc<App>, sink: &Arc<RecordingSink>) -> Follower {
    let sink: Arc<RecordingSink> = Arc::clone(sink);
    Follower::new(Arc::clone(app), "f", sink, FollowerPolicy { batch_size: 7, ..FollowerPolicy::default() })
}

/// One takes all; whoever comes gets its part once the others have given it up.
pub async fn nodes_share_a_follower_out(rig: Rig) {
    made(&rig).await;
    let shards = usize::from(rig.storage().install().shards);
    let nodes: Vec<LeaseToken> = (0..3).map(|_| rig.token()).collect();
    share(&rig, nodes[0]).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards, 0, 0], 0), "one alone holds all");
    share(&rig, nodes[1]).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards, 0, 0], 0), "nothing is taken from anybody");
    share(&rig, nodes[0]).await;
    share(&rig, nodes[1]).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards / 2, shards / 2, 0], 0));
    share(&rig, nodes[2]).await;
    for node in [0, 1, 2, 0, 1, 2] {
        share(&rig, nodes[node]).await;
    }
    let (parts, nobody) = held(&rig, &nodes).await;
    assert_eq!((parts.iter().sum::<usize>(), nobody), (shards, 0), "all are held: {parts:?}");
    assert!(parts.iter().all(|part| part.abs_diff(shards / 3) <= 1), "fairly: {parts:?}");
    assert_eq!(
        rig.submit(Command::Share(rig.share_command("other", nodes[0]))).await,
        Err(Rejection::FollowerUnknown)
    );
    rig.assert_sound().await;
}

/// However many ask at once, whatever one holds no other does: each moves whatever it finds to be its own, and every position is
/// passed by one of them.
pub async fn concurrent_shares_never_overlap(rig: Rig) {
    write(&rig, 0..100).await;
    made(&rig).await;
    let rig = Arc::new(rig);
    let heads = rig.storage().heads().await.expect("heads");
    let nodes: Vec<LeaseToken> = (0..6).map(|_| rig.token()).collect();
    let carrying = nodes.iter().map(|token| {
        let (rig, token, heads) = (Arc::clone(&rig), *token, heads.clone());
        tokio::spawn(async move { carry(&rig, token, &heads).await })
    });
    let mut moved = Vec::new();
    for carried in carrying.collect::<Vec<_>>() {
        moved.extend(carried.await.expect("it ends"));
    }
    moved.sort_unstable();
    let positions =
        |head: &Head| (0..head.position).map(|position| (head.shard, position)).collect::<Vec<_>>();
    assert_eq!(moved, heads.iter().flat_map(positions).collect::<Vec<_>>(), "each position once");
    let (parts, nobody) = held(&rig, &nodes).await;
    assert_eq!((parts.iter().sum::<usize>(), nobody), (heads.len(), 0));
    assert_eq!(row(&rig).await.relays.len(), 6);
    rig.assert_sound().await;
}

/// Moves, one position at a time, all shards that are found to be the node's own, until nothing is behind the heads. What it
/// has moved: from where.
async fn carry(rig: &Rig, token: LeaseToken, heads: &[Head]) -> Vec<(Shard, u64)> {
    let mut moved = Vec::new();
    loop {
        share(rig, token).await;
        let found = row(rig).await;
        let at = |head: &Head| found.cursor.positions[usize::from(head.shard.0)];
        let behind: Vec<&Head> = heads.iter().filter(|head| at(head) < head.position).collect();
        if behind.is_empty() {
            return moved;
        }
        for head in behind.into_iter().filter(|head| found.is_held(head.shard, token)) {
            let from = at(head);
            match advance(rig, token, vec![(head.shard, from, from + 1)]).await {
                Ok(()) => moved.push((head.shard, from)),
                Err(rejection) => panic!("it was held, and nobody gives it up but its holder: {rejection:?}"),
            }
        }
    }
}

/// What ran out is free, and whoever wakes too late moves nothing that another took meanwhile.
pub async fn a_lost_lease_moves_nothing(rig: Rig) {
    write(&rig, 0..40).await;
    made(&rig).await;
    let (a, b) = (rig.token(), rig.token());
    let head = rig.storage().heads().await.expect("heads").into_iter().find(|head| head.position > 2);
    let shard = head.expect("40 orders fill some shard").shard;
    assert_eq!(advance(&rig, a, vec![(shard, 0, 1)]).await, Err(Rejection::LeaseLost), "it never held it");
    share(&rig, a).await;
    advance(&rig, a, vec![(shard, 0, 1)]).await.expect("it holds it");
    rig.clock.advance(LEASE);
    assert_eq!(held(&rig, &[a]).await.0, [0], "it ran out");
    advance(&rig, a, vec![(shard, 1, 2)]).await.expect("late, but nobody took it");
    assert_ne!(held(&rig, &[a]).await.0, [0], "and it holds on");
    rig.clock.advance(LEASE);
    share(&rig, b).await;
    assert_eq!(advance(&rig, a, vec![(shard, 2, 3)]).await, Err(Rejection::LeaseLost), "another took it");
    assert_eq!(row(&rig).await.cursor.positions[usize::from(shard.0)], 2);
    assert_eq!(row(&rig).await.relays.len(), 1, "who is gone is forgotten");
    advance(&rig, b, vec![(shard, 2, 3)]).await.expect("it holds it");
    rig.assert_sound().await;
}

/// An advance extends the lease; whoever leaves is followed at once.
pub async fn a_lease_is_extended_and_given_up(rig: Rig) {
    write(&rig, 0..40).await;
    made(&rig).await;
    let (a, b) = (rig.token(), rig.token());
    let head = rig.storage().heads().await.expect("heads").into_iter().find(|head| head.position > 2);
    let shard = head.expect("40 orders fill some shard").shard;
    share(&rig, a).await;
    rig.clock.advance(LEASE / 2);
    advance(&rig, a, vec![(shard, 0, 1)]).await.expect("it holds it");
    rig.clock.advance(LEASE / 2);
    share(&rig, b).await;
    assert_eq!(held(&rig, &[b]).await.0, [0], "the advance extended it");
    leave(&rig, a).await;
    share(&rig, b).await;
    let shards = usize::from(rig.storage().install().shards);
    assert_eq!(held(&rig, &[a, b]).await, (vec![0, shards], 0));
    assert_eq!(advance(&rig, a, vec![(shard, 1, 2)]).await, Err(Rejection::LeaseLost), "it left");
    leave(&rig, rig.token()).await;
    rig.assert_sound().await;
}

/// Why a sink takes nothing is seen from every node, as long as the node lives that says so.
pub async fn what_ails_a_follower_is_seen_everywhere(rig: Rig) {
    write(&rig, 0..5).await;
    made(&rig).await;
    let (sink, other) = (RecordingSink::new(), node(&rig));
    let follower = runner(&other, &sink);
    sink.fail("disk full");
    follower.step().await.expect_err("the sink fails");
    follower.step().await.expect_err("the sink fails, and that is told");
    let told = rig.app.follower_fault(&row(&rig).await);
    assert!(told.as_deref().is_some_and(|told| told.contains("disk full")), "{told:?}");
    sink.recover();
    follower.step().await.expect("a step");
    follower.step().await.expect("a step");
    assert_eq!(row(&rig).await.fault_besides(None, rig.now()), None, "it is over");
    sink.fail("away");
    write(&rig, 5..6).await;
    follower.step().await.expect_err("the sink fails");
    follower.step().await.expect_err("the sink fails");
    rig.clock.advance(LEASE);
    assert_eq!(row(&rig).await.fault_besides(None, rig.now()), None, "nobody says so any more");
}

/// Two nodes carry everything between them, each order in order; nothing comes twice while no lease is lost.
pub async fn two_nodes_carry_everything_once_and_in_order(rig: Rig) {
    write(&rig, 0..60).await;
    made(&rig).await;
    let sink = RecordingSink::new();
    let apps = [node(&rig), node(&rig)];
    let runners: Vec<Follower> = apps.iter().map(|app| runner(app, &sink)).collect();
    for round in 0..40_u32 {
        let step = async |runner: &Follower| {
            runner.step().await.expect("a step");
        };
        tokio::join!(step(&runners[0]), step(&runners[1]));
        if round < 20 {
            write(&rig, 60 + round * 3..63 + round * 3).await;
        }
        rig.clock.advance(Duration::from_secs(2));
    }
    let (parts, nobody) = held(&rig, &[apps[0].node(), apps[1].node()]).await;
    assert_eq!((parts[0], nobody), (parts[1], 0), "each has its half");
    for app in &apps {
        assert_eq!(app.follower_faults.leases_lost("f"), 0);
    }
    let versions = sink.versions();
    assert_eq!(versions.len(), 120, "every order came");
    assert!(versions.values().all(|versions| *versions == [1]), "once: {versions:?}");
    runners[0].release().await.expect("it leaves");
    write(&rig, 120..150).await;
    while runners[1].step().await.expect("a step") != Progress::UpToDate {}
    assert_eq!(sink.versions().len(), 150, "the other goes on at once");
    rig.assert_sound().await;
}

/// However long a delivery takes, no other node sends the same meanwhile: the node that lives extends its lease.
pub async fn a_delivery_that_outlasts_its_lease_keeps_it(rig: Rig) {
    write(&rig, 0..10).await;
    made(&rig).await;
    let (slow, apps) = (crate::sinks::HeldSink::new(), [node(&rig), node(&rig)]);
    let policy = FollowerPolicy { heartbeat: Duration::from_millis(1), ..FollowerPolicy::default() };
    let busy = Arc::new(Follower::new(Arc::clone(&apps[0]), "f", slow.clone(), policy));
    let step = tokio::spawn({
        let busy = Arc::clone(&busy);
        async move { busy.step().await }
    });
    slow.reached().await;
    for _ in 0..3 {
        rig.clock.advance(LEASE / 2);
        while row(&rig).await.relays[0].until < rig.now().plus(LEASE) {
            tokio::task::yield_now().await;
        }
    }
    let sink = RecordingSink::new();
    let other = runner(&apps[1], &sink);
    for _ in 0..3 {
        other.step().await.expect("a step");
    }
    assert_eq!(sink.events(), [], "all is held, though there are two now");
    slow.release();
    assert_eq!(step.await.expect("it ends").expect("a step"), Progress::Carried(10));
    assert_eq!(apps[0].follower_faults.leases_lost("f"), 0);
    rig.assert_sound().await;
}

/// A node that is held up, all of it, while it delivers loses its lease: it stops, and what it sent came twice, no more.
pub async fn a_node_that_wakes_too_late_stops(rig: Rig) {
    write(&rig, 0..10).await;
    made(&rig).await;
    let (slow, apps) = (crate::sinks::HeldSink::new(), [node(&rig), node(&rig)]);
    // It does not come to extend its lease.
    let policy = FollowerPolicy { heartbeat: Duration::from_secs(3_600), ..FollowerPolicy::default() };
    let late = Arc::new(Follower::new(Arc::clone(&apps[0]), "f", slow.clone(), policy));
    let step = tokio::spawn({
        let late = Arc::clone(&late);
        async move { late.step().await }
    });
    slow.reached().await;
    rig.clock.advance(LEASE);
    let sink = RecordingSink::new();
    let other = runner(&apps[1], &sink);
    while other.step().await.expect("a step") != Progress::UpToDate {}
    let cursor = row(&rig).await.cursor;
    slow.release();
    assert_eq!(step.await.expect("it ends").expect("a step"), Progress::LeaseLost);
    assert_eq!(apps[0].follower_faults.leases_lost("f"), 1);
    assert_eq!(row(&rig).await.cursor, cursor, "it moved nothing");
    assert_eq!(late.step().await.expect("a step"), Progress::UpToDate, "all is carried on, or another's");
    assert_eq!(slow.taken(), 10, "what it had sent came twice, and nothing again");
    rig.assert_sound().await;
}

/// Both take steps, while the clock goes on by `seconds` in all; that one's sink fails is told by its step.
async fn both_step(rig: &Rig, runners: &[Follower], seconds: u64) {
    for _ in 0..=seconds / 5 {
        for runner in runners {
            drop(runner.step().await);
        }
        rig.clock.advance(Duration::from_secs(5));
    }
}

/// A sink may be out of reach from one node alone: then the others carry its part. It comes back when its sink takes events
/// again, and where it only seems to, nothing wanders to and fro.
pub async fn a_node_whose_sink_takes_nothing_leaves_its_part_to_another(rig: Rig) {
    made(&rig).await;
    let (apps, sinks) = ([node(&rig), node(&rig)], [RecordingSink::new(), RecordingSink::new()]);
    let runners: Vec<Follower> = apps.iter().zip(&sinks).map(|(app, sink)| runner(app, sink)).collect();
    let (nodes, shards) = ([apps[0].node(), apps[1].node()], usize::from(rig.storage().install().shards));
    both_step(&rig, &runners, 10).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards / 2, shards / 2], 0));
    sinks[0].fail("no way there");
    write(&rig, 0..60).await;
    runners[0].step().await.expect_err("the sink fails");
    runners[0].step().await.expect_err("the sink fails, and that is told");
    while runners[1].step().await.expect("a step") != Progress::UpToDate {}
    assert_eq!(held(&rig, &nodes).await, (vec![shards / 2, shards / 2], 0), "a failure is borne");
    rig.clock.advance(Duration::from_secs(10));
    both_step(&rig, &runners, 20).await;
    assert_eq!(held(&rig, &nodes).await, (vec![0, shards], 0), "the other has all of it");
    while runners[1].step().await.expect("a step") != Progress::UpToDate {}
    assert_eq!(sinks[1].versions().len(), 60, "and carries it on");
    assert!(row(&rig).await.fault_besides(Some(nodes[1]), rig.now()).is_some(), "the fault is told");
    let tries = sinks[0].deliveries();
    both_step(&rig, &runners, 45).await;
    write(&rig, 60..90).await;
    both_step(&rig, &runners, 10).await;
    assert_eq!(sinks[0].deliveries(), tries + 1, "it came back, and tried once");
    assert_eq!(held(&rig, &nodes).await, (vec![0, shards], 0), "in vain");
    sinks[0].recover();
    both_step(&rig, &runners, 75).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards / 2, shards / 2], 0), "it has its part again");
    assert_eq!(row(&rig).await.fault_besides(None, rig.now()), None);
    write(&rig, 90..120).await;
    both_step(&rig, &runners, 40).await;
    assert_eq!(sinks[0].versions().len() + sinks[1].versions().len(), 120, "each came to one of them");
    assert!(!sinks[0].versions().is_empty());
    rig.assert_sound().await;
}

/// A sink that was never open takes nothing away; alone a node keeps trying with all there is.
pub async fn a_node_that_cannot_open_its_sink_takes_nothing_from_one_that_can(rig: Rig) {
    made(&rig).await;
    write(&rig, 0..20).await;
    let (apps, sinks) = ([node(&rig), node(&rig)], [RecordingSink::new(), RecordingSink::new()]);
    let runners: Vec<Follower> = apps.iter().zip(&sinks).map(|(app, sink)| runner(app, sink)).collect();
    let (nodes, shards) = ([apps[0].node(), apps[1].node()], usize::from(rig.storage().install().shards));
    sinks[0].shut("no such host");
    both_step(&rig, &runners[1..], 0).await;
    both_step(&rig, &runners, 60).await;
    assert_eq!(held(&rig, &nodes).await, (vec![0, shards], 0));
    assert_eq!((sinks[0].deliveries(), sinks[1].versions().len()), (0, 20));
    runners[1].release().await.expect("it leaves");
    both_step(&rig, &runners[..1], 30).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards, 0], 0), "there is nobody else");
    both_step(&rig, &runners, 60).await;
    assert_eq!(held(&rig, &nodes).await, (vec![0, shards], 0), "now there is");
    sinks[0].recover();
    both_step(&rig, &runners, 60).await;
    assert_eq!(held(&rig, &nodes).await, (vec![shards / 2, shards / 2], 0), "it was opened");
    rig.assert_sound().await;
}
