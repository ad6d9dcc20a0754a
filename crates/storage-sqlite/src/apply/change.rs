//! Changing an order that is there.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use crate::rows::place;
use crate::scrub;
use crate::terms;
use crate::terms::entry::{self, Field};
use order_core::Fault;
use order_core::command::{Change, ChangeKind, Changed, Reply};
use order_core::decide;
use order_core::order::{Order, event};
use rusqlite::params;
use std::collections::BTreeSet;

impl Batch<'_> {
    pub(super) fn change(&mut self, change: &Change) -> Applied {
        let (order, _) = self.load(change.order_id)?;
        Ok(Reply::Changed(self.change_loaded(order, change)?))
    }

    /// As [`Batch::change`], for an order that was loaded already.
    pub(super) fn change_loaded(&mut self, mut order: Order, change: &Change) -> Applied<Changed> {
        let Some(decision) = decide::change(&order, change)? else {
            return Ok(Changed { order: Box::new(order), changed: false });
        };
        if let Some(body) = &decision.body {
            if change.kind == ChangeKind::Erase {
                // First, while the history still tells of them.
                self.erase_customer(&order)?;
                self.blank_history(&order)?;
                scrub::owe(self.conn).map_err(fault)?;
            }
            self.happen(&mut order, body, change.event_id, change.now)?;
        }
        self.work_effect(&mut order, decision.work, change.now)?;
        Ok(Changed { order: Box::new(order), changed: true })
    }

    /// Takes the order out of what is found by the customers that it has had.
    fn erase_customer(&mut self, order: &Order) -> Applied<()> {
        let events = read::chain(self.conn, self.shard(order.id), order.last_position).map_err(fault)?;
        let customer = |event: &order_core::journal::Event| {
            let data: serde_json::Value = serde_json::from_str(&event.data).ok()?;
            data["customer"].as_str().map(str::to_owned)
        };
        let mut customers: BTreeSet<String> = events.iter().filter_map(customer).collect();
        customers.extend(order.content.customer.clone());
        for customer in customers {
            let entry = entry::entry(&order.tenant, Field::Customer, &customer, order.number).into();
            terms::erase(self.conn, &entry, order.number).map_err(fault)?;
            self.erased.insert(entry);
        }
        Ok(())
    }

    /// Blanks the personal fields of the events that the order has so far: the one thing that may change in a journal.
    fn blank_history(&self, order: &Order) -> Applied<()> {
        let events = read::chain(self.conn, self.shard(order.id), order.last_position).map_err(fault)?;
        for event in events {
            let data = event::blanked(&event, order).map_err(Fault::internal)?;
            self.conn
                .prepare_cached("UPDATE journal SET data = ?2 WHERE place = ?1")
                .and_then(|mut statement| {
                    statement.execute(params![place(event.shard, event.position), data])
                })
                .map_err(fault)?;
        }
        Ok(())
    }
}
