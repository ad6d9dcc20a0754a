//! The tables.

use order_core::action_log::Action;
use order_core::api_key::{ApiKey, ApiKeyId};
use order_core::budget::Budget;
use order_core::clock::Timestamp;
use order_core::desk::Desk;
use order_core::event::{EventBody, Place};
use order_core::ids::{EventId, OrderId, RedriveId, Shard, StoreId, TenantId};
use order_core::inbox::MessageId;
use order_core::journal::{Event, Head};
use order_core::lease::Work;
use order_core::marketplace::{Import, Store, StoreEvent, SyncRun};
use order_core::order::erasure::Erasure;
use order_core::order::event::DATA_VERSION;
use order_core::order::{LeaseView, Order};
use order_core::parking::ParkedStream;
use order_core::query::FollowerRow;
use order_core::redrive::{Redrive, RedriveItem};
use order_core::sealing::Sealed;
use order_core::trace::TraceContext;
use order_core::webhook::Endpoint;
use order_core::webhook::attempt::Attempt;
use order_core::webhook::stream::Stream;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Everything that a database holds. Orders lie here without their lease.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) installation_id: Uuid,
    pub(super) shards: u16,
    pub(super) epoch: u32,
    pub(super) orders: BTreeMap<OrderId, Order>,
    pub(super) numbers: BTreeMap<i64, OrderId>,
    pub(super) journal: BTreeMap<(Shard, u64), Event>,
    /// Where the journal of a shard begins, if its first events are gone.
    pub(super) floors: BTreeMap<Shard, u64>,
    pub(super) work: BTreeMap<OrderId, WorkRow>,
    pub(super) keys: BTreeMap<(TenantId, &'static str, String), KeyRow>,
    pub(super) inbox: BTreeMap<(TenantId, MessageId), (OrderId, Timestamp)>,
    pub(super) followers: BTreeMap<String, FollowerRow>,
    pub(super) parked_streams: BTreeMap<(String, Shard, OrderId), ParkedStream>,
    /// Which of their events was refused.
    pub(super) refused_versions: BTreeMap<(String, Shard, OrderId), u64>,
    pub(super) redrives: BTreeMap<RedriveId, Redrive>,
    pub(super) redrive_items: BTreeMap<(RedriveId, u64), RedriveItem>,
    pub(super) api_keys: BTreeMap<ApiKeyId, ApiKey>,
    pub(super) named_secrets: BTreeMap<(TenantId, String), Sealed>,
    pub(super) stores: BTreeMap<StoreId, Store>,
    pub(super) imports: BTreeMap<(StoreId, String), Import>,
    pub(super) sync_runs: BTreeMap<(StoreId, u64), SyncRun>,
    pub(super) store_events: BTreeMap<(StoreId, u64), StoreEvent>,
    pub(super) budgets: BTreeMap<String, Budget>,
    /// By number.
    pub(super) endpoints: BTreeMap<i64, Endpoint>,
    /// By endpoint and subject.
    pub(super) webhook_streams: BTreeMap<(i64, Uuid), Stream>,
    /// By endpoint and id.
    pub(super) webhook_attempts: BTreeMap<(i64, Uuid), Attempt>,
    pub(super) actions: Vec<Action>,
    /// What the present batch came to.
    /// Where in a trace the present command was given.
    pub(super) trace: Option<TraceContext>,
    pub(super) journal_grew: bool,
    pub(super) work_due: bool,
}

/// A work row; its key is its order's number, so what is due at the same moment is claimed in that order.
#[derive(Debug, Clone)]
pub(super) struct WorkRow {
    pub(super) key: i64,
    pub(super) tenant: TenantId,
    pub(super) desk: Desk,
    pub(super) work: Work,
}

/// A used idempotency key.
#[derive(Debug, Clone)]
pub(super) struct KeyRow {
    pub(super) order_id: OrderId,
    pub(super) digest: [u8; 32],
    pub(super) used_at: Timestamp,
}

