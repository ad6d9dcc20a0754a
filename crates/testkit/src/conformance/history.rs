//! Long random histories: the audit finds nothing, and a restart changes nothing.

use super::Rig;
use super::rig::LEASE;
use crate::build::{intake, tenant};
use crate::dump::Dump;
use order_core::command::{Change, ChangeKind, Command, FollowerAction, FollowerCommand};
use order_core::ids::{Ids, RedriveId, TenantId};
use order_core::journal::Cursor;
use order_core::lease::{Leased, Outcome};
use order_core::order::Order;
use order_core::redrive::RedriveFilter;
use std::time::Duration;

#[derive(Default)]
struct History {
    orders: Vec<Order>,
    leased: Vec<Leased>,
    jobs: Vec<(TenantId, RedriveId)>,
}

fn pick(rig: &Rig, count: usize) -> usize {
    // `unit` is below 1, so this is below `count`.
    (rig.ids.unit() * count as f64) as usize
}

impl History {
    async fn accept(&mut self, rig: &Rig) {
        let name = format!("o-{}", pick(rig, 15));
        let owner = ["default", "acme"][pick(rig, 2)];
        let from = ["api", "shop"][pick(rig, 2)];
        let total = ["19.90", "20"][pick(rig, 2)];
        let sent = intake(&name).tenant(owner).source(from).total(total);
        let sent = if pick(rig, 3) == 0 { sent.key(&format!("k-{}", pick(rig, 20))) } else { sent };
        if let Ok(order_core::intake::Accepted::New(order)) = rig.accept(sent).await {
            self.orders.push(*order);
        }
    }

    async fn change(&mut self, rig: &Rig) {
        let Some(order) = self.orders.get(pick(rig, self.orders.len().max(1))) else { return };
        let requeue = pick(rig, 2) == 0;
        let content = Box::new(intake("x").total(&pick(rig, 1_000).to_string()).build().content);
        let (reason, by) = ("r".to_owned(), "b".to_owned());
        let kind = match pick(rig, 12) {
            0..=3 => ChangeKind::Revise { content, requeue },
            4 => ChangeKind::Withdraw { reason, by, requeue },
            5 | 6 => ChangeKind::Ship {
                shipped_at: Some(rig.now()),
                tracking_number: requeue.then(|| "T".to_owned()),
            },
            7 => ChangeKind::Deliver { delivered_at: rig.now() },
            8..=10 => ChangeKind::Redrive { reason, by },
            _ => ChangeKind::Erase,
        };
        let change = Change { tenant: order.tenant.clone(), ..rig.change_command(order.id, kind) };
        drop(rig.submit(Command::Change(Box::new(change))).await);
    }

    async fn work(&mut self, rig: &Rig) {
        if pick(rig, 2) == 0 {
            self.leased.extend(rig.claim(1 + pick(rig, 4)).await.leased);
        }
        // Leases stay in the list after their end: stale tokens must do no harm.
        let newest = self.leased.len().saturating_sub(8);
        let Some(leased) = self.leased[newest..].get(pick(rig, 8)) else { return };
        let at = rig.now().plus(Duration::from_secs(pick(rig, 60) as u64));
        let why = format!("error {}", pick(rig, 3));
        let outcome = match pick(rig, 7) {
            0..=2 => Outcome::Done,
            3 | 4 => Outcome::Retry { at, why },
            5 => Outcome::Park { why },
            _ => Outcome::Release { at },
        };
        drop(rig.settle(leased, outcome).await);
    }

    async fn operate(&mut self, rig: &Rig) {
        match pick(rig, 6) {
            0 => {
                let owner = tenant(["default", "acme"][pick(rig, 2)]);
                let text = (pick(rig, 2) == 0).then(|| "error 1".to_owned());
                let filter = RedriveFilter { error_contains: text, ..RedriveFilter::default() };
                let job = rig.start_redrive(&owner, filter).await;
                self.jobs.push((owner, job.redrive_id));
            }
            1 | 2 => {
                for (_, redrive_id) in self.jobs.clone() {
                    rig.step_redrive(redrive_id, 2).await.expect("a step");
                }
            }
            3 => {
                let held = self.leased.iter().map(|leased| (leased.order.id, leased.token)).collect();
                drop(rig.heartbeat(held).await);
            }
            4 => {
                let sink = "recording".to_owned();
                let (name, now) = (format!("f-{}", pick(rig, 3)), rig.now());
                let ensure = FollowerAction::Ensure { sink, from_now: pick(rig, 2) == 0 };
                let made = Command::Follower(FollowerCommand { name: name.clone(), now, action: ensure });
                rig.submit(made).await.expect("a follower");
                let heads = rig.storage().heads().await.expect("heads");
                let there = Cursor::at_heads(rig.storage().install().epoch, &heads);
                let replay = FollowerCommand { name, now, action: FollowerAction::Replay(there) };
                rig.submit(Command::Follower(replay)).await.expect("a replay");
            }
            _ => drop(rig.clock.advance(LEASE * pick(rig, 2) as u32 + Duration::from_secs(7))),
        }
    }

    async fn go_on(&mut self, rig: &Rig, steps: usize) {
        for _ in 0..steps {
            rig.clock.advance(Duration::from_micros(1_000_003));
            match pick(rig, 10) {
                0..=3 => self.accept(rig).await,
                4 | 5 => self.change(rig).await,
                6..=8 => self.work(rig).await,
                _ => self.operate(rig).await,
            }
        }
    }
}

/// Whatever happens, in whatever order, the audit finds nothing.
pub async fn the_audit_is_clean_after_a_random_history(rig: Rig) {
    let mut history = History::default();
    for _ in 0..4 {
        history.go_on(&rig, 150).await;
        rig.assert_sound().await;
    }
    let report = rig.assert_sound().await;
    assert_eq!(report.orders, history.orders.len() as u64, "every order that was accepted is there");
    assert!(report.orders > 40 && report.work > 0 && report.events > 3 * report.orders, "{report:?}");
}

/// What was answered is there after a restart, all of it; leases may have been made due.
pub async fn a_restart_changes_nothing(rig: Rig) {
    let mut history = History::default();
    let mut rig = rig;
    for round in 0..3 {
        history.go_on(&rig, 100).await;
        // With every lease run out, there is none whose end opening could move.
        rig.clock.advance(LEASE * 3);
        let before = Dump::of(rig.storage(), &history.jobs, rig.now()).await;
        rig = rig.reopen().await;
        let after = Dump::of(rig.storage(), &history.jobs, rig.now()).await;
        assert_eq!(before.difference(&after), None, "restart {round} must change nothing");
        rig.assert_sound().await;
    }
}

/// Where one process alone holds the storage, the work of one that died is due at once; elsewhere its leases run on.
pub async fn the_leases_of_a_dead_process_come_due(rig: Rig) {
    let order = rig.new_order(intake("A-1")).await;
    let leased = rig.claim_one().await;
    rig.clock.advance(Duration::from_secs(1));
    let mut rig = rig.reopen().await;
    if !rig.reopening_expires_leases() {
        assert_eq!(rig.claim(1).await.leased, [], "another process may be alive");
        rig.clock.advance(LEASE);
    }
    let again = rig.claim_one().await;
    assert_eq!((again.order.id, again.attempt, again.lapses), (order.id, 1, 1), "a lapse, not an attempt");
    rig.settle(&leased, Outcome::Done).await.expect_err("the dead process's token is worth nothing");
    rig.settle(&again, Outcome::Done).await.expect("the lease is held");
    rig = rig.reopen().await;
    rig.assert_sound().await;
}
