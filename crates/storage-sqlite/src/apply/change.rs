//! Changing an order that is there.

use super::{Applied, Batch};
use crate::error::fault;
use crate::read;
use crate::rows::place;
use crate::scrub;
use order_core::Fault;
use order_core::command::{Change, ChangeKind, Changed, Reply};
use order_core::decide;
use order_core::order::{Order, event};
use rusqlite::params;

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
                self.blank_history(&order)?;
                scrub::owe(self.conn).map_err(fault)?;
            }
            self.happen(&mut order, body, change.event_id, change.now)?;
        }
        self.work_effect(&mut order, decision.work, change.now)?;
        Ok(Changed { order: Box::new(order), changed: true })
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
