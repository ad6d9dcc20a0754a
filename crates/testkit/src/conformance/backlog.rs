//! How much waits, and since when.

use super::Rig;
use super::rig::LEASE;
use crate::build::intake;
use order_core::command::{AdvancePart, Command};
use order_core::lease::Outcome;
use order_core::query::Backlog;
use order_core::redrive::RedriveFilter;
use order_core::{Shard, TenantId};
use std::time::Duration;

async fn backlog(rig: &Rig) -> Backlog {
    let read = rig.storage().backlog(rig.now()).await.expect("the backlog can be read");
    Backlog { log_pages: None, ..read }
}

/// Work is counted by what can be done with it now.
pub async fn the_backlog_tells_what_is_due_leased_and_parked(rig: Rig) {
    assert_eq!(backlog(&rig).await, Backlog::default());
    let began = rig.now();
    for name in ["a", "b", "c", "d"] {
        rig.new_order(intake(name)).await;
    }
    let due = |open, due, leased, parked| Backlog { open, due, leased, parked, ..Backlog::default() };
    assert_eq!(backlog(&rig).await, Backlog { due_since: Some(began), ..due(4, 4, 0, 0) });

    rig.clock.advance(Duration::from_secs(1));
    rig.park("no").await;
    let parked_since = Some(rig.now());
    let later = rig.clock.advance(Duration::from_secs(60)).plus(Duration::from_secs(60));
    let held = rig.claim_one().await;
    rig.settle(&held, Outcome::Retry { at: later, why: "no".to_owned() }).await.expect("it is held");
    rig.claim_one().await;
    assert_eq!(backlog(&rig).await, Backlog { due_since: Some(began), parked_since, ..due(3, 1, 1, 1) });
    rig.claim_one().await;
    assert_eq!(backlog(&rig).await, Backlog { parked_since, ..due(3, 0, 2, 1) });
    let lapsed = rig.now().plus(LEASE);
    rig.clock.set(lapsed);
    assert_eq!(backlog(&rig).await, Backlog { due_since: Some(lapsed), parked_since, ..due(3, 2, 0, 1) });
    let asked = rig.now();
    rig.start_redrive(&TenantId::default_tenant(), RedriveFilter::default()).await;
    rig.clock.advance(Duration::from_secs(1));
    let job = rig.start_redrive(&TenantId::default_tenant(), RedriveFilter::default()).await;
    let read = backlog(&rig).await;
    assert_eq!((read.redrives, read.redrives_since), (2, Some(asked)));
    assert_eq!((read.parked, read.parked_since), (1, parked_since), "no step was taken yet");
    rig.app.finish_redrive(job.redrive_id).await.expect("it goes on");
    let read = backlog(&rig).await;
    assert_eq!((read.parked, read.parked_since), (0, None));
    assert_eq!((read.redrives, read.redrives_since), (1, Some(asked)));
}

/// A follower is as far behind as the oldest event that it has yet to carry on, whatever its shard.
pub async fn the_backlog_tells_how_far_behind_followers_are(rig: Rig) {
    rig.app.ensure_follower("f", "test", false).await.expect("a follower");
    rig.app.ensure_follower("g", "test", false).await.expect("a follower");
    assert_eq!(backlog(&rig).await.followers, [("f".to_owned(), None), ("g".to_owned(), None)]);
    let mut orders = Vec::new();
    for name in ["a", "b", "c"] {
        orders.push((rig.now(), rig.new_order(intake(name)).await));
        rig.clock.advance(Duration::from_secs(1));
    }
    let shards = rig.storage().install().shards;
    let mut positions = vec![0; usize::from(shards)];
    for (index, (_, order)) in orders.iter().enumerate() {
        let behind = backlog(&rig).await.followers;
        let since = |name: &str| behind.iter().find(|(follower, _)| follower == name).and_then(|(_, at)| *at);
        assert_eq!((since("f"), since("g")), (Some(orders[index].0), Some(orders[0].0)));
        let shard: Shard = order.id.shard(shards);
        let position: &mut u64 = &mut positions[usize::from(shard.0)];
        let moves = vec![(shard, *position, *position + 1)];
        *position += 1;
        let advance = rig.advance_command("f", AdvancePart::Cursor, moves).await;
        rig.submit(Command::Advance(advance)).await.expect("it moves");
    }
    assert_eq!(backlog(&rig).await.followers[0].1, None);
}

/// Where a journal is kept in parts, each shard has one ahead from the beginning, and orders find room.
pub async fn parts_are_there_before_they_are_needed(rig: Rig) {
    let Some(new) = rig.storage().parts().await.expect("the parts can be read") else { return };
    assert!(
        new.missing.is_empty()
            && new.count >= 2 * rig.storage().heads().await.expect("the heads").len() as u64
    );
    rig.new_order(intake("a")).await;
    let used = rig.storage().parts().await.expect("the parts can be read").expect("it has parts");
    assert_eq!((used.count, used.room, used.missing), (new.count, new.room - 1, vec![]));
}
