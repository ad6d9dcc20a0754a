//! Lists of orders: newest first, by a text, along what changed.

use crate::Api;
use crate::actions::order_json;
use crate::create::{SOURCE_UNLESS_SAID, is_source};
use crate::cursor::{Purpose, Signer};
use crate::events::push_next;
use crate::params::{Params, Reader};
use crate::problem::{Failure, Offence, cursor_refused};
use axum::extract::State;
use axum::response::Response;
use edge::Caller;
use http::StatusCode;
use order_core::journal::Cursor;
use order_core::listing::{self, Search, SearchPlace, Since};
use order_core::query::OrderQuery;
use order_core::state::{Fulfilment, Processing};
use order_core::{Order, OrderId, Reference, SourceId, Timestamp};
use std::sync::Arc;

const LIMIT_UNLESS_SAID: u32 = 50;
const LIMIT_MAX: u32 = 200;
/// What a list of what is parked is narrowed by, and a redrive.
pub(crate) const PARKED_FILTERS: [&str; 8] =
    ["q", "error_contains", "source", "fulfilment", "withdrawn", "customer", "accepted_from", "accepted_to"];
pub(crate) const FULFILMENT_FORM: &str = "must be unshipped, shipped or delivered";
pub(crate) const SOURCE_FORM: &str = "must be 1 to 64 of a-z, 0-9 and -";

/// List orders: newest first, or by the beginning of a text, or along what changed.
#[utoipa::path(
    get,
    path = "/v1/orders",
    tag = "orders",
    operation_id = "list_orders",
    params(
        ("reference" = Option<String>, Query, description = "The one order with this reference; of the source `api` unless \
            `source` is given", min_length = 1, max_length = 255),
        ("q" = Option<String>, Query, description = "Only orders whose id, reference or customer begins with this: in \
            this order, then by the text found, then newest first", min_length = 1, max_length = 255),
        ("updated_since" = Option<String>, Query, description = "Orders that changed since, each once a page as it is \
            now: `beginning`, an RFC 3339 date-time, or `next` of a page before. The changes of one order come in their \
            order; those of several need not",
            min_length = 1),
        ("processing" = Option<crate::schema::Processing>, Query, description = "Only in this state"),
        ("source" = Option<String>, Query, description = "Only from this source", pattern = "^[a-z0-9-]{1,64}$"),
        ("fulfilment" = Option<crate::schema::Fulfilment>, Query, description = "Only in this state"),
        ("withdrawn" = Option<bool>, Query, description = "Only withdrawn, or only not withdrawn, ones"),
        ("customer" = Option<String>, Query, description = "Only of this customer", min_length = 1, max_length = 255),
        ("accepted_from" = Option<String>, Query, description = "Only accepted at this moment or later (RFC 3339)",
            format = DateTime),
        ("accepted_to" = Option<String>, Query, description = "Only accepted before this moment (RFC 3339)",
            format = DateTime),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before, with the same filters",
            min_length = 1, pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "A page of orders", body = crate::schema::OrderList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&[
        "reference",
        "q",
        "updated_since",
        "source",
        "processing",
        "fulfilment",
        "withdrawn",
        "customer",
        "accepted_from",
        "accepted_to",
        "limit",
        "after",
    ]);
    let processing =
        params.parsed("processing", "must be queued, running, done or parked", Processing::from_word);
    let reference = params.text("reference").and_then(|text| Reference::new(&text).ok());
    let asked = Asked::read(&api, &caller, params, processing, reference)?;
    asked.answer(&api, &caller).await
}

/// List orders that wait for an operator.
#[utoipa::path(
    get,
    path = "/v1/parked",
    tag = "operations",
    operation_id = "list_parked",
    params(
        ("q" = Option<String>, Query, description = "Only orders whose id, reference or customer begins with this: in \
            this order, then by the text found, then newest first", min_length = 1, max_length = 255),
        ("error_contains" = Option<String>, Query, description = "Only orders whose last error contains this text",
            min_length = 1, max_length = 255),
        ("source" = Option<String>, Query, description = "Only from this source", pattern = "^[a-z0-9-]{1,64}$"),
        ("fulfilment" = Option<crate::schema::Fulfilment>, Query, description = "Only in this state"),
        ("withdrawn" = Option<bool>, Query, description = "Only withdrawn, or only not withdrawn, ones"),
        ("customer" = Option<String>, Query, description = "Only of this customer", min_length = 1, max_length = 255),
        ("accepted_from" = Option<String>, Query, description = "Only accepted at this moment or later (RFC 3339)",
            format = DateTime),
        ("accepted_to" = Option<String>, Query, description = "Only accepted before this moment (RFC 3339)",
            format = DateTime),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before, with the same filters",
            min_length = 1, pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "Orders that wait for an operator, newest first", body = crate::schema::OrderList))
)]
pub(crate) async fn parked(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let params = params.read(&[&PARKED_FILTERS[..], &["limit", "after"]].concat());
    let asked = Asked::read(&api, &caller, params, Some(Processing::Parked), None)?;
    asked.answer(&api, &caller).await
}

/// A list that is asked for.
struct Asked {
    query: OrderQuery,
    by: By,
    /// What the cursor of its next page is bound to.
    filters: String,
}

/// In which order, and from where.
enum By {
    Number,
    Reference(Reference),
    Text(String, Option<SearchPlace>),
    Change(Since),
}

