//! Damage, done on purpose: what an audit must find.

use super::MemoryStorage;
use order_core::Money;
use order_core::ids::{LeaseToken, OrderId, Shard, TenantId};
use order_core::lease::Work;

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

    /// How far a follower is in a shard.
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
                let (key, due_at) = (state.orders[&order_id].number, state.orders[&order_id].updated_at);
                let work = Work {
                    order_id,
                    due_at,
                    attempt: 0,
                    lapses: 0,
                    token: None,
                    claimed_at: None,
                    trace: None,
                };
                let row = super::state::WorkRow { key, work };
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
        }
    }
}
