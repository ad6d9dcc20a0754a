//! Orders in the hands of a batch: as they are now, and what of that the database does not have yet.

use order_core::external::{ExternalKey, key_of};
use order_core::lease::Work;
use order_core::order::Order;
use order_core::order::state::{Fulfilment, Processing};

/// What an order may stand for apart from the many, as in the table `standings`.
pub(super) const STANDINGS: [&str; 4] = ["parked", "withdrawn", "shipped", "delivered"];

/// An order and its work.
pub(super) struct Held {
    pub(super) order: Order,
    pub(super) work: Option<Work>,
    /// Whether the database has the row of the order.
    pub(super) kept: bool,
    /// Whether where it stands differs from the row.
    pub(super) moved: bool,
    /// Whether what is in it differs from the row.
    pub(super) revised: bool,
    /// Whether the database has a row of its work.
    pub(super) work_kept: bool,
    /// Whether its work differs from that.
    pub(super) work_moved: bool,
    /// What the database says that it stands for.
    pub(super) stood: [bool; 4],
    /// By which external id the database finds it.
    pub(super) led: Option<ExternalKey>,
}

impl Held {
    /// As it was read.
    pub(super) fn read(order: Order, work: Option<Work>) -> Self {
        let (work_kept, stood, led) = (work.is_some(), stands(&order), key_of(&order));
        Self {
            order,
            work,
            kept: true,
            moved: false,
            revised: false,
            work_kept,
            work_moved: false,
            stood,
            led,
        }
    }

    /// As it was just made.
    pub(super) fn new(order: Order, work: Work) -> Self {
        Self {
            order,
            work: Some(work),
            kept: false,
            moved: false,
            revised: false,
            work_kept: false,
            work_moved: true,
            stood: [false; 4],
            led: None,
        }
    }

    /// Whether the database lacks something of it.
    pub(super) fn is_dirty(&self) -> bool {
        !self.kept || self.moved || self.revised || self.work_moved
    }

    /// All of it is in the database now.
    pub(super) fn written(&mut self) {
        (self.kept, self.moved, self.revised, self.work_moved) = (true, false, false, false);
        (self.work_kept, self.stood) = (self.work.is_some(), stands(&self.order));
        self.led = key_of(&self.order);
    }
}

/// What an order stands for, in the order of [`STANDINGS`].
pub(super) fn stands(order: &Order) -> [bool; 4] {
    [
        order.processing == Processing::Parked,
        order.withdrawn,
        order.fulfilment == Fulfilment::Shipped,
        order.fulfilment == Fulfilment::Delivered,
    ]
}
