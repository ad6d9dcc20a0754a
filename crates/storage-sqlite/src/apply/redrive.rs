//! Redrive jobs: each step redrives some orders and records its progress in the same transaction.

use super::{Applied, Batch};
use crate::error::fault;
use crate::rows::{blob, uuid};
use crate::{parked, read};
use order_core::command::{Change, ChangeKind, Reply, StartRedrive, StepRedrive};
use order_core::ids::{EventId, OrderId};
use order_core::query::SCAN_MAX;
use order_core::redrive::Redrive;
use order_core::{Error, Rejection, Timestamp};
use rusqlite::params;

impl Batch<'_> {
    pub(super) fn start_redrive(&self, start: &StartRedrive) -> Applied {
        let up_to = match &start.filter.order_ids {
            Some(order_ids) => i64::try_from(order_ids.len()).unwrap_or(i64::MAX),
            // Orders that are parked later are not meant, or the job might never end.
            None => self
                .conn
                .query_row("SELECT coalesce(max(number), 0) FROM orders", [], |row| row.get(0))
                .map_err(fault)?,
        };
        self.conn
            .prepare_cached("INSERT INTO redrives VALUES (?1, ?2, ?3, ?4, ?5, 0, 0, 0, ?6, ?6, 0, ?7)")
            .and_then(|mut statement| {
                statement.execute(params![
                    blob(&start.redrive_id.0),
                    start.tenant.as_str(),
                    start.filter.to_text(),
                    start.reason,
                    start.by,
                    start.now.micros(),
                    up_to,
                ])
            })
            .map_err(fault)?;
        let redrive = read::redrive(self.conn, start.redrive_id).map_err(fault)?;
        Ok(Reply::Redrive(Box::new(redrive.ok_or(Rejection::RedriveUnknown)?)))
    }

    pub(super) fn step_redrive(&mut self, step: &StepRedrive) -> Applied {
        let redrive = read::redrive(self.conn, step.redrive_id).map_err(fault)?;
        let mut redrive = redrive.ok_or(Rejection::RedriveUnknown)?;
        if !redrive.finished && !step.event_ids.is_empty() {
            let (order_ids, next) = self.next_orders(&redrive, step.event_ids.len()).map_err(fault)?;
            for (order_id, event_id) in order_ids.iter().zip(&step.event_ids) {
                self.redrive_one(&mut redrive, *order_id, *event_id, step.now)?;
            }
            redrive.next = next;
            redrive.finished = match redrive.filter.order_ids {
                Some(_) => next >= redrive.up_to,
                None => next > redrive.up_to,
            };
            redrive.updated_at = step.now;
            self.save_progress(&redrive).map_err(fault)?;
        }
        Ok(Reply::Redrive(Box::new(redrive)))
    }

    /// The next orders of a job, and where the step after begins.
    fn next_orders(&self, redrive: &Redrive, limit: usize) -> rusqlite::Result<(Vec<OrderId>, i64)> {
        if let Some(order_ids) = &redrive.filter.order_ids {
            let from = usize::try_from(redrive.next).unwrap_or(0).min(order_ids.len());
            let to = (from + limit).min(order_ids.len());
            return Ok((order_ids[from..to].to_vec(), i64::try_from(to).unwrap_or(i64::MAX)));
        }
        let mut statement = self.conn.prepare_cached(parked::SCAN)?;
        let own = [
            redrive.tenant.as_str().to_owned().into(),
            redrive.next.into(),
            redrive.up_to.into(),
            SCAN_MAX.into(),
        ];
        let mut rows = statement.query(parked::parameters(own, &redrive.filter))?;
        let (mut order_ids, mut next) = (Vec::new(), redrive.next);
        let mut scanned = 0;
        while let Some(row) = rows.next()? {
            scanned += 1;
            next = row.get::<_, i64>(0)? + 1;
            if row.get::<_, Option<bool>>(2)?.unwrap_or(false) {
                order_ids.push(OrderId(uuid(row, 1)?));
                if order_ids.len() == limit {
                    return Ok((order_ids, next));
                }
            }
        }
        Ok((order_ids, if scanned < SCAN_MAX { redrive.up_to + 1 } else { next }))
    }

    fn redrive_one(
        &mut self,
        redrive: &mut Redrive,
        order_id: OrderId,
        event_id: EventId,
        now: Timestamp,
    ) -> Applied<()> {
        let kind = ChangeKind::Redrive { reason: redrive.reason.clone(), by: redrive.by.clone() };
        let tenant = redrive.tenant.clone();
        let source = redrive.filter.source.clone();
        if redrive.filter.order_ids.is_some() && !self.meets(redrive, order_id)? {
            return self.note(redrive, order_id, "not_parked");
        }
        let (trace, by) = (self.trace, None);
        let change =
            Change { tenant, source, order_id, expected_version: None, event_id, now, kind, trace, by };
        let result = match self.change(&change) {
            Ok(_) => "redriven",
            Err(Error::Rejection(Rejection::OrderUnknown)) => "unknown",
            Err(Error::Rejection(_)) => "not_parked",
            Err(fault) => return Err(fault),
        };
        self.note(redrive, order_id, result)
    }

    /// Whether an order that was named is as the filter asks. Another tenant's or source's order is none of the asker's
    /// business: the change itself then says that there is no such order.
    fn meets(&self, redrive: &Redrive, order_id: OrderId) -> Applied<bool> {
        if !redrive.filter.asks_what_is_in_it() {
            return Ok(true);
        }
        let found = self.find(order_id).map_err(fault)?;
        let seen = found.map(|(order, _)| order).filter(|order| {
            order.tenant == redrive.tenant
                && redrive.filter.source.as_ref().is_none_or(|source| *source == order.source)
        });
        Ok(seen.is_none_or(|order| redrive.filter.matches(&order)))
    }

    fn note(&self, redrive: &mut Redrive, order_id: OrderId, result: &str) -> Applied<()> {
        if result == "redriven" {
            redrive.redriven += 1;
        } else {
            redrive.refused += 1;
        }
        let item = redrive.redriven + redrive.refused;
        self.conn
            .prepare_cached("INSERT INTO redrive_items VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut statement| {
                statement.execute(params![blob(&redrive.redrive_id.0), item, blob(&order_id.0), result])
            })
            .map_err(fault)?;
        Ok(())
    }

    fn save_progress(&self, redrive: &Redrive) -> rusqlite::Result<()> {
        self.conn
            .prepare_cached(
                "UPDATE redrives SET finished = ?2, redriven = ?3, refused = ?4, updated_at = ?5, next = ?6 \
                 WHERE redrive_id = ?1",
            )?
            .execute(params![
                blob(&redrive.redrive_id.0),
                redrive.finished,
                redrive.redriven,
                redrive.refused,
                redrive.updated_at.micros(),
                redrive.next,
            ])?;
        Ok(())
    }
}
