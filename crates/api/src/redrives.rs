//! Redriving parked orders: a job that is recorded, and carried out behind the request.

use crate::Api;
use crate::carry_out;
use crate::cursor::{Purpose, Signer};
use crate::list::{FULFILMENT_FORM, PARKED_FILTERS, SOURCE_FORM, source};
use crate::object::{Object, Offences, typed};
use crate::params::{NoParams, Params, PathId, uuid};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::Response;
use edge::{Caller, Json};
use http::{HeaderValue, StatusCode, header};
use order_core::ids::RedriveId;
use order_core::redrive::{ORDER_IDS_MAX, Redrive, RedriveFilter};
use order_core::state::Fulfilment;
use order_core::{Fault, OrderId, Rejection};
use serde_json::{Value, json};
use std::sync::Arc;

const ITEMS_UNLESS_SAID: u32 = 50;
const ITEMS_MAX: u32 = 200;
/// Longest reason, in bytes.
pub(crate) const REASON_BYTES_MAX: usize = 1_000;

/// What is asked for.
pub(crate) struct Asked {
    pub(crate) filter: RedriveFilter,
    pub(crate) reason: String,
    pub(crate) dry_run: bool,
}

/// Give parked orders a fresh budget of attempts.
#[utoipa::path(
    post,
    path = "/v1/redrives",
    tag = "operations",
    operation_id = "start_redrive",
    request_body = crate::schema::NewRedrive,
    responses(
        (status = 202, description = "Recorded; it is carried out behind this reply", body = crate::schema::Redrive, headers(
            ("Location" = String, description = "The job's address"),
        )),
        (status = 200, description = "A dry run: what would be taken", body = crate::schema::DryRun),
    )
)]
pub(crate) async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let Asked { filter, reason, dry_run } = read(&body)?;
    if dry_run {
        let count = api.app.storage.count_parked(&caller.tenant, &filter).await?;
        let matched =
            if count.more { Value::from(format!("{}+", count.count)) } else { Value::from(count.count) };
        return Ok(edge::respond::json(
            StatusCode::OK,
            json!({ "dry_run": true, "matched": matched }).to_string(),
        ));
    }
    let redrive =
        carry_out::start(&api.app, caller.tenant.clone(), filter, reason, caller.subject.as_ref().to_owned())
            .await?;
    let mut response = edge::respond::json(StatusCode::ACCEPTED, show(&redrive).to_string());
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/redrives/{}", redrive.redrive_id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Show how far a redrive is.
#[utoipa::path(
    get,
    path = "/v1/redrives/{redrive_id}",
    tag = "operations",
    operation_id = "get_redrive",
    params(("redrive_id" = String, Path, description = "The job", format = "uuid")),
    responses((status = 200, description = "The job", body = crate::schema::Redrive))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(redrive_id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let redrive = find(&api, &caller, RedriveId(redrive_id)).await?;
    Ok(edge::respond::json(StatusCode::OK, show(&redrive).to_string()))
}

/// List what became of each order of a redrive.
#[utoipa::path(
    get,
    path = "/v1/redrives/{redrive_id}/items",
    tag = "operations",
    operation_id = "list_redrive_items",
    params(
        ("redrive_id" = String, Path, description = "The job", format = "uuid"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before", min_length = 1,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "What became of each order so far", body = crate::schema::RedriveItemList))
)]
pub(crate) async fn items(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(redrive_id): PathId,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["limit", "after"]);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let after = params.place(&signer, Purpose::RedriveItems)?.unwrap_or(0);
    let limit = params.limit(ITEMS_UNLESS_SAID, ITEMS_MAX);
    params.settle()?;
    let redrive = find(&api, &caller, RedriveId(redrive_id)).await?;
    let items = api.app.storage.redrive_items(redrive.redrive_id, after, limit).await?;
    let seen = after.saturating_add(items.len() as u64);
    let next = (items.len() as u64 == u64::from(limit)).then(|| signer.place(Purpose::RedriveItems, seen));
    let items: Vec<Value> = items
        .iter()
        .map(|item| json!({ "order_id": item.order_id.to_string(), "result": item.result }))
        .collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "items": items, "next": next }).to_string()))
}

