//! `marketplace` ⇄ what is behind it.

use super::mock::{self, Verdict};
use super::refuse::No;
use super::wire::{
    Found, ImportFailure, ImportReply, ImportSuccess, NotFound, RegisterStore, RegisterWebhook, SyncState,
    Validate, Validated, Webhook,
};
use crate::{exact, reply};
use axum::response::Response;
use http::StatusCode;
use order_core::marketplace::{Import, NewStore, Store};
use order_core::sealing::Secret;
use order_core::webhook::Endpoint;
use order_core::webhook::endpoint::{Dialect, EndpointState};
use order_core::webhook::registering::RegisteredEndpoint;
use order_core::{TenantId, Timestamp};

/// What the mock marketplace answers; `now` is when it is asked.
///
/// # Errors
/// [`No::MarketplaceBusy`].
pub(super) fn validated(asked: Validate, now: Timestamp) -> Result<Response, No> {
    let said = match mock::verdict(&asked.receipt) {
        Verdict::RateLimited => return Err(No::MarketplaceBusy),
        Verdict::Unknown => Validated::NotFound(NotFound { status: false }),
        Verdict::Found { order_id, amount } => {
            let (currency, imported_at_utc) = (asked.currency, now.millis_text());
            Validated::Found(Found { status: true, order_id, amount, currency, imported_at_utc })
        }
    };
    Ok(reply::json(StatusCode::OK, &said))
}

/// Wire → core.
pub(super) fn new_store(tenant: TenantId, asked: RegisterStore) -> NewStore {
    NewStore {
        tenant,
        organization: asked.organization_id,
        marketplace: asked.marketplace.name(),
        external_id: asked.external_store_id,
        name: asked.store_name,
        currency: asked.currency,
        access_token: asked.access_token,
    }
}

/// What became of a receipt, as this contract tells it.
pub(super) fn imported(import: &Import) -> ImportReply {
    match &import.result {
        Some(result) => ImportReply::Success(ImportSuccess {
            success: true,
            order_id: result.external_order_id.clone(),
            amount: exact::number(result.amount),
            currency: result.currency.clone(),
            imported_at: result.imported_at.millis_text(),
        }),
        None => ImportReply::Failure(ImportFailure { success: false, error: import.refusal().to_owned() }),
    }
}

/// How a store is doing, as this contract tells it.
pub(super) fn sync_state(store: &Store) -> SyncState {
    SyncState {
        last_sync_at: store.last_sync_at.map(Timestamp::millis_text),
        imported_orders: store.counts.success,
        sync_status: store.status().word(),
        rate_limited_count: store.counts.rate_limited,
    }
}

/// Wire → core.
pub(super) fn new_webhook(asked: RegisterWebhook, unless_said: Option<Secret>) -> RegisteredEndpoint {
    RegisteredEndpoint {
        dialect: Dialect::Marketplace,
        organization: asked.organization_id,
        listens: asked.event,
        url: asked.target_url,
        secret: asked.secret,
        unless_said,
    }
}

/// A webhook, as this contract tells of it.
pub(super) fn webhook(endpoint: &Endpoint) -> Webhook {
    Webhook {
        id: endpoint.endpoint_id.to_string(),
        organization_id: endpoint.organization.clone().unwrap_or_default(),
        event: endpoint.listens.text(),
        target_url: endpoint.url.clone(),
        is_active: endpoint.state == EndpointState::Active,
    }
}
