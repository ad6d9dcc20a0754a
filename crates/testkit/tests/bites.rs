//! Tests that find nothing prove nothing: defects are planted, and the model and the audit must find each.
#![expect(clippy::expect_used, clippy::panic, reason = "tests")]

use async_trait::async_trait;
use order_core::app::App;
use order_core::audit::audit;
use order_core::clock::Timestamp;
use order_core::command::{AdvancePart, Change, ChangeKind, Command};
use order_core::desk::Desks;
use order_core::ids::Shard;
use order_core::inbox::{Consume, MessageId};
use order_core::intake::Accepted;
use order_core::lane::LanePolicy;
use order_core::lease::Outcome;
use order_core::ports::Storage;
use order_core::redrive::RedriveFilter;
use std::sync::Arc;
use std::time::Duration;
use testkit::build::intake;
use testkit::conformance::{Fixture, Rig};
use testkit::memory::{MemoryFixture, Tamper};
use testkit::wrapped::Rewrite;
use testkit::{ManualClock, MemoryStorage, SeededIds, Wrapped, model};

struct Defective {
    storage: MemoryStorage,
    defect: fn(&MemoryStorage, Command) -> Command,
    forgets: bool,
}

#[async_trait]
impl Fixture for Defective {
    fn storage(&self) -> Arc<dyn Storage> {
        let (storage, defect) = (self.storage.clone(), self.defect);
        let rewrite: Rewrite = Box::new(move |command| defect(&storage, command));
        Wrapped::rewriting(self.storage.port(), rewrite)
    }

    async fn reopen(&mut self, _now: Timestamp) {
        if self.forgets {
            self.storage = MemoryStorage::new();
        }
    }
}

fn found(defect: fn(&MemoryStorage, Command) -> Command, forgets: bool) -> bool {
    let fixture =
        || -> Box<dyn Fixture> { Box::new(Defective { storage: MemoryStorage::new(), defect, forgets }) };
    // Of the rarest, one sequence in about 1,500 tells; the search ends with the first that does.
    model::explore(20_000, 0, async || fixture()).is_err()
}

#[test]
fn without_a_defect_the_model_finds_nothing() {
    assert!(model::explore(200, 0, async || MemoryFixture::shared(MemoryStorage::new())).is_ok());
}

#[test]
fn a_storage_that_forgets_is_found() {
    assert!(found(|_, command| command, true));
}

#[test]
fn finishing_without_the_token_is_found() {
    assert!(found(
        |storage, mut command| {
            if let Command::Settle(settle) = &mut command
                && let Some(token) = storage.held(settle.order_id)
            {
                settle.token = token;
            }
            command
        },
        false
    ));
}

#[test]
fn a_claim_from_other_desks_is_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Claim(claim) = &mut command {
                claim.desks = Desks::ALL;
            }
            command
        },
        false
    ));
}

#[test]
fn lapses_that_never_park_are_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Claim(claim) = &mut command {
                claim.lapses_max = u32::MAX;
            }
            command
        },
        false
    ));
}

#[test]
fn a_release_that_uses_up_an_attempt_is_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Settle(settle) = &mut command
                && let Outcome::Release { at } = settle.outcome
            {
                settle.outcome = Outcome::Retry { at, why: "released".to_owned() };
            }
            command
        },
        false
    ));
}

#[test]
fn an_order_that_is_not_withdrawn_as_it_is_taken_in_is_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Accept(accept) = &mut command {
                accept.withdrawal = None;
            }
            command
        },
        false
    ));
}

#[test]
fn a_finish_that_is_refused_is_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Change(change) = &mut command
                && change.kind == ChangeKind::Finish
            {
                change.kind = ChangeKind::Redrive { reason: "r".to_owned(), by: "b".to_owned() };
            }
            command
        },
        false
    ));
}

#[test]
fn a_forgotten_key_is_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Accept(accept) = &mut command {
                accept.intake.key = None;
            }
            command
        },
        false
    ));
}

#[test]
fn a_change_across_tenants_is_found() {
    assert!(found(
        |storage, command| match command {
            Command::Change(change) => {
                let tenant = storage.owner(change.order_id).unwrap_or_else(|| change.tenant.clone());
                Command::Change(Box::new(Change { tenant, ..*change }))
            }
            other => other,
        },
        false
    ));
}

