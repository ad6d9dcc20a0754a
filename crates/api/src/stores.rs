//! Stores at marketplaces, and what their syncs did.

use crate::Api;
use crate::cursor::{Purpose, Signer};
use crate::object::{Object, Offences};
use crate::params::{NoBody, NoParams, Params, PathId, uuid};
use crate::problem::Failure;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use edge::{Caller, Json, RawBody, Refusal};
use http::{HeaderMap, StatusCode};
use order_core::marketplace::calls::Notification;
use order_core::marketplace::reads::StoreQuery;
use order_core::marketplace::{MarketplaceName, NewStore, Round, Store, SyncEnd, SyncFailure, SyncRun};
use order_core::{Fault, StoreId, TenantId, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const PAGE_UNLESS_SAID: u32 = 50;
const PAGE_MAX: u32 = 200;
/// Longest that a client waits for the end of a round of syncs.
const ROUND_WAIT: Duration = Duration::from_secs(45);
/// Longest access token of a marketplace, in bytes.
const ACCESS_TOKEN_BYTES_MAX: usize = 4_096;

/// List the stores.
#[utoipa::path(
    get,
    path = "/v1/stores",
    tag = "stores",
    operation_id = "list_stores",
    params(
        ("organization" = Option<String>, Query, description = "Of this organization alone", example = "org-1"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after_store_id" = Option<String>, Query, description = "`next` of the page before", format = "uuid",
            example = "0f5c9ec5-4bb2-8c3c-9c3f-f93fbd6f5a11"),
    ),
    responses((status = 200, description = "Stores, the oldest first", body = crate::schema::stores::StoreList))
)]
pub(crate) async fn list(
    State(api): State<Arc<Api>>,
    caller: Caller,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["organization", "limit", "after_store_id"]);
    let organization = params.text("organization");
    let after = params.parsed("after_store_id", "must be the id of a store", uuid);
    let limit = params.limit(PAGE_UNLESS_SAID, PAGE_MAX);
    params.settle()?;
    let after = match after {
        Some(id) => {
            let store = api.market.store(&caller.tenant, StoreId(id)).await?;
            Some((store.created_at, store.store_id))
        }
        None => None,
    };
    let query = StoreQuery { tenant: caller.tenant.clone(), organization, after, limit };
    let stores = api.app.storage.markets().stores(&query).await?;
    let last = stores.last().filter(|_| stores.len() as u64 == u64::from(limit));
    let next = last.map(|store| store.store_id.to_string());
    let stores: Vec<Value> = stores.iter().map(show).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "stores": stores, "next": next }).to_string()))
}

/// Register a store, or change what is said of it.
///
/// The same organization, marketplace and external id are the same store, with the same sync token.
#[utoipa::path(
    post,
    path = "/v1/stores",
    tag = "stores",
    operation_id = "register_store",
    request_body = crate::schema::stores::NewStore,
    responses((status = 200, description = "The store, with its sync token", body = crate::schema::stores::Store))
)]
pub(crate) async fn register(
    State(api): State<Arc<Api>>,
    caller: Caller,
    _: NoParams,
    Json(body): Json,
) -> Result<Response, Failure> {
    let new = read_new(&caller.tenant, &body)?;
    let (store, token) = api.market.register(new).await?;
    let mut shown = show(&store);
    shown["sync_token"] = token.shown().into();
    Ok(edge::respond::json(StatusCode::OK, shown.to_string()))
}

/// Show a store.
#[utoipa::path(
    get,
    path = "/v1/stores/{store_id}",
    tag = "stores",
    operation_id = "get_store",
    params(("store_id" = String, Path, description = "The store's id", format = "uuid")),
    responses((status = 200, description = "The store", body = crate::schema::stores::Store))
)]
pub(crate) async fn get(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(store_id): PathId,
    _: NoParams,
) -> Result<Response, Failure> {
    let store = api.market.store(&caller.tenant, StoreId(store_id)).await?;
    Ok(edge::respond::json(StatusCode::OK, show(&store).to_string()))
}

