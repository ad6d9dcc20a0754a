//! Work for workers outside (processor `pull`): they lease it, extend their leases, and end it under their tokens.

use crate::Api;
use crate::actions::order_json;
use crate::create;
use crate::cursor::Signer;
use crate::object::{Object, Offences, typed, whole};
use crate::params::NoParams;
use crate::prefer::Prefer;
use crate::problem::{Failure, Problem, WORK_NOT_PULLED};
use axum::extract::State;
use axum::response::Response;
use edge::{AnswerRoom, Caller, Json, MaybeJson, Standing};
use http::StatusCode;
use order_core::lease::Leased;
use order_core::ports::Processed;
use order_core::pull::Held;
use order_core::{Error, Fault, Order, Rejection};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Most pieces of work in one request.
const WORK_MAX: u64 = 100;
const CLAIM_UNLESS_SAID: u64 = 10;
const LEASE_SECONDS_MAX: u64 = 3_600;
/// Longest wait that a retry may ask for: a day.
const RETRY_AFTER_SECONDS_MAX: u64 = 86_400;

/// Said where nobody outside has anything to do.
const NOT_PULLED: &str = "This server's settings leave no order's work to workers outside. Set processor = \"pull\", or \
    contracts.NAME.processor = \"pull\" for the orders of one contract.";

/// Lease work that is due.
///
/// Work of the orders that the settings of this server leave to workers outside (`processor`, `contracts.NAME.processor`). Of
/// large orders fewer are leased than are asked for, one at least.
#[utoipa::path(
    post,
    path = "/v1/work/claim",
    tag = "work",
    operation_id = "claim_work",
    params(("Prefer" = Option<String>, Header, description = "`wait=N`: when nothing is due, wait until something is, at \
        most N seconds (1 to 50)")),
    request_body(content = crate::schema::work::Claim, description = "May be left out"),
    responses((status = 200, description = "What was leased; empty when nothing is due", body = crate::schema::work::ClaimedWork,
        headers(("Preference-Applied" = String, description = "`wait=N`"))))
)]
pub(crate) async fn claim(
    State(api): State<Arc<Api>>,
    caller: Caller,
    mut standing: Standing,
    _: NoParams,
    _: AnswerRoom,
    prefer: Prefer,
    MaybeJson(body): MaybeJson,
) -> Result<Response, Failure> {
    let mut offences = Offences::default();
    let asked = Object::read(&body, "", &["max", "lease_seconds"], &mut offences).map(|body| {
        let max = integer(&body, "max", 1, WORK_MAX, &mut offences).unwrap_or(CLAIM_UNLESS_SAID);
        (max, lease_said(&api, &body, &mut offences))
    });
    offences.settle()?;
    let (max, lease) = asked.ok_or_else(|| Fault::internal("a claim was neither read nor refused"))?;
    if api.pulled.is_empty() {
        return Err(Problem::new(WORK_NOT_PULLED, NOT_PULLED).into());
    }
    let count = usize::try_from(max).unwrap_or(1);
    let deadline = prefer.deadline();
    let leased = loop {
        let tenant = Some(caller.tenant.clone());
        let claimed = api.app.claim(tenant, api.pulled, count, lease, api.lease.lapses_max).await?;
        match deadline.filter(|_| claimed.leased.is_empty()) {
            Some(deadline) if api.app.work_is_due(&caller.tenant, api.pulled, deadline).await? => {
                standing.ask().await?
            }
            _ => break claimed.leased,
        }
    };
    Ok(prefer.told(edge::respond::json(StatusCode::OK, show(&api, &caller, &leased))))
}

