//! Changing orders that are there: revise, withdraw, ship, deliver, redrive, erase; one by one, and redriving in bulk.

use crate::action_log;
use crate::app::{App, unexpected};
use crate::command::{Change, ChangeKind, Changed, Command, Reply, StartRedrive, StepRedrive};
use crate::error::Error;
use crate::ids::{EventId, OrderId, RedriveId, SourceId, TenantId};
use crate::redrive::{Redrive, RedriveFilter};
use crate::trace;
use std::sync::Arc;

/// Orders that one step of a redrive job takes.
pub const REDRIVE_STEP: usize = 200;

/// Which order to change, and what the caller insists on.
#[derive(Debug, Clone)]
pub struct Target {
    /// Who asks.
    pub tenant: TenantId,
    /// Set where the caller sees the orders of one source only.
    pub source: Option<SourceId>,
    /// The order.
    pub order_id: OrderId,
    /// The version that the caller saw, if it insists.
    pub expected_version: Option<u64>,
}

impl App {
    /// Changes one order: the new state and its event are committed together when this returns.
    ///
    /// # Errors
    /// [`crate::Rejection::OrderUnknown`], [`crate::Rejection::VersionMismatch`],
    /// [`crate::Rejection::IllegalChange`]; faults of storage.
    pub async fn change(&self, target: Target, kind: ChangeKind) -> Result<Changed, Error> {
        let command = self.change_command(target, kind, action_log::current_name());
        self.changed(self.recorded(command)).await
    }

    /// As [`App::change`], for `by`, which is no caller of ours: no action is recorded.
    ///
    /// # Errors
    /// As [`App::change`].
    pub async fn change_by(&self, target: Target, kind: ChangeKind, by: Arc<str>) -> Result<Changed, Error> {
        self.changed(self.change_command(target, kind, Some(by))).await
    }

    fn change_command(&self, target: Target, kind: ChangeKind, by: Option<Arc<str>>) -> Command {
        let now = self.clock.now();
        let Target { tenant, source, order_id, expected_version } = target;
        let (event_id, trace) = (EventId(self.ids.uuid_v7(now)), trace::current());
        let change = Change { tenant, source, order_id, expected_version, event_id, now, kind, trace, by };
        Command::Change(Box::new(change))
    }

    async fn changed(&self, command: Command) -> Result<Changed, Error> {
        match self.lanes.submit(command).await? {
            Reply::Changed(changed) => Ok(changed),
            other => Err(unexpected("change", &other)),
        }
    }

    /// Records a redrive job; [`App::step_redrive`] carries it out.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn start_redrive(
        &self,
        tenant: TenantId,
        filter: RedriveFilter,
        reason: String,
        by: String,
    ) -> Result<Redrive, Error> {
        let now = self.clock.now();
        let redrive_id = RedriveId(self.ids.uuid_v7(now));
        let start = StartRedrive { redrive_id, tenant, filter, reason, by, now };
        match self.lanes.submit(self.recorded(Command::StartRedrive(Box::new(start)))).await? {
            Reply::Redrive(redrive) => Ok(*redrive),
            other => Err(unexpected("start of a redrive", &other)),
        }
    }

    /// Redrives the next orders of a job; its progress is committed with them, so it goes on after a crash.
    ///
    /// # Errors
    /// [`crate::Rejection::RedriveUnknown`]; faults of storage.
    pub async fn step_redrive(&self, redrive_id: RedriveId) -> Result<Redrive, Error> {
        let now = self.clock.now();
        let event_ids = (0..REDRIVE_STEP).map(|_| EventId(self.ids.uuid_v7(now))).collect();
        let step = StepRedrive { redrive_id, event_ids, now, trace: trace::current() };
        match self.lanes.submit(Command::StepRedrive(step)).await? {
            Reply::Redrive(redrive) => Ok(*redrive),
            other => Err(unexpected("step of a redrive", &other)),
        }
    }

    /// Carries a redrive job out to its end.
    ///
    /// # Errors
    /// As [`App::step_redrive`]; what was done stays done.
    pub async fn finish_redrive(&self, redrive_id: RedriveId) -> Result<Redrive, Error> {
        loop {
            let redrive = self.step_redrive(redrive_id).await?;
            if redrive.finished {
                return Ok(redrive);
            }
        }
    }
}
