//! Leasing work and ending it. A lease is a due time: claiming moves it to the lease's end and sets a fresh token.

use super::{Applied, Batch, load_number};
use crate::error::fault;
use crate::rows::blob;
use order_core::clock::Timestamp;
use order_core::command::{Claim, Claimed, Heartbeat, Reply, Settle};
use order_core::decide::{self, ClaimDecision, WorkEffect};
use order_core::desk::{Desk, Desks};
use order_core::ids::{EventId, LeaseToken, TenantId};
use order_core::lease::{LEASED_FOR_MAX, Leased, PUT_OFF_FOR_MAX};
use order_core::order::{LeaseView, Order};
use order_core::query::PageWeight;
use rusqlite::{OptionalExtension, Row, params};
use std::time::Duration;

/// How long work that cannot be read is left alone.
const SET_ASIDE: Duration = Duration::from_secs(3_600);

const DUE_IN: &str =
    "SELECT number, due_at FROM work WHERE tenant = ?1 AND desk = ?2 ORDER BY due_at, number LIMIT ?3";

const NEXT_PILE: &str = "SELECT tenant, desk, due_at FROM work WHERE (tenant, desk) > (?1, ?2) \
     ORDER BY tenant, desk, due_at LIMIT 1";

/// The open work of a tenant at a desk.
struct Pile {
    tenant: String,
    desk: i64,
    first_due: i64,
}

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
            let due = self.due(claim, seen).map_err(fault)?;
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
                if claim.tenant.as_ref().is_none_or(|tenant| *tenant == order.tenant)
                    && claim.desks.has(Desk::of(&order.source)) =>
            {
                (order, work)
            }
            Ok(_) => {
                self.set_aside(
                    number,
                    claim.now,
                    "has no order, or another tenant's, or lies at another desk",
                )?;
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
    fn due(&self, claim: &Claim, limit: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut piles = self.piles(claim.tenant.as_ref())?;
        piles.retain(|pile| claim.desks.iter().any(|desk| i64::from(desk.number()) == pile.desk));
        piles.sort_by_key(|pile| pile.first_due);
        let mut due: Vec<(i64, i64)> = Vec::new();
        for pile in piles {
            // Whatever comes now has nothing that is due earlier.
            if due.get(limit - 1).is_some_and(|(_, last)| *last < pile.first_due) {
                break;
            }
            due.extend(self.due_in(&pile, limit)?);
            due.sort_by_key(|(number, due_at)| (*due_at, *number));
            due.truncate(limit);
        }
        Ok(due)
    }

    fn due_in(&self, pile: &Pile, limit: usize) -> rusqlite::Result<Vec<(i64, i64)>> {
        let mut statement = self.conn.prepare_cached(DUE_IN)?;
        let rows = statement
            .query_map(params![pile.tenant, pile.desk, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// Where there is open work, of one tenant or of any, and when the first of it is due: a look into the index for each.
    fn piles(&self, tenant: Option<&TenantId>) -> rusqlite::Result<Vec<Pile>> {
        let mut next = self.conn.prepare_cached(NEXT_PILE)?;
        let mut piles: Vec<Pile> = Vec::new();
        loop {
            let last = piles.last().map(|pile| (pile.tenant.as_str(), pile.desk));
            let last = last.unwrap_or((tenant.map_or("", TenantId::as_str), -1));
            let read =
                |row: &Row<'_>| Ok(Pile { tenant: row.get(0)?, desk: row.get(1)?, first_due: row.get(2)? });
            let found = next.query_row(params![last.0, last.1], read).optional()?;
            match found.filter(|pile| tenant.is_none_or(|tenant| tenant.as_str() == pile.tenant)) {
                Some(pile) => piles.push(pile),
                None => return Ok(piles),
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

/// How many leases at some desks are not due yet.
pub(crate) fn live_leases(
    conn: &rusqlite::Connection,
    desks: Desks,
    now: Timestamp,
) -> rusqlite::Result<usize> {
    conn.query_row(
        "SELECT count(*) FROM work WHERE token IS NOT NULL AND due_at > ?1 AND (?2 >> desk) & 1",
        [now.micros(), i64::from(desks.bits())],
        |row| row.get(0),
    )
}

/// Makes the leases of a process that is gone due: whoever opens the file is alone with it. Those of workers outside, who work
/// at `outlive`, hold on. So does it with work that is due later than anything may be: it was written under a clock that ran
/// ahead.
pub(crate) fn expire_leases(
    conn: &rusqlite::Connection,
    now: Timestamp,
    outlive: Desks,
) -> rusqlite::Result<()> {
    // Whoever carried followers is gone in any case: nobody outside does.
    conn.execute("DELETE FROM relays", [])?;
    let due = now.micros();
    conn.execute("UPDATE webhook_streams SET due_at = ?1 WHERE token IS NOT NULL AND due_at > ?1", [due])?;
    for (desks, longest) in [(outlive.others(), now), (outlive, now.plus(LEASED_FOR_MAX))] {
        conn.execute(
            "UPDATE work SET due_at = ?1 WHERE token IS NOT NULL AND due_at > ?2 AND (?3 >> desk) & 1",
            [due, longest.micros(), i64::from(desks.bits())],
        )?;
    }
    // Nobody outside imports, or syncs a store.
    conn.execute(
        "UPDATE imports INDEXED BY imports_due SET due_at = ?1 \
         WHERE due_at IS NOT NULL AND due_at > ?1 AND token IS NOT NULL",
        [due],
    )?;
    conn.execute("UPDATE stores SET lease_until = ?1 WHERE lease_until > ?1", [due])?;
    let latest = now.plus(PUT_OFF_FOR_MAX).micros();
    conn.execute("UPDATE work SET due_at = ?1 WHERE token IS NULL AND due_at > ?2", [due, latest])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::migrate::migrate;
    use std::path::Path;

    /// A claim that looks at what lies at other desks is quick in a test and slow behind a backlog.
    #[test]
    fn claims_look_along_the_index_from_where_their_work_begins() {
        let mut conn = rusqlite::Connection::open_in_memory().unwrap();
        migrate(&mut conn, Path::new("in memory"), Timestamp::from_micros(1)).unwrap();
        for (sql, from) in [(DUE_IN, "(tenant=? AND desk=?)"), (NEXT_PILE, "((tenant,desk)>(?,?))")] {
            let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let count = statement.parameter_count();
            let unbound = rusqlite::params_from_iter(std::iter::repeat_n(rusqlite::types::Null, count));
            let plan: Vec<String> =
                statement.query_map(unbound, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            assert_eq!(plan, [format!("SEARCH work USING COVERING INDEX work_due {from}")]);
        }
    }
}