impl Asked {
    fn read(
        api: &Api,
        caller: &Caller,
        mut params: Reader,
        processing: Option<Processing>,
        reference: Option<Reference>,
    ) -> Result<Self, Failure> {
        // Which list it is says something too.
        let filters = [processing.map_or("", Processing::word), ";", &params.filters()].concat();
        let signer = Signer::new(api.app.storage.install(), &caller.tenant).with_filters(filters.clone());
        let mut query = query(api, caller, &mut params, processing);
        let by = match (reference, params.text("q"), params.get("updated_since")) {
            (None, Some(text), None) => By::Text(text, params.after(|text| signer.read_search(text))?),
            (None, None, Some(since)) => By::Change(since_said(&signer, &params, since)?),
            (None, None, None) => {
                query.before = params
                    .place(&signer, Purpose::Orders)?
                    .map(|before| i64::try_from(before).unwrap_or(i64::MAX));
                By::Number
            }
            (Some(reference), None, None) => {
                if params.get("after").is_some() {
                    params.refuse(
                        "after",
                        "contradicts",
                        "a reference names one order: there are no more pages",
                    );
                }
                By::Reference(reference)
            }
            _ => {
                let name = if params.get("q").is_some() { "q" } else { "updated_since" };
                params.refuse(name, "contradicts", "give one of reference, q and updated_since");
                By::Number
            }
        };
        params.settle()?;
        Ok(Self { query, by, filters })
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<Response, Failure> {
        let Self { query, by, filters } = self;
        let storage = &api.app.storage;
        let signer = Signer::new(storage.install(), &caller.tenant).with_filters(filters);
        Ok(match by {
            By::Number => {
                let page = storage.orders(&query).await?;
                let place = |next| signer.place(Purpose::Orders, u64::try_from(next).unwrap_or(0));
                page_of(api, caller, &page.orders, page.next.map(place), None)
            }
            By::Reference(reference) => {
                page_of(api, caller, &by_reference(api, query, &reference).await?, None, None)
            }
            By::Text(text, after) => {
                let page = storage.search(&Search { query, text, after }).await?;
                page_of(api, caller, &page.orders, page.next.map(|next| signer.search(&next)), None)
            }
            By::Change(since) => {
                let page = listing::changes(&api.app, &query, since).await.map_err(since_refused)?;
                let next = signer.positions(Purpose::Changes, &page.next);
                page_of(api, caller, &page.orders, Some(next), Some(page.up_to_date))
            }
        })
    }
}

fn query(api: &Api, caller: &Caller, params: &mut Reader, processing: Option<Processing>) -> OrderQuery {
    OrderQuery {
        source: params.parsed("source", SOURCE_FORM, source),
        processing,
        fulfilment: params.parsed("fulfilment", FULFILMENT_FORM, Fulfilment::from_word),
        withdrawn: params.parsed("withdrawn", "must be true or false", |text| text.parse().ok()),
        customer: params.text("customer"),
        accepted_from: params.moment("accepted_from"),
        accepted_to: params.moment("accepted_to"),
        error_contains: params.text("error_contains"),
        ..OrderQuery::all(
            caller.tenant.clone(),
            params.limit(LIMIT_UNLESS_SAID, LIMIT_MAX),
            api.app.clock.now(),
        )
    }
}

/// The source that a text names.
pub(crate) fn source(text: &str) -> Option<SourceId> {
    SourceId::new(text).ok().filter(|_| is_source(text))
}

/// Where a reader of changed orders begins. A page before says more than what the first one was asked.
fn since_said(signer: &Signer<'_>, params: &Reader, since: &str) -> Result<Since, Failure> {
    let place = |text: &str| -> Result<Cursor, _> { signer.read_positions(Purpose::Changes, text) };
    let begin = match Timestamp::parse(since) {
        _ if since == "beginning" => Since::Beginning,
        Ok(moment) => Since::Moment(moment),
        Err(_) => place(since).map(Since::Place).map_err(since_refused)?,
    };
    Ok(params.after(place)?.map_or(begin, Since::Place))
}

fn since_refused(error: impl Into<order_core::Error>) -> Failure {
    cursor_refused(error, |code, _| {
        let message = "must be beginning, an RFC 3339 date-time, or a cursor that can be read on from";
        Offence::parameter("updated_since", code, message)
    })
}

/// The one order that a source and a reference name: its id follows from them.
async fn by_reference(
    api: &Api,
    mut query: OrderQuery,
    reference: &Reference,
) -> Result<Vec<Order>, Failure> {
    let usual = || SourceId::new(SOURCE_UNLESS_SAID).map_err(order_core::Fault::internal);
    let source = query.source.take().map_or_else(usual, Ok)?;
    let order_id = OrderId::derived(&query.tenant, &source, reference);
    let found = api.app.storage.order(&query.tenant, order_id).await?;
    Ok(found.filter(|order| query.matches(order)).into_iter().collect())
}

fn page_of(
    api: &Api,
    caller: &Caller,
    orders: &[Order],
    next: Option<String>,
    up_to_date: Option<bool>,
) -> Response {
    let now = api.app.clock.now();
    let mut json =
        String::with_capacity(64 + orders.iter().map(|order| order.footprint() + 640).sum::<usize>());
    json.push_str("{\"orders\":[");
    for (index, order) in orders.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        json.push_str(&order_json(order, now, caller.scopes));
    }
    json.push_str("],\"next\":");
    push_next(&mut json, next.as_deref());
    if let Some(up_to_date) = up_to_date {
        json.push_str(if up_to_date { ",\"up_to_date\":true" } else { ",\"up_to_date\":false" });
    }
    json.push('}');
    edge::respond::json(StatusCode::OK, json)
}
