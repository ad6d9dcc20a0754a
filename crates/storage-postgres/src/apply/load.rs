//! The first trip of a commit: begins the transaction, locks all that the batch names, and reads it.

use super::held::Held;
use super::plan::{Key, Named, Plan};
use super::{Batch, KeyState, Stop};
use crate::error::{Trouble, unavailable};
use crate::pipeline::{Answers, Pipeline, Value};
use crate::rows::{self, Moment, ORDER_WIDTH, bytes32, select_orders, small};
use order_core::Fault;
use order_core::command::Accept;
use order_core::ids::OrderId;
use tokio_postgres::Row;
use uuid::Uuid;

/// Alone in its statement: only what comes later may read.
const LOCK_HEADS: &str =
    "SELECT shard, floor FROM journal_heads WHERE shard = ANY ($1::smallint[]) ORDER BY shard FOR UPDATE";

const LOCK_LATCHES: &str = "SELECT name FROM latches WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE";

const LOCK_FOLLOWERS: &str =
    "SELECT name FROM followers WHERE name = ANY ($1::text[]) ORDER BY name FOR UPDATE";

const LOCK_REDRIVES: &str =
    "SELECT redrive_id FROM redrives WHERE redrive_id = ANY ($1::uuid[]) ORDER BY redrive_id FOR UPDATE";

const LOCK_STORES: &str =
    "SELECT store_id FROM stores WHERE store_id = ANY ($1::uuid[]) ORDER BY store_id FOR UPDATE";

/// A budget that nobody used before has a row first: two nodes must not begin it at once.
const MAKE_BUDGETS: &str =
    "INSERT INTO budgets (key) SELECT * FROM unnest($1::text[]) AS k ORDER BY k ON CONFLICT DO NOTHING";

const LOCK_BUDGETS: &str = "SELECT key FROM budgets WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE";

/// Waits for whoever uses one of the keys at this moment. Rows of keys that end unused are deleted again.
const RESERVE_KEYS: &str = "INSERT INTO idempotency (tenant, route, key, shard, order_id, digest, created_at) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::smallint[], $5::uuid[], $6::bytea[], \
     $7::timestamptz[]) ON CONFLICT DO NOTHING RETURNING tenant, route, key";

const READ_KEYS: &str = "SELECT i.tenant, i.route, i.key, i.order_id, i.digest \
     FROM unnest($1::text[], $2::text[], $3::text[]) k (tenant, route, key) \
     JOIN idempotency i ON i.tenant = k.tenant AND i.route = k.route AND i.key = k.key";

const READ_KEYED_ORDERS: &str = select_orders!(
    "FROM unnest($1::text[], $2::text[], $3::text[]) k (tenant, route, key) \
     JOIN idempotency i ON i.tenant = k.tenant AND i.route = k.route AND i.key = k.key \
     JOIN orders o ON o.shard = i.shard AND o.order_id = i.order_id \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number"
);

/// Claims do not hold heads, so work has locks of its own.
const LOCK_WORK: &str = "SELECT w.number FROM unnest($1::smallint[], $2::uuid[]) k (shard, order_id) \
     JOIN orders o ON o.shard = k.shard AND o.order_id = k.order_id \
     JOIN work w ON w.shard = o.shard AND w.number = o.number ORDER BY w.shard, w.number FOR UPDATE OF w";

pub(super) const READ_ORDERS: &str = select_orders!(
    "FROM unnest($1::smallint[], $2::uuid[]) k (shard, order_id) \
     JOIN orders o ON o.shard = k.shard AND o.order_id = k.order_id \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number"
);

/// Locks work and reads it with its order: as it is once it is locked, and no order can change meanwhile, for the head of its
/// shard is held. One whose work is gone is left out.
const LOCK_AND_READ: &str = select_orders!(
    "FROM unnest($1::smallint[], $2::uuid[]) k (shard, order_id) \
     JOIN orders o ON o.shard = k.shard AND o.order_id = k.order_id \
     JOIN work w ON w.shard = o.shard AND w.number = o.number ORDER BY w.shard, w.number FOR UPDATE OF w"
);