impl State {
    pub(super) fn new(installation_id: Uuid, shards: u16, epoch: u32) -> Self {
        Self {
            installation_id,
            stores: BTreeMap::new(),
            imports: BTreeMap::new(),
            sync_runs: BTreeMap::new(),
            store_events: BTreeMap::new(),
            budgets: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            webhook_streams: BTreeMap::new(),
            webhook_attempts: BTreeMap::new(),
            actions: Vec::new(),
            shards,
            epoch,
            orders: BTreeMap::new(),
            numbers: BTreeMap::new(),
            journal: BTreeMap::new(),
            floors: BTreeMap::new(),
            work: BTreeMap::new(),
            keys: BTreeMap::new(),
            inbox: BTreeMap::new(),
            followers: BTreeMap::new(),
            parked_streams: BTreeMap::new(),
            refused_versions: BTreeMap::new(),
            redrives: BTreeMap::new(),
            redrive_items: BTreeMap::new(),
            trace: None,
            api_keys: BTreeMap::new(),
            named_secrets: BTreeMap::new(),
            journal_grew: false,
            work_due: false,
        }
    }

    /// The order as a reader sees it: with its lease.
    pub(super) fn order(&self, order_id: OrderId) -> Option<Order> {
        let mut order = self.orders.get(&order_id)?.clone();
        order.lease = self.work.get(&order_id).and_then(|row| lease_view(&row.work));
        Some(order)
    }

    pub(super) fn head(&self, shard: Shard) -> Head {
        let newest = self.journal.range((shard, 0)..=(shard, u64::MAX)).next_back();
        let floor = self.floors.get(&shard).copied().unwrap_or(0);
        Head { shard, floor, position: newest.map_or(floor, |((_, position), _)| *position) }
    }

    pub(super) fn heads(&self) -> Vec<Head> {
        (0..self.shards).map(|shard| self.head(Shard(shard))).collect()
    }

    pub(super) fn place(&self, order_id: OrderId, event_id: EventId, now: Timestamp) -> Place {
        let head = self.head(order_id.shard(self.shards));
        Place { event_id, position: head.position + 1, occurred_at: now }
    }

    /// Stores `order`, which the event at `place` has just changed, and the event with it.
    pub(super) fn append(&mut self, order: Order, body: &EventBody, place: Place, prev_position: u64) {
        let shard = order.id.shard(self.shards);
        let event = Event {
            event_id: place.event_id,
            tenant: order.tenant.clone(),
            source: order.source.clone(),
            order_id: order.id,
            version: order.version,
            shard,
            position: place.position,
            prev_position,
            epoch: self.epoch,
            kind: body.kind().expect("an event that this version writes"),
            data_version: DATA_VERSION,
            data: body.to_json(&order),
            occurred_at: place.occurred_at,
            trace: self.trace,
        };
        self.journal.insert((shard, place.position), event);
        self.numbers.insert(order.number, order.id);
        self.orders.insert(order.id, Order { lease: None, ..order });
        self.journal_grew = true;
    }

    /// Lets an event happen to an order that is there.
    pub(super) fn happen(&mut self, order_id: OrderId, body: &EventBody, event_id: EventId, now: Timestamp) {
        let place = self.place(order_id, event_id, now);
        let mut order = self.orders[&order_id].clone();
        let prev_position = order.last_position;
        order.apply(body, place);
        self.append(order, body, place, prev_position);
    }

    /// Blanks the events of an order that is to be erased; returns what happens to it, if anything.
    pub(super) fn erase(&mut self, order: &Order) -> Erasure {
        // What receivers answered may name a person.
        let of_order = |attempt: &&mut Attempt| attempt.subject.order_id() == Some(order.id);
        self.webhook_attempts.values_mut().filter(of_order).for_each(|attempt| attempt.answer.clear());
        let mut erasure = Erasure::of(order);
        for event in self.journal.values_mut().filter(|event| event.order_id == order.id) {
            if let Some(left) =
                erasure.see(event, order).expect("an event that this version wrote can be read")
            {
                event.data = left;
            }
        }
        erasure
    }

    /// The events of one order, oldest first.
    pub(super) fn events_of(&self, order_id: OrderId) -> Vec<Event> {
        let shard = order_id.shard(self.shards);
        let all = self.journal.range((shard, 0)..=(shard, u64::MAX)).map(|(_, event)| event);
        all.filter(|event| event.order_id == order_id).cloned().collect()
    }
}

/// The lease that a work row stands for, live or lapsed.
pub(super) fn lease_view(work: &Work) -> Option<LeaseView> {
    let token = work.token?;
    Some(LeaseView { attempt: work.attempt + 1, began_at: work.claimed_at?, until: work.due_at, token })
}
