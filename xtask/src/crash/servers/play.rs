//! Carries out what is to happen.

use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::acts::{Act, Crash, Which};
use super::nodes::{Nodes, Role};
use super::own::Own;
use super::recovery;
use crate::crash::clients::Stage;
use crate::crash::killer::{Killed, POINT_LIMIT, SIGKILL, ended_by_itself};
use crate::crash::report::{Kind, Outage};
use crate::services::Service;
use crate::shell::wait_until;

/// The worker that dies and stays dead; others are killed beside it.
const DOOMED: Which = (Role::Worker, 1);
/// Leases as they are unless somebody says otherwise.
const LONG_LEASES: &[(&str, &str)] =
    &[("WELLORDER_WORKER_LEASE_MS", "30000"), ("WELLORDER_WORKER_HEARTBEAT_MS", "10000")];
/// How long what a dead worker had in hand may wait for another one.
const TAKEN_OVER_LIMIT: Duration = Duration::from_secs(45);
/// How long it may take until a worker has something in hand.
const BUSY_LIMIT: Duration = Duration::from_secs(20);
/// What went wrong because of the act before is over by then.
const SETTLE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(10);

/// A run under way.
pub(super) struct Play<'a> {
    pub(super) stage: &'a Stage,
    pub(super) own: &'a mut Own,
    pub(super) nodes: Nodes,
    pub(super) killed: Killed,
    pub(super) outages: Vec<Outage>,
    /// Effects of dead workers, and the longest wait for another worker.
    pub(super) taken_over: (usize, Duration),
}

