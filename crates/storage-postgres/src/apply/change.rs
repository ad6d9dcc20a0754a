//! Changing an order that is there.

use super::{Applied, Batch};
use crate::chain;
use crate::rows::{big, small};
use order_core::Fault;
use order_core::command::{Change, ChangeKind, Changed};
use order_core::decide;
use order_core::order::Order;
use order_core::order::erasure::Erasure;
use order_core::order::event::EventBody;
use std::sync::Arc;

const BLANK: &str = "SELECT blank_events($1::smallint, $2::bigint[], $3::text[])";

impl Batch<'_> {
    pub(super) async fn change(&mut self, change: &Change) -> Applied<Changed> {
        let (order, _) = self.get(change.order_id).await?;
        let Some(mut decision) = decide::change(&order, change)? else {
            return Ok(Changed { order: Box::new(order), changed: false });
        };
        if decision.body.is_some() {
            // Before anything is changed: whether the head is held.
            self.next_position(self.shard(order.id))?;
        }
        if change.kind == ChangeKind::Erase {
            decision.body = self.erase(&order, change.by.clone()).await?;
            if decision.body.is_none() {
                return Ok(Changed { order: Box::new(order), changed: false });
            }
        }
        if let Some(body) = &decision.body {
            self.happen(order.id, body, change.event_id, change.now)?;
        }
        let order = self.work_effect(order.id, decision.work, change.now)?;
        Ok(Changed { order: Box::new(order), changed: true })
    }

    /// Blanks the personal fields of the events that the order has so far, the one thing that may change in a journal, and
    /// takes it out of what is found by the customers that it has had.
    async fn erase(&mut self, order: &Order, by: Option<Arc<str>>) -> Applied<Option<EventBody>> {
        self.flush().await?;
        let shard = self.shard(order.id);
        let mut erasure = Erasure::of(order);
        let (mut positions, mut texts) = (Vec::new(), Vec::new());
        let mut customers: Vec<String> = order.content.customer.iter().cloned().collect();
        for event in chain::read(self.conn, shard, order.last_position).await?.iter().rev() {
            if let Some(data) = erasure.see(event, order).map_err(Fault::internal)? {
                customers.extend(customer_of(&event.data));
                positions.push(big(event.position));
                texts.push(data);
            }
            if Erasure::ends_at(event) {
                break;
            }
        }
        if !positions.is_empty() {
            self.conn.query(BLANK, &[&small(shard), &positions, &texts]).await?;
        }
        // What receivers answered may name a person.
        let answers = "UPDATE webhook_attempts SET answer = NULL WHERE subject = $1 AND answer IS NOT NULL";
        self.conn.execute(answers, &[&order.id.0]).await?;
        // The latch of terms is held: nothing is packed meanwhile.
        self.conn
            .query(
                "SELECT forget_terms($1, $2, $3, $4)",
                &[&order.tenant.as_str(), &order.id.0, &order.number, &customers],
            )
            .await?;
        Ok(erasure.body(by))
    }
}

/// The customer that an event tells of.
fn customer_of(data: &str) -> Option<String> {
    let data: serde_json::Value = serde_json::from_str(data).ok()?;
    Some(data.get("customer")?.as_str()?.to_owned())
}
