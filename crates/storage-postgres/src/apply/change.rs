//! Changing an order that is there.

use super::{Applied, Batch};
use crate::chain;
use crate::rows::{big, small};
use order_core::Fault;
use order_core::command::{Change, ChangeKind, Changed};
use order_core::decide;
use order_core::order::{Order, event};

const BLANK: &str = "UPDATE journal j SET data = e.data FROM unnest($2::bigint[], $3::text[]) e (position, data) \
     WHERE j.shard = $1 AND j.position = e.position";

impl Batch<'_> {
    pub(super) async fn change(&mut self, change: &Change) -> Applied<Changed> {
        let (order, _) = self.get(change.order_id).await?;
        let Some(decision) = decide::change(&order, change)? else {
            return Ok(Changed { order: Box::new(order), changed: false });
        };
        if let Some(body) = &decision.body {
            // Before anything is changed: whether the head is held.
            self.next_position(self.shard(order.id))?;
            if change.kind == ChangeKind::Erase {
                self.blank_history(&order).await?;
            }
            self.happen(order.id, body, change.event_id, change.now)?;
        }
        let order = self.work_effect(order.id, decision.work, change.now)?;
        Ok(Changed { order: Box::new(order), changed: true })
    }

    /// Blanks the personal fields of the events that the order has so far: the one thing that may change in a journal.
    async fn blank_history(&mut self, order: &Order) -> Applied<()> {
        self.flush().await?;
        let shard = self.shard(order.id);
        let events = chain::read(self.conn, shard, order.last_position).await?;
        let (mut positions, mut texts) = (Vec::new(), Vec::new());
        let mut customers = Vec::new();
        for event in events {
            customers.extend(customer_of(&event.data));
            positions.push(big(event.position));
            texts.push(event::blanked(&event, order).map_err(Fault::internal)?);
        }
        self.conn.execute(BLANK, &[&small(shard), &positions, &texts]).await?;
        // The latch of terms is held: nothing is packed meanwhile.
        self.conn
            .query(
                "SELECT forget_terms($1, $2, $3, $4)",
                &[&order.tenant.as_str(), &order.id.0, &order.number, &customers],
            )
            .await?;
        Ok(())
    }
}

/// The customer that an event tells of.
fn customer_of(data: &str) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(data).ok()?;
    Some(data.get("customer")?.as_str()?.to_owned())
}
