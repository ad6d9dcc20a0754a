//! Leasing work and ending it. A lease is a due time: claiming moves it to the lease's end and sets a fresh token.

use super::{Applied, Batch, load_number};
use crate::error::fault;
use crate::rows::blob;
use order_core::clock::Timestamp;
use order_core::command::{Claim, Claimed, Heartbeat, Reply, Settle};
use order_core::decide::{self, ClaimDecision, WorkEffect};
use order_core::ids::{EventId, LeaseToken, TenantId};
use order_core::lease::{LEASED_FOR_MAX, Leased, PUT_OFF_FOR_MAX};
use order_core::order::{LeaseView, Order};
use order_core::query::PageWeight;
use rusqlite::{OptionalExtension, params};
use std::time::Duration;

/// How long work that cannot be read is left alone.
const SET_ASIDE: Duration = Duration::from_secs(3_600);

impl Batch<'_> {
    pub(super) fn claim(&mut self, claim: &Claim) -> Applied {
        let mut claimed = Claimed::default();
        // What is parked or set aside must not keep the rest from being found, so it is looked until there are enough, or
        // as many were not to be had as there are event ids.
        let (mut refused, mut weight) = (0, PageWeight::default());
        loop {
            let wanted = claim.tokens.len().saturating_sub(claimed.leased.len());
            let limit = wanted.min(claim.event_ids.len().saturating_sub(refused));
            // One more than is wanted tells whether, and when, more is due; what was leased just now is in the way.
            let seen = limit + 1 + claimed.leased.len();
            let due = self.due(claim.tenant.as_ref(), seen).map_err(fault)?;
            let is_due = |(_, due_at): &&(i64, i64)| *due_at <= claim.now.micros();
            let mut taken = 0;
            for (number, _) in due.iter().take(limit).take_while(is_due) {
                let (token, event_id) = (claim.tokens[claimed.leased.len()], claim.event_ids[refused]);
                let leased = self.claim_one(claim, *number, token, event_id, &mut claimed)?;
                taken += 1;
                refused += usize::from(!leased);
                if let Some(newest) = claimed.leased.last().filter(|_| leased) {
                    weight.add(&newest.order);
                    if weight.is_full() {
                        break;
                    }
                }
            }
            let enough = claimed.leased.len() >= claim.tokens.len() || refused >= claim.event_ids.len();
            if taken < limit || enough || weight.is_full() {
                let leased = |number| claimed.leased.iter().any(|leased| leased.order.number == number);
                let next = due[taken..].iter().find(|(number, _)| !leased(*number));
                claimed.next_due = next.map(|(_, due_at)| Timestamp::from_micros(*due_at));
                return Ok(Reply::Claimed(claimed));
            }
        }
    }

    /// Leases a piece of work that is due; returns whether it could be.
    fn claim_one(
        &mut self,
        claim: &Claim,
        number: i64,
        token: LeaseToken,
        event_id: EventId,
        claimed: &mut Claimed,
    ) -> Applied<bool> {
        let (mut order, work) = match load_number(self.conn, number) {
            Ok(Some((order, Some(work))))
                if claim.tenant.as_ref().is_none_or(|tenant| *tenant == order.tenant) =>
            {
                (order, work)
            }
            Ok(_) => {
                self.set_aside(number, claim.now, "has no order, or another tenant's")?;
                return Ok(false);
            }
            // Anything but a row that does not read concerns the whole database.
            Err(error) if error.sqlite_error().is_some() => return Err(fault(error).into()),
            Err(error) => {
                self.set_aside(number, claim.now, &error.to_string())?;
                return Ok(false);
            }
        };
        claimed.lapsed += u32::from(work.token.is_some());
        match decide::claim(&work, claim.now, claim.lease, claim.lapses_max) {
            ClaimDecision::Lease { lapses, attempt, until } => {
                let trace = work.trace;
                let leased = Leased { trace, ..self.lease(order, lapses, attempt, token, claim.now, until)? };
                claimed.leased.push(leased);
                Ok(true)
            }
            ClaimDecision::Park(body) => {
                self.trace = work.trace;
                self.happen(&mut order, &body, event_id, claim.now)?;
                self.work_effect(&mut order, WorkEffect::Drop, claim.now)?;
                claimed.parked += 1;
                Ok(false)
            }
        }
    }

    /// Work in the order in which it is due: (number, due at).
    fn due(&self, tenant: Option<&TenantId>, limit: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
        if let Some(tenant) = tenant {
            return self.due_of(tenant.as_str(), limit);
        }
        let mut tenants = self.tenants_with_work()?;
        tenants.sort_by_key(|(_, first_due)| *first_due);
        let mut due: Vec<(i64, i64)> = Vec::new();
        for (tenant, first_due) in tenants {
            // Whoever comes now has nothing that is due earlier.
            if due.get(limit - 1).is_some_and(|(_, last)| *last < first_due) {
                break;
            }
            due.extend(self.due_of(&tenant, limit)?);
            due.sort_by_key(|(number, due_at)| (*due_at, *number));
            due.truncate(limit);
        }
        Ok(due)
    }

    fn due_of(&self, tenant: &str, limit: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut statement = self.conn.prepare_cached(
            "SELECT number, due_at FROM work WHERE tenant = ?1 ORDER BY due_at, number LIMIT ?2",
        )?;
        let rows = statement.query_map(params![tenant, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// Who has open work, and when the first of it is due: a look into the index for each.
    fn tenants_with_work(&self) -> rusqlite::Result<Vec<(String, i64)>> {
        let mut next = self.conn.prepare_cached(
            "SELECT tenant, due_at FROM work WHERE tenant > ?1 ORDER BY tenant, due_at LIMIT 1",
        )?;
        let mut tenants: Vec<(String, i64)> = Vec::new();
        loop {
            let last = tenants.last().map_or("", |(tenant, _)| tenant.as_str());
            let found = next.query_row([last], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            match found {
                Some(found) => tenants.push(found),
                None => return Ok(tenants),
            }
        }
    }

    /// Work whose order is gone or does not read is a defect that an audit names; until it is mended it must not keep
    /// the rest from being done.
    fn set_aside(&self, number: i64, now: Timestamp, why: &str) -> Applied<()> {
        tracing::error!(number, why, "set work aside for an hour: run `wellorder audit`");
        self.conn
            .prepare_cached("UPDATE work SET due_at = ?2 WHERE number = ?1")
            .and_then(|mut statement| statement.execute(params![number, now.plus(SET_ASIDE).micros()]))
            .map_err(fault)?;
        Ok(())
    }

    fn lease(
        &mut self,
        mut order: Order,
        lapses: u32,
        attempt: u32,
        token: LeaseToken,
        now: Timestamp,
        until: Timestamp,
    ) -> Applied<Leased> {
        let began_at = decide::lease_begins(&order, now);
        self.conn
            .prepare_cached(
                "UPDATE work SET due_at = ?2, lapses = ?3, token = ?4, claimed_at = ?5 WHERE number = ?1",
            )
            .and_then(|mut statement| {
                statement.execute(params![
                    order.number,
                    until.micros(),
                    lapses,
                    blob(&token.0),
                    began_at.micros()
                ])
            })
            .map_err(fault)?;
        order.lease = Some(LeaseView { attempt, began_at, until, token });
        let (shard, effect_key) = (self.shard(order.id), order.cause);
        Ok(Leased { order, shard, token, attempt, lapses, began_at, until, effect_key, trace: None })
    }

    pub(super) fn heartbeat(&self, heartbeat: &Heartbeat) -> Applied {
        let mut lost = Vec::new();
        for (order_id, token) in &heartbeat.held {
            let number = self.number(*order_id).map_err(fault)?;
            let extended = self
                .conn
                .prepare_cached("UPDATE work SET due_at = ?3 WHERE number = ?1 AND token = ?2")
                .and_then(|mut statement| {
                    statement.execute(params![number, blob(&token.0), heartbeat.until.micros()])
                })
                .map_err(fault)?;
            if extended == 0 {
                lost.push(*token);
            }
        }
        Ok(Reply::Extended { lost })
    }

    pub(super) fn settle(&mut self, settle: &Settle) -> Applied {
        let (mut order, work) = self.load(settle.order_id)?;
        let decision = decide::settle(&order, work.as_ref(), settle.token, &settle.outcome)?;
        if let Some(body) = &decision.body {
            self.happen(&mut order, body, settle.event_id, settle.now)?;
        }
        self.work_effect(&mut order, decision.work, settle.now)?;
        Ok(Reply::Settled(Box::new(order)))
    }
}

/// How many leases are not due yet.
pub(crate) fn live_leases(conn: &rusqlite::Connection, now: Timestamp) -> rusqlite::Result<usize> {
    conn.query_row(
        "SELECT count(*) FROM work WHERE token IS NOT NULL AND due_at > ?1",
        [now.micros()],
        |row| row.get(0),
    )
}

/// Makes the leases of a process that is gone due: whoever opens the file is alone with it. Those of workers outside
/// hold on. So does it with work that is due later than anything may be: it was written under a clock that ran ahead.
pub(crate) fn expire_leases(
    conn: &rusqlite::Connection,
    now: Timestamp,
    outlive: bool,
) -> rusqlite::Result<()> {
    // Whoever carried followers is gone in any case: nobody outside does.
    conn.execute("DELETE FROM relays", [])?;
    let longest = if outlive { now.plus(LEASED_FOR_MAX) } else { now };
    conn.execute(
        "UPDATE work SET due_at = ?1 WHERE token IS NOT NULL AND due_at > ?2",
        [now.micros(), longest.micros()],
    )?;
    let latest = now.plus(PUT_OFF_FOR_MAX).micros();
    conn.execute("UPDATE work SET due_at = ?1 WHERE token IS NULL AND due_at > ?2", [now.micros(), latest])?;
    Ok(())
}
