//! Lists of orders, newest first.

use crate::Api;
use crate::actions::order_json;
use crate::create::{SOURCE_UNLESS_SAID, is_source};
use crate::cursor::{Purpose, Signer};
use crate::events::push_next;
use crate::params::{Params, Reader};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::Caller;
use http::StatusCode;
use order_core::query::{OrderPage, OrderQuery};
use order_core::state::{Fulfilment, Processing};
use order_core::{OrderId, Reference, SourceId};
use std::sync::Arc;

const LIMIT_UNLESS_SAID: u32 = 50;
const LIMIT_MAX: u32 = 200;

/// List orders, or find one by its reference.
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    operation_id = "list_orders",
    params(
        ("reference" = Option<String>, Query, description = "The one order with this reference; of the source `api` unless \
            `source` is given", min_length = 1, max_length = 255),
        ("processing" = Option<crate::schema::Processing>, Query, description = "Only in this state"),
        ("source" = Option<String>, Query, description = "Only from this source", pattern = "^[a-z0-9-]{1,64}$"),
        ("fulfilment" = Option<crate::schema::Fulfilment>, Query, description = "Only in this state"),
        ("withdrawn" = Option<bool>, Query, description = "Only withdrawn, or only not withdrawn, ones"),
        ("customer" = Option<String>, Query, description = "Only of this customer", min_length = 1, max_length = 255),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before", min_length = 1,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "A page of orders, newest first", body = crate::schema::OrderList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&[
        "reference",
        "source",
        "processing",
        "fulfilment",
        "withdrawn",
        "customer",
        "limit",
        "after",
    ]);
    let processing =
        params.parsed("processing", "must be queued, running, done or parked", Processing::from_word);
    let reference = params.text("reference").and_then(|text| Reference::new(&text).ok());
    let query = query(&api, &caller, &mut params, processing)?;
    params.settle()?;
    let page = match reference {
        Some(reference) => by_reference(&api, &caller, query, &reference).await?,
        None => api.app.storage.orders(&query).await?,
    };
    Ok(answer(&api, &caller, &page))
}

/// List orders that wait for an operator.
#[utoipa::path(
    get,
    path = "/v1/parked",
    tag = "operations",
    operation_id = "list_parked",
    params(
        ("source" = Option<String>, Query, description = "Only from this source", pattern = "^[a-z0-9-]{1,64}$"),
        ("fulfilment" = Option<crate::schema::Fulfilment>, Query, description = "Only in this state"),
        ("withdrawn" = Option<bool>, Query, description = "Only withdrawn, or only not withdrawn, ones"),
        ("customer" = Option<String>, Query, description = "Only of this customer", min_length = 1, max_length = 255),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before", min_length = 1,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "Orders that wait for an operator, newest first", body = crate::schema::OrderList))
)]
pub(crate) async fn parked(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["source", "fulfilment", "withdrawn", "customer", "limit", "after"]);
    let query = query(&api, &caller, &mut params, Some(Processing::Parked))?;
    params.settle()?;
    let page = api.app.storage.orders(&query).await?;
    Ok(answer(&api, &caller, &page))
}

fn query(
    api: &Api,
    caller: &Caller,
    params: &mut Reader,
    processing: Option<Processing>,
) -> Result<OrderQuery, Failure> {
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let source = params.parsed("source", "must be 1 to 64 of a-z, 0-9 and -", |text| {
        SourceId::new(text).ok().filter(|_| is_source(text))
    });
    let before = params.place(&signer, Purpose::Orders)?;
    Ok(OrderQuery {
        tenant: caller.tenant.clone(),
        source,
        processing,
        fulfilment: params.parsed(
            "fulfilment",
            "must be unshipped, shipped or delivered",
            Fulfilment::from_word,
        ),
        withdrawn: params.parsed("withdrawn", "must be true or false", |text| text.parse().ok()),
        customer: params.text("customer"),
        before: before.map(|before| i64::try_from(before).unwrap_or(i64::MAX)),
        limit: params.limit(LIMIT_UNLESS_SAID, LIMIT_MAX),
        now: api.app.clock.now(),
    })
}

/// The one order that a source and a reference name: its id follows from them.
async fn by_reference(
    api: &Api,
    caller: &Caller,
    mut query: OrderQuery,
    reference: &Reference,
) -> Result<OrderPage, Failure> {
    let usual = || SourceId::new(SOURCE_UNLESS_SAID).map_err(order_core::Fault::internal);
    let source = query.source.take().map_or_else(usual, Ok)?;
    let order_id = OrderId::derived(&caller.tenant, &source, reference);
    let found = api.app.storage.order(&caller.tenant, order_id).await?;
    Ok(OrderPage { orders: found.filter(|order| query.matches(order)).into_iter().collect(), next: None })
}

fn answer(api: &Api, caller: &Caller, page: &OrderPage) -> Response {
    let now = api.app.clock.now();
    let mut json = String::with_capacity(64 + page.orders.len() * 640);
    json.push_str("{\"orders\":[");
    for (index, order) in page.orders.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&order_json(order, now, caller.scopes));
    }
    json.push_str("],\"next\":");
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let next = page.next.map(|next| signer.place(Purpose::Orders, u64::try_from(next).unwrap_or(0)));
    push_next(&mut json, next.as_deref());
    json.push('}');
    edge::respond::json(StatusCode::OK, json)
}
