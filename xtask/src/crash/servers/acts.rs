//! What is to happen in a run, and in which order.

use std::time::Duration;

use super::nodes::{EACH, ROLES, Role};
use crate::crash::plants::Plant;
use crate::crash::scene::Crashes;
use crate::rng::Rng;
use crate::services::Service;

/// Where a node of a role can be told to kill itself, and the greatest number of passages to wait for.
const POINTS: &[(&str, Role, u64)] = &[
    ("api.before_commit", Role::Api, 20),
    ("worker.mid_effect", Role::Worker, 20),
    ("follower.after_send", Role::Relay, 6),
    ("inbox.after_dedup", Role::Worker, 3),
    ("api.after_commit", Role::Api, 20),
    ("worker.after_effect", Role::Worker, 20),
    ("follower.after_cursor", Role::Relay, 6),
    ("inbox.after_commit", Role::Worker, 3),
    ("api.mid_reply", Role::Api, 20),
    ("inbox.before_dlq", Role::Worker, 2),
    ("inbox.after_dlq", Role::Worker, 2),
    ("inbox.before_ack", Role::Worker, 2),
    ("import.after_begin", Role::Api, 2),
    ("sync.after_upsert", Role::Sync, 2),
    ("import.after_fetch", Role::Api, 2),
    ("import.after_accept", Role::Api, 2),
    ("sync.after_429", Role::Sync, 1),
    ("import.after_settle", Role::Api, 2),
    ("webhook.after_2xx", Role::Relay, 20),
];

/// Each kill point comes once for so many kills.
const KILLS_FOR_A_TURN: usize = 200;

/// Servers other than the database, in the order in which they go away.
const OTHERS: [Service; 3] = [Service::Kafka, Service::Rabbitmq, Service::Redis];

/// Which node.
pub(super) type Which = (Role, usize);

/// How the database ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Crash {
    /// As `pg_ctl stop -m immediate` does it.
    Immediate,
    /// SIGKILL of all its processes.
    Kill,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// SIGKILL of a node so long after the act before, and it is started again.
    Kill { which: Which, after: Duration },
    /// The same, and then it kills itself at the n-th passage of a point.
    Point { point: &'static str, which: Which, passage: u64, after: Duration },
    /// The database crashes so long after the act before, perhaps with a node at the same moment, and is back after a while.
    Database { how: Crash, beside: Option<Which>, after: Duration, away: Duration },
    /// A server goes away and comes back, which intake must not feel. Meanwhile a node is killed that takes no orders.
    Outage { service: Service, beside: Option<Which>, away: Duration },
    /// A worker with leases as long as in production dies with work in hand, and stays dead.
    WorkerDies,
    /// Another one has done what it had in hand; it is started again.
    WorkerReturns,
}

/// All of it: kills of nodes, `kills` at least and each role's once, with every kill point in turn when `points` is set (once, and again
/// for each 200 kills); crashes
/// of the database evenly among them; and between them rounds in which each other server goes away once.
pub(super) fn plan(kills: usize, points: bool, crashes: Crashes, rng: &mut Rng) -> Vec<Act> {
    let mut acts = Vec::new();
    let points = if points { POINTS.len() * (kills / KILLS_FOR_A_TURN).max(1) } else { 0 };
    // Before each point its node is killed too; in each round one dies twice, and others beside servers.
    let beside = points + crashes.each * (2 + OTHERS.len() - 1);
    let plain = kills.saturating_sub(beside).max(ROLES.len());
    let kill = |number: usize, rng: &mut Rng| {
        let which = (ROLES[number % ROLES.len()], rng.between(0, EACH as u64 - 1) as usize);
        Act::Kill { which, after: moment(rng) }
    };
    let total = plain.max(points);
    // So many of `all` are due by then.
    let due = |all: usize, number: usize| number * all / total;
    for number in 0..total {
        for place in due(points, number)..due(points, number + 1) {
            let (point, role, most) = POINTS[place % POINTS.len()];
            let which = (role, rng.between(0, EACH as u64 - 1) as usize);
            acts.push(Act::Point { point, which, passage: rng.between(1, most), after: moment(rng) });
        }
        for place in due(plain, number)..due(plain, number + 1) {
            acts.push(kill(place, rng));
        }
    }
    // From the end, so that places stay what they are.
    let acts_alone = acts.len();
    for number in (0..crashes.database).rev() {
        let how = if number % 2 == 0 { Crash::Immediate } else { Crash::Kill };
        let beside = rng.chance(50).then(|| (ROLES[number % ROLES.len()], 0));
        let (after, away) = (moment(rng), Duration::from_millis(rng.between(100, 1_500)));
        let place = (number + 1) * acts_alone / (crashes.database + 1);
        acts.insert(place, Act::Database { how, beside, after, away });
    }
    let acts_alone = acts.len();
    for number in (0..crashes.each).rev() {
        let place = (number + 1) * acts_alone / (crashes.each + 1);
        acts.splice(place..place, round(number, rng)).for_each(drop);
    }
    acts
}

