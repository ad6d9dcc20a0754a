//! Changing an order that is there.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use crate::rows::{blob, place};
use crate::scrub;
use crate::terms;
use crate::terms::entry::{self, Field};
use order_core::Fault;
use order_core::command::{Change, ChangeKind, Changed, Reply};
use order_core::decide;
use order_core::journal::Event;
use order_core::order::Order;
use order_core::order::erasure::Erasure;
use rusqlite::params;
use std::collections::BTreeSet;

impl Batch<'_> {
    pub(super) fn change(&mut self, change: &Change) -> Applied {
        let (order, _) = self.load(change.order_id)?;
        Ok(Reply::Changed(self.change_loaded(order, change)?))
    }

    /// As [`Batch::change`], for an order that was loaded already.
    pub(super) fn change_loaded(&mut self, mut order: Order, change: &Change) -> Applied<Changed> {
        let Some(mut decision) = decide::change(&order, change)? else {
            return Ok(Changed { order: Box::new(order), changed: false });
        };
        if change.kind == ChangeKind::Erase {
            // First, while the history still tells of them.
            decision.body = self.erase(&order)?.body(change.by.clone());
            if decision.body.is_none() {
                return Ok(Changed { order: Box::new(order), changed: false });
            }
            scrub::owe(self.conn).map_err(fault)?;
        }
        if let Some(body) = &decision.body {
            self.happen(&mut order, body, change.event_id, change.now)?;
        }
        self.work_effect(&mut order, decision.work, change.now)?;
        Ok(Changed { order: Box::new(order), changed: true })
    }

    /// Blanks the personal fields of the events that the order has so far, the one thing that may change in a journal, and
    /// takes it out of what is found by the customers that it has had. One event at a time: a history may be long.
    fn erase(&mut self, order: &Order) -> Applied<Erasure> {
        let mut erasure = Erasure::of(order);
        // What receivers answered may name a person.
        self.conn
            .prepare_cached(
                "UPDATE webhook_attempts SET answer = NULL WHERE subject = ?1 AND answer IS NOT NULL",
            )
            .and_then(|mut statement| statement.execute([blob(&order.id.0)]))
            .map_err(fault)?;
        let mut customers: BTreeSet<String> = order.content.customer.iter().cloned().collect();
        let mut unreadable = None;
        let conn = self.conn;
        read::chain(conn, self.shard(order.id), order.last_position, |event| {
            match erasure.see(&event, order) {
                Ok(Some(data)) => {
                    customers.extend(customer(&event));
                    conn.prepare_cached("UPDATE journal SET data = ?2 WHERE place = ?1")?
                        .execute(params![place(event.shard, event.position), data])?;
                }
                Ok(None) => {}
                Err(error) => unreadable = Some(error),
            }
            Ok(unreadable.is_none() && !Erasure::ends_at(&event))
        })
        .map_err(fault)?;
        if let Some(error) = unreadable {
            return Err(Fault::internal(error).into());
        }
        for customer in customers {
            let entry = entry::entry(&order.tenant, Field::Customer, &customer, order.number).into();
            terms::erase(self.conn, &entry, order.number).map_err(fault)?;
            self.erased.insert(entry);
        }
        Ok(erasure)
    }
}

fn customer(event: &Event) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(&event.data).ok()?;
    data["customer"].as_str().map(str::to_owned)
}
