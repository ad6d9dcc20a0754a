//! Webhooks of `marketplace`: URLs that are told of syncs. Each is an endpoint as any other, of one organization and one event, told
//! in this contract's words.

use super::refuse::No;
use super::{SharedSecret, map, wire};
use crate::contract::Contract;
use crate::reply;
use axum::Extension;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::response::Response;
use edge::{Json, Room};
use http::StatusCode;
use order_core::Fault;
use order_core::marketplace::Market;
use order_core::webhook::Endpoint;
use order_core::webhook::endpoint::ENDPOINTS_MAX;
use std::sync::Arc;

/// Endpoints that are read at once.
const PAGE: u32 = 200;

/// Register a webhook
///
/// The same organization, event and URL are the same webhook. It is sent what happens after this was answered.
#[utoipa::path(
    post,
    path = "/webhooks/register",
    tag = "webhooks",
    request_body = wire::RegisterWebhook,
    responses(
        (status = 200, description = "The webhook", body = wire::Webhook),
        (status = 400, description = "A field is missing or refused, or the body is no JSON", body = wire::Invalid),
        (status = 409, description = "There are too many webhooks", body = wire::Refused),
    ),
)]
pub(super) async fn register_webhook(
    contract: Contract,
    Extension(market): Extension<Arc<Market>>,
    Extension(shared): Extension<SharedSecret>,
    _: Room,
    Json(body): Json,
) -> Result<Response, No> {
    let deliverer = market.app.deliverer();
    let deliverer =
        deliverer.ok_or_else(|| Fault::internal("this process has no way to deliver webhooks"))?;
    // As far as its text tells: each delivery looks at more.
    let check = |url: &str| deliverer.check(url).map_err(|refused| refused.detail);
    let asked = map::new_webhook(wire::RegisterWebhook::read(&body, check)?, shared.0);
    let endpoint = market.app.register_endpoint(&contract.tenant, asked).await?;
    Ok(reply::json(StatusCode::OK, &map::webhook(&endpoint)))
}

/// List webhooks
///
/// Those of an organization, the oldest first.
#[utoipa::path(
    get,
    path = "/webhooks",
    tag = "webhooks",
    params(("organizationId" = String, Query, description = "Whose", min_length = 1, max_length = 255)),
    responses(
        (status = 200, description = "The webhooks of the organization", body = Vec<wire::Webhook>),
        (status = 400, description = "The organization is missing", body = wire::Invalid),
    ),
)]
pub(super) async fn list_webhooks(
    contract: Contract,
    Extension(market): Extension<Arc<Market>>,
    query: Result<Query<wire::ByOrganization>, QueryRejection>,
) -> Result<Response, No> {
    let organization = query.map(|Query(query)| query).unwrap_or_default().read()?;
    let (mut found, mut before) = (Vec::<Endpoint>::new(), None);
    while (found.len() as u64) < ENDPOINTS_MAX {
        let storage = &market.app.storage;
        let page = storage.endpoints(&contract.tenant, Some(&organization), before, PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        before = page.last().map(|endpoint| endpoint.number);
        found.extend(page);
        if is_last {
            break;
        }
    }
    let shown: Vec<wire::Webhook> = found.iter().rev().map(map::webhook).collect();
    Ok(reply::json(StatusCode::OK, &shown))
}
