//! Accepting an order: its row, its first event and its first work, or the order that was there.

use super::held::Held;
use super::load::owned_key;
use super::{Applied, Batch, KeyState, fresh};
use crate::pipeline::Pipeline;
use crate::rows::{Moment, small};
use order_core::Rejection;
use order_core::clock::Timestamp;
use order_core::command::{Accept, Reply};
use order_core::decide::{self, WorkEffect};
use order_core::intake::Accepted;
use order_core::order::Order;
use order_core::order::event::{Accepted as AcceptedBody, EventBody, Place};

/// The oldest keys, but for those that somebody uses at this moment.
const SWEEP: &str = "DELETE FROM idempotency i USING (SELECT tenant, route, key FROM idempotency WHERE created_at < $1 \
     ORDER BY created_at, tenant, route, key LIMIT $2 FOR UPDATE SKIP LOCKED) s \
     WHERE i.tenant = s.tenant AND i.route = s.route AND i.key = s.key RETURNING i.tenant, i.route, i.key";

const DROP_KEYS: &str = "DELETE FROM idempotency i USING unnest($1::text[], $2::text[], $3::text[]) k (tenant, route, key) \
     WHERE i.tenant = k.tenant AND i.route = k.route AND i.key = k.key";

const PUT_KEYS: &str = "INSERT INTO idempotency (tenant, route, key, shard, order_id, digest, created_at) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::uuid[], $6::bytea[], \
     $7::timestamptz[]) ON CONFLICT (tenant, route, key) DO UPDATE SET shard = excluded.shard, \
     order_id = excluded.order_id, digest = excluded.digest, created_at = excluded.created_at";

type OwnedKey = (String, String, String);

fn key_of(accept: &Accept) -> Option<OwnedKey> {
    let key = accept.intake.key.as_ref()?;
    Some((accept.intake.tenant.as_str().to_owned(), key.route.to_owned(), key.key.clone()))
}

impl Batch<'_> {
    pub(super) async fn accept(&mut self, accept: &Accept) -> Applied {
        let key = key_of(accept);
        let used = key.as_ref().and_then(|key| self.keys.get(key)).and_then(|state| state.used);
        if let Some((order_id, digest)) = used {
            let (order, _) = self.get(order_id).await?;
            decide::replay(&order, &digest, accept)?;
            return Ok(Reply::Accepted(Accepted::Duplicate { order: Box::new(order), differs: Vec::new() }));
        }
        let there = self.find(accept.order_id).await?.map(|held| held.order.clone());
        let accepted = match there {
            None => Accepted::New(Box::new(self.insert(accept).await?)),
            // Ids are derived from the tenant too, so another tenant's order here would be a broken hash.
            Some(order) if order.tenant != accept.intake.tenant => {
                return Err(Rejection::OrderUnknown.into());
            }
            Some(order) => {
                let differs = decide::duplicate(&order, &accept.digest, &accept.intake.content);
                Accepted::Duplicate { order: Box::new(order), differs }
            }
        };
        let takes_key = match &accepted {
            Accepted::New(_) => true,
            Accepted::Duplicate { differs, .. } => differs.is_empty(),
        };
        if let (true, Some(state)) = (takes_key, key.and_then(|key| self.keys.get_mut(&key))) {
            (state.used, state.at) = (Some((accept.order_id, accept.digest)), Some(accept.now));
        }
        Ok(Reply::Accepted(accepted))
    }

    async fn insert(&mut self, accept: &Accept) -> Applied<Order> {
        let position = self.next_position(self.shard(accept.order_id))?;
        let number = self.next_number().await?;
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
        let order = Order::accepted(intake.tenant.clone(), body.clone(), accept.digest, place);
        self.append(&order, &EventBody::Accepted(Box::new(body)), place, 0)?;
        self.tally(&order, 1);
        let work = fresh(order.id, accept.now, self.trace);
        self.orders.insert(order.id, Held::new(order.clone(), work));
        let Some((event_id, body)) = decide::withdrawal(accept) else {
            self.work_due = true;
            return Ok(order);
        };
        self.happen(order.id, &body, event_id, accept.now)?;
        self.work_effect(order.id, WorkEffect::Drop, accept.now)
    }

    /// The next number for an order: of those that came with what was read, or a fresh one.
    async fn next_number(&mut self) -> Applied<i64> {
        if let Some(number) = self.numbers.get(self.numbered) {
            self.numbered += 1;
            return Ok(*number);
        }
        Ok(self.conn.query_one("SELECT nextval('order_numbers')", &[]).await?.try_get(0)?)
    }

    pub(super) async fn sweep(&mut self, before: Timestamp, limit: u32) -> Applied {
        let mut trip = Pipeline::default();
        self.write_keys(&mut trip).await?;
        trip.run(self.conn).await?;
        let rows = self.conn.query(SWEEP, &[&Moment(before), &i64::from(limit)]).await?;
        for row in &rows {
            if let Some(state) = self.keys.get_mut(&owned_key(row)?) {
                *state = KeyState { used: None, row: None, at: None };
            }
        }
        Ok(Reply::Swept(u32::try_from(rows.len()).unwrap_or(u32::MAX)))
    }

    /// Writes what keys stand for now, and takes back what was reserved in vain.
    pub(super) async fn write_keys(&mut self, trip: &mut Pipeline<'_>) -> Applied<()> {
        let (mut put, mut drop) = (Vec::new(), Vec::new());
        for (key, state) in self.keys.iter_mut().filter(|(_, state)| state.used != state.row) {
            match (state.used, state.at) {
                (Some(used), Some(at)) => put.push((key.clone(), used, at)),
                _ => drop.push(key.clone()),
            }
            state.row = state.used;
        }
        let texts = |keys: &[OwnedKey], part: fn(&OwnedKey) -> &String| -> Vec<String> {
            keys.iter().map(|key| part(key).clone()).collect()
        };
        let columns = |keys: &[OwnedKey]| {
            [texts(keys, |key| &key.0), texts(keys, |key| &key.1), texts(keys, |key| &key.2)]
        };
        if !drop.is_empty() {
            let [tenants, routes, keys] = columns(&drop);
            trip.add(self.conn, DROP_KEYS, vec![Box::new(tenants), Box::new(routes), Box::new(keys)]).await?;
        }
        if !put.is_empty() {
            let named: Vec<OwnedKey> = put.iter().map(|(key, ..)| key.clone()).collect();
            let [tenants, routes, keys] = columns(&named);
            let shards: Vec<i16> = put.iter().map(|(_, (id, _), _)| small(self.shard(*id))).collect();
            let ids: Vec<uuid::Uuid> = put.iter().map(|(_, (id, _), _)| id.0).collect();
            let digests: Vec<Vec<u8>> = put.iter().map(|(_, (_, digest), _)| digest.to_vec()).collect();
            let times: Vec<Moment> = put.iter().map(|(.., at)| Moment(*at)).collect();
            let values: Vec<crate::pipeline::Value<'_>> = vec![
                Box::new(tenants),
                Box::new(routes),
                Box::new(keys),
                Box::new(shards),
                Box::new(ids),
                Box::new(digests),
                Box::new(times),
            ];
            trip.add(self.conn, PUT_KEYS, values).await?;
        }
        Ok(())
    }
}