impl Play<'_> {
    /// Whether it can go on: no when a node ended by itself or does not start.
    pub(super) fn all(&mut self, acts: &[Act]) -> Result<bool> {
        for (index, act) in acts.iter().enumerate() {
            let act_began = Instant::now();
            if !self.one(act)? {
                return Ok(false);
            }
            self.stage.tell(&format!(
                "{}/{}, acknowledged {}, effects {}: {} took {:.1} s",
                index + 1,
                acts.len(),
                self.stage.acknowledged.load(Ordering::Relaxed),
                self.stage.effects.taken(),
                told(act),
                act_began.elapsed().as_secs_f64(),
            ));
        }
        Ok(true)
    }

    fn one(&mut self, act: &Act) -> Result<bool> {
        match act {
            Act::Kill { which, after } => {
                thread::sleep(*after);
                Ok(self.kill(*which)? && self.restart(*which, &[])?)
            }
            Act::Point { point, which, passage, after } => {
                thread::sleep(*after);
                self.point(point, *which, *passage)
            }
            Act::Database { how, beside, after, away } => {
                thread::sleep(*after);
                self.database(*how, *beside, *away)
            }
            Act::Outage { service, beside, away } => self.outage(*service, *beside, *away),
            Act::WorkerDies => self.worker_dies(),
            Act::WorkerReturns => self.worker_returns(),
        }
    }

    /// False when it had ended by itself.
    fn kill(&mut self, (role, which): Which) -> Result<bool> {
        let lived = self.nodes.of(role, which)?.kill(self.stage)?;
        if lived {
            self.killed.at_random += 1;
            self.count(role);
        }
        Ok(lived)
    }

    fn count(&mut self, role: Role) {
        *self.killed.by_role.entry(role.name().to_owned()).or_default() += 1;
    }

    fn restart(&mut self, (role, which): Which, extra: &[(&str, &str)]) -> Result<bool> {
        let node = self.nodes.of(role, which)?;
        node.start(extra)?;
        Ok(node.ready(self.stage))
    }

    fn point(&mut self, point: &'static str, which: Which, passage: u64) -> Result<bool> {
        if !self.kill(which)? {
            return Ok(false);
        }
        let armed = format!("{point}:{passage}");
        let (role, number) = which;
        let node = self.nodes.of(role, number)?;
        node.start(&[("WELLORDER_KILLPOINT", &armed)])?;
        match node.process()?.ended_within(POINT_LIMIT) {
            Some(status) if status.signal() == Some(SIGKILL) => {
                self.stage.history.kill(point)?;
                *self.killed.at_points.entry(point.to_owned()).or_default() += 1;
                self.count(role);
            }
            Some(status) => return Ok(ended_by_itself(&node.launch, self.stage, status)),
            None => {
                let detail = format!("{armed} in {}: not passed in {} s", node.name, POINT_LIMIT.as_secs());
                self.stage.violations.add(Kind::PointNotReached, point, detail);
                if !self.kill(which)? {
                    return Ok(false);
                }
            }
        }
        self.restart(which, &[])
    }

    /// The very first start: on an empty database, killed in the middle of the migration.
    pub(super) fn first_start(&mut self) -> Result<bool> {
        const POINT: &str = "boot.mid_migration";
        let node = self.nodes.of(Role::Api, 0)?;
        node.start(&[("WELLORDER_KILLPOINT", &format!("{POINT}:1"))])?;
        match node.process()?.ended_within(POINT_LIMIT) {
            Some(status) if status.signal() == Some(SIGKILL) => {
                self.stage.history.kill(POINT)?;
                *self.killed.at_points.entry(POINT.to_owned()).or_default() += 1;
                self.count(Role::Api);
                Ok(true)
            }
            Some(status) => Ok(ended_by_itself(&node.launch, self.stage, status)),
            None => {
                self.stage.violations.add(Kind::PointNotReached, POINT, "not passed by the first start");
                self.kill((Role::Api, 0))
            }
        }
    }

    /// All nodes at once, as after a power cut.
    pub(super) fn start_all(&mut self) -> Result<bool> {
        for node in &mut self.nodes.0 {
            node.start(&[])?;
        }
        Ok(self.nodes.ready(self.stage))
    }

    fn database(&mut self, how: Crash, beside: Option<Which>, away: Duration) -> Result<bool> {
        self.end_server(Service::Postgres, how)?;
        if let Some(which) = beside
            && !self.kill(which)?
        {
            return Ok(false);
        }
        thread::sleep(away);
        self.own.resume(Service::Postgres)?;
        if let Some((role, number)) = beside {
            self.nodes.of(role, number)?.start(&[])?;
        }
        Ok(self.nodes.ready(self.stage))
    }

    fn end_server(&mut self, service: Service, how: Crash) -> Result<()> {
        self.stage.history.kill(service.name())?;
        let server = self.own.of(service)?;
        match how {
            Crash::Immediate => server.quit()?,
            Crash::Kill => server.kill()?,
        }
        *self.killed.crashes.entry(service.name().to_owned()).or_default() += 1;
        Ok(())
    }

    fn outage(&mut self, service: Service, beside: Option<Which>, away: Duration) -> Result<bool> {
        thread::sleep(SETTLE);
        let before = self.stage.acknowledged.load(Ordering::Relaxed);
        self.stage.set_calm(Some(service.name()));
        let went = Instant::now();
        self.end_server(service, Crash::Kill)?;
        if let Some(which) = beside {
            // It is ready though the server is away.
            if !self.kill(which)? || !self.restart(which, &[])? {
                return Ok(false);
            }
        }
        thread::sleep(away);
        self.own.resume(service)?;
        let away_seconds = went.elapsed().as_secs_f64();
        let acknowledged = self.stage.acknowledged.load(Ordering::Relaxed) - before;
        if acknowledged == 0 {
            self.stage.violations.add(
                Kind::Intake,
                service.name(),
                "no order was taken in while it was away",
            );
        }
        let recovered = recovery::wait(self.stage, service);
        self.stage.set_calm(None);
        let server = service.name().to_owned();
        let (resumed_seconds, recovered_seconds) =
            (recovered.resumed.as_secs_f64(), recovered.whole.as_secs_f64());
        self.outages.push(Outage { server, away_seconds, acknowledged, resumed_seconds, recovered_seconds });
        Ok(true)
    }

    fn worker_dies(&mut self) -> Result<bool> {
        let (role, number) = DOOMED;
        if !self.kill(DOOMED)? || !self.restart(DOOMED, LONG_LEASES)? {
            return Ok(false);
        }
        let name = self.nodes.of(role, number)?.name.clone();
        // Some at three looks one after another: something that takes its time.
        let mut busy_looks = 0;
        let busy = || {
            busy_looks = if self.stage.effects.in_hand(&name) > 0 { busy_looks + 1 } else { 0 };
            busy_looks == 3
        };
        if !wait_until(BUSY_LIMIT, STEP, busy) {
            self.stage.violations.add(Kind::Recovery, &name, "it got nothing to do");
        }
        let lived = self.kill(DOOMED)?;
        self.stage.effects.died(&name);
        Ok(lived)
    }

    fn worker_returns(&mut self) -> Result<bool> {
        let taken = || self.stage.effects.taken_over();
        wait_until(TAKEN_OVER_LIMIT, STEP, || taken().open == 0);
        let over = taken();
        if over.open > 0 || over.longest > TAKEN_OVER_LIMIT {
            let detail = format!("of the work of a dead worker: {over:?}");
            self.stage.violations.add(Kind::Recovery, "worker", detail);
        }
        self.taken_over.0 += over.taken;
        self.taken_over.1 = self.taken_over.1.max(over.longest);
        self.restart(DOOMED, &[])
    }
}

/// An act in a few words.
fn told(act: &Act) -> String {
    let node = |(role, number): &Which| format!("{}-{}", role.name(), number % super::nodes::EACH + 1);
    match act {
        Act::Kill { which, .. } => format!("SIGKILL of {}", node(which)),
        Act::Point { point, passage, which, .. } => format!("{point}:{passage} in {}", node(which)),
        Act::Database { how: Crash::Immediate, .. } => "postgres stopped at once".to_owned(),
        Act::Database { how: Crash::Kill, .. } => "SIGKILL of postgres".to_owned(),
        Act::Outage { service, .. } => format!("SIGKILL of {}", service.name()),
        Act::WorkerDies => "death of a worker".to_owned(),
        Act::WorkerReturns => "its return".to_owned(),
    }
}
