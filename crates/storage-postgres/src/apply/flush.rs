//! Writing what a batch has in hands: many rows to a statement.

use super::held::{Held, STANDINGS, stands};
use super::{Applied, Batch, NewEvent};
use crate::pipeline::{Pipeline, Value};
use crate::rows::{self, Moment, big, moment, small, trace_bytes};
use crate::span;
use order_core::desk::Desk;
use order_core::external::{ExternalKey, key_of};
use order_core::ids::{Shard, check_text};
use order_core::lease::Work;
use order_core::order::event::DATA_VERSION;
use order_core::order::{Order, render};
use order_core::query::TallyChange;
use std::collections::BTreeSet;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

const ADD_ORDERS: &str = "INSERT INTO orders (shard, order_id, number, tenant, source, reference, digest, customer, \
     currency, lines, total, attributes, version, processing, fulfilment, withdrawn, attempt, last_error, accepted_at, \
     updated_at, started_at, processed_at, shipped_at, tracking_number, delivered_at, cause, last_position) \
     SELECT a, b, c, d, e, f, g, h, i, j, k::numeric, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, aa \
     FROM unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::bytea[], \
     $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::text[], $15::text[], \
     $16::boolean[], $17::integer[], $18::text[], $19::timestamptz[], $20::timestamptz[], $21::timestamptz[], \
     $22::timestamptz[], $23::timestamptz[], $24::text[], $25::timestamptz[], $26::uuid[], $27::bigint[]) \
     AS r (a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t, u, v, w, x, y, z, aa)";

const MOVE_ORDERS: &str = "UPDATE orders o SET version = n.version, processing = n.processing, \
     fulfilment = n.fulfilment, withdrawn = n.withdrawn, attempt = n.attempt, last_error = n.last_error, \
     updated_at = n.updated_at, started_at = n.started_at, processed_at = n.processed_at, shipped_at = n.shipped_at, \
     tracking_number = n.tracking_number, delivered_at = n.delivered_at, cause = n.cause, \
     last_position = n.last_position \
     FROM unnest($1::smallint[], $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::boolean[], $7::integer[], \
     $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::text[], \
     $14::timestamptz[], $15::uuid[], $16::bigint[]) \
     AS n (shard, order_id, version, processing, fulfilment, withdrawn, attempt, last_error, updated_at, started_at, \
     processed_at, shipped_at, tracking_number, delivered_at, cause, last_position) \
     WHERE o.shard = n.shard AND o.order_id = n.order_id";

const REVISE_ORDERS: &str = "UPDATE orders o SET customer = n.customer, currency = n.currency, lines = n.lines, \
     total = n.total::numeric, attributes = n.attributes FROM unnest($1::smallint[], $2::uuid[], $3::text[], \
     $4::text[], $5::text[], $6::text[], $7::text[]) \
     AS n (shard, order_id, customer, currency, lines, total, attributes) \
     WHERE o.shard = n.shard AND o.order_id = n.order_id";

const ADD_EVENTS: &str = "INSERT INTO journal (shard, position, event_id, tenant, source, order_id, version, \
     prev_position, epoch, type, data_version, data, occurred_at, trace) \
     SELECT a, b, c, d, e, f, g, h, $13, i, $14, j, k, l FROM unnest($1::smallint[], $2::bigint[], $3::uuid[], \
     $4::text[], $5::text[], $6::uuid[], $7::bigint[], $8::bigint[], $9::text[], $10::text[], $11::timestamptz[], \
     $12::bytea[]) AS r (a, b, c, d, e, f, g, h, i, j, k, l)";

const ADD_WORK: &str = "INSERT INTO work (number, shard, desk, order_id, tenant, due_at, attempt, lapses, token, \
     claimed_at, trace) SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::uuid[], $5::text[], \
     $6::timestamptz[], $7::integer[], $8::integer[], $9::uuid[], $10::timestamptz[], $11::bytea[])";

