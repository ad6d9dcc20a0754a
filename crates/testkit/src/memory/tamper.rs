//! Damage, done on purpose: what an audit must find.

use super::MemoryStorage;
use super::state::{State, WorkRow};
use order_core::desk::Desk;
use order_core::ids::{LeaseToken, OrderId, Shard, TenantId};
use order_core::journal::Event;
use order_core::lease::{LAPSES_MAX, PUT_OFF_FOR_MAX, Work};
use order_core::order::event::EventType;
use order_core::{Money, Timestamp};

/// A way to damage what is stored, so that a test sees the audit find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tamper {
    /// The newest journal row of the order is gone.
    DropNewestEvent,
    /// The oldest journal row of the order is gone.
    DropOldestEvent,
    /// The order's row says another total than its events.
    ChangeTotal,
    /// The order's row says another version than its events.
    ChangeVersion,
    /// The work row of the order is gone.
    DropWork,
    /// A work row is there that must not be.
    AddWork,
    /// The order's row is gone, its events are there.
    DropOrder,
    /// An event of the order was rewritten.
    RewriteEvent,
    /// The work row of the order lies with another tenant.
    ChangeWorkTenant,
    /// The work row lies at another desk.
    ChangeWorkDesk,
    /// The work row says that another attempt was used up.
    ChangeWorkAttempt,
    /// The work row says that more leases ran out than may.
    ChangeWorkLapses,
    /// The work row says that it is leased, to nobody.
    DropWorkToken,
    /// The work row is leased, and does not say since when.
    DropWorkClaim,
    /// The lease began before the order was accepted.
    ClaimWorkTooEarly,
    /// The work row is due later than any wait lasts.
    PutWorkOff,
    /// The newest event of the order is of an epoch that the database has not reached.
    RaiseEventEpoch,
    /// The newest event of the order is of an epoch before the one before it.
    LowerEventEpoch,
    /// The newest event of the order is of another form.
    ChangeDataVersion,
    /// The newest event of the order is of a type that there is not.
    ChangeEventType,
    /// The floor of the order's shard lies above events that are there.
    RaiseFloor,
    /// The idempotency keys of the order lead to another one.
    MoveKey,
    /// A message is said to be of an order that there is not.
    MoveMessage,
    /// Redrives that have a result for the order count one more.
    CountRedriven,
    /// The results for the order are gone.
    DropRedriveResult,
    /// The results for the order are another word.
    ChangeRedriveResult,
    /// The results for the order say that it was redriven.
    ClaimRedriven,
    /// Redrives that have a result for the order begin anew, and say that they are finished.
    RewindRedrive,
}

impl MemoryStorage {
    /// Whoever holds the order's work now, live or lapsed.
    pub fn held(&self, order_id: OrderId) -> Option<LeaseToken> {
        self.state().work.get(&order_id)?.work.token
    }

    /// Whose order it is.
    pub fn owner(&self, order_id: OrderId) -> Option<TenantId> {
        self.state().orders.get(&order_id).map(|order| order.tenant.clone())
    }

    /// How far a follower's cursor is in a shard.
    pub fn cursor(&self, follower: &str, shard: Shard) -> Option<u64> {
        self.state().followers.get(follower)?.cursor.positions.get(usize::from(shard.0)).copied()
    }

