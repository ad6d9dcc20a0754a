//! The contracts of order systems that exist: a client of one of them, unchanged, talks to wellorder instead.
//!
//! One module a contract, each of the same four parts:
//!
//! * `mod.rs`: the routes and thin handlers: read → core → answer; and the contract's OpenAPI document.
//! * `wire`: what goes over the wire, and how it is read and checked. Private: nobody else builds on a contract's form.
//! * `map`: wire ⇄ core, totally; the only place that knows both a field's name and its meaning.
//! * `refuse`: every way to say no, in the contract's own words; exhaustive, so that a new rejection of the core does
//!   not compile until each contract has words for it.
//!
//! A contract sees the orders of its own tenant and source only. The core knows no contract.

mod exact;
mod invalid_json;
pub mod oscarps;
pub mod parspec;
mod reply;

use order_core::{App, SourceId, TenantId};
use std::sync::Arc;

/// What the handlers of one mounted contract share.
#[derive(Clone)]
struct Contract {
    app: Arc<App>,
    tenant: TenantId,
    source: SourceId,
}

impl Contract {
    fn new(app: Arc<App>, tenant: TenantId, name: &'static str) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the name is a constant of its module, checked by that module's tests"
        )]
        let source = SourceId::new(name).expect("a contract's name is a valid source");
        Self { app, tenant, source }
    }

    /// Whether the contract may show this order at all.
    fn owns(&self, order: &order_core::Order) -> bool {
        order.tenant == self.tenant && order.source == self.source
    }
}
