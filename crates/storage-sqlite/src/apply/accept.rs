//! Accepting an order: its row, its first event and its first work, or the order that was there.

use super::{Applied, Batch};
use crate::error::fault;
use crate::external;
use crate::rows::{blob, trace_bytes, uuid};
use crate::terms::entry;
use order_core::clock::Timestamp;
use order_core::command::{Accept, Reply};
use order_core::decide;
use order_core::desk::Desk;
use order_core::ids::OrderId;
use order_core::intake::{Accepted, IdempotencyKey};
use order_core::order::event::{Accepted as AcceptedBody, EventBody, Place};
use order_core::order::{Order, render};
use order_core::{Rejection, TenantId};
use rusqlite::{OptionalExtension, params};

impl Batch<'_> {
    pub(super) fn accept(&mut self, accept: &Accept) -> Applied {
        let tenant = &accept.intake.tenant;
        if let Some(key) = &accept.intake.key
            && let Some((order_id, digest)) = self.used_key(tenant, key).map_err(fault)?
        {
            let (order, _) = self.load(order_id)?;
            decide::replay(&order, &digest, accept)?;
            return Ok(duplicate(order, Vec::new()));
        }
        let accepted = match self.insert(accept)? {
            Some(order) => Accepted::New(Box::new(order)),
            None => {
                let found = self.find(accept.order_id).map_err(fault)?;
                // Ids are derived from the tenant too, so another tenant's order here would be a broken hash.
                let (order, _) =
                    found.filter(|(order, _)| order.tenant == *tenant).ok_or(Rejection::OrderUnknown)?;
                let differs = decide::duplicate(&order, &accept.digest, &accept.intake.content);
                Accepted::Duplicate { order: Box::new(order), differs }
            }
        };
        let takes_key = match &accepted {
            Accepted::New(_) => true,
            Accepted::Duplicate { differs, .. } => differs.is_empty(),
        };
        if let (true, Some(key)) = (takes_key, &accept.intake.key) {
            self.record_key(accept, key).map_err(fault)?;
        }
        Ok(Reply::Accepted(accepted))
    }

    /// Writes a new order; `None` when its id is taken.
    fn insert(&mut self, accept: &Accept) -> Applied<Option<Order>> {
        if self.number(accept.order_id).map_err(fault)?.is_some() {
            return Ok(None);
        }
        let number = self.next_number()?;
        let position = self.next_position(self.shard(accept.order_id))?;
        let place = Place { event_id: accept.event_id, position, occurred_at: accept.now };
        let intake = &accept.intake;
        let body = AcceptedBody {
            order_id: accept.order_id,
            number,
            source: intake.source.clone(),
            reference: intake.reference.clone(),
            content: intake.content.clone(),
            by: accept.by.clone(),
        };
        let mut order = Order::accepted(intake.tenant.clone(), body.clone(), accept.digest, place);
        self.insert_row(&order).map_err(fault)?;
        self.number = Some(number);
        self.accepted.push((order.id, number));
        self.accepted_numbers.insert(order.id, number);
        self.entries.extend(entry::of(&order));
        self.append(&order, &EventBody::Accepted(Box::new(body)), place, 0)?;
        external::enter(self.conn, None, &order).map_err(fault)?;
        self.tally(&order, 1);
        match decide::withdrawal(accept) {
            Some((event_id, body)) => self.happen(&mut order, &body, event_id, accept.now)?,
            None => {
                self.insert_work(&order).map_err(fault)?;
                self.work_due = true;
            }
        }
        Ok(Some(order))
    }

    fn insert_row(&self, order: &Order) -> rusqlite::Result<()> {
        let content = &order.content;
        self.conn
            .prepare_cached(
                "INSERT INTO orders (number, shard, order_id, tenant, source, reference, digest, customer, currency, \
                 lines, total, attributes, version, processing, fulfilment, withdrawn, attempt, accepted_at, \
                 updated_at, cause, last_position) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,1,?13,?14,0,0,?15,\
                 ?15,?16,?17)",
            )?
            .execute(params![
                order.number,
                self.shard(order.id).0,
                blob(&order.id.0),
                order.tenant.as_str(),
                order.source.as_str(),
                order.reference.as_ref().map(order_core::Reference::as_str),
                order.digest,
                content.customer,
                content.currency,
                render::lines(&content.lines),
                content.total.to_string(),
                render::attributes(&content.attributes),
                order.processing.word(),
                order.fulfilment.word(),
                order.accepted_at.micros(),
                blob(&order.cause.0),
                order.last_position,
            ])?;
        Ok(())
    }

    fn insert_work(&self, order: &Order) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "INSERT INTO work (number, order_id, tenant, desk, due_at, attempt, lapses, trace) \
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, ?6)",
            )?
            .execute(params![
                order.number,
                blob(&order.id.0),
                order.tenant.as_str(),
                Desk::of(&order.source).number(),
                order.accepted_at.micros(),
                trace_bytes(self.trace),
            ])?;
        Ok(())
    }

    fn used_key(
        &self,
        tenant: &TenantId,
        key: &IdempotencyKey,
    ) -> rusqlite::Result<Option<(OrderId, [u8; 32])>> {
        self.conn
            .prepare_cached(
                "SELECT order_id, digest FROM idempotency WHERE tenant = ?1 AND route = ?2 AND key = ?3",
            )?
            .query_row(params![tenant.as_str(), key.route, key.key], |row| {
                Ok((OrderId(uuid(row, 0)?), row.get(1)?))
            })
            .optional()
    }

    fn record_key(&self, accept: &Accept, key: &IdempotencyKey) -> rusqlite::Result<()> {
        let tenant = accept.intake.tenant.as_str();
        self.conn.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(
            params![tenant, key.route, key.key, blob(&accept.order_id.0), accept.digest, accept.now.micros()],
        )?;
        Ok(())
    }

    pub(super) fn sweep(&self, before: Timestamp, limit: u32) -> Applied {
        let swept = self
            .conn
            .prepare_cached(
                "DELETE FROM idempotency WHERE (tenant, route, key) IN \
                 (SELECT tenant, route, key FROM idempotency WHERE created_at < ?1 ORDER BY created_at LIMIT ?2)",
            )
            .and_then(|mut statement| statement.execute(params![before.micros(), limit]))
            .map_err(fault)?;
        Ok(Reply::Swept(u32::try_from(swept).unwrap_or(u32::MAX)))
    }
}

fn duplicate(order: Order, differs: Vec<String>) -> Reply {
    Reply::Accepted(Accepted::Duplicate { order: Box::new(order), differs })
}