/// List what the syncs of a store did.
#[utoipa::path(
    get,
    path = "/v1/stores/{store_id}/runs",
    tag = "stores",
    operation_id = "list_sync_runs",
    params(
        ("store_id" = String, Path, description = "The store's id", format = "uuid"),
        ("limit" = Option<u32>, Query, description = "1 to 200; 50 unless said", minimum = 1, maximum = 200),
        ("after" = Option<String>, Query, description = "`next` of the page before", min_length = 1,
            pattern = "^[A-Za-z0-9_-]+$"),
    ),
    responses((status = 200, description = "Runs, the newest first", body = crate::schema::stores::SyncRunList))
)]
pub(crate) async fn runs(
    State(api): State<Arc<Api>>,
    caller: Caller,
    PathId(store_id): PathId,
    params: Params,
) -> Result<Response, Failure> {
    let mut params = params.read(&["limit", "after"]);
    let store_id = StoreId(store_id);
    let signer = Signer::new(api.app.storage.install(), &caller.tenant).with_filters(store_id.to_string());
    let before = params.place(&signer, Purpose::SyncRuns)?;
    let limit = params.limit(PAGE_UNLESS_SAID, PAGE_MAX);
    params.settle()?;
    api.market.store(&caller.tenant, store_id).await?;
    let runs = api.app.storage.markets().sync_runs(&caller.tenant, store_id, before, limit).await?;
    let last = runs.last().filter(|_| runs.len() as u64 == u64::from(limit));
    let next = last.map(|run| signer.place(Purpose::SyncRuns, run.run));
    let runs: Vec<Value> = runs.iter().map(show_run).collect();
    Ok(edge::respond::json(StatusCode::OK, json!({ "runs": runs, "next": next }).to_string()))
}

fn show(store: &Store) -> Value {
    let counts = &store.counts;
    let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
    json!({
        "store_id": store.store_id.to_string(),
        "source": store.source().map(|source| source.as_str().to_owned()).unwrap_or_default(),
        "organization": store.organization,
        "marketplace": store.marketplace.word(),
        "external_id": store.external_id,
        "name": store.name,
        "currency": store.currency,
        "status": store.status().word(),
        "imports": {
            "pending": counts.pending,
            "success": counts.success,
            "failed": counts.failed,
            "rate_limited": counts.rate_limited,
            "invalid": counts.invalid,
        },
        "last_sync_at": text(store.last_sync_at),
        "next_sync_at": text(store.next_sync_at),
        "created_at": store.created_at.to_string(),
        "updated_at": store.updated_at.to_string(),
    })
}

fn show_run(run: &SyncRun) -> Value {
    json!({
        "run": run.run,
        "started_at": run.started_at.to_string(),
        "ended_at": run.ended_at.map(|moment| moment.to_string()),
        "processed": run.processed,
        "success": run.success,
        "failed": run.failed,
        "rate_limited": run.rate_limited,
        "end": run.end.map(|end| end.word()),
        "detail": run.detail,
    })
}

fn read_new(tenant: &TenantId, body: &Value) -> Result<NewStore, Failure> {
    let known = ["organization", "marketplace", "external_id", "name", "currency", "access_token"];
    let mut offences = Offences::default();
    let new = Object::read(body, "", &known, &mut offences).and_then(|body| {
        for name in known {
            body.required(name, &mut offences);
        }
        let text = |name: &str, offences: &mut Offences| body.text(name, offences).map(str::to_owned);
        let organization = text("organization", &mut offences);
        let marketplace =
            body.parsed("marketplace", "must be etsy, shopify or amazon", marketplace, &mut offences);
        let external_id = text("external_id", &mut offences);
        let name = text("name", &mut offences);
        let currency = body.parsed("currency", "must be three capital letters", currency, &mut offences);
        let token =
            body.text_within("access_token", ACCESS_TOKEN_BYTES_MAX, &mut offences).map(str::to_owned);
        Some(NewStore {
            tenant: tenant.clone(),
            organization: organization?,
            marketplace: marketplace?,
            external_id: external_id?,
            name: name?,
            currency: currency?,
            access_token: token?,
        })
    });
    offences.settle()?;
    new.ok_or_else(|| Fault::internal("a new store was neither read nor refused").into())
}

