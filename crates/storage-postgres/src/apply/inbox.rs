//! Messages that others sent: remembered in the commit of what they cause.

use super::load::{Places, boxed, owned_key};
use super::plan::{Key, Plan};
use super::{Applied, Batch, Stop};
use crate::pipeline::Pipeline;
use crate::rows::{Moment, small};
use order_core::clock::Timestamp;
use order_core::command::Reply;
use order_core::fault_point;
use order_core::ids::OrderId;
use order_core::inbox::{Consume, Consumed};
use std::collections::HashSet;
use tokio_postgres::Row;

/// Waits for whoever consumes one of the messages at this moment. Rows of messages that end refused are deleted again.
const REMEMBER: &str = "INSERT INTO inbox (tenant, consumer, message_id, shard, order_id, consumed_at) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::uuid[], $6::timestamptz[]) \
     ON CONFLICT DO NOTHING RETURNING tenant, consumer, message_id";

const PUT: &str = "INSERT INTO inbox (tenant, consumer, message_id, shard, order_id, consumed_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (tenant, consumer, message_id) \
     DO UPDATE SET shard = excluded.shard, order_id = excluded.order_id, consumed_at = excluded.consumed_at";

const FORGET: &str = "DELETE FROM inbox i USING unnest($1::text[], $2::text[], $3::text[]) k (tenant, consumer, message_id) \
     WHERE i.tenant = k.tenant AND i.consumer = k.consumer AND i.message_id = k.message_id";

/// The oldest ones, but for those that somebody consumes at this moment.
const SWEEP: &str = "DELETE FROM inbox i USING (SELECT tenant, consumer, message_id FROM inbox WHERE consumed_at < $1 \
     ORDER BY consumed_at, tenant, consumer, message_id LIMIT $2 FOR UPDATE SKIP LOCKED) s \
     WHERE i.tenant = s.tenant AND i.consumer = s.consumer AND i.message_id = s.message_id \
     RETURNING i.tenant, i.consumer, i.message_id";

/// What is known of a message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum MessageState {
    /// This batch wrote its row in advance, for this order and moment.
    Reserved(OrderId, Timestamp),
    /// It was consumed, before or in this batch.
    Consumed,
    /// It has no row.
    Forgotten,
}

impl Batch<'_> {
    pub(super) async fn ask_for_messages<'p>(
        &self,
        plan: &'p Plan<'_>,
        trip: &mut Pipeline<'p>,
        places: &mut Places,
    ) -> Result<(), Stop> {
        if plan.messages.is_empty() {
            return Ok(());
        }
        let part = |part: fn(&Key<'p>) -> &'p str| plan.messages.keys().map(part).collect::<Vec<_>>();
        let changes = || plan.messages.values().map(|consume| &consume.change);
        let values = vec![
            boxed(part(|key| key.0)),
            boxed(part(|key| key.1)),
            boxed(part(|key| key.2)),
            boxed(changes().map(|change| small(self.shard(change.order_id))).collect::<Vec<_>>()),
            boxed(changes().map(|change| change.order_id.0).collect::<Vec<_>>()),
            boxed(changes().map(|change| Moment(change.now)).collect::<Vec<_>>()),
        ];
        places.messages = Some(trip.add(self.conn, REMEMBER, values).await?);
        Ok(())
    }

    pub(super) fn take_messages(&mut self, plan: &Plan<'_>, reserved: &[Row]) -> Result<(), Stop> {
        let reserved = reserved.iter().map(owned_key).collect::<Result<HashSet<_>, _>>()?;
        for ((tenant, consumer, id), consume) in &plan.messages {
            let key = ((*tenant).to_owned(), (*consumer).to_owned(), (*id).to_owned());
            let state = if reserved.contains(&key) {
                MessageState::Reserved(consume.change.order_id, consume.change.now)
            } else {
                MessageState::Consumed
            };
            self.messages.insert(key, state);
        }
        Ok(())
    }

    pub(super) async fn consume(&mut self, consume: &Consume) -> Applied {
        let (message, change) = (&consume.message, &consume.change);
        let key = (change.tenant.as_str().to_owned(), message.consumer().to_owned(), message.id().to_owned());
        let state = self.messages.get(&key).copied();
        if state == Some(MessageState::Consumed) {
            return Ok(Reply::Consumed(Consumed::Before));
        }
        // A message that is refused stays reserved, and is forgotten at the end.
        let changed = self.change(change).await?;
        if state != Some(MessageState::Reserved(change.order_id, change.now)) {
            // The first of that id in this batch was refused, or a sweep took it.
            self.remember(consume).await?;
        }
        self.messages.insert(key, MessageState::Consumed);
        fault_point::pass("inbox.after_dedup");
        Ok(Reply::Consumed(Consumed::Now(changed)))
    }

    async fn remember(&self, consume: &Consume) -> Applied<()> {
        let (message, change) = (&consume.message, &consume.change);
        self.conn
            .query(
                PUT,
                &[
                    &change.tenant.as_str(),
                    &message.consumer(),
                    &message.id(),
                    &small(self.shard(change.order_id)),
                    &change.order_id.0,
                    &Moment(change.now),
                ],
            )
            .await?;
        Ok(())
    }

    pub(super) async fn sweep_inbox(&mut self, before: Timestamp, limit: u32) -> Applied {
        // What was reserved in vain is not to be counted, nor to take the place of what is old.
        let mut trip = Pipeline::default();
        self.drop_messages(&mut trip).await?;
        if !trip.is_empty() {
            trip.run(self.conn).await?;
        }
        let rows = self.conn.query(SWEEP, &[&Moment(before), &i64::from(limit)]).await?;
        for row in &rows {
            if let Some(state) = self.messages.get_mut(&owned_key(row)?) {
                *state = MessageState::Forgotten;
            }
        }
        Ok(Reply::Swept(u32::try_from(rows.len()).unwrap_or(u32::MAX)))
    }

    /// Takes back what was reserved in vain.
    pub(super) async fn drop_messages(&mut self, trip: &mut Pipeline<'_>) -> Applied<()> {
        let mut columns = [Vec::new(), Vec::new(), Vec::new()];
        for (key, state) in &mut self.messages {
            if !matches!(state, MessageState::Reserved(..)) {
                continue;
            }
            *state = MessageState::Forgotten;
            let (tenant, consumer, id) = key.clone();
            columns.iter_mut().zip([tenant, consumer, id]).for_each(|(column, text)| column.push(text));
        }
        let [tenants, consumers, ids] = columns;
        if !ids.is_empty() {
            trip.add(self.conn, FORGET, vec![boxed(tenants), boxed(consumers), boxed(ids)]).await?;
        }
        Ok(())
    }
}
