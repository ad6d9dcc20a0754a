//! Leasing work and ending it. A lease is a due time: claiming moves it to the lease's end and sets a fresh token.
//!
//! Whoever claims waits for nobody: work that somebody else has locked is being claimed, extended, settled or changed
//! there, and is passed over.

use super::held::Held;
use super::{Applied, Batch, Stop};
use crate::error::Trouble;
use crate::pipeline::{Pipeline, Value};
use crate::rows::{self, Moment, lease_view, small, time};
use order_core::clock::Timestamp;
use order_core::command::{Claim, Claimed, Heartbeat, Reply, Settle};
use order_core::decide::{self, ClaimDecision, WorkEffect};
use order_core::desk::Desk;
use order_core::ids::{EventId, LeaseToken, OrderId};
use order_core::lease::{Leased, Work};
use order_core::order::Order;
use order_core::query::PageWeight;
use order_core::{Fault, Rejection};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// How long work that cannot be read is left alone.
const SET_ASIDE: Duration = Duration::from_secs(3_600);

/// Of each desk as much as is wanted of all, for nobody knows yet which has what is due first. What is locked in vain is free
/// again with the commit.
const LOCK_DUE: &str = "SELECT w.number, w.order_id FROM unnest($3::smallint[]) d (desk) CROSS JOIN LATERAL ( \
       SELECT number, order_id, due_at FROM work WHERE desk = d.desk AND due_at <= $1 \
       ORDER BY due_at, number LIMIT $2 FOR UPDATE SKIP LOCKED) w ORDER BY w.due_at, w.number LIMIT $2";

const LOCK_DUE_OF_TENANT: &str = "SELECT w.number, w.order_id FROM unnest($3::smallint[]) d (desk) \
     CROSS JOIN LATERAL (SELECT number, order_id, due_at FROM work WHERE tenant = $4 AND desk = d.desk \
       AND due_at <= $1 ORDER BY due_at, number LIMIT $2 FOR UPDATE SKIP LOCKED) w ORDER BY w.due_at, w.number LIMIT $2";

const NEXT: &str = "SELECT w.number, w.due_at FROM unnest($2::smallint[]) d (desk) CROSS JOIN LATERAL ( \
       SELECT number, due_at FROM work WHERE desk = d.desk ORDER BY due_at, number LIMIT $1) w \
     ORDER BY w.due_at, w.number LIMIT $1";

const NEXT_OF_TENANT: &str = "SELECT w.number, w.due_at FROM unnest($2::smallint[]) d (desk) CROSS JOIN LATERAL ( \
       SELECT number, due_at FROM work WHERE tenant = $3 AND desk = d.desk ORDER BY due_at, number LIMIT $1) w \
     ORDER BY w.due_at, w.number LIMIT $1";

const LEAVE: &str = "UPDATE work SET due_at = $3 WHERE number = $1 AND shard = $2";

/// In the order of keys, and without waiting. `IS NOT DISTINCT FROM` keeps the planner from the index of leased work, which
/// begins with the tenant.
const EXTEND: &str = "UPDATE work w SET due_at = $4 FROM (SELECT held.number, held.shard \
     FROM unnest($1::smallint[], $2::uuid[], $3::uuid[]) h (shard, order_id, token) \
     JOIN orders o ON o.shard = h.shard AND o.order_id = h.order_id \
     JOIN work held ON held.shard = o.shard AND held.number = o.number AND held.token IS NOT DISTINCT FROM h.token \
     ORDER BY held.shard, held.number FOR UPDATE OF held SKIP LOCKED) l \
     WHERE w.number = l.number AND w.shard = l.shard RETURNING w.order_id, w.token";

/// The tokens that hold something; also those whose work somebody else has locked.
const STILL_HELD: &str = "SELECT h.token FROM unnest($1::smallint[], $2::uuid[], $3::uuid[]) h (shard, order_id, token) \
     JOIN orders o ON o.shard = h.shard AND o.order_id = h.order_id \
     JOIN work w ON w.shard = o.shard AND w.number = o.number AND w.token IS NOT DISTINCT FROM h.token";

/// Work that a claim has come to.
struct Due {
    number: i64,
    order_id: OrderId,
}

