//! What the contracts have in common: how one is mounted, and what its handlers ask of the core.

use crate::describe;
use crate::refuse::Denied;
use axum::Router;
use axum::extract::FromRequestParts;
use edge::{Caller, Guard, Mount, Refused, Routes};
use http::request::Parts;
use order_core::change::Target;
use order_core::command::{ChangeKind, Changed};
use order_core::external::ExternalId;
use order_core::intake::{Accepted, Intake};
use order_core::query::{OrderQuery, Tally};
use order_core::wait::is_worked;
use order_core::{App, Error, Order, OrderId, SourceId, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use utoipa::openapi::OpenApi;

/// Pages that are read for one list: each looks at a bounded number of rows, and may be full of large orders.
const PAGES_MAX: usize = 16;

/// What is known of a mounted contract before anybody calls.
#[derive(Clone)]
pub(crate) struct Mounted {
    app: Arc<App>,
    source: SourceId,
}

/// A contract as one caller sees it: the orders of the caller's tenant and of the contract's source, and no others.
pub(crate) struct Contract {
    app: Arc<App>,
    pub(crate) tenant: TenantId,
    pub(crate) source: SourceId,
    /// Who acts, for histories.
    pub(crate) by: Arc<str>,
}

impl FromRequestParts<Mounted> for Contract {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, mounted: &Mounted) -> Result<Self, Refused> {
        let Caller { tenant, subject, .. } = Caller::from_request_parts(parts, mounted).await?;
        let Mounted { app, source } = mounted.clone();
        Ok(Self { app, tenant, source, by: subject })
    }
}

impl Mounted {
    /// The contract `name`.
    pub(crate) fn new(app: Arc<App>, name: &'static str) -> Self {
        #[expect(
            clippy::expect_used,
            reason = "the name is a constant of its module, checked by that module's tests"
        )]
        let source = SourceId::new(name).expect("a contract's name is a valid source");
        Self { app, source }
    }

    /// The core.
    pub(crate) fn app(&self) -> &App {
        &self.app
    }

    /// Its routes with its description, as `mount` says; `form` is the schema of its refusals.
    pub(crate) fn mounted(
        self,
        routes: Routes<Self>,
        (document, form): (fn() -> OpenApi, &'static str),
        mount: Mount,
        guard: Arc<Guard>,
    ) -> Router {
        let declared = routes.declared().to_vec();
        let make: edge::MakeDocument = Arc::new(move || {
            let mut document = document();
            describe::add_refusals(&mut document, &declared, form);
            document
        });
        let docs = edge::docs("/docs", make, "/docs/json");
        let router = routes.into_router().with_state(self).merge(docs);
        edge::mount(router, mount, guard)
    }
}

impl Contract {
    /// What time it is.
    pub(crate) fn now(&self) -> Timestamp {
        self.app.clock.now()
    }

    /// Takes an order in.
    pub(crate) async fn accept(&self, intake: Intake) -> Result<Accepted, Denied> {
        Ok(self.app.accept(intake).await?)
    }

    /// Takes an order in that has no reference, under an id that is all chance.
    pub(crate) async fn accept_scattered(&self, intake: Intake) -> Result<Accepted, Denied> {
        Ok(self.app.accept_scattered(intake).await?)
    }

    /// Changes an order that was found here.
    pub(crate) async fn change(&self, order: &Order, kind: ChangeKind) -> Result<Changed, Error> {
        let (tenant, source) = (self.tenant.clone(), Some(order.source.clone()));
        let target = Target { tenant, source, order_id: order.id, expected_version: None };
        self.app.change(target, kind).await
    }

    /// The order as it is once its work has ended, or after `patience`; as it is known when it cannot be waited for.
    pub(crate) async fn worked(&self, order: Order, patience: Duration) -> Order {
        self.app.when(order.clone(), patience, is_worked).await.unwrap_or(order)
    }

    /// The order of this tenant with this id, from whatever source.
    pub(crate) async fn order_of_any_source(&self, order_id: OrderId) -> Result<Option<Order>, Denied> {
        Ok(self.app.storage.order(&self.tenant, order_id).await?)
    }

    /// The newest order of this tenant that an external id leads to.
    pub(crate) async fn order_by_external(&self, external: &ExternalId) -> Result<Option<Order>, Denied> {
        Ok(self.app.storage.order_by_external(external).await?)
    }

    /// The order with this id, if it is one of this contract.
    pub(crate) async fn order(&self, order_id: OrderId) -> Result<Order, Denied> {
        self.own(self.app.storage.order(&self.tenant, order_id).await?)
    }

    /// The order with this number, if it is one of this contract.
    pub(crate) async fn order_by_number(&self, number: i64) -> Result<Order, Denied> {
        self.own(self.app.storage.order_by_number(&self.tenant, number).await?)
    }

    /// The newest `max` orders of this contract, the newest first. Looks at a bounded number of rows.
    pub(crate) async fn newest(&self, max: u32) -> Result<Vec<Order>, Denied> {
        let mut query = OrderQuery::all(self.tenant.clone(), max, self.now());
        query.source = Some(self.source.clone());
        let mut newest = Vec::new();
        for _ in 0..PAGES_MAX {
            let page = self.app.storage.orders(&query).await?;
            newest.extend(page.orders);
            query.limit = max.saturating_sub(u32::try_from(newest.len()).unwrap_or(max));
            query.before = page.next;
            if query.limit == 0 || query.before.is_none() {
                break;
            }
        }
        Ok(newest)
    }

    /// How many orders it has and how they do, at one moment.
    pub(crate) async fn tally(&self) -> Result<Tally, Denied> {
        Ok(self.app.storage.tally(&self.tenant, &self.source, self.now()).await?)
    }

    fn own(&self, order: Option<Order>) -> Result<Order, Denied> {
        let own = |order: &Order| order.tenant == self.tenant && order.source == self.source;
        order.filter(own).ok_or(Denied::OrderUnknown)
    }
}
