//! Kills the server: at moments that nobody chose, and at named places of its code.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;

use super::clients::Stage;
use super::report::Kind;
use crate::rng::Rng;
use crate::server::{Launch, Wellorder, log_tail};

/// Where the process can be told to kill itself, and the greatest number of passages to wait for.
const POINTS: &[(&str, u64)] = &[
    ("api.before_commit", 40),
    ("worker.mid_effect", 40),
    ("follower.after_send", 8),
    ("api.after_commit", 40),
    ("worker.after_effect", 40),
    ("follower.after_cursor", 8),
    ("api.mid_reply", 40),
    ("webhook.after_2xx", 20),
    ("import.after_begin", 6),
    ("sync.after_upsert", 4),
    ("import.after_fetch", 6),
    ("import.after_accept", 6),
    ("sync.after_429", 2),
    ("import.after_settle", 6),
];
/// Passed once in the life of a data folder, so only the very first start can die there.
const FIRST_START_POINT: &str = "boot.mid_migration";

pub(super) const READY_LIMIT: Duration = Duration::from_secs(30);
/// How long a point may take to be passed under load: Kafka deals with the dead process's part only after its session, of 10 s.
pub(super) const POINT_LIMIT: Duration = Duration::from_secs(45);
pub(super) const SIGKILL: i32 = 9;

/// How one life of the server ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// SIGKILL so long after it was ready.
    AfterReady(Duration),
    /// SIGKILL so long after it was started, ready or not.
    AfterStart(Duration),
    /// It kills itself at the n-th passage of a point.
    AtPoint(&'static str, u64),
}

/// How the lives of a run end: every second one at a point when `points` is set.
pub(crate) fn plan(kills: usize, points: bool, rng: &mut Rng) -> Vec<Death> {
    let mut next_point = POINTS.iter().cycle();
    (0..kills)
        .map(|index| match (points, index) {
            (true, 0) => Death::AtPoint(FIRST_START_POINT, 1),
            (true, index) if index % 2 == 1 => {
                let (point, passages) = next_point.next().copied().unwrap_or(POINTS[0]);
                Death::AtPoint(point, rng.between(1, passages))
            }
            _ if rng.chance(15) => Death::AfterStart(Duration::from_millis(rng.between(0, 300))),
            _ => Death::AfterReady(Duration::from_millis(rng.between(100, 2_500))),
        })
        .collect()
}

/// The least number of kills whose plan visits every point.
pub(crate) fn kills_for_every_point() -> usize {
    2 * POINTS.len()
}

/// What the killer has done.
#[derive(Debug, Default)]
pub(crate) struct Killed {
    pub(crate) at_random: usize,
    pub(crate) at_points: BTreeMap<String, usize>,
    /// The same by role, where nodes have one.
    pub(crate) by_role: BTreeMap<String, usize>,
    /// Servers that are not ours.
    pub(crate) crashes: BTreeMap<String, usize>,
}

impl Killed {
    /// Of our own processes.
    pub(crate) fn of_nodes(&self) -> usize {
        self.at_random + self.at_points.values().sum::<usize>()
    }

    pub(crate) fn total(&self) -> usize {
        self.of_nodes() + self.crashes.values().sum::<usize>()
    }
}

/// Lives through the whole plan; nothing runs afterwards. False when the server no longer starts.
pub(crate) fn kill_all(launch: &Launch, stage: &Stage, plan: &[Death], killed: &mut Killed) -> Result<bool> {
    for (index, death) in plan.iter().enumerate() {
        if !live_and_die(launch, stage, death, killed)? {
            return Ok(false);
        }
        if (index + 1) % 10 == 0 || index + 1 == plan.len() {
            stage.tell(&format!(
                "kill {}/{}, acknowledged {}, effects {}",
                index + 1,
                plan.len(),
                stage.acknowledged.load(std::sync::atomic::Ordering::Relaxed),
                stage.effects.taken()
            ));
        }
    }
    Ok(true)
}

