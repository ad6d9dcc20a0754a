//! Followers: cursors move from where they are or not at all, and survive whatever happens to their runner.

use super::Rig;
use crate::build::intake;
use crate::sinks::RecordingSink;
use order_core::clock::Timestamp;
use order_core::command::{Advance, ChangeKind, Command, FollowerAction, FollowerCommand};
use order_core::error::Rejection;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::query::FollowerRow;
use std::sync::Arc;
use std::time::Duration;

async fn act(rig: &Rig, name: &str, action: FollowerAction) -> Result<(), Rejection> {
    let command = FollowerCommand { name: name.to_owned(), now: rig.now(), action };
    rig.submit(Command::Follower(command)).await.map(drop)
}

fn ensure(from_now: bool) -> FollowerAction {
    FollowerAction::Ensure { sink: "recording".to_owned(), from_now }
}

async fn row(rig: &Rig, name: &str) -> FollowerRow {
    rig.storage().follower(name).await.expect("a read").expect("the follower is there")
}

async fn write(rig: &Rig, names: std::ops::Range<u32>) {
    rig.new_orders(names.map(|index| intake(&format!("o-{index}")).build()).collect()).await;
}

fn runner(rig: &Rig, sink: &Arc<RecordingSink>, batch_size: usize) -> Follower {
    let sink: Arc<RecordingSink> = Arc::clone(sink);
    Follower::new(Arc::clone(&rig.app), "f", sink, FollowerPolicy { batch_size, ..FollowerPolicy::default() })
}

async fn run_to_the_end(follower: &Follower) {
    while let Progress::Carried(_) = follower.step().await.expect("a step") {}
}

/// Made once; a second ensure changes nothing.
pub async fn a_follower_is_made_once_and_begins_where_it_is_told(rig: Rig) {
    write(&rig, 0..20).await;
    act(&rig, "old", ensure(false)).await.expect("made");
    act(&rig, "new", ensure(true)).await.expect("made");
    let (epoch, shards) = (rig.storage().install().epoch, rig.storage().install().shards);
    let heads = rig.storage().heads().await.expect("heads");
    let old = row(&rig, "old").await;
    let expected = FollowerRow {
        name: "old".to_owned(),
        sink: "recording".to_owned(),
        paused: false,
        cursor: Cursor::beginning(epoch, shards),
        created_at: rig.now(),
        updated_at: rig.now(),
    };
    assert_eq!(old, expected, "a follower begins before the first event");
    assert_eq!(row(&rig, "new").await.cursor, Cursor::at_heads(epoch, &heads), "or behind the newest");
    write(&rig, 20..30).await;
    rig.clock.advance(Duration::from_secs(1));
    act(&rig, "old", ensure(true)).await.expect("nothing to make");
    assert_eq!(row(&rig, "old").await, old, "an ensure of what is there changes nothing");
    let names: Vec<String> =
        rig.storage().followers().await.expect("a list").into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["new", "old"], "followers are listed by name");
    assert_eq!(rig.storage().follower("other").await.expect("a read"), None);
    for action in [FollowerAction::Pause, FollowerAction::Resume, FollowerAction::Replay(old.cursor)] {
        assert_eq!(
            act(&rig, "other", action).await,
            Err(Rejection::FollowerUnknown),
            "there is no such follower"
        );
    }
    rig.assert_sound().await;
}