async fn find(api: &Api, caller: &Caller, redrive_id: RedriveId) -> Result<Redrive, Failure> {
    Ok(api.app.storage.redrive(&caller.tenant, redrive_id).await?.ok_or(Rejection::RedriveUnknown)?)
}

fn show(redrive: &Redrive) -> Value {
    json!({
        "redrive_id": redrive.redrive_id.to_string(),
        "state": if redrive.finished { "finished" } else { "running" },
        "reason": redrive.reason,
        "redriven": redrive.redriven,
        "refused": redrive.refused,
        "created_at": redrive.created_at.to_string(),
        "updated_at": redrive.updated_at.to_string(),
    })
}

pub(crate) fn read(body: &Value) -> Result<Asked, Failure> {
    let mut offences = Offences::default();
    let asked = Object::read(body, "", &["filter", "reason", "dry_run"], &mut offences).map(|body| {
        let filter = body.required("filter", &mut offences).map(|filter| read_filter(filter, &mut offences));
        let dry_run = body.flag("dry_run", &mut offences).unwrap_or(false);
        if !dry_run {
            body.required("reason", &mut offences);
        }
        let reason =
            body.text_within("reason", REASON_BYTES_MAX, &mut offences).unwrap_or_default().to_owned();
        Asked { filter: filter.unwrap_or_default(), reason, dry_run }
    });
    offences.settle()?;
    asked.ok_or_else(|| Fault::internal("a redrive was neither read nor refused").into())
}

fn read_filter(filter: &Value, offences: &mut Offences) -> RedriveFilter {
    let known = [&["order_ids", "all"], &PARKED_FILTERS[..]].concat();
    let Some(filter) = Object::read(filter, "/filter", &known, offences) else {
        return RedriveFilter::default();
    };
    let order_ids = filter.array("order_ids", offences).map(|ids| read_ids(&filter, ids, offences));
    let all = filter.flag("all", offences).unwrap_or(false);
    if all && order_ids.is_some() {
        offences.refused(filter.at("all"), "contradicts", "must not be given together with order_ids");
    }
    // Nothing said must not mean everything.
    if !all && known.iter().all(|name| *name == "all" || filter.get(name).is_none()) {
        offences.refused("/filter", "missing", "must say which orders, or all: true");
    }
    RedriveFilter {
        order_ids,
        text: filter.text("q", offences).map(str::to_owned),
        source: filter.parsed("source", SOURCE_FORM, source, offences),
        fulfilment: filter.parsed("fulfilment", FULFILMENT_FORM, Fulfilment::from_word, offences),
        withdrawn: filter.flag("withdrawn", offences),
        customer: filter.text("customer", offences).map(str::to_owned),
        accepted_from: filter.time("accepted_from", offences),
        accepted_to: filter.time("accepted_to", offences),
        error_contains: filter.text("error_contains", offences).map(str::to_owned),
    }
}

pub(crate) fn read_ids(filter: &Object<'_>, ids: &[Value], offences: &mut Offences) -> Vec<OrderId> {
    let at = filter.at("order_ids");
    if ids.is_empty() || ids.len() > ORDER_IDS_MAX {
        offences.refused(at, "range", format!("must be 1 to {ORDER_IDS_MAX} ids"));
        return Vec::new();
    }
    let mut read = Vec::with_capacity(ids.len());
    for (index, id) in ids.iter().enumerate() {
        let place = || format!("{at}/{index}");
        let Some(text) = typed(id.as_str(), place, "must be a string", offences) else { continue };
        match uuid(text) {
            Some(id) => read.push(OrderId(id)),
            None => offences.refused(place(), "form", "must be a UUID"),
        }
    }
    read
}
