//! What was erased is nowhere in the files: not in free pages, not in what other rows left free, not in the log.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod fixture;

use order_core::command::ChangeKind;
use order_core::ids::OrderId;
use order_core::lease::Outcome;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use testkit::build::{IntakeBuilder, intake};
use testkit::conformance::Rig;

/// Begins what is personal in these orders; the number of the order follows.
const CANARY: &str = "canary-of-";

fn canary(number: usize) -> String {
    format!("{CANARY}{number:04}")
}

/// Stands for an order whose number was cut off by the end of a page.
const CUT_OFF: usize = usize::MAX;

/// The numbers of the orders of which something personal is in a file of the folder.
fn found(folder: &Path) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for (place, _) in text.match_indices(CANARY) {
            let behind = place + CANARY.len();
            let digits = text.get(behind..behind + 4).and_then(|digits| digits.parse().ok());
            found.insert(digits.unwrap_or(CUT_OFF));
        }
    }
    found
}

fn rig() -> (Rig, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (Rig::new(fixture::database(folder)), path)
}

/// What is personal fits into a row, or takes pages of its own.
fn sent(number: usize, length: usize) -> IntakeBuilder {
    let canary = canary(number);
    let note = canary.repeat(1 + length / canary.len());
    intake(&format!("A-{number}")).customer(Some(&canary)).attribute("note", &format!("\"{note}\""))
}

/// A life with many changes of the row, each of another length than the one before.
async fn live(rig: &Rig, number: usize, order_id: OrderId) {
    let canary = canary(number);
    for length in [150, 900, 9_000, 40, 5_000] {
        let content = Box::new(sent(number, length + number % 7 * 100).build().content);
        rig.clock.tick();
        rig.changed(order_id, ChangeKind::Revise { content, requeue: false }).await;
        let leased = rig.claim_one().await;
        let (at, why) = (rig.now(), format!("{canary} was not at home {}", "again ".repeat(number % 11)));
        rig.settle(&leased, Outcome::Retry { at, why }).await.expect("the lease is held");
    }
    rig.park(&format!("{canary} has moved")).await;
    let redrive = ChangeKind::Redrive { reason: format!("{canary} is back"), by: "op".to_owned() };
    rig.changed(order_id, redrive).await;
    let leased = rig.claim_one().await;
    rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
    let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: Some(canary.clone()) };
    rig.changed(order_id, shipped).await;
    let withdrawn = ChangeKind::Withdraw {
        reason: format!("{canary} sent it back"),
        by: "op".to_owned(),
        requeue: false,
    };
    rig.changed(order_id, withdrawn).await;
}

#[tokio::test]
async fn what_was_erased_is_nowhere_in_the_files() {
    let (rig, folder) = rig();
    for (number, length) in [(1, 20), (2, 1_000), (3, 50_000)] {
        let order = rig.new_order(sent(number, length)).await;
        let leased = rig.claim_one().await;
        let (at, why) = (rig.now(), format!("{} was not at home", canary(number)));
        rig.settle(&leased, Outcome::Retry { at, why }).await.expect("the lease is held");
        let leased = rig.claim_one().await;
        rig.settle(&leased, Outcome::Done).await.expect("the lease is held");
        let shipped = ChangeKind::Ship { shipped_at: Some(rig.now()), tracking_number: Some(canary(number)) };
        rig.changed(order.id, shipped).await;
        assert!(found(&folder).contains(&number), "what this test looks for is there at first");
        rig.changed(order.id, ChangeKind::Erase).await;
        assert_eq!(found(&folder), BTreeSet::new(), "order {number} was erased");
    }
    rig.assert_sound().await;
}

/// With many rows that moved between pages, something may be left in their unused parts until the next start.
#[tokio::test]
async fn a_start_removes_what_moving_rows_left_behind() {
    let (rig, folder) = rig();
    let mut orders = Vec::new();
    for number in 0..60 {
        orders.push(rig.new_order(sent(number, number % 5 * 1_500)).await.id);
        live(&rig, number, orders[number]).await;
    }
    let (erased, kept): (Vec<usize>, Vec<usize>) = (0..60).partition(|number| number % 3 > 0);
    for &number in erased.iter().rev() {
        rig.changed(orders[number], ChangeKind::Erase).await;
    }
    rig.assert_sound().await;
    let rig = rig.reopen().await;
    let all_kept: BTreeSet<usize> = kept.iter().copied().chain([CUT_OFF]).collect();
    assert_eq!(found(&folder), all_kept, "the others' data is untouched");
    for &number in &kept {
        rig.changed(orders[number], ChangeKind::Erase).await;
    }
    let rig = rig.reopen().await;
    assert_eq!(found(&folder), BTreeSet::new(), "nothing is left, cut off or not");
    rig.assert_sound().await;
}

/// Whoever reads in the log keeps it for a while; what was erased goes when they are done.
#[tokio::test]
async fn a_log_that_somebody_reads_in_is_emptied_later() {
    let (rig, folder) = rig();
    let order = rig.new_order(sent(1, 100)).await;
    let reader = rusqlite::Connection::open(folder.join("wellorder.db")).unwrap();
    let reading = reader.unchecked_transaction().unwrap();
    reading.query_row("SELECT count(*) FROM orders", [], |_| Ok(())).unwrap();
    rig.changed(order.id, ChangeKind::Erase).await;
    assert_eq!(found(&folder), BTreeSet::from([1]), "it is read in");
    drop(reading);
    for number in 2..200 {
        rig.new_order(intake(&format!("B-{number}"))).await;
        if found(&folder).is_empty() {
            return;
        }
    }
    assert_eq!(found(&folder), BTreeSet::new(), "it is emptied with some later commit");
}

/// A small database is built anew in the same process, under readers that are there.
#[tokio::test]
async fn a_small_database_is_built_anew_when_nothing_else_is_to_do() {
    let (rig, folder) = rig();
    let mut orders = Vec::new();
    for number in 0..20 {
        orders.push(rig.new_order(sent(number, number % 5 * 1_500)).await.id);
        live(&rig, number, orders[number]).await;
    }
    for order_id in &orders {
        rig.changed(*order_id, ChangeKind::Erase).await;
    }
    let reader = rusqlite::Connection::open(folder.join("wellorder.db")).unwrap();
    let owed = || {
        let count = reader.query_row("SELECT count(*) FROM meta WHERE key = 'blanked'", [], |row| row.get(0));
        count.unwrap_or(1_i64) > 0
    };
    assert!(owed());
    let mut pace = tokio::time::interval(Duration::from_millis(10));
    let built = async {
        while owed() || !found(&folder).is_empty() {
            pace.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), built).await.expect("it is built anew");
    for order_id in &orders {
        assert!(rig.order(*order_id).await.withdrawn, "it is found as before");
    }
    rig.new_order(intake("more")).await;
    rig.assert_sound().await;
}
