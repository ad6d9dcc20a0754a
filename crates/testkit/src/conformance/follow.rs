//! Followers: cursors move from where they are or not at all, and survive whatever happens to their runner.

use super::Rig;
use super::rig::LEASE;
use crate::build::{intake, source};
use crate::sinks::RecordingSink;
use order_core::clock::Timestamp;
use order_core::command::{Advance, AdvancePart, ChangeKind, Command, FollowerAction, FollowerCommand};
use order_core::error::Rejection;
use order_core::follow::{Follower, FollowerPolicy, Progress};
use order_core::ids::{Shard, SourceId};
use order_core::journal::{Cursor, Slice};
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

/// All of it but who carries it.
fn unheld(row: FollowerRow) -> FollowerRow {
    FollowerRow { holders: Vec::new(), relays: Vec::new(), ..row }
}

async fn write(rig: &Rig, names: std::ops::Range<u32>) {
    rig.new_orders(names.map(|index| intake(&format!("o-{index}")).build()).collect()).await;
}

/// Opened by another process, when the leases of the one before have run out.
async fn reopened(rig: Rig) -> Rig {
    let rig = rig.reopen().await;
    rig.clock.advance(LEASE);
    rig
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
        replay: None,
        holders: vec![None; usize::from(shards)],
        relays: Vec::new(),
        parked: 0,
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
    let at_rig = &rig;
    let advance = |epoch, moves: Vec<(Shard, u64, u64)>| async move {
        let command = at_rig.advance_command("f", AdvancePart::Cursor, moves).await;
        at_rig.submit(Command::Advance(Advance { epoch, ..command })).await
    };
    let at = |row: &FollowerRow, shard: Shard| row.cursor.positions[usize::from(shard.0)];
    let before = unheld(row(&rig, "f").await);
    rig.clock.advance(Duration::from_secs(1));
    assert_eq!(advance(epoch, vec![(a, 0, 1), (b, 1, 2)]).await, Err(Rejection::CursorInvalid), "b is at 0");
    assert_eq!(advance(epoch + 1, vec![(a, 0, 1)]).await, Err(Rejection::CursorInvalid), "another epoch");
    let beyond = Shard(rig.storage().install().shards);
    assert_eq!(
        advance(epoch, vec![(a, 0, 1), (beyond, 0, 1)]).await,
        Err(Rejection::CursorInvalid),
        "no such shard"
    );
    assert_eq!(unheld(row(&rig, "f").await), before, "a move that is refused moves nothing");
    advance(epoch, vec![(a, 0, 1), (b, 0, 2)]).await.expect("both are at 0");
    let moved = row(&rig, "f").await;
    assert_eq!((at(&moved, a), at(&moved, b), moved.updated_at), (1, 2, rig.now()));
    assert_eq!(moved.cursor.positions.iter().sum::<u64>(), 3, "no other shard moved");
    assert_eq!(
        advance(epoch, vec![(a, 0, 1)]).await,
        Err(Rejection::CursorInvalid),
        "a second runner is late"
    );
    let other = rig.advance_command("other", AdvancePart::Cursor, Vec::new()).await;
    assert_eq!(rig.submit(Command::Advance(other)).await, Err(Rejection::FollowerUnknown));
    let rig = rig.reopen().await;
    assert_eq!(row(&rig, "f").await.cursor, moved.cursor, "a cursor outlives its process");
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

/// Whoever wants events of some sources alone gets those, each once, and passes over all others without a gap.
pub async fn events_of_other_sources_are_passed_over(rig: Rig) {
    act(&rig, "f", ensure(false)).await.expect("made");
    write(&rig, 0..40).await;
    let (mine, none) = (source("mine"), source("none"));
    let heads = rig.storage().heads().await.expect("heads");
    let slices: Vec<Slice> =
        heads.iter().map(|head| Slice { shard: head.shard, after: 0, limit: 100 }).collect();
    let passed = async |source: &SourceId| {
        let passages = rig.storage().passages(&slices, std::slice::from_ref(source)).await.expect("a read");
        let mut passages: Vec<_> = passages.iter().map(|it| (it.shard, it.to, it.count)).collect();
        passages.sort_unstable();
        passages.retain(|(_, _, count)| *count > 0);
        passages
    };
    let all: Vec<_> = heads.iter().map(|head| (head.shard, head.position, head.position)).collect();
    let all: Vec<_> = all.into_iter().filter(|(_, to, _)| *to > 0).collect();
    assert_eq!(passed(&none).await, all, "nothing of it, and all is told of");
    let ours: Vec<_> = (0..3).map(|index| intake(&format!("m-{index}")).source("mine").build()).collect();
    rig.new_orders(ours).await;
    write(&rig, 40..80).await;
    let sink = RecordingSink::of(vec![mine.clone(), none]);
    run_to_the_end(&runner(&rig, &sink, 7)).await;
    let follower = runner(&rig, &sink, 7);
    while follower.step().await.expect("a step") != Progress::UpToDate {}
    assert_eq!(sink.events().len(), 3);
    assert!(sink.events().iter().all(|event| event.source == mine));
    let heads = rig.storage().heads().await.expect("heads");
    assert_eq!(row(&rig, "f").await.cursor, Cursor::at_heads(rig.storage().install().epoch, &heads));
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
    assert_eq!(
        row(&rig, "f").await.cursor,
        before.cursor,
        "the cursor stays behind what the sink has not got"
    );
    sink.recover();
    drop(follower);
    let rig = reopened(rig).await;
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
    let rig = reopened(rig).await;
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
    let before = row(&rig, "f").await;
    rig.clock.advance(Duration::from_secs(1));
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
    assert_eq!(row(&rig, "f").await, before, "a refused replay moves nothing");
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
    let late = rig.advance_command("f", AdvancePart::Cursor, moves).await;
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

/// Where a follower is in the middle of every shard.
fn half(end: &Cursor) -> Cursor {
    Cursor { positions: end.positions.iter().map(|position| position / 2).collect(), ..end.clone() }
}

fn range(from: &Cursor, to: &Cursor) -> FollowerAction {
    FollowerAction::ReplayRange { from: from.clone(), to: to.clone() }
}

/// A range comes once more, and then what is new; the cursor stays where it is meanwhile, also over a restart and a pause.
pub async fn a_range_is_carried_on_once_more(rig: Rig) {
    write(&rig, 0..60).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    run_to_the_end(&runner(&rig, &sink, 100)).await;
    let end = row(&rig, "f").await.cursor;
    let (from, to) = (half(&half(&end)), half(&end));
    let size: u64 = to.positions.iter().zip(&from.positions).map(|(to, from)| to - from).sum();
    assert!(size > 4, "60 orders fill the shards");
    write(&rig, 60..70).await;
    rig.clock.advance(Duration::from_secs(1));
    act(&rig, "f", range(&from, &to)).await.expect("a replay");
    let asked = row(&rig, "f").await;
    assert_eq!((&asked.cursor, asked.updated_at), (&end, rig.now()), "the cursor stays where it is");
    let replay = asked.replay.clone().expect("there is something to carry on once more");
    assert_eq!((&replay.next, &replay.up_to), (&from.positions, &to.positions));
    runner(&rig, &sink, 2).step().await.expect("a step");
    act(&rig, "f", FollowerAction::Pause).await.expect("paused");
    let rig = reopened(rig).await;
    let paused = row(&rig, "f").await;
    let heads = rig.storage().heads().await.expect("heads");
    assert_eq!(paused.cursor, end, "the cursor stays where it is");
    assert_eq!(paused.replay.expect("it outlives the process").left(&heads), size - 2);
    act(&rig, "f", FollowerAction::Resume).await.expect("resumed");
    run_to_the_end(&runner(&rig, &sink, 3)).await;
    let events = sink.events();
    let size = usize::try_from(size).expect("a number");
    assert_eq!(events.len(), 60 + size + 10, "the range twice, all else once");
    let again = &events[60..60 + size];
    assert!(
        again.iter().all(|event| to.has_passed(event) && !from.has_passed(event)),
        "the range, and first"
    );
    let done = row(&rig, "f").await;
    assert_eq!((done.replay, done.cursor), (None, Cursor::at_heads(end.epoch, &heads)), "then it goes on");
    rig.assert_sound().await;
}

/// What a follower has not carried on yet is not carried on twice, and what does not exist is refused.
pub async fn a_range_holds_what_was_carried_on(rig: Rig) {
    write(&rig, 0..40).await;
    act(&rig, "f", ensure(false)).await.expect("made");
    let sink = RecordingSink::new();
    runner(&rig, &sink, 10).step().await.expect("a step");
    let here = row(&rig, "f").await.cursor;
    let (epoch, shards) = (here.epoch, rig.storage().install().shards);
    let heads = Cursor::at_heads(epoch, &rig.storage().heads().await.expect("heads"));
    act(&rig, "f", range(&Cursor::beginning(epoch, shards), &heads)).await.expect("a replay");
    let replay = row(&rig, "f").await.replay.expect("ten were carried on");
    assert_eq!(replay.up_to, here.positions, "the rest comes anyway");
    run_to_the_end(&runner(&rig, &sink, 7)).await;
    assert_eq!(sink.events().len(), 10 + 40);
    act(&rig, "f", range(&heads, &heads)).await.expect("an empty range");
    assert_eq!(row(&rig, "f").await.replay, None, "nothing lies between");
    act(&rig, "f", range(&half(&heads), &heads)).await.expect("a replay");
    let before = row(&rig, "f").await;
    let mut ahead = heads.clone();
    ahead.positions[0] += 1;
    let refusals = [
        (heads.clone(), ahead, Rejection::CursorInvalid, "ahead of the journal"),
        (
            Cursor::beginning(epoch - 1, shards),
            heads.clone(),
            Rejection::EpochChanged,
            "an epoch that is over",
        ),
        (heads.clone(), Cursor::beginning(epoch, shards + 1), Rejection::CursorInvalid, "other shards"),
    ];
    for (from, to, rejection, why) in refusals {
        assert_eq!(act(&rig, "f", range(&from, &to)).await, Err(rejection), "{why}");
    }
    assert_eq!(row(&rig, "f").await, before, "a refused replay changes nothing");
    assert_eq!(act(&rig, "other", range(&heads, &heads)).await, Err(Rejection::FollowerUnknown));
    act(&rig, "f", range(&heads, &heads)).await.expect("an empty range");
    assert_eq!(row(&rig, "f").await.replay, None, "another range takes its place, an empty one too");
    act(&rig, "f", range(&half(&heads), &heads)).await.expect("a replay");
    act(&rig, "f", FollowerAction::Replay(heads.clone())).await.expect("a replay");
    assert_eq!(
        row(&rig, "f").await.replay,
        None,
        "a follower that is set to another place begins anew there"
    );
    rig.assert_sound().await;
}

/// Each of the two moves from where it is, to its end at most, and leaves the other alone.
pub async fn a_replay_of_a_range_moves_beside_the_cursor(rig: Rig) {
    write(&rig, 0..40).await;
    act(&rig, "f", ensure(true)).await.expect("made");
    let end = row(&rig, "f").await.cursor;
    let busy = rig.storage().heads().await.expect("heads").into_iter().find(|head| head.position > 1);
    let busy = busy.expect("40 orders fill some shard");
    let at = &rig;
    let advance = |part, from: u64, to: u64| async move {
        let command = at.advance_command("f", part, vec![(busy.shard, from, to)]).await;
        at.submit(Command::Advance(command)).await
    };
    let (last, beginning) = (busy.position, Cursor::beginning(end.epoch, rig.storage().install().shards));
    assert_eq!(advance(AdvancePart::Replay, 0, 1).await, Err(Rejection::CursorInvalid), "there is none");
    act(&rig, "f", range(&beginning, &end)).await.expect("a replay");
    assert_eq!(advance(AdvancePart::Replay, 1, 2).await, Err(Rejection::CursorInvalid), "it is at 0");
    assert_eq!(advance(AdvancePart::Replay, 0, last + 1).await, Err(Rejection::CursorInvalid), "its end");
    assert_eq!(advance(AdvancePart::Cursor, 0, 1).await, Err(Rejection::CursorInvalid), "the cursor's place");
    write(&rig, 40..140).await;
    let heads = rig.storage().heads().await.expect("heads");
    assert!(heads[usize::from(busy.shard.0)].position > last, "100 orders reach every shard");
    rig.clock.advance(Duration::from_secs(1));
    advance(AdvancePart::Replay, 0, 1).await.expect("it is at 0");
    advance(AdvancePart::Cursor, last, last + 1).await.expect("the cursor is there");
    let shard = usize::from(busy.shard.0);
    let moved = row(&rig, "f").await;
    let replay = moved.replay.expect("it is not over");
    assert_eq!((replay.next[shard], replay.next.iter().sum::<u64>()), (1, 1), "no other shard moved");
    assert_eq!((replay.up_to, moved.cursor.positions[shard]), (end.positions.clone(), last + 1));
    assert_eq!(moved.updated_at, rig.now());
    rig.assert_sound().await;
}