fn show(api: &Api, caller: &Caller, leased: &[Leased]) -> String {
    let now = api.app.clock.now();
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let shown = leased.iter().map(|leased| {
        let held = api.app.hold(leased);
        let traceparent = held.begun.map(|begun| format!("\"{}\"", begun.context));
        // Ids, numbers and times need no escaping.
        format!(
            r#"{{"order_id":"{}","token":"{}","attempt":{},"lease_until":"{}","idempotency_key":"{}","traceparent":{},"order":{}}}"#,
            leased.order.id,
            signer.work(&held),
            leased.attempt,
            leased.until,
            leased.effect_key,
            traceparent.as_deref().unwrap_or("null"),
            order_json(&leased.order, now, caller.scopes),
        )
    });
    format!(r#"{{"work":[{}]}}"#, shown.collect::<Vec<_>>().join(","))
}

/// Extend leases.
#[utoipa::path(
    post,
    path = "/v1/work/heartbeat",
    tag = "work",
    operation_id = "extend_work",
    request_body = crate::schema::work::Heartbeat,
    responses((status = 200, description = "Until when the leases hold now, and which are lost", body = crate::schema::work::Extended))
)]
pub(crate) async fn heartbeat(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let mut offences = Offences::default();
    let asked = Object::read(&body, "", &["token", "tokens", "lease_seconds"], &mut offences).map(|body| {
        let one = body.get("token").is_some();
        let held = tokens(&body, &signer, &mut offences);
        (one, held, lease_said(&api, &body, &mut offences))
    });
    offences.settle()?;
    let (one, held, lease) =
        asked.ok_or_else(|| Fault::internal("a heartbeat was neither read nor refused"))?;
    let (until, lost) = api.app.keep(&held, lease).await?;
    if one && !lost.is_empty() {
        return Err(Rejection::LeaseLost.into());
    }
    let lost: Vec<String> =
        held.iter().filter(|held| lost.contains(&held.token)).map(|held| signer.work(held)).collect();
    let answer = json!({ "lease_until": until.to_string(), "lost": lost });
    Ok(edge::respond::json(StatusCode::OK, answer.to_string()))
}

/// End work: done, to be tried again, or parked.
#[utoipa::path(
    post,
    path = "/v1/work/finish",
    tag = "work",
    operation_id = "finish_work",
    request_body = crate::schema::work::Finish,
    responses((status = 200, description = "One: the order as it is now. Several: what became of each, in the order in which \
        they were given", body = crate::schema::work::Finished,
        headers(("ETag" = String, description = "One: the order's version"))))
)]
pub(crate) async fn finish(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let signer = Signer::new(api.app.storage.install(), &caller.tenant);
    let mut offences = Offences::default();
    let Some(results) = body.get("results") else {
        let result = read_result(&body, "", &signer, &mut offences);
        offences.settle()?;
        let (held, processed) =
            result.ok_or_else(|| Fault::internal("a result was neither read nor refused"))?;
        let order = api.app.finish(held, processed, &api.lease).await?;
        return Ok(create::answer(&api, &caller, StatusCode::OK, &order));
    };
    Object::read(&body, "", &["results"], &mut offences);
    let results = read_results(results, &signer, &mut offences);
    offences.settle()?;
    let ended = api.app.finish_all(&results, &api.lease).await;
    let mut shown = Vec::with_capacity(results.len());
    for ((held, _), ended) in results.iter().zip(&ended) {
        shown.push(show_end(&api, &signer, held, ended));
    }
    if ended.iter().all(|ended| matches!(ended, Err(Error::Fault(_))))
        && let Some(Err(error)) = ended.into_iter().next()
    {
        return Err(error.into());
    }
    Ok(edge::respond::json(StatusCode::OK, json!({ "results": shown }).to_string()))
}

fn show_end(api: &Api, signer: &Signer<'_>, held: &Held, ended: &Result<Order, Error>) -> Value {
    let (result, processing) = match ended {
        Ok(order) => ("finished", Some(order.processing_at(api.app.clock.now()).word())),
        Err(Error::Rejection(_)) => ("lease-lost", None),
        Err(Error::Fault(_)) => ("unavailable", None),
    };
    json!({
        "order_id": held.order_id.to_string(),
        "token": signer.work(held),
        "result": result,
        "processing": processing,
    })
}

/// The lease that is asked for, or the usual one.
fn lease_said(api: &Api, body: &Object<'_>, offences: &mut Offences) -> Duration {
    integer(body, "lease_seconds", 1, LEASE_SECONDS_MAX, offences)
        .map_or(api.lease.lease, Duration::from_secs)
}