/// Each other server goes away once, while what a dead worker had in hand waits for another.
fn round(number: usize, rng: &mut Rng) -> Vec<Act> {
    let mut acts = vec![Act::WorkerDies];
    for service in OTHERS {
        let beside = match service {
            Service::Kafka => Some((Role::Relay, number)),
            Service::Rabbitmq if number.is_multiple_of(2) => Some((Role::Worker, 0)),
            Service::Rabbitmq => Some((Role::Relay, number)),
            Service::Postgres | Service::Redis => None,
        };
        acts.push(Act::Outage { service, beside, away: Duration::from_millis(rng.between(500, 3_000)) });
    }
    acts.push(Act::WorkerReturns);
    acts
}

/// What shows that a planted bug is caught.
pub(super) fn plan_for(plant: &Plant, rng: &mut Rng) -> Vec<Act> {
    let role = |number: usize| match plant.victim {
        Some(role) => role,
        // Plants that need syncs name them.
        None => ROLES[number % (ROLES.len() - 1)],
    };
    (0..plant.kills).map(|number| Act::Kill { which: (role(number), number), after: moment(rng) }).collect()
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_millis(rng.between(50, 1_200))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(acts: &[Act], is: impl Fn(&Act) -> bool) -> usize {
        acts.iter().filter(|act| is(act)).count()
    }

    #[test]
    fn a_plan_has_every_point_every_crash_and_enough_kills() {
        for (kills, turns) in [(0, 1), (20, 1), (200, 1), (400, 2)] {
            let crashes = Crashes { database: 3, each: 2 };
            let acts = plan(kills, true, crashes, &mut Rng::new(5));
            for (point, ..) in POINTS {
                assert_eq!(
                    count(&acts, |act| matches!(act, Act::Point { point: is, .. } if is == point)),
                    turns
                );
            }
            for service in OTHERS {
                assert_eq!(
                    count(&acts, |act| matches!(act, Act::Outage { service: is, .. } if *is == service)),
                    2
                );
            }
            assert_eq!(count(&acts, |act| matches!(act, Act::Database { .. })), 3);
            for role in ROLES {
                assert!(count(&acts, |act| matches!(act, Act::Kill { which, .. } if which.0 == role)) > 0);
            }
            let killed = count(&acts, |act| matches!(act, Act::Kill { .. } | Act::Point { .. }))
                + count(&acts, |act| matches!(act, Act::Outage { beside: Some(_), .. }))
                + 2 * count(&acts, |act| *act == Act::WorkerDies);
            assert!(killed >= kills, "{killed}");
        }
    }

    #[test]
    fn a_dead_worker_returns_before_anything_else_of_its_role_happens() {
        let acts = plan(50, true, Crashes { database: 5, each: 3 }, &mut Rng::new(6));
        let mut dead = false;
        for act in &acts {
            match act {
                Act::WorkerDies => assert!(!std::mem::replace(&mut dead, true)),
                Act::WorkerReturns => assert!(std::mem::replace(&mut dead, false)),
                Act::Outage { .. } => assert!(dead),
                _ => assert!(!dead, "{act:?}"),
            }
        }
        assert!(!dead);
    }

    #[test]
    fn without_points_there_are_none() {
        let acts = plan(10, false, Crashes { database: 0, each: 0 }, &mut Rng::new(7));
        assert_eq!((acts.len(), count(&acts, |act| matches!(act, Act::Kill { .. }))), (10, 10));
    }
}
