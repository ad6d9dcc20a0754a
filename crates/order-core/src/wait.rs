//! Waiting until an order's processing has ended: whoever waits registers, reads the order, and is woken by the tail of
//! the journal when something has happened to it. Nobody polls.

use crate::app::App;
use crate::ids::OrderId;
use crate::order::Order;
use crate::order::state::Processing;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Most callers of one process that wait at once; further ones are not made to wait.
pub const WAITERS_MAX: usize = 10_000;

/// Who waits for which order.
#[derive(Default)]
pub struct Waits {
    waiting: Mutex<Waiting>,
    /// Somebody came.
    came: Notify,
}

#[derive(Default)]
struct Waiting {
    by_order: HashMap<OrderId, Vec<Arc<Notify>>>,
    count: usize,
}

impl Waits {
    /// Registers a caller that is woken whenever something happens to the order from now on; `None` when
    /// [`WAITERS_MAX`] wait already.
    pub fn register(self: &Arc<Self>, order_id: OrderId) -> Option<Waiter> {
        let woken = Arc::new(Notify::new());
        let mut waiting = self.lock();
        if waiting.count >= WAITERS_MAX {
            return None;
        }
        waiting.count += 1;
        waiting.by_order.entry(order_id).or_default().push(Arc::clone(&woken));
        drop(waiting);
        self.came.notify_one();
        Some(Waiter { waits: Arc::clone(self), order_id, woken })
    }

    /// How many wait.
    pub fn count(&self) -> usize {
        self.lock().count
    }

    /// Waits for somebody to come.
    pub(crate) async fn came(&self) {
        self.came.notified().await;
    }

    /// Wakes those who wait for one of these orders.
    pub(crate) fn wake(&self, order_ids: impl Iterator<Item = OrderId>) {
        let waiting = self.lock();
        if waiting.count == 0 {
            return;
        }
        for woken in order_ids.filter_map(|order_id| waiting.by_order.get(&order_id)).flatten() {
            woken.notify_one();
        }
    }

    /// Wakes everybody: what has happened meanwhile was not seen.
    pub(crate) fn wake_all(&self) {
        for woken in self.lock().by_order.values().flatten() {
            woken.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A caller that waits; gone from the register when dropped.
pub struct Waiter {
    waits: Arc<Waits>,
    order_id: OrderId,
    woken: Arc<Notify>,
}

impl Waiter {
    /// Waits until something may have happened to the order since the last call, or since it was registered.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut waiting = self.waits.lock();
        if let Some(of_order) = waiting.by_order.get_mut(&self.order_id) {
            of_order.retain(|woken| !Arc::ptr_eq(woken, &self.woken));
            if of_order.is_empty() {
                waiting.by_order.remove(&self.order_id);
            }
        }
        waiting.count -= 1;
    }
}

/// Whether nobody works on the order any more: it is done, parked or withdrawn.
pub fn is_settled(order: &Order) -> bool {
    order.withdrawn || is_worked(order)
}

/// Whether the work that was due for the order has come to an end, that of a withdrawal too.
pub fn is_worked(order: &Order) -> bool {
    match order.processing {
        Processing::Done | Processing::Parked => true,
        Processing::Queued | Processing::Running => false,
    }
}

impl App {
    /// The order as it is once its processing has ended, after `patience`, or when the process stops, whichever is
    /// first; `None` when too many wait already. `known` is the order as its caller saw it, and what is answered while
    /// the storage cannot be read.
    pub async fn when_settled(&self, known: Order, patience: Duration) -> Option<Order> {
        self.when(known, patience, is_settled).await
    }

    /// The same, until `reached` says that the order is as it is waited for.
    pub async fn when(&self, known: Order, patience: Duration, reached: fn(&Order) -> bool) -> Option<Order> {
        if reached(&known) {
            return Some(known);
        }
        // Registered before it is read: whatever is not in what is read wakes.
        let waiter = self.tail.waits().register(known.id)?;
        let mut stopping = self.stopping.subscribe();
        let over = tokio::time::sleep(patience);
        tokio::pin!(over);
        let mut order = known;
        loop {
            order = self.read_again(order).await;
            if reached(&order) {
                return Some(order);
            }
            tokio::select! {
                biased;
                () = waiter.woken() => {}
                () = &mut over => break,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            }
        }
        Some(self.read_again(order).await)
    }

    async fn read_again(&self, known: Order) -> Order {
        match self.storage.order(&known.tenant, known.id).await {
            Ok(Some(order)) => order,
            // It was there; that it cannot be read now takes nothing back.
            Ok(None) | Err(_) => known,
        }
    }
}