#[test]
fn a_cursor_that_moves_from_anywhere_is_found() {
    assert!(found(
        |storage, mut command| {
            if let Command::Advance(advance) = &mut command
                && advance.part == AdvancePart::Cursor
            {
                for (shard, from, _) in &mut advance.moves {
                    *from = storage.cursor(&advance.follower, *shard).unwrap_or(*from);
                }
            }
            command
        },
        false
    ));
}

#[test]
fn moments_cut_to_milliseconds_are_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Accept(accept) = &mut command {
                accept.now = Timestamp::from_micros(accept.now.micros() / 1_000 * 1_000);
            }
            command
        },
        false
    ));
}

#[test]
fn amounts_that_lose_their_zeros_are_found() {
    assert!(found(
        |_, mut command| {
            if let Command::Accept(accept) = &mut command {
                let total = &mut accept.intake.content.total;
                *total = total.canonical().parse().expect("an amount");
            }
            command
        },
        false
    ));
}

/// Orders in every state: queued, leased, done, parked, shipped.
async fn some_orders(storage: &MemoryStorage) -> (Arc<App>, Vec<order_core::Order>) {
    let rig = Rig::new(MemoryFixture::shared(storage.clone()));
    let mut orders = Vec::new();
    for name in ["queued", "leased", "done", "parked", "shipped"] {
        match rig.accept(intake(name)).await {
            Ok(Accepted::New(order)) => orders.push(*order),
            other => panic!("{name} must be new: {other:?}"),
        }
        rig.clock.advance(Duration::from_secs(1));
    }
    for leased in rig.claim(4).await.leased {
        let outcome = match leased.order.id {
            id if id == orders[2].id => Outcome::Done,
            id if id == orders[3].id => Outcome::Park { why: "no".to_owned() },
            id if id == orders[0].id => Outcome::Release { at: rig.now() },
            _ => continue,
        };
        rig.settle(&leased, outcome).await.expect("the lease is held");
    }
    let shipped_at = rig.now();
    rig.changed(orders[4].id, ChangeKind::Ship { shipped_at: Some(shipped_at), tracking_number: None }).await;
    rig.assert_sound().await;
    let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(3), LanePolicy::default());
    (app, orders)
}

/// Damage, on which order, and the check that must find it.
const DAMAGE: [(Tamper, usize, &str); 12] = [
    // The very newest row leaves no gap behind: the order misses it.
    (Tamper::DropNewestEvent, 4, "versions"),
    (Tamper::DropNewestEvent, 2, "positions"),
    (Tamper::DropNewestEvent, 2, "versions"),
    (Tamper::DropOldestEvent, 2, "positions"),
    (Tamper::DropOldestEvent, 2, "versions"),
    (Tamper::ChangeTotal, 0, "fold"),
    (Tamper::ChangeVersion, 2, "fold"),
    (Tamper::DropWork, 0, "work"),
    (Tamper::DropWork, 1, "work"),
    (Tamper::AddWork, 3, "work"),
    (Tamper::DropOrder, 0, "events"),
    (Tamper::RewriteEvent, 2, "fold"),
];

#[tokio::test]
async fn the_audit_finds_every_damage() {
    for (damage, index, check) in DAMAGE {
        // One shard, so that a lost row leaves a gap between others.
        let storage = MemoryStorage::with(1, 1);
        let (app, orders) = some_orders(&storage).await;
        storage.tamper(orders[index].id, damage);
        let report = audit(&app, |_| {}).await.expect("an audit");
        let found = report.findings.iter().any(|finding| finding.check == check);
        assert!(found, "{damage:?} of order {index} must be found as {check}: {:#?}", report.findings);
    }
}