    /// Damages the order, past all checks.
    pub fn tamper(&self, order_id: OrderId, how: Tamper) {
        let mut state = self.state();
        let shard: Shard = order_id.shard(state.shards);
        let positions: Vec<u64> = state.events_of(order_id).iter().map(|event| event.position).collect();
        let (oldest, newest) = (positions[0], positions[positions.len() - 1]);
        match how {
            Tamper::DropNewestEvent => drop(state.journal.remove(&(shard, newest))),
            Tamper::DropOldestEvent => drop(state.journal.remove(&(shard, oldest))),
            Tamper::ChangeTotal => {
                let order = state.orders.get_mut(&order_id).expect("the order is there");
                order.content.total = Money::parse("123456.78").expect("an amount");
            }
            Tamper::ChangeVersion => {
                state.orders.get_mut(&order_id).expect("the order is there").version += 1;
            }
            Tamper::DropWork => drop(state.work.remove(&order_id)),
            Tamper::AddWork => {
                let order = &state.orders[&order_id];
                let (key, tenant, due_at) = (order.number, order.tenant.clone(), order.updated_at);
                let work = Work {
                    order_id,
                    due_at,
                    attempt: 0,
                    lapses: 0,
                    token: None,
                    claimed_at: None,
                    trace: None,
                };
                let row = WorkRow { key, tenant, desk: Desk::of(&order.source), work };
                state.work.insert(order_id, row);
            }
            Tamper::DropOrder => {
                if let Some(order) = state.orders.remove(&order_id) {
                    state.numbers.remove(&order.number);
                }
            }
            Tamper::RewriteEvent => {
                let event = state.journal.get_mut(&(shard, oldest)).expect("the event is there");
                event.data = event.data.replace("\"sku\":\"", "\"sku\":\"x");
            }
            Tamper::RaiseFloor => drop(state.floors.insert(shard, newest)),
            Tamper::RaiseEventEpoch
            | Tamper::LowerEventEpoch
            | Tamper::ChangeDataVersion
            | Tamper::ChangeEventType => {
                event(state.journal.get_mut(&(shard, newest)).expect("the event is there"), how);
            }
            Tamper::MoveKey => {
                let other = state.orders.keys().copied().find(|other| *other != order_id);
                for key in state.keys.values_mut().filter(|key| key.order_id == order_id) {
                    key.order_id = other.expect("there is another order");
                }
            }
            Tamper::MoveMessage => {
                for (order, _) in state.inbox.values_mut().filter(|(order, _)| *order == order_id) {
                    *order = OrderId(uuid::Uuid::nil());
                }
            }
            Tamper::CountRedriven
            | Tamper::DropRedriveResult
            | Tamper::ChangeRedriveResult
            | Tamper::ClaimRedriven
            | Tamper::RewindRedrive => redrives(&mut state, order_id, how),
            _ => work(state.work.get_mut(&order_id).expect("the work is there"), how),
        }
    }
}

fn work(row: &mut WorkRow, how: Tamper) {
    match how {
        Tamper::ChangeWorkTenant => row.tenant = TenantId::new("stranger").expect("a tenant"),
        Tamper::ChangeWorkDesk => row.desk = Desk::reserved("sales").expect("a contract"),
        Tamper::ChangeWorkAttempt => row.work.attempt += 1,
        Tamper::ChangeWorkLapses => row.work.lapses = LAPSES_MAX,
        Tamper::DropWorkToken => row.work.token = None,
        Tamper::DropWorkClaim => row.work.claimed_at = None,
        Tamper::ClaimWorkTooEarly => row.work.claimed_at = Some(Timestamp::from_micros(1)),
        Tamper::PutWorkOff => row.work.due_at = row.work.due_at.plus(PUT_OFF_FOR_MAX * 2),
        _ => unreachable!("{how:?} is done to something else"),
    }
}

fn event(event: &mut Event, how: Tamper) {
    match how {
        Tamper::RaiseEventEpoch => event.epoch += 1,
        Tamper::LowerEventEpoch => event.epoch -= 1,
        Tamper::ChangeDataVersion => event.data_version += 1,
        _ => event.kind = EventType::from_word("order.dreamt"),
    }
}

fn redrives(state: &mut State, order_id: OrderId, how: Tamper) {
    let named: Vec<_> = state.redrive_items.iter().filter(|(_, item)| item.order_id == order_id).collect();
    let named: Vec<_> = named.into_iter().map(|(key, _)| *key).collect();
    for key in named {
        let job = state.redrives.get_mut(&key.0).expect("the redrive is there");
        let result = state.redrive_items.get_mut(&key).expect("the result is there");
        match how {
            Tamper::CountRedriven => job.redriven += 1,
            Tamper::RewindRedrive => (job.next, job.finished) = (0, true),
            Tamper::ChangeRedriveResult => "dreamt".clone_into(&mut result.result),
            Tamper::ClaimRedriven => {
                "redriven".clone_into(&mut result.result);
                (job.redriven, job.refused) = (job.redriven + 1, job.refused - 1);
            }
            _ => drop(state.redrive_items.remove(&key)),
        }
    }
}