const MOVE_WORK: &str = "UPDATE work w SET due_at = n.due_at, attempt = n.attempt, lapses = n.lapses, token = n.token, \
     claimed_at = n.claimed_at, trace = n.trace FROM unnest($1::bigint[], $2::smallint[], $3::timestamptz[], \
     $4::integer[], $5::integer[], $6::uuid[], $7::timestamptz[], $8::bytea[]) \
     AS n (number, shard, due_at, attempt, lapses, token, claimed_at, trace) \
     WHERE w.number = n.number AND w.shard = n.shard";

const DROP_WORK: &str = "DELETE FROM work w USING unnest($1::bigint[], $2::smallint[]) AS n (number, shard) \
     WHERE w.number = n.number AND w.shard = n.shard";

const ADD_STANDINGS: &str = "INSERT INTO standings (tenant, standing, number, shard, order_id) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::smallint[], $5::uuid[])";

const DROP_STANDINGS: &str = "DELETE FROM standings s USING unnest($1::text[], $2::text[], $3::bigint[]) \
     AS n (tenant, standing, number) \
     WHERE s.tenant = n.tenant AND s.standing = n.standing AND s.number = n.number";

const ADD_EXTERNAL: &str = "INSERT INTO external_ids (key, number, shard, order_id) \
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::uuid[])";

const DROP_EXTERNAL: &str = "DELETE FROM external_ids e USING unnest($1::uuid[], $2::bigint[]) AS n (key, number) \
     WHERE e.key = n.key AND e.number = n.number";

/// One row for all of them: see the module [`crate::terms`].
const ADD_TERMS: &str = "INSERT INTO term_tail (orders, tenants, order_ids, numbers, news, refs, customers) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

/// Whoever holds the head of a shard is alone with its tallies.
const ADD_TALLIES: &str = "INSERT INTO tallies AS t (tenant, source, shard, orders, queued, processed, parked, \
     processing_micros) SELECT a, b, c, d, e, f, g, h FROM unnest($1::text[], $2::text[], $3::smallint[], \
     $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) AS r (a, b, c, d, e, f, g, h) \
     ON CONFLICT (tenant, source, shard) DO UPDATE SET orders = t.orders + excluded.orders, \
     queued = t.queued + excluded.queued, processed = t.processed + excluded.processed, \
     parked = t.parked + excluded.parked, processing_micros = t.processing_micros + excluded.processing_micros";

/// One value of each row, as an array.
fn column<'v, R, T>(rows: &[R], value: impl Fn(&R) -> T) -> Value<'v>
where
    T: ToSql + Sync + Send + 'v,
{
    Box::new(rows.iter().map(value).collect::<Vec<T>>())
}