/// An order that was redriven, with one of which the same redrive says that it was not parked, and a key for it.
async fn a_redrive(storage: &MemoryStorage) -> (Arc<App>, Vec<order_core::Order>) {
    let rig = Rig::new(MemoryFixture::shared(storage.clone()));
    let parked = rig.parked(intake("parked"), "no").await;
    let waiting = rig.new_order(intake("waiting").total("5").key("k")).await;
    let order_ids = Some(vec![parked.id, waiting.id]);
    let filter = RedriveFilter { order_ids, ..RedriveFilter::default() };
    let redrive = rig.start_redrive(&parked.tenant, filter).await;
    let redrive = rig.step_redrive(redrive.redrive_id, 5).await.expect("a step");
    assert_eq!((redrive.redriven, redrive.refused, redrive.finished), (1, 1, true));
    let message = MessageId::new(&Arc::from("orders.shipped"), "m-1").expect("an id");
    let ship = ChangeKind::Ship { shipped_at: None, tracking_number: None };
    let change = rig.change_command(parked.id, ship);
    rig.submit(Command::Consume(Box::new(Consume { message, change }))).await.expect("a message");
    // The keys of what was revised to what is asked for are sound too.
    let content = Box::new(intake("waiting").total("6").build().content);
    rig.changed(waiting.id, ChangeKind::Revise { content, requeue: false }).await;
    rig.accept(intake("waiting").total("6").key("k2")).await.expect("the same as it is now");
    rig.assert_sound().await;
    let app = App::start(storage.port(), ManualClock::new(), SeededIds::new(3), LanePolicy::default());
    (app, vec![parked, waiting])
}

#[tokio::test]
async fn the_audit_finds_what_work_must_not_say() {
    for (damage, index) in [
        (Tamper::ChangeWorkTenant, 0),
        (Tamper::ChangeWorkDesk, 0),
        (Tamper::ChangeWorkAttempt, 0),
        (Tamper::ChangeWorkAttempt, 1),
        (Tamper::ChangeWorkLapses, 1),
        (Tamper::DropWorkToken, 1),
        (Tamper::DropWorkClaim, 1),
        (Tamper::ClaimWorkTooEarly, 1),
        (Tamper::PutWorkOff, 0),
        (Tamper::PutWorkOff, 1),
    ] {
        let storage = MemoryStorage::with(4, 1);
        let (app, orders) = some_orders(&storage).await;
        storage.tamper(orders[index].id, damage);
        only(&app, "work", &orders[index], &format!("{damage:?} of order {index}")).await;
    }
}

#[tokio::test]
async fn the_audit_finds_what_events_must_not_say() {
    for (damage, check) in [
        (Tamper::RaiseEventEpoch, "epochs"),
        (Tamper::LowerEventEpoch, "epochs"),
        (Tamper::ChangeDataVersion, "events"),
        (Tamper::ChangeEventType, "events"),
        (Tamper::RaiseFloor, "positions"),
    ] {
        let storage = MemoryStorage::with(1, 1);
        let (app, orders) = some_orders(&storage).await;
        storage.tamper(orders[2].id, damage);
        let report = audit(&app, |_| {}).await.expect("an audit");
        let found = report.findings.iter().find(|finding| finding.check == check);
        let found = found.unwrap_or_else(|| panic!("{damage:?}: {:#?}", report.findings));
        assert_eq!(found.shard, Some(Shard(0)), "{damage:?}");
    }
}

#[tokio::test]
async fn the_audit_finds_keys_and_redrives_that_tell_what_was_not() {
    for (damage, index, check) in [
        (Tamper::MoveKey, 1, "idempotency"),
        (Tamper::MoveMessage, 0, "inbox"),
        (Tamper::CountRedriven, 0, "redrives"),
        (Tamper::DropRedriveResult, 0, "redrives"),
        (Tamper::DropRedriveResult, 1, "redrives"),
        (Tamper::ChangeRedriveResult, 1, "redrives"),
        (Tamper::ClaimRedriven, 1, "redrives"),
        (Tamper::RewindRedrive, 0, "redrives"),
    ] {
        let storage = MemoryStorage::with(4, 1);
        let (app, orders) = a_redrive(&storage).await;
        storage.tamper(orders[index].id, damage);
        let report = audit(&app, |_| {}).await.expect("an audit");
        let checks: Vec<_> = report.findings.iter().map(|finding| finding.check).collect();
        assert!(!checks.is_empty() && checks.iter().all(|found| *found == check), "{damage:?}: {report:#?}");
    }
}

/// The audit names this check, of this order, and nothing else.
async fn only(app: &App, check: &str, order: &order_core::Order, what: &str) {
    let report = audit(app, |_| {}).await.expect("an audit");
    let named: Vec<_> =
        report.findings.iter().map(|found| (found.check, found.subject.clone(), found.shard)).collect();
    let shard = order.id.shard(app.storage.install().shards);
    assert_eq!(named, [(check, order.id.to_string(), Some(shard))], "{what}: {:#?}", report.findings);
}
