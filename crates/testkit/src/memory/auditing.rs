//! What audits read. Rows that do not read cannot be here.

use super::state::State;
use order_core::audit::Finding;
use order_core::audit::rows::{AuditedOrder, Beginning, JournalFact, Named, Page, WorkFact};
use order_core::decide::must_have_work;
use order_core::ids::{OrderId, Shard};
use order_core::journal::Event;
use order_core::query::Tally;
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
            let named = Named { order_id: event.order_id, version: event.version, order_version };
            JournalFact { position: event.position, named: Some(named) }
        };
        let rows: Vec<_> = self.journal.range(behind).take(limit).map(|(_, event)| fact(event)).collect();
        let last = rows.last().map(|fact| fact.position);
        Page { rows, unreadable: Vec::new(), last }
    }

    pub(super) fn audit_work(&self, after: i64, limit: usize) -> Page<WorkFact, i64> {
        let by_key: BTreeMap<i64, _> = self.work.values().map(|row| (row.key, &row.work)).collect();
        let behind = by_key.range((Bound::Excluded(after), Bound::Unbounded)).take(limit);
        let mut page = Page::default();
        for (key, work) in behind {
            let wanted = self.orders.get(&work.order_id).map(must_have_work);
            page.rows.push(WorkFact { work: (*work).clone(), wanted });
            page.last = Some(*key);
        }
        page
    }

    pub(super) fn audit_strays(&self, max: usize) -> Vec<Finding> {
        let missing = |id: &OrderId| !self.orders.contains_key(id);
        let finding =
            |check, subject| Finding { check, shard: None, subject, detail: "leads to no order".to_owned() };
        let keys = self.keys.iter().filter(|(_, row)| missing(&row.order_id));
        let keys =
            keys.map(|((tenant, route, key), _)| finding("idempotency", format!("{tenant} {route} {key}")));
        let items =
            self.redrive_items.iter().filter(|(_, item)| item.result != "unknown" && missing(&item.order_id));
        let items = items.map(|((redrive, item), _)| finding("redrives", format!("{redrive} item {item}")));
        keys.chain(items).take(max).collect()
    }
}