impl Batch<'_> {
    /// Writes all that is in hands, so that the database can be asked about it.
    pub(super) async fn flush(&mut self) -> Applied<()> {
        let mut trip = Pipeline::default();
        self.write(&mut trip).await?;
        if !trip.is_empty() {
            trip.run(self.conn).await?;
        }
        Ok(())
    }

    /// Puts what is in hands, but for idempotency keys, on its way.
    pub(super) async fn write(&mut self, trip: &mut Pipeline<'_>) -> Applied<()> {
        let mut orders = std::mem::take(&mut self.orders);
        let mut dirty: Vec<&mut Held> = orders.values_mut().filter(|held| held.is_dirty()).collect();
        // New rows lie in the order of their numbers.
        dirty.sort_unstable_by_key(|held| held.order.number);
        let written = self.write_held(&dirty, trip).await;
        dirty.into_iter().for_each(Held::written);
        self.orders = orders;
        written?;
        self.write_events(trip).await?;
        self.write_tallies(trip).await
    }

    async fn write_held(&self, dirty: &[&mut Held], trip: &mut Pipeline<'_>) -> Applied<()> {
        let orders = |wanted: fn(&Held) -> bool| -> Vec<&Order> {
            dirty.iter().filter(|held| wanted(held)).map(|held| &held.order).collect()
        };
        let new = orders(|held| !held.kept);
        if !new.is_empty() {
            trip.add(self.conn, ADD_ORDERS, self.new_orders(&new)).await?;
        }
        let revised = orders(|held| held.kept && held.revised);
        if !revised.is_empty() {
            trip.add(self.conn, REVISE_ORDERS, self.revised_orders(&revised)).await?;
        }
        let moved = orders(|held| held.kept && held.moved);
        if !moved.is_empty() {
            trip.add(self.conn, MOVE_ORDERS, self.moved_orders(&moved)).await?;
        }
        self.write_terms(dirty, trip).await?;
        self.write_external(dirty, trip).await?;
        self.write_work(dirty, trip).await?;
        self.write_standings(dirty, trip).await
    }

    fn new_orders<'v>(&self, orders: &[&Order]) -> Vec<Value<'v>> {
        vec![
            column(orders, |order| small(self.shard(order.id))),
            column(orders, |order| order.id.0),
            column(orders, |order| order.number),
            column(orders, |order| order.tenant.as_str().to_owned()),
            column(orders, |order| order.source.as_str().to_owned()),
            column(orders, |order| order.reference.as_ref().map(|reference| reference.as_str().to_owned())),
            column(orders, |order| order.digest.to_vec()),
            column(orders, |order| order.content.customer.clone()),
            column(orders, |order| order.content.currency.clone()),
            column(orders, |order| render::lines(&order.content.lines)),
            column(orders, |order| order.content.total.to_string()),
            column(orders, |order| render::attributes(&order.content.attributes)),
            column(orders, |order| big(order.version)),
            column(orders, |order| order.processing.word()),
            column(orders, |order| order.fulfilment.word()),
            column(orders, |order| order.withdrawn),
            column(orders, |order| order.attempt.cast_signed()),
            column(orders, |order| order.last_error.clone()),
            column(orders, |order| Moment(order.accepted_at)),
            column(orders, |order| Moment(order.updated_at)),
            column(orders, |order| moment(order.started_at)),
            column(orders, |order| moment(order.processed_at)),
            column(orders, |order| moment(order.shipped_at)),
            column(orders, |order| order.tracking_number.clone()),
            column(orders, |order| moment(order.delivered_at)),
            column(orders, |order| order.cause.0),
            column(orders, |order| big(order.last_position)),
        ]
    }

    fn moved_orders<'v>(&self, orders: &[&Order]) -> Vec<Value<'v>> {
        vec![
            column(orders, |order| small(self.shard(order.id))),
            column(orders, |order| order.id.0),
            column(orders, |order| big(order.version)),
            column(orders, |order| order.processing.word()),
            column(orders, |order| order.fulfilment.word()),
            column(orders, |order| order.withdrawn),
            column(orders, |order| order.attempt.cast_signed()),
            column(orders, |order| order.last_error.clone()),
            column(orders, |order| Moment(order.updated_at)),
            column(orders, |order| moment(order.started_at)),
            column(orders, |order| moment(order.processed_at)),
            column(orders, |order| moment(order.shipped_at)),
            column(orders, |order| order.tracking_number.clone()),
            column(orders, |order| moment(order.delivered_at)),
            column(orders, |order| order.cause.0),
            column(orders, |order| big(order.last_position)),
        ]
    }

    fn revised_orders<'v>(&self, orders: &[&Order]) -> Vec<Value<'v>> {
        vec![
            column(orders, |order| small(self.shard(order.id))),
            column(orders, |order| order.id.0),
            column(orders, |order| order.content.customer.clone()),
            column(orders, |order| order.content.currency.clone()),
            column(orders, |order| render::lines(&order.content.lines)),
            column(orders, |order| order.content.total.to_string()),
            column(orders, |order| render::attributes(&order.content.attributes)),
        ]
    }

    /// Enters the texts by which orders are found: of new ones all, of revised ones what may have changed.
    async fn write_terms(&self, dirty: &[&mut Held], trip: &mut Pipeline<'_>) -> Applied<()> {
        let entered: Vec<(&Order, bool)> = dirty
            .iter()
            .filter(|held| !held.kept || (held.revised && held.order.content.customer.is_some()))
            .map(|held| (&held.order, !held.kept))
            .collect();
        if entered.is_empty() {
            return Ok(());
        }
        let text = |text: &str| check_text(text).is_ok().then(|| text.to_owned());
        let reference = |(order, new): &(&Order, bool)| {
            order.reference.as_ref().filter(|_| *new).map(|reference| reference.as_str().to_owned())
        };
        let new = entered.iter().filter(|(_, new)| *new).count();
        let values: Vec<Value<'_>> = vec![
            Box::new(i32::try_from(new).unwrap_or(i32::MAX)),
            column(&entered, |(order, _)| order.tenant.as_str().to_owned()),
            column(&entered, |(order, _)| order.id.0),
            column(&entered, |(order, _)| order.number),
            column(&entered, |(_, new)| *new),
            column(&entered, reference),
            column(&entered, |(order, _)| order.content.customer.as_deref().and_then(text)),
        ];
        trip.add(self.conn, ADD_TERMS, values).await?;
        Ok(())
    }

    /// Enters orders under their external ids, as far as those have changed.
    async fn write_external(&self, dirty: &[&mut Held], trip: &mut Pipeline<'_>) -> Applied<()> {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for held in dirty {
            let leads = key_of(&held.order);
            if leads != held.led {
                gone.extend(held.led.map(|key| (&held.order, key)));
                new.extend(leads.map(|key| (&held.order, key)));
            }
        }
        let key = |rows: &[(&Order, ExternalKey)]| -> Vec<Value<'static>> {
            vec![
                column(rows, |(_, ExternalKey(key))| Uuid::from_bytes(*key)),
                column(rows, |(order, _)| order.number),
            ]
        };
        if !gone.is_empty() {
            trip.add(self.conn, DROP_EXTERNAL, key(&gone)).await?;
        }
        if !new.is_empty() {
            let mut values = key(&new);
            values.push(column(&new, |(order, _)| small(self.shard(order.id))));
            values.push(column(&new, |(order, _)| order.id.0));
            trip.add(self.conn, ADD_EXTERNAL, values).await?;
        }
        Ok(())
    }

    async fn write_work(&self, dirty: &[&mut Held], trip: &mut Pipeline<'_>) -> Applied<()> {
        let (mut new, mut moved, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        for held in dirty.iter().filter(|held| held.work_moved) {
            match (&held.work, held.work_kept) {
                (Some(work), false) => new.push((&held.order, work)),
                (Some(work), true) => moved.push((&held.order, work)),
                (None, true) => gone.push(&held.order),
                (None, false) => {}
            }
        }
        if !gone.is_empty() {
            let values =
                vec![column(&gone, |order| order.number), column(&gone, |order| small(self.shard(order.id)))];
            trip.add(self.conn, DROP_WORK, values).await?;
        }
        if !moved.is_empty() {
            let mut values = vec![
                column(&moved, |(order, _)| order.number),
                column(&moved, |(order, _)| small(self.shard(order.id))),
            ];
            values.extend(lease_columns(&moved));
            trip.add(self.conn, MOVE_WORK, values).await?;
        }
        if !new.is_empty() {
            let mut values = vec![
                column(&new, |(order, _)| order.number),
                column(&new, |(order, _)| small(self.shard(order.id))),
                column(&new, |(order, _)| rows::desk(Desk::of(&order.source))),
                column(&new, |(order, _)| order.id.0),
                column(&new, |(order, _)| order.tenant.as_str().to_owned()),
            ];
            values.extend(lease_columns(&new));
            trip.add(self.conn, ADD_WORK, values).await?;
        }
        Ok(())
    }

    async fn write_standings(&self, dirty: &[&mut Held], trip: &mut Pipeline<'_>) -> Applied<()> {
        let (mut new, mut gone) = (Vec::new(), Vec::new());
        for held in dirty {
            for ((standing, is), was) in STANDINGS.iter().zip(stands(&held.order)).zip(held.stood) {
                match (was, is) {
                    (false, true) => new.push((&held.order, *standing)),
                    (true, false) => gone.push((&held.order, *standing)),
                    (true, true) | (false, false) => {}
                }
            }
        }
        let key = |rows: &[(&Order, &'static str)]| -> Vec<Value<'static>> {
            vec![
                column(rows, |(order, _)| order.tenant.as_str().to_owned()),
                column(rows, |(_, standing)| *standing),
                column(rows, |(order, _)| order.number),
            ]
        };
        if !gone.is_empty() {
            trip.add(self.conn, DROP_STANDINGS, key(&gone)).await?;
        }
        if !new.is_empty() {
            let mut values = key(&new);
            values.push(column(&new, |(order, _)| small(self.shard(order.id))));
            values.push(column(&new, |(order, _)| order.id.0));
            trip.add(self.conn, ADD_STANDINGS, values).await?;
        }
        Ok(())
    }

    async fn write_events(&mut self, trip: &mut Pipeline<'_>) -> Applied<()> {
        let events: Vec<NewEvent> = std::mem::take(&mut self.events);
        if events.is_empty() {
            return Ok(());
        }
        let mut values = vec![
            column(&events, |event| small(event.shard)),
            column(&events, |event| big(event.place.position)),
            column(&events, |event| event.place.event_id.0),
            column(&events, |event| event.tenant.clone()),
            column(&events, |event| event.source.clone()),
            column(&events, |event| event.order_id.0),
            column(&events, |event| big(event.version)),
            column(&events, |event| big(event.prev_position)),
            column(&events, |event| event.kind.clone()),
            column(&events, |event| event.data.clone()),
            column(&events, |event| Moment(event.place.occurred_at)),
            column(&events, |event| trace_bytes(event.trace).map(Vec::from)),
        ];
        values.push(Box::new(self.install.epoch.cast_signed()));
        values.push(Box::new(DATA_VERSION.cast_signed()));
        trip.add(self.conn, ADD_EVENTS, values).await?;
        self.keep_spans(&events, trip).await
    }

    /// Keeps the times of the blocks of events that are full now.
    async fn keep_spans(&self, events: &[NewEvent], trip: &mut Pipeline<'_>) -> Applied<()> {
        let filled = events.iter().filter(|event| (event.place.position + 1).is_multiple_of(span::BLOCK));
        let filled: BTreeSet<Shard> = filled.map(|event| event.shard).collect();
        if filled.is_empty() {
            return Ok(());
        }
        let newest = |shard: &Shard| big(self.positions.get(shard).copied().unwrap_or(0));
        let filled: Vec<Shard> = filled.into_iter().collect();
        trip.add(
            self.conn,
            span::KEEP,
            vec![column(&filled, |shard| small(*shard)), column(&filled, newest)],
        )
        .await?;
        Ok(())
    }

    async fn write_tallies(&mut self, trip: &mut Pipeline<'_>) -> Applied<()> {
        let changes: Vec<((String, String, Shard), TallyChange)> = std::mem::take(&mut self.tallies)
            .into_iter()
            .filter(|(_, change)| *change != TallyChange::default())
            .collect();
        if changes.is_empty() {
            return Ok(());
        }
        let values = vec![
            column(&changes, |((tenant, ..), _)| tenant.clone()),
            column(&changes, |((_, source, _), _)| source.clone()),
            column(&changes, |((.., shard), _)| small(*shard)),
            column(&changes, |(_, change)| change.orders),
            column(&changes, |(_, change)| change.queued),
            column(&changes, |(_, change)| change.processed),
            column(&changes, |(_, change)| change.parked),
            column(&changes, |(_, change)| change.processing_micros),
        ];
        trip.add(self.conn, ADD_TALLIES, values).await?;
        Ok(())
    }
}

/// `due_at, attempt, lapses, token, claimed_at, trace`.
fn lease_columns<'v>(rows: &[(&Order, &Work)]) -> Vec<Value<'v>> {
    vec![
        column(rows, |(_, work)| Moment(work.due_at)),
        column(rows, |(_, work)| work.attempt.cast_signed()),
        column(rows, |(_, work)| work.lapses.cast_signed()),
        column(rows, |(_, work)| work.token.map(|token| token.0)),
        column(rows, |(_, work)| moment(work.claimed_at)),
        column(rows, |(_, work)| trace_bytes(work.trace).map(Vec::from)),
    ]
}