/// All shards move, or none; and only from where they are.
pub async fn a_cursor_moves_from_where_it_is_or_not_at_all(rig: Rig) {
    write(&rig, 0..100).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let heads = rig.storage().heads().await.expect("heads");
    let busy: Vec<Shard> = heads.iter().filter(|head| head.position >= 2).map(|head| head.shard).collect();
    let (a, b) = (busy[0], busy[1]);
    let epoch = rig.storage().install().epoch;
    let advance = |epoch, moves: Vec<(Shard, u64, u64)>| {
        rig.submit(Command::Advance(Advance { follower: "f".to_owned(), epoch, moves, now: rig.now() }))
    };
    let at = |row: &FollowerRow, shard: Shard| row.cursor.positions[usize::from(shard.0)];
    let before = row(&rig, "f").await;
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(advance(epoch, vec![(a, 0, 1), (b, 1, 2)]).await, Err(Rejection::CursorInvalid), "b is at 0");
    assert_eq!(advance(epoch + 1, vec![(a, 0, 1)]).await, Err(Rejection::CursorInvalid), "another epoch");
    let beyond = Shard(rig.storage().install().shards);
    assert_eq!(
        advance(epoch, vec![(a, 0, 1), (beyond, 0, 1)]).await,
        Err(Rejection::CursorInvalid),
        "no such shard"
    );
    assert_eq!(row(&rig, "f").await, before, "a move that is refused moves nothing");
    advance(epoch, vec![(a, 0, 1), (b, 0, 2)]).await.expect("both are at 0");
    let moved = row(&rig, "f").await;
    assert_eq!((at(&moved, a), at(&moved, b), moved.updated_at), (1, 2, rig.now()));
    assert_eq!(moved.cursor.positions.iter().sum::<u64>(), 3, "no other shard moved");
    assert_eq!(
        advance(epoch, vec![(a, 0, 1)]).await,
        Err(Rejection::CursorInvalid),
        "a second runner is late"
    );
    let other = Advance { follower: "other".to_owned(), epoch, moves: Vec::new(), now: rig.now() };
    assert_eq!(rig.submit(Command::Advance(other)).await, Err(Rejection::FollowerUnknown));
    let rig = rig.reopen().await;
    assert_eq!(row(&rig, "f").await, moved, "a cursor outlives its process");
}

/// Runners that race each other carry everything, and no cursor passes what no sink has.
pub async fn racing_runners_lose_nothing(rig: Rig) {
    write(&rig, 0..60).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    let runners: Vec<_> = (0..4)
        .map(|_| {
            let follower = runner(&rig, &sink, 7);
            tokio::spawn(async move {
                while !matches!(follower.step().await.expect("a step"), Progress::UpToDate) {}
            })
        })
        .collect();
    write(&rig, 60..120).await;
    for runner in runners {
        runner.await.expect("the runner ends");
    }
    run_to_the_end(&runner(&rig, &sink, 7)).await;
    let versions = sink.versions();
    assert_eq!(versions.len(), 120, "every order's event reached the sink");
    rig.assert_sound().await;
}

/// A sink that fails gets the same again; nothing is skipped, and what was taken before may come twice.
pub async fn a_failing_sink_gets_the_same_again(rig: Rig) {
    write(&rig, 0..30).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    let follower = runner(&rig, &sink, 10);
    follower.step().await.expect("a step");
    let before = row(&rig, "f").await;
    sink.fail_after(4, "disk full");
    follower.step().await.expect_err("the sink fails");
    assert_eq!(row(&rig, "f").await, before, "the cursor stays behind what the sink has not got");
    sink.recover();
    drop(follower);
    let rig = rig.reopen().await;
    run_to_the_end(&runner(&rig, &sink, 10)).await;
    let versions = sink.versions();
    assert_eq!(versions.len(), 30, "every order's event reached the sink");
    assert_eq!(versions.values().filter(|versions| versions.len() == 2).count(), 4, "four came twice");
    rig.assert_sound().await;
}

/// Paused is paused, for whoever runs it, until resumed.
pub async fn a_paused_follower_stays_where_it_is(rig: Rig) {
    write(&rig, 0..5).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    run_to_the_end(&runner(&rig, &sink, 100)).await;
    let here = row(&rig, "f").await.cursor;
    act(&rig, "f", FollowerAction::Pause).await.expect("paused");
    act(&rig, "f", FollowerAction::Pause).await.expect("paused already");
    write(&rig, 5..10).await;
    let rig = rig.reopen().await;
    assert!(row(&rig, "f").await.paused, "a pause outlives its process");
    assert_eq!(runner(&rig, &sink, 100).step().await.expect("a step"), Progress::Paused);
    assert_eq!(row(&rig, "f").await.cursor, here, "a paused follower stays where it is");
    act(&rig, "f", FollowerAction::Resume).await.expect("resumed");
    run_to_the_end(&runner(&rig, &sink, 100)).await;
    assert_eq!(sink.events().len(), 10, "what came meanwhile is carried on, once");
}

