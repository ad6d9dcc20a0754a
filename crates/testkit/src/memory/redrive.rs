//! Redrive jobs.

use super::state::State;
use order_core::clock::Timestamp;
use order_core::command::{Change, ChangeKind, StartRedrive, StepRedrive};
use order_core::error::Rejection;
use order_core::ids::{EventId, OrderId, TenantId};
use order_core::order::Order;
use order_core::redrive::{BoundedCount, COUNT_MAX, Redrive, RedriveFilter, RedriveItem};
use std::collections::BTreeSet;

impl State {
    pub(super) fn start_redrive(&mut self, start: &StartRedrive) -> Redrive {
        let up_to = match &start.filter.order_ids {
            Some(ids) => i64::try_from(ids.len()).unwrap_or(i64::MAX),
            None => self.numbers.last_key_value().map_or(0, |(number, _)| *number),
        };
        let redrive = Redrive {
            redrive_id: start.redrive_id,
            tenant: start.tenant.clone(),
            filter: start.filter.clone(),
            reason: start.reason.clone(),
            by: start.by.clone(),
            finished: false,
            redriven: 0,
            refused: 0,
            created_at: start.now,
            updated_at: start.now,
            next: 0,
            up_to,
        };
        self.redrives.entry(start.redrive_id).or_insert(redrive).clone()
    }

    pub(super) fn step_redrive(&mut self, step: &StepRedrive) -> Result<Redrive, Rejection> {
        let mut job = self.redrives.get(&step.redrive_id).cloned().ok_or(Rejection::RedriveUnknown)?;
        if job.finished {
            return Ok(job);
        }
        match job.filter.order_ids.clone() {
            Some(ids) => self.step_listed(&mut job, &ids, step),
            None => self.step_matching(&mut job, step),
        }
        job.updated_at = step.now;
        self.redrives.insert(job.redrive_id, job.clone());
        Ok(job)
    }

    /// Orders that are named one by one: each gets its result.
    fn step_listed(&mut self, job: &mut Redrive, ids: &[OrderId], step: &StepRedrive) {
        let done = usize::try_from(job.next).unwrap_or(usize::MAX);
        for (order_id, event_id) in ids.iter().skip(done).zip(&step.event_ids) {
            let order = self.orders.get(order_id).filter(|order| visible(order, &job.tenant, &job.filter));
            let result = match order {
                None => "unknown",
                Some(order) if !job.filter.matches(order) => "not_parked",
                Some(_) => "redriven",
            };
            self.item(job, *order_id, result, *event_id, step.now);
            job.next += 1;
        }
        job.finished = job.next >= job.up_to;
    }

    /// All parked orders that meet the filter, by number.
    fn step_matching(&mut self, job: &mut Redrive, step: &StepRedrive) {
        if job.next <= job.up_to {
            let left = self.numbers.range(job.next..=job.up_to).map(|(_, order_id)| &self.orders[order_id]);
            let matching = left
                .filter(|order| order.tenant == job.tenant && job.filter.matches(order))
                .map(|order| (order.number, order.id));
            let taken: Vec<(i64, OrderId)> = matching.take(step.event_ids.len()).collect();
            for ((number, order_id), event_id) in taken.iter().zip(&step.event_ids) {
                self.item(job, *order_id, "redriven", *event_id, step.now);
                job.next = number + 1;
            }
            if taken.len() == step.event_ids.len() && job.next <= job.up_to {
                return;
            }
        }
        job.next = job.up_to + 1;
        job.finished = true;
    }

    fn item(
        &mut self,
        job: &mut Redrive,
        order_id: OrderId,
        result: &str,
        event_id: EventId,
        now: Timestamp,
    ) {
        if result == "redriven" {
            let kind = ChangeKind::Redrive { reason: job.reason.clone(), by: job.by.clone() };
            let (tenant, source) = (job.tenant.clone(), job.filter.source.clone());
            let (trace, by) = (self.trace, None);
            let change =
                Change { tenant, source, order_id, expected_version: None, event_id, now, kind, trace, by };
            self.change(&change).expect("a parked order can be redriven");
            job.redriven += 1;
        } else {
            job.refused += 1;
        }
        let number = job.redriven + job.refused;
        self.redrive_items
            .insert((job.redrive_id, number), RedriveItem { order_id, result: result.to_owned() });
    }

    pub(super) fn count_parked(&self, tenant: &TenantId, filter: &RedriveFilter) -> BoundedCount {
        let named: Option<BTreeSet<&OrderId>> = filter.order_ids.as_ref().map(|ids| ids.iter().collect());
        let matching = self.orders.values().filter(|order| {
            order.tenant == *tenant
                && filter.matches(order)
                && named.as_ref().is_none_or(|named| named.contains(&order.id))
        });
        let count = matching.count() as u64;
        BoundedCount { count: count.min(COUNT_MAX), more: count > COUNT_MAX }
    }
}

fn visible(order: &Order, tenant: &TenantId, filter: &RedriveFilter) -> bool {
    order.tenant == *tenant && filter.source.as_ref().is_none_or(|source| *source == order.source)
}
