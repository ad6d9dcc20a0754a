//! What audits read. Rows that do not read cannot be here.

use super::state::State;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Named, Page, WorkFact};
use order_core::audit::{Finding, kept};
use order_core::decide::must_have_work;
use order_core::desk::Desk;
use order_core::ids::{OrderId, RedriveId, Shard, TenantId};
use order_core::journal::Event;
use order_core::order::Order;
use order_core::query::Tally;
use order_core::redrive::{Redrive, RedriveItem};
use std::collections::BTreeMap;
use std::ops::Bound;

impl State {
    pub(super) fn audit_beginning(&self) -> Beginning {
        let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
        // Nothing is kept here, so what is kept and what is counted cannot differ.
        for order in self.orders.values() {
            tallies.entry((order.tenant.to_string(), order.source.to_string())).or_default().count(order);
        }
        let tallies = tallies.into_iter().map(|((tenant, source), tally)| (tenant, source, tally)).collect();
        Beginning { heads: self.heads(), tallies, unreadable: Vec::new() }
    }

    pub(super) fn audit_orders(&self, after: i64, limit: usize) -> Page<AuditedOrder, i64> {
        let mut orders: Vec<_> = self.orders.values().filter(|order| order.number > after).collect();
        orders.sort_by_key(|order| order.number);
        orders.truncate(limit);
        let audited = |id: OrderId| AuditedOrder {
            dossier: self.dossier(id),
            shard: id.shard(self.shards),
            unread: Vec::new(),
        };
        let last = orders.last().map(|order| order.number);
        let rows = orders.into_iter().map(|order| audited(order.id)).collect();
        Page { rows, unreadable: Vec::new(), last }
    }

    pub(super) fn audit_journal(&self, shard: Shard, after: u64, limit: usize) -> Page<JournalFact, u64> {
        let behind = (Bound::Excluded((shard, after)), Bound::Included((shard, u64::MAX)));
        let fact = |event: &Event| {
            let order_version = self.orders.get(&event.order_id).map(|order| order.version);
            let named = Named {
                order_id: event.order_id,
                version: event.version,
                order_version,
                epoch: event.epoch,
                kind: event.kind.clone(),
                data_version: event.data_version,
            };
            JournalFact { position: event.position, named: Some(named) }
        };
        let rows: Vec<_> = self.journal.range(behind).take(limit).map(|(_, event)| fact(event)).collect();
        let last = rows.last().map(|fact| fact.position);
        Page { rows, unreadable: Vec::new(), last }
    }

    pub(super) fn audit_work(&self, after: i64, limit: usize) -> Page<WorkFact, i64> {
        let by_key: BTreeMap<i64, _> = self.work.values().map(|row| (row.key, row)).collect();
        let behind = by_key.range((Bound::Excluded(after), Bound::Unbounded)).take(limit);
        let mut page = Page::default();
        for (key, row) in behind {
            let order = self.orders.get(&row.work.order_id);
            let other_tenant = order.filter(|order| order.tenant != row.tenant);
            page.rows.push(WorkFact {
                work: row.work.clone(),
                wanted: order.map(must_have_work),
                other_tenant: other_tenant.map(|_| row.tenant.to_string()),
                other_desk: order
                    .and_then(|order| Desk::other(row.desk.number().into(), order.source.as_str())),
            });
            page.last = Some(*key);
        }
        page
    }

    pub(super) fn audit_strays(&self, max: usize) -> Vec<Finding> {
        let mut findings = self.stray_keys();
        findings.extend(self.stray_messages());
        findings.extend(self.redrives.values().flat_map(|job| self.stray_redrive(job)));
        findings.extend(self.redrive_items.iter().filter_map(|(key, item)| self.stray_result(*key, item)));
        findings.truncate(max);
        findings
    }

    fn stray_keys(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for ((tenant, route, key), row) in &self.keys {
            let order = self.orders.get(&row.order_id).filter(|order| order.tenant == *tenant);
            let fits =
                |order: &Order| kept::may_have_been_used(order, &self.dossier(order.id).events, &row.digest);
            let detail = match order {
                None => "leads to no order",
                Some(order) if !fits(order) => "leads to an order that it was not used with",
                Some(_) => continue,
            };
            findings.push(finding("idempotency", format!("{tenant} {route} {key}"), detail.to_owned()));
        }
        findings
    }

    fn stray_messages(&self) -> impl Iterator<Item = Finding> {
        let is_of = |tenant: &TenantId, id: &OrderId| {
            self.orders.get(id).is_some_and(|order| order.tenant == *tenant)
        };
        let strays = self.inbox.iter().filter(move |((tenant, _), (id, _))| !is_of(tenant, id));
        strays.map(|((tenant, message), (order_id, _))| {
            let name = format!("{tenant} {} {}", message.consumer(), message.id());
            finding("inbox", name, format!("is of {order_id}, which is no order"))
        })
    }

    fn stray_redrive(&self, job: &Redrive) -> Vec<Finding> {
        let all = (job.redrive_id, 0)..=(job.redrive_id, u64::MAX);
        let items: Vec<_> =
            self.redrive_items.range(all).map(|((_, number), item)| (*number, item)).collect();
        let results = kept::Results {
            count: items.len() as u64,
            redriven: items.iter().filter(|(_, item)| item.result == "redriven").count() as u64,
            first: items.first().map_or(0, |(number, _)| *number),
            last: items.last().map_or(0, |(number, _)| *number),
            order_ids: items.iter().map(|(_, item)| item.order_id).collect(),
        };
        let wrong = kept::redrive(job, &results).into_iter();
        wrong.map(|wrong| finding("redrives", job.redrive_id.to_string(), wrong)).collect()
    }

    fn stray_result(&self, (redrive_id, number): (RedriveId, u64), item: &RedriveItem) -> Option<Finding> {
        let wrong = |detail: &str| {
            Some(finding("redrives", format!("{redrive_id} item {number}"), detail.to_owned()))
        };
        let Some(job) = self.redrives.get(&redrive_id) else { return wrong("belongs to no redrive") };
        if !kept::REDRIVE_RESULTS.contains(&item.result.as_str()) {
            return wrong("is no result");
        }
        if item.result == "unknown" {
            return None;
        }
        let order = self.orders.get(&item.order_id).filter(|order| order.tenant == job.tenant);
        let Some(order) = order else { return wrong("leads to no order") };
        let told = || kept::was_redriven(&self.dossier(order.id).events, &job.reason, &job.by);
        if item.result == "redriven" && !told() { wrong("was not redriven") } else { None }
    }
}

fn finding(check: &'static str, subject: String, detail: String) -> Finding {
    Finding { check, shard: None, subject, detail }
}