fn marketplace(word: &str) -> Option<MarketplaceName> {
    MarketplaceName::from_word(word).filter(|name| *name != MarketplaceName::Mock)
}

fn currency(text: &str) -> Option<String> {
    let is_currency = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_uppercase());
    is_currency.then(|| text.to_owned())
}

/// Hear what a marketplace tells of a store.
///
/// For Shopify's webhooks about orders: they are signed with the app's secret (`marketplace.shopify_secret`), and need no other
/// credential. Nothing of the body is believed but which order it is about: that is asked for by the store's next sync, which is due
/// at once.
#[utoipa::path(
    post,
    path = "/v1/stores/{store_id}/notifications",
    tag = "stores",
    operation_id = "hear_of_store",
    params(
        ("store_id" = String, Path, description = "The store's id", format = "uuid"),
        ("X-Shopify-Hmac-Sha256" = Option<String>, Header, description = "The signature of the body, in base64"),
        ("X-Shopify-Shop-Domain" = Option<String>, Header, description = "The shop that it is about: `NAME.myshopify.com`"),
        ("X-Shopify-Topic" = Option<String>, Header, description = "`orders/create`, `orders/updated`, …"),
    ),
    request_body(
        content = Object,
        description = "What Shopify sends",
        content_type = "application/json",
        example = json!({"id": 820_982_911_946_154_508_u64}),
    ),
    responses((status = 204, description = "It was heard"))
)]
pub(crate) async fn hear(
    State(api): State<Arc<Api>>,
    PathId(store_id): PathId,
    _: NoParams,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<Response, Failure> {
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let told = Notification { headers: &headers, body: &body };
    if api.market.hear(StoreId(store_id), &told).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Err(Refusal::Unauthenticated.into())
}

/// Sync the stores that are due.
///
/// What failed, or was not allowed, is tried again where its time has come, and what changed at marketplaces that tell of it is
/// imported: as the role `sync` does every 30 seconds. Of all tenants.
#[utoipa::path(
    post,
    path = "/v1/syncs",
    tag = "stores",
    operation_id = "sync_stores",
    responses((status = 200, description = "What was done; it goes on behind the reply where it takes longer than 45 seconds",
        body = crate::schema::stores::SyncRound))
)]
pub(crate) async fn sync(State(api): State<Arc<Api>>, _: NoParams, _: NoBody) -> Result<Response, Failure> {
    let market = Arc::clone(&api.market);
    // Whoever goes away does not break it off.
    let round = tokio::spawn(async move { market.round(&mut None).await });
    let (round, ended) = match tokio::time::timeout(ROUND_WAIT, round).await {
        Ok(round) => (round.map_err(|error| Fault::internal(error.to_string()))??, true),
        Err(_) => (Round::default(), false),
    };
    let Round { found, synced, faults, failures } = round;
    let failures: Vec<Value> = failures.into_iter().map(show_failure).collect();
    let shown = json!({
        "ended": ended, "found": found, "synced": synced, "faults": faults, "failures": failures,
    });
    Ok(edge::respond::json(StatusCode::OK, shown.to_string()))
}

fn show_failure((store_id, why): (StoreId, SyncFailure)) -> Value {
    let (kind, detail) = match why {
        SyncFailure::Here(error) => {
            let problem = Failure::from(error).into_problem();
            let (kind, detail) = problem.told();
            (kind, detail.to_owned())
        }
        SyncFailure::There { end, detail } => {
            let what = match end {
                SyncEnd::AccessRefused => {
                    "The marketplace refuses the access token: register the store again with another"
                }
                _ => "The marketplace could not be reached; what is due is tried again",
            };
            ("about:blank".to_owned(), detail.map_or(what.to_owned(), |seen| format!("{what} ({seen})")))
        }
    };
    json!({ "store_id": store_id.to_string(), "type": kind, "detail": detail })
}