/// As `READ_ORDERS`, and a number for each order that is not there, but for those whose key stands for another one.
const READ_OR_NUMBER: &str = select_orders!(
    ", CASE WHEN o.order_id IS NULL AND NOT EXISTS (SELECT FROM idempotency i WHERE i.tenant = k.tenant \
     AND i.route = k.route AND i.key = k.key AND i.order_id <> k.order_id) THEN nextval('order_numbers') END \
     FROM unnest($1::smallint[], $2::uuid[], $3::text[], $4::text[], $5::text[]) k (shard, order_id, tenant, route, key) \
     LEFT JOIN orders o ON o.shard = k.shard AND o.order_id = k.order_id \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number"
);

/// Where the answers to the first trip are.
#[derive(Default)]
pub(super) struct Places {
    heads: Option<usize>,
    reserved: Option<usize>,
    keys: Option<usize>,
    keyed: Option<usize>,
    pub(super) messages: Option<usize>,
    settled: Option<usize>,
    orders: Option<usize>,
    accepts: Option<usize>,
    positions: Option<usize>,
}

pub(super) fn boxed<'a, T>(values: T) -> Value<'a>
where
    T: tokio_postgres::types::ToSql + Sync + Send + 'a,
{
    Box::new(values)
}

impl Batch<'_> {
    /// See the module.
    pub(super) async fn load(&mut self, plan: &Plan<'_>) -> Result<(), Stop> {
        let mut trip = Pipeline::default();
        let mut places = Places::default();
        trip.plain("BEGIN");
        self.ask_for_locks(plan, &mut trip, &mut places).await?;
        self.ask_for_keys(plan, &mut trip, &mut places).await?;
        self.ask_for_messages(plan, &mut trip, &mut places).await?;
        self.ask_for_orders(plan, &mut trip, &mut places).await?;
        let answers = trip.run(self.conn).await.inspect_err(|trouble| self.doubt(trouble))?;
        if answers.rows(places.heads).len() != plan.heads.len() {
            return Err(unavailable("a shard has no head: the database is not installed as it was").into());
        }
        self.heads.clone_from(&plan.heads);
        self.take_orders(plan, &answers, &places)?;
        let heads = self.tips.take(self.conn, answers.rows(places.positions), false).await?;
        // A shard without a row of its own was told above.
        self.positions.extend(heads.into_iter().map(|head| (head.shard, head.position)));
        self.take_messages(plan, answers.rows(places.messages))?;
        self.take_keys(plan, &answers, &places)
    }

    async fn ask_for_locks<'p>(
        &self,
        plan: &'p Plan<'_>,
        trip: &mut Pipeline<'p>,
        places: &mut Places,
    ) -> Result<(), Stop> {
        if !plan.heads.is_empty() {
            places.heads = Some(trip.add(self.conn, LOCK_HEADS, vec![boxed(smalls(plan))]).await?);
        }
        if !plan.latches.is_empty() {
            let names: Vec<&str> = plan.latches.iter().copied().collect();
            trip.add(self.conn, LOCK_LATCHES, vec![boxed(names)]).await?;
        }
        if !plan.followers.is_empty() {
            let names: Vec<&str> = plan.followers.iter().copied().collect();
            trip.add(self.conn, LOCK_FOLLOWERS, vec![boxed(names)]).await?;
        }
        if !plan.redrives.is_empty() {
            let ids: Vec<Uuid> = plan.redrives.iter().copied().collect();
            trip.add(self.conn, LOCK_REDRIVES, vec![boxed(ids)]).await?;
        }
        if !plan.stores.is_empty() {
            let ids: Vec<Uuid> = plan.stores.iter().copied().collect();
            trip.add(self.conn, LOCK_STORES, vec![boxed(ids)]).await?;
        }
        if !plan.budgets.is_empty() {
            let keys: Vec<&str> = plan.budgets.iter().copied().collect();
            trip.add(self.conn, MAKE_BUDGETS, vec![boxed(keys.clone())]).await?;
            trip.add(self.conn, LOCK_BUDGETS, vec![boxed(keys)]).await?;
        }
        Ok(())
    }

    async fn ask_for_keys<'p>(
        &self,
        plan: &'p Plan<'_>,
        trip: &mut Pipeline<'p>,
        places: &mut Places,
    ) -> Result<(), Stop> {
        if plan.keys.is_empty() {
            return Ok(());
        }
        let part = |part: fn(&Key<'p>) -> &'p str| plan.keys.keys().map(part).collect::<Vec<_>>();
        let keys = || vec![boxed(part(|key| key.0)), boxed(part(|key| key.1)), boxed(part(|key| key.2))];
        let accepts = || plan.keys.values();
        let mut values = keys();
        values.push(boxed(accepts().map(|accept| small(self.shard(accept.order_id))).collect::<Vec<_>>()));
        values.push(boxed(accepts().map(|accept| accept.order_id.0).collect::<Vec<_>>()));
        values.push(boxed(accepts().map(|accept| accept.digest.as_slice()).collect::<Vec<_>>()));
        values.push(boxed(accepts().map(|accept| Moment(accept.now)).collect::<Vec<_>>()));
        places.reserved = Some(trip.add(self.conn, RESERVE_KEYS, values).await?);
        places.keys = Some(trip.add(self.conn, READ_KEYS, keys()).await?);
        places.keyed = Some(trip.add(self.conn, READ_KEYED_ORDERS, keys()).await?);
        Ok(())
    }

    async fn ask_for_orders<'p>(
        &self,
        plan: &'p Plan<'_>,
        trip: &mut Pipeline<'p>,
        places: &mut Places,
    ) -> Result<(), Stop> {
        let ids = |wanted: &dyn Fn(&OrderId) -> bool| -> Vec<Value<'p>> {
            let ids: Vec<OrderId> = plan.orders.keys().copied().filter(wanted).collect();
            self.ids(&ids)
        };
        let named = |id: &OrderId| plan.orders.get(id).copied().unwrap_or_default();
        let settles_alone = plan.settles_alone();
        let is_settled = |id: &OrderId| settles_alone && named(id).only_settled();
        let has_work = |id: &OrderId| (named(id).work || named(id).settled) && !is_settled(id);
        let is_plain = |id: &OrderId| named(id).accept.is_none() && !is_settled(id);
        if plan.orders.keys().any(is_settled) {
            places.settled = Some(trip.add(self.conn, LOCK_AND_READ, ids(&is_settled)).await?);
        }
        if plan.orders.keys().any(has_work) {
            trip.add(self.conn, LOCK_WORK, ids(&has_work)).await?;
        }
        if plan.orders.keys().any(is_plain) {
            places.orders = Some(trip.add(self.conn, READ_ORDERS, ids(&is_plain)).await?);
        }
        if !plan.accepts.is_empty() {
            let mut values = self.ids(&plan.accepts);
            let keys: Vec<Option<Key<'p>>> = plan.accepts.iter().map(|id| key_of(plan, id)).collect();
            values.push(boxed(keys.iter().map(|key| key.map(|key| key.0)).collect::<Vec<_>>()));
            values.push(boxed(keys.iter().map(|key| key.map(|key| key.1)).collect::<Vec<_>>()));
            values.push(boxed(keys.iter().map(|key| key.map(|key| key.2)).collect::<Vec<_>>()));
            places.accepts = Some(trip.add(self.conn, READ_OR_NUMBER, values).await?);
        }
        if !plan.heads.is_empty() {
            let statement = self.tips.statement(self.conn).await?;
            places.positions = Some(trip.prepared(statement, vec![boxed(smalls(plan))]));
        }
        Ok(())
    }

    fn ids<'p>(&self, ids: &[OrderId]) -> Vec<Value<'p>> {
        let shards: Vec<i16> = ids.iter().map(|id| small(self.shard(*id))).collect();
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        vec![boxed(shards), boxed(ids)]
    }

    /// Where a statement failed, what is known of parts may be why.
    fn doubt(&self, trouble: &Trouble) {
        if matches!(trouble, Trouble::Fault(_)) {
            self.tips.forget();
        }
    }

    fn take_keys(&mut self, plan: &Plan<'_>, answers: &Answers, places: &Places) -> Result<(), Stop> {
        for row in answers.rows(places.keys) {
            let (order_id, digest) = (OrderId(row.try_get(3)?), bytes32(row, 4)?);
            let used = Some((order_id, digest));
            self.keys.insert(owned_key(row)?, KeyState { used, row: used, at: None });
        }
        // Those that this batch made stand for nothing yet.
        for row in answers.rows(places.reserved) {
            if let Some(state) = self.keys.get_mut(&owned_key(row)?) {
                state.used = None;
            }
        }
        if self.keys.len() != plan.keys.len() {
            return Err(Fault::internal("an idempotency key was neither free nor used").into());
        }
        for row in answers.rows(places.keyed) {
            self.take_order(row)?;
        }
        Ok(())
    }

    fn take_orders(&mut self, plan: &Plan<'_>, answers: &Answers, places: &Places) -> Result<(), Stop> {
        for row in answers.rows(places.settled).iter().chain(answers.rows(places.orders)) {
            self.take_order(row)?;
        }
        for row in answers.rows(places.accepts) {
            if let Some(number) = row.try_get::<_, Option<i64>>(ORDER_WIDTH)? {
                self.numbers.push(number);
            } else if row.try_get::<_, Option<Uuid>>(1)?.is_some() {
                self.take_order(row)?;
            }
        }
        self.numbers.sort_unstable();
        // Whether an order is there whose work is gone is not known yet: that is rare, and asked for when it matters.
        let settles_alone = plan.settles_alone();
        let is_read = |named: &Named<'_>| !(settles_alone && named.only_settled());
        self.looked_for.extend(plan.orders.iter().filter(|(_, named)| is_read(named)).map(|(id, _)| id));
        Ok(())
    }

    /// Takes an order as it was read, unless it is in hands already.
    fn take_order(&mut self, row: &Row) -> Result<(), Stop> {
        let (order, work) = rows::order(row)?;
        self.orders.entry(order.id).or_insert_with(|| Held::read(order, work));
        Ok(())
    }

    /// Reads orders anew, which are not to be dirty.
    pub(super) async fn reload(&mut self, ids: &[OrderId]) -> Result<Vec<Row>, Stop> {
        let mut trip = Pipeline::default();
        let place = trip.add(self.conn, READ_ORDERS, self.ids(ids)).await?;
        let answers = trip.run(self.conn).await?;
        Ok(answers.into_rows(place))
    }

    /// Makes sure that an order is in hands if it is there.
    pub(super) async fn look_for(&mut self, order_id: OrderId) -> Result<(), Stop> {
        if self.orders.contains_key(&order_id) || self.looked_for.contains(&order_id) {
            return Ok(());
        }
        for row in self.reload(&[order_id]).await? {
            self.take_order(&row)?;
        }
        self.looked_for.insert(order_id);
        Ok(())
    }
}

fn smalls(plan: &Plan<'_>) -> Vec<i16> {
    plan.heads.iter().copied().map(small).collect()
}

fn key_of<'b>(plan: &Plan<'b>, order_id: &OrderId) -> Option<Key<'b>> {
    let accept: &'b Accept = plan.orders.get(order_id)?.accept?;
    let key = accept.intake.key.as_ref()?;
    Some((accept.intake.tenant.as_str(), key.route, key.key.as_str()))
}

/// The key that the first three columns of a row name.
pub(super) fn owned_key(row: &Row) -> Result<(String, String, String), Stop> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}
