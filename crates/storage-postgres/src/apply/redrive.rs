//! Redrive jobs: each step redrives some orders and records its progress in the same transaction.

use super::{Applied, Batch, Stop};
use crate::records::{self, select_redrives};
use crate::rows::{self, Moment, ORDER_WIDTH, big, select_orders};
use order_core::command::{Change, ChangeKind, Reply, StartRedrive, StepRedrive};
use order_core::ids::{EventId, OrderId, RedriveId};
use order_core::query::SCAN_MAX;
use order_core::redrive::Redrive;
use order_core::{Rejection, Timestamp};

/// Orders that are parked later are not meant, or the job might never end.
const NEWEST: &str = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM order_numbers";

const START: &str = "INSERT INTO redrives (redrive_id, tenant, filter, reason, by, finished, redriven, refused, \
     created_at, updated_at, next, up_to) VALUES ($1, $2, $3, $4, $5, false, 0, 0, $6, $6, 0, $7)";

/// Parked orders, and behind their own columns the number and the id under which they are kept as such.
const PARKED: &str = select_orders!(
    ", s.number, s.order_id FROM (SELECT number, shard, order_id FROM standings WHERE tenant = $3 \
     AND standing = 'parked' AND number BETWEEN $1 AND $2 ORDER BY number LIMIT $4) s \
     JOIN orders o ON o.shard = s.shard AND o.order_id = s.order_id \
     LEFT JOIN work w ON w.shard = o.shard AND w.number = o.number ORDER BY s.number"
);

/// Orders that are looked at together.
const PAGE: u32 = 200;

const ADD_ITEM: &str =
    "INSERT INTO redrive_items (redrive_id, item, order_id, result) VALUES ($1, $2, $3, $4)";

const SAVE: &str = "UPDATE redrives SET finished = $2, redriven = $3, refused = $4, updated_at = $5, next = $6 \
     WHERE redrive_id = $1";