impl Batch<'_> {
    pub(super) async fn claim(&mut self, claim: &Claim) -> Applied {
        let mut claimed = Claimed::default();
        // What is parked or set aside must not keep the rest from being found, so it is looked until there are enough, or
        // as many were not to be had as there are event ids.
        let (mut refused, mut weight) = (0, PageWeight::default());
        loop {
            self.flush().await?;
            let wanted = claim.tokens.len().saturating_sub(claimed.leased.len());
            let limit = wanted.min(claim.event_ids.len().saturating_sub(refused));
            let seen = limit + 1 + claimed.leased.len();
            let (due, next) = self.due(claim, limit, seen).await?;
            let mut found = self.claimable(&due).await?;
            let mut seen_to = 0;
            for Due { number, order_id } in &due {
                let (token, event_id) = (claim.tokens[claimed.leased.len()], claim.event_ids[refused]);
                let work = found.remove(order_id).unwrap_or_else(|| Err("has no order".to_owned()));
                let leased =
                    self.claim_one(claim, (*number, *order_id), work, (token, event_id), &mut claimed);
                let leased = leased.await?;
                (seen_to, refused) = (seen_to + 1, refused + usize::from(!leased));
                if let Some(newest) = claimed.leased.last().filter(|_| leased) {
                    weight.add(&newest.order);
                    if weight.is_full() {
                        break;
                    }
                }
            }
            let enough = claimed.leased.len() >= claim.tokens.len() || refused >= claim.event_ids.len();
            if due.len() < limit || enough || weight.is_full() {
                let taken: BTreeSet<i64> = due
                    .iter()
                    .take(seen_to)
                    .map(|due| due.number)
                    .chain(claimed.leased.iter().map(|leased| leased.order.number))
                    .collect();
                // What is due and could not be had is somebody else's at this moment.
                let all_had = due.len() < limit && seen_to == due.len();
                let next = next
                    .into_iter()
                    .find(|(number, due_at)| !taken.contains(number) && (!all_had || *due_at > claim.now));
                claimed.next_due = next.map(|(_, due_at)| due_at);
                return Ok(Reply::Claimed(claimed));
            }
        }
    }

    /// Locks up to `limit` pieces of due work; with the first `seen` pieces of all there is, due or not.
    async fn due(
        &self,
        claim: &Claim,
        limit: usize,
        seen: usize,
    ) -> Applied<(Vec<Due>, Vec<(i64, Timestamp)>)> {
        let mut trip = Pipeline::default();
        let (limit, seen) =
            (i64::try_from(limit).unwrap_or(i64::MAX), i64::try_from(seen).unwrap_or(i64::MAX));
        let tenant = claim.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let (mut lock, mut look): (Vec<Value<'_>>, Vec<Value<'_>>) =
            (vec![Box::new(Moment(claim.now)), Box::new(limit)], vec![Box::new(seen)]);
        let desks: Vec<i16> = claim.desks.iter().map(rows::desk).collect();
        lock.push(Box::new(desks.clone()));
        look.push(Box::new(desks));
        let (locked, looked) = match tenant {
            None => (trip.add(self.conn, LOCK_DUE, lock).await?, trip.add(self.conn, NEXT, look).await?),
            Some(tenant) => {
                lock.push(Box::new(tenant.clone()));
                look.push(Box::new(tenant));
                let locked = trip.add(self.conn, LOCK_DUE_OF_TENANT, lock).await?;
                (locked, trip.add(self.conn, NEXT_OF_TENANT, look).await?)
            }
        };
        let answers = trip.run(self.conn).await?;
        let due = answers.rows(Some(locked)).iter().map(|row| -> Applied<Due> {
            Ok(Due { number: row.try_get(0)?, order_id: OrderId(row.try_get(1)?) })
        });
        let next = answers
            .rows(Some(looked))
            .iter()
            .map(|row| -> Applied<(i64, Timestamp)> { Ok((row.try_get(0)?, time(row, 1)?)) });
        Ok((due.collect::<Applied<_>>()?, next.collect::<Applied<_>>()?))
    }

    /// The orders of work that is locked now, so that they are not older than it; or why one does not read.
    async fn claimable(&mut self, due: &[Due]) -> Applied<HashMap<OrderId, Result<(Order, Work), String>>> {
        if due.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<OrderId> = due.iter().map(|due| due.order_id).collect();
        let mut found = HashMap::new();
        for row in self.reload(&ids).await? {
            found.insert(OrderId(row.try_get(1)?), claimable(&row)?);
        }
        Ok(found)
    }

    /// Leases a piece of work that is due; returns whether it could be.
    async fn claim_one(
        &mut self,
        claim: &Claim,
        (number, order_id): (i64, OrderId),
        found: Result<(Order, Work), String>,
        (token, event_id): (LeaseToken, EventId),
        claimed: &mut Claimed,
    ) -> Applied<bool> {
        let another = |order: &Order| {
            claim.tenant.as_ref().is_some_and(|tenant| *tenant != order.tenant)
                || !claim.desks.has(Desk::of(&order.source))
        };
        let (order, work) = match found {
            Ok((order, _)) if another(&order) => {
                self.set_aside(
                    number,
                    order_id,
                    claim.now,
                    "has another tenant's order, or lies at another desk",
                )
                .await?;
                return Ok(false);
            }
            Ok(found) => found,
            Err(why) => {
                self.set_aside(number, order_id, claim.now, &why).await?;
                return Ok(false);
            }
        };
        self.orders.insert(order_id, Held::read(order, Some(work.clone())));
        match decide::claim(&work, claim.now, claim.lease, claim.lapses_max) {
            ClaimDecision::Lease { lapses, attempt, until } => {
                claimed.lapsed += u32::from(work.token.is_some());
                let leased = self.lease(order_id, &work, (lapses, attempt, until), token, claim.now)?;
                claimed.leased.push(leased);
                Ok(true)
            }
            ClaimDecision::Park(body) => {
                self.trace = work.trace;
                self.happen(order_id, &body, event_id, claim.now)?;
                claimed.lapsed += u32::from(work.token.is_some());
                self.work_effect(order_id, WorkEffect::Drop, claim.now)?;
                claimed.parked += 1;
                Ok(false)
            }
        }
    }

    fn lease(
        &mut self,
        order_id: OrderId,
        work: &Work,
        (lapses, attempt, until): (u32, u32, Timestamp),
        token: LeaseToken,
        now: Timestamp,
    ) -> Applied<Leased> {
        let shard = self.shard(order_id);
        let held = self.orders.get_mut(&order_id);
        let held = held.ok_or_else(|| Fault::internal("the order of claimed work is not in hands"))?;
        let began_at = decide::lease_begins(&held.order, now);
        let work =
            Work { due_at: until, lapses, token: Some(token), claimed_at: Some(began_at), ..work.clone() };
        let trace = work.trace;
        held.order.lease = lease_view(&work);
        (held.work, held.work_moved) = (Some(work), true);
        let (order, effect_key) = (held.order.clone(), held.order.cause);
        Ok(Leased { order, shard, token, attempt, lapses, began_at, until, effect_key, trace })
    }

    /// Work whose order is gone or does not read is a defect that an audit names; until it is mended it must not keep
    /// the rest from being done.
    async fn set_aside(&self, number: i64, order_id: OrderId, now: Timestamp, why: &str) -> Applied<()> {
        tracing::error!(number, why, "set work aside for an hour: run `wellorder audit`");
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 3] =
            [&number, &small(self.shard(order_id)), &Moment(now.plus(SET_ASIDE))];
        self.conn.execute(LEAVE, &values).await?;
        Ok(())
    }

    pub(super) async fn heartbeat(&mut self, heartbeat: &Heartbeat) -> Applied {
        self.flush().await?;
        let held = &heartbeat.held;
        let columns = || -> Vec<Value<'_>> {
            let shards: Vec<i16> = held.iter().map(|(id, _)| small(self.shard(*id))).collect();
            let ids: Vec<Uuid> = held.iter().map(|(id, _)| id.0).collect();
            let tokens: Vec<Uuid> = held.iter().map(|(_, token)| token.0).collect();
            vec![Box::new(shards), Box::new(ids), Box::new(tokens)]
        };
        let mut trip = Pipeline::default();
        let mut values = columns();
        values.push(Box::new(Moment(heartbeat.until)));
        let extended = trip.add(self.conn, EXTEND, values).await?;
        let still = trip.add(self.conn, STILL_HELD, columns()).await?;
        let answers = trip.run(self.conn).await?;
        let mut good: BTreeSet<LeaseToken> = BTreeSet::new();
        for row in answers.rows(Some(still)) {
            good.insert(LeaseToken(row.try_get(0)?));
        }
        for row in answers.rows(Some(extended)) {
            let (order_id, token) = (OrderId(row.try_get(0)?), LeaseToken(row.try_get(1)?));
            good.insert(token);
            if let Some(held) = self.orders.get_mut(&order_id)
                && let Some(work) = &mut held.work
            {
                work.due_at = heartbeat.until;
                held.order.lease = lease_view(work);
            }
        }
        let lost = held.iter().map(|(_, token)| *token).filter(|token| !good.contains(token)).collect();
        Ok(Reply::Extended { lost })
    }

    pub(super) async fn settle(&mut self, settle: &Settle) -> Applied {
        let held = self.find(settle.order_id).await?.ok_or(Rejection::OrderUnknown)?;
        let decision = decide::settle(&held.order, held.work.as_ref(), settle.token, &settle.outcome)?;
        if let Some(body) = &decision.body {
            self.happen(settle.order_id, body, settle.event_id, settle.now)?;
        }
        let order = self.work_effect(settle.order_id, decision.work, settle.now)?;
        Ok(Reply::Settled(Box::new(order)))
    }
}

fn claimable(row: &Row) -> Result<Result<(Order, Work), String>, Stop> {
    match rows::order(row) {
        Ok((order, Some(work))) => Ok(Ok((order, work))),
        Ok((_, None)) => Ok(Err("has an order that it is not the work of".to_owned())),
        // Anything but a row that does not read concerns the whole database.
        Err(Trouble::Fault(Fault::Internal { why, .. })) => Ok(Err(why)),
        Err(trouble) => Err(trouble.into()),
    }
}