/// A replay goes back to where it is told; places that do not exist are refused.
pub async fn a_replay_goes_on_from_another_place(rig: Rig) {
    write(&rig, 0..10).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    run_to_the_end(&runner(&rig, &sink, 3)).await;
    let (epoch, shards) = (rig.storage().install().epoch, rig.storage().install().shards);
    let end = row(&rig, "f").await.cursor;
    rig.clock.advance(Duration::from_secs(1));
    act(&rig, "f", FollowerAction::Replay(Cursor::beginning(epoch, shards))).await.expect("a replay");
    let back = row(&rig, "f").await;
    assert_eq!((&back.cursor, back.updated_at), (&Cursor::beginning(epoch, shards), rig.now()));
    run_to_the_end(&runner(&rig, &sink, 3)).await;
    let events = sink.events();
    assert_eq!(events.len(), 20, "everything comes a second time");
    assert!(sink.versions().values().all(|versions| versions[..] == [1, 1]), "each event exactly twice");
    let mut ahead = end.clone();
    ahead.positions[0] += 1;
    let refusals = [
        (ahead, Rejection::CursorInvalid, "ahead of the journal"),
        (Cursor::beginning(epoch, shards + 1), Rejection::CursorInvalid, "another number of shards"),
        (Cursor::beginning(epoch + 1, shards), Rejection::CursorInvalid, "an epoch that has not come"),
        (Cursor::beginning(epoch - 1, shards), Rejection::EpochChanged, "an epoch that is over"),
    ];
    for (cursor, rejection, why) in refusals {
        assert_eq!(act(&rig, "f", FollowerAction::Replay(cursor)).await, Err(rejection), "{why}");
    }
    assert_eq!(row(&rig, "f").await.cursor, end, "a refused replay moves nothing");
    rig.assert_sound().await;
}

/// A runner that read before a replay cannot undo it.
pub async fn a_late_advance_does_not_undo_a_replay(rig: Rig) {
    write(&rig, 0..40).await;
    act(&rig, "f", ensure(true)).await.expect("made");
    let (epoch, shards) = (rig.storage().install().epoch, rig.storage().install().shards);
    let busy = rig.storage().heads().await.expect("heads").into_iter().find(|head| head.position > 1);
    let busy = busy.expect("40 orders fill some shard");
    act(&rig, "f", FollowerAction::Replay(Cursor::beginning(epoch, shards))).await.expect("a replay");
    let moves = vec![(busy.shard, busy.position, busy.position + 1)];
    let late = Advance { follower: "f".to_owned(), epoch, moves, now: rig.now() };
    assert_eq!(rig.submit(Command::Advance(late)).await, Err(Rejection::CursorInvalid));
    assert_eq!(row(&rig, "f").await.cursor, Cursor::beginning(epoch, shards), "the replay stands");
}

/// All versions of every order come to the sink, in order, with other writers at work.
pub async fn every_version_of_every_order_arrives_in_order(rig: Rig) {
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    let follower = runner(&rig, &sink, 9);
    for index in 0..30_u32 {
        let order = rig.new_order(intake(&format!("o-{index}"))).await;
        let shipped_at = Timestamp::from_micros(i64::from(index));
        rig.changed(order.id, ChangeKind::Ship { shipped_at: Some(shipped_at), tracking_number: None }).await;
        if index % 4 == 0 {
            follower.step().await.expect("a step");
        }
        rig.changed(order.id, ChangeKind::Deliver { delivered_at: rig.now() }).await;
    }
    run_to_the_end(&follower).await;
    let versions = sink.versions();
    assert_eq!(versions.len(), 30);
    assert!(
        versions.values().all(|versions| versions[..] == [1, 2, 3]),
        "1, 2, 3 of every order: {versions:?}"
    );
}