/// One life without load, for something that must be done before any of it.
pub(crate) fn once(
    launch: &Launch,
    stage: &Stage,
    killed: &mut Killed,
    act: impl FnOnce(SocketAddr) -> Result<()>,
) -> Result<bool> {
    let mut server = launch.start(&[])?;
    if !ready(launch, stage, &mut server) {
        return Ok(false);
    }
    act(launch.address)?;
    kill(stage, &mut server, killed)
}

fn live_and_die(launch: &Launch, stage: &Stage, death: &Death, killed: &mut Killed) -> Result<bool> {
    let point = match death {
        Death::AtPoint(point, n) => Some(format!("{point}:{n}")),
        Death::AfterReady(_) | Death::AfterStart(_) => None,
    };
    let extra: Vec<(&str, &str)> =
        point.iter().map(|point| ("WELLORDER_KILLPOINT", point.as_str())).collect();
    let mut server = launch.start(&extra)?;
    match death {
        Death::AfterStart(age) => {
            if let Some(status) = server.ended_within(*age) {
                return Ok(ended_by_itself(launch, stage, status));
            }
        }
        Death::AfterReady(age) => {
            if !ready(launch, stage, &mut server) {
                return Ok(false);
            }
            if let Some(status) = server.ended_within(*age) {
                return Ok(ended_by_itself(launch, stage, status));
            }
        }
        Death::AtPoint(name, _) => {
            return match server.ended_within(POINT_LIMIT) {
                Some(status) if status.signal() == Some(SIGKILL) => {
                    stage.history.kill(name)?;
                    *killed.at_points.entry((*name).to_owned()).or_default() += 1;
                    Ok(true)
                }
                Some(status) => Ok(ended_by_itself(launch, stage, status)),
                None => {
                    let detail = format!(
                        "not passed {} times in {} s",
                        point.unwrap_or_default(),
                        POINT_LIMIT.as_secs()
                    );
                    stage.violations.add(Kind::PointNotReached, *name, detail);
                    kill(stage, &mut server, killed)
                }
            };
        }
    }
    kill(stage, &mut server, killed)
}

fn kill(stage: &Stage, server: &mut Wellorder, killed: &mut Killed) -> Result<bool> {
    stage.history.kill("random")?;
    server.kill()?;
    killed.at_random += 1;
    Ok(true)
}

/// Waits until the server is ready; otherwise notes why not.
pub(crate) fn ready(launch: &Launch, stage: &Stage, server: &mut Wellorder) -> bool {
    if server.ready_within(READY_LIMIT) {
        return true;
    }
    match server.ended() {
        Some(status) => ended_by_itself(launch, stage, status),
        None => {
            let detail =
                format!("not ready within {} s:\n{}", READY_LIMIT.as_secs(), log_tail(&launch.log, 20));
            stage.violations.add(Kind::Process, "start", detail);
            false
        }
    }
}

/// Notes that the process ended though nobody killed it; always false.
pub(super) fn ended_by_itself(launch: &Launch, stage: &Stage, status: ExitStatus) -> bool {
    let detail = format!("it ended by itself: {status}\n{}", log_tail(&launch.log, 20));
    stage.violations.add(Kind::Process, "end", detail);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_visits_every_point() {
        let plan = plan(kills_for_every_point(), true, &mut Rng::new(3));
        assert_eq!(plan[0], Death::AtPoint(FIRST_START_POINT, 1));
        for (point, most) in POINTS {
            let times =
                plan.iter().filter(|death| matches!(death, Death::AtPoint(p, n) if p == point && n <= most));
            assert_eq!(times.count(), 1, "{point}");
        }
        assert!(plan.iter().any(|death| !matches!(death, Death::AtPoint(..))));
    }

    #[test]
    fn a_plan_without_points_kills_at_random_only() {
        let plan = plan(30, false, &mut Rng::new(3));
        assert_eq!(plan.len(), 30);
        assert!(!plan.iter().any(|death| matches!(death, Death::AtPoint(..))));
    }
}
