//! Lists in another order than that of acceptance.

use super::state::State;
use order_core::clock::Timestamp;
use order_core::ids::Shard;
use order_core::journal::Cursor;
use order_core::listing::{ChangesPage, Search, SearchPage, SearchPlace};
use order_core::order::Order;
use order_core::query::{OrderQuery, PageWeight, SCAN_MAX};
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl State {
    pub(super) fn search(&self, search: &Search) -> SearchPage {
        let query = OrderQuery { before: None, ..search.query.clone() };
        let limit = usize::try_from(query.limit).expect("a page fits");
        let mut found = Vec::new();
        for order_id in self.orders.keys() {
            let order = self.order(*order_id).expect("the key of an order");
            if let Some((field, value)) = search.found_by(&order).filter(|_| query.matches(&order)) {
                found.push(((field, value, Reverse(order.number)), order));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        if let Some(after) = &search.after {
            let seen = (after.field, after.value.clone(), Reverse(after.number));
            found.retain(|(key, _)| *key > seen);
        }
        let mut weight = PageWeight::default();
        let fits = |(_, order): &&(_, Order)| {
            let fits = !weight.is_full();
            weight.add(order);
            fits
        };
        let fit = found.iter().take(limit).take_while(fits).count();
        let more = found.len() > fit;
        found.truncate(fit);
        let next = found.last().filter(|_| more).map(|((field, value, Reverse(number)), _)| SearchPlace {
            field: *field,
            value: value.clone(),
            number: *number,
        });
        SearchPage { orders: found.into_iter().map(|(_, order)| order).collect(), next }
    }

    pub(super) fn changes(&self, query: &OrderQuery, after: &Cursor) -> ChangesPage {
        let query = OrderQuery { before: None, ..query.clone() };
        let limit = usize::try_from(query.limit).expect("a page fits");
        let mut page = ChangesPage { orders: Vec::new(), next: after.clone(), up_to_date: true };
        let (mut seen, mut scanned, mut weight) = (BTreeSet::new(), 0, PageWeight::default());
        for ((shard, position), event) in &self.journal {
            let read = &mut page.next.positions[usize::from(shard.0)];
            if *position <= *read {
                continue;
            }
            if page.orders.len() == limit || weight.is_full() || scanned == SCAN_MAX {
                page.up_to_date = false;
                return page;
            }
            scanned += 1;
            *read = *position;
            let order = self.order(event.order_id).expect("an event has an order");
            if query.matches(&order) && seen.insert(order.id) {
                weight.add(&order);
                page.orders.push(order);
            }
        }
        page
    }

    pub(super) fn place_of(&self, moment: Timestamp) -> Cursor {
        let positions = (0..self.shards).map(|shard| {
            let shard = Shard(shard);
            let mut events = self.journal.range((shard, 0)..=(shard, u64::MAX));
            let first = events.find(|(_, event)| event.occurred_at >= moment);
            first.map_or(self.head(shard).position, |((_, position), _)| position - 1)
        });
        Cursor { epoch: self.epoch, positions: positions.collect() }
    }
}