/// What `token` or `tokens` name.
fn tokens(body: &Object<'_>, signer: &Signer<'_>, offences: &mut Offences) -> Vec<Held> {
    let many = body.array("tokens", offences);
    if many.is_some() && body.get("token").is_some() {
        offences.refused(body.at("tokens"), "contradicts", "must not be given with token");
        return Vec::new();
    }
    if many.is_none() && body.get("token").is_none() {
        offences.refused(body.at("token"), "missing", "give either token or tokens");
        return Vec::new();
    }
    let Some(many) = many else {
        let token = body.required("token", offences);
        return token
            .and_then(|token| read_token(token, body.at("token"), signer, offences))
            .into_iter()
            .collect();
    };
    if !is_batch(many.len()) {
        offences.refused(body.at("tokens"), "range", format!("must be 1 to {WORK_MAX} tokens"));
        return Vec::new();
    }
    let at = body.at("tokens");
    let read = |(index, token)| read_token(token, format!("{at}/{index}"), signer, offences);
    many.iter().enumerate().filter_map(read).collect()
}

fn is_batch(length: usize) -> bool {
    (1..=WORK_MAX).contains(&(length as u64))
}

fn read_token(token: &Value, at: String, signer: &Signer<'_>, offences: &mut Offences) -> Option<Held> {
    let text = typed(token.as_str(), || at.clone(), "must be a string", offences)?;
    let held = signer.read_work(text);
    if held.is_none() {
        offences.refused(at, "unknown", "is no token of work that was claimed here");
    }
    held
}

fn read_results(results: &Value, signer: &Signer<'_>, offences: &mut Offences) -> Vec<(Held, Processed)> {
    let Some(results) = typed(results.as_array(), || "/results".to_owned(), "must be an array", offences)
    else {
        return Vec::new();
    };
    if !is_batch(results.len()) {
        offences.refused("/results", "range", format!("must be 1 to {WORK_MAX} results"));
        return Vec::new();
    }
    let read = |(index, result)| read_result(result, &format!("/results/{index}"), signer, offences);
    results.iter().enumerate().filter_map(read).collect()
}

/// How a try ended, in the words of a processor.
fn read_result(
    result: &Value,
    pointer: &str,
    signer: &Signer<'_>,
    offences: &mut Offences,
) -> Option<(Held, Processed)> {
    let known = ["token", "outcome", "error", "retry_after_seconds"];
    let result = Object::read(result, pointer, &known, offences)?;
    let token = result.required("token", offences);
    let held = token.and_then(|token| read_token(token, result.at("token"), signer, offences));
    let outcome = result.required("outcome", offences);
    let outcome = outcome
        .and_then(|outcome| typed(outcome.as_str(), || result.at("outcome"), "must be a string", offences));
    // A text that is too long is cut, as that of any other processor.
    let why = result.text_within("error", usize::MAX, offences).map(str::to_owned);
    let retry_after = integer(&result, "retry_after_seconds", 0, RETRY_AFTER_SECONDS_MAX, offences);
    let mut unfit = |name: &str, with: &str| {
        if result.get(name).is_some() {
            offences.refused(result.at(name), "contradicts", format!("must not be given with {with}"));
        }
    };
    match outcome? {
        "done" => {
            unfit("error", "done");
            unfit("retry_after_seconds", "done");
            Some((held?, Processed::Done))
        }
        "retry" => {
            let why = said(why, &result, offences);
            Some((held?, Processed::Failed { why: why?, retry_after: retry_after.map(Duration::from_secs) }))
        }
        "park" => {
            unfit("retry_after_seconds", "park");
            let why = said(why, &result, offences);
            Some((held?, Processed::Hopeless { why: why? }))
        }
        _ => {
            offences.refused(result.at("outcome"), "form", "must be done, retry or park");
            None
        }
    }
}

/// Whoever finds the order later needs to know why.
fn said(why: Option<String>, result: &Object<'_>, offences: &mut Offences) -> Option<String> {
    result.required("error", offences)?;
    why
}

/// An integer from `min` to `max`, if it is there.
fn integer(body: &Object<'_>, name: &str, min: u64, max: u64, offences: &mut Offences) -> Option<u64> {
    let number = typed(body.get(name)?.as_number(), || body.at(name), "must be an integer", offences)?;
    let fits = whole(number).filter(|number| (min..=max).contains(number));
    if fits.is_none() {
        offences.refused(body.at(name), "range", format!("must be an integer from {min} to {max}"));
    }
    fits
}