impl Batch<'_> {
    pub(super) async fn start_redrive(&mut self, start: &StartRedrive) -> Applied {
        let up_to = match &start.filter.order_ids {
            Some(order_ids) => i64::try_from(order_ids.len()).unwrap_or(i64::MAX),
            None => self.conn.query_one(NEWEST, &[]).await?.try_get(0)?,
        };
        self.conn
            .execute(
                START,
                &[
                    &start.redrive_id.0,
                    &start.tenant.as_str(),
                    &start.filter.to_text(),
                    &start.reason,
                    &start.by,
                    &Moment(start.now),
                    &up_to,
                ],
            )
            .await?;
        Ok(Reply::Redrive(Box::new(self.redrive(start.redrive_id).await?)))
    }

    async fn redrive(&self, redrive_id: RedriveId) -> Applied<Redrive> {
        let row = self.conn.query_opt(select_redrives!("WHERE redrive_id = $1"), &[&redrive_id.0]).await?;
        Ok(records::redrive(&row.ok_or(Rejection::RedriveUnknown)?)?)
    }

    pub(super) async fn step_redrive(&mut self, step: &StepRedrive) -> Applied {
        let mut redrive = self.redrive(step.redrive_id).await?;
        if !redrive.finished && !step.event_ids.is_empty() {
            let (order_ids, next) = self.next_orders(&redrive, step.event_ids.len()).await?;
            for (order_id, event_id) in order_ids.iter().zip(&step.event_ids) {
                self.redrive_one(&mut redrive, *order_id, *event_id, step.now).await?;
            }
            redrive.next = next;
            redrive.finished = match redrive.filter.order_ids {
                Some(_) => next >= redrive.up_to,
                None => next > redrive.up_to,
            };
            redrive.updated_at = step.now;
            self.save_progress(&redrive).await?;
        }
        Ok(Reply::Redrive(Box::new(redrive)))
    }

    /// The next orders of a job, and where the step after begins.
    async fn next_orders(&mut self, redrive: &Redrive, limit: usize) -> Applied<(Vec<OrderId>, i64)> {
        if let Some(order_ids) = &redrive.filter.order_ids {
            let from = usize::try_from(redrive.next).unwrap_or(0).min(order_ids.len());
            let to = (from + limit).min(order_ids.len());
            return Ok((order_ids[from..to].to_vec(), i64::try_from(to).unwrap_or(i64::MAX)));
        }
        self.flush().await?;
        let (mut order_ids, mut next, mut scanned) = (Vec::new(), redrive.next, 0);
        while scanned < SCAN_MAX {
            let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&next, &redrive.up_to, &redrive.tenant.as_str(), &i64::from(PAGE)];
            let rows = self.conn.query(PARKED, &values).await?;
            for row in &rows {
                next = row.try_get::<_, i64>(ORDER_WIDTH)? + 1;
                // One that does not read is what an audit names.
                let found = rows::order(row).is_ok_and(|(order, _)| redrive.filter.matches(&order));
                if found {
                    order_ids.push(OrderId(row.try_get(ORDER_WIDTH + 1)?));
                    if order_ids.len() == limit {
                        return Ok((order_ids, next));
                    }
                }
            }
            if rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX) {
                return Ok((order_ids, redrive.up_to + 1));
            }
            scanned += PAGE;
        }
        Ok((order_ids, next))
    }

    async fn redrive_one(
        &mut self,
        redrive: &mut Redrive,
        order_id: OrderId,
        event_id: EventId,
        now: Timestamp,
    ) -> Applied<()> {
        let kind = ChangeKind::Redrive { reason: redrive.reason.clone(), by: redrive.by.clone() };
        let tenant = redrive.tenant.clone();
        let source = redrive.filter.source.clone();
        if redrive.filter.order_ids.is_some() && !self.meets(redrive, order_id).await? {
            return self.note(redrive, order_id, "not_parked").await;
        }
        let (trace, by) = (self.trace, None);
        let change =
            Change { tenant, source, order_id, expected_version: None, event_id, now, kind, trace, by };
        let result = match self.change(&change).await {
            Ok(_) => "redriven",
            Err(Stop::Rejection(Rejection::OrderUnknown)) => "unknown",
            Err(Stop::Rejection(_)) => "not_parked",
            Err(stop) => return Err(stop),
        };
        self.note(redrive, order_id, result).await
    }

    /// Whether an order that was named is as the filter asks. Another tenant's or source's order is none of the asker's
    /// business: the change itself then says that there is no such order.
    async fn meets(&mut self, redrive: &Redrive, order_id: OrderId) -> Applied<bool> {
        if !redrive.filter.asks_what_is_in_it() {
            return Ok(true);
        }
        let seen = self.find(order_id).await?.map(|held| &held.order).filter(|order| {
            order.tenant == redrive.tenant
                && redrive.filter.source.as_ref().is_none_or(|source| *source == order.source)
        });
        Ok(seen.is_none_or(|order| redrive.filter.matches(order)))
    }

    async fn note(&self, redrive: &mut Redrive, order_id: OrderId, result: &str) -> Applied<()> {
        if result == "redriven" {
            redrive.redriven += 1;
        } else {
            redrive.refused += 1;
        }
        let item = big(redrive.redriven + redrive.refused);
        self.conn.execute(ADD_ITEM, &[&redrive.redrive_id.0, &item, &order_id.0, &result]).await?;
        Ok(())
    }

    async fn save_progress(&self, redrive: &Redrive) -> Applied<()> {
        self.conn
            .execute(
                SAVE,
                &[
                    &redrive.redrive_id.0,
                    &redrive.finished,
                    &big(redrive.redriven),
                    &big(redrive.refused),
                    &Moment(redrive.updated_at),
                    &redrive.next,
                ],
            )
            .await?;
        Ok(())
    }
}
