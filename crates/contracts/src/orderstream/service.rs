//! What this contract does, whichever way it is asked: over HTTP or gRPC.

use super::events::is_tombstone;
use super::refuse::No;
use super::wire::{Became, Upsert};
use super::{NAME, map};
use crate::contract::Contract;
use order_core::command::{ChangeKind, Changed};
use order_core::intake::Accepted;
use order_core::state::Processing;
use order_core::{Error, Order, Rejection};
use std::time::Duration;
use uuid::Uuid;

/// The order that a request was about, and what became of it.
pub(super) struct Outcome {
    pub(super) order: Order,
    pub(super) became: Became,
}

/// Carries a request out, and waits for its acknowledgement for at most `patience`.
pub(super) async fn upsert(contract: &Contract, upsert: Upsert, patience: Duration) -> Result<Outcome, No> {
    let (order, became) = match upsert {
        Upsert::Create { user_id, payload } => {
            let (tenant, source) = (contract.tenant.clone(), contract.source.clone());
            let intake = map::intake(tenant, source, user_id, payload);
            match contract.accept_scattered(intake).await? {
                Accepted::New(order) | Accepted::Duplicate { order, .. } => (*order, Became::Created),
            }
        }
        Upsert::Update { order_id, payload } => {
            let order = order(contract, order_id).await?;
            // The user of an order stays who it is.
            let content = Box::new(map::content(order.content.customer.clone(), payload));
            let kind = ChangeKind::Revise { content, requeue: true };
            (change(contract, order, kind).await?, Became::Updated)
        }
        Upsert::Delete { order_id } => {
            let order = order(contract, order_id).await?;
            let by = contract.by.to_string();
            let kind = ChangeKind::Withdraw { reason: format!("deleted over {NAME}"), by, requeue: true };
            (change(contract, order, kind).await?, Became::Deleted)
        }
    };
    acknowledged(contract, order, became, patience).await
}

/// Waits for the end of the work that a request made.
async fn acknowledged(
    contract: &Contract,
    order: Order,
    became: Became,
    patience: Duration,
) -> Result<Outcome, No> {
    let order = if patience.is_zero() { order } else { contract.worked(order, patience).await };
    match order.processing {
        Processing::Done if order.withdrawn && became == Became::Updated => Err(conflict(contract, &order)),
        Processing::Done => Ok(Outcome { order, became }),
        // What waits for an operator is not acknowledged either, and no less safe.
        Processing::Queued | Processing::Running | Processing::Parked => {
            Ok(Outcome { order, became: Became::Pending })
        }
    }
}

/// The order that clients know by this id: one that was made here, or one that came in under an id of others.
pub(super) async fn order(contract: &Contract, order_id: Uuid) -> Result<Order, No> {
    let here = contract.order_of_any_source(order_core::OrderId(order_id)).await?;
    if let Some(order) = here.filter(|order| order.source == contract.source) {
        return Ok(order);
    }
    let foreign = map::foreign_id(&contract.tenant, order_id).ok_or(No::OrderUnknown)?;
    let order = contract.order_of_any_source(foreign).await?;
    order.filter(|order| !is_tombstone(order)).ok_or(No::OrderUnknown)
}

/// The newest order of a user with an external id.
pub(super) async fn by_external(contract: &Contract, text: &str, user_id: Uuid) -> Result<Order, No> {
    let external = |source| map::external(&contract.tenant, source, user_id, text);
    let here = contract.order_by_external(&external(contract.source.clone())).await?;
    let foreign = contract.order_by_external(&external(map::events_source())).await?;
    here.into_iter().chain(foreign).max_by_key(|order| order.number).ok_or(No::OrderUnknown)
}

async fn change(contract: &Contract, order: Order, kind: ChangeKind) -> Result<Order, No> {
    let deletes = matches!(kind, ChangeKind::Withdraw { .. });
    match contract.change(&order, kind).await {
        Ok(Changed { changed: false, order }) if deletes => Err(conflict(contract, &order)),
        Ok(Changed { order, .. }) => Ok(*order),
        Err(Error::Rejection(Rejection::IllegalChange { withdrawn, .. })) => {
            Err(conflict(contract, &Order { withdrawn, ..order }))
        }
        Err(error) => Err(crate::refuse::Denied::from(error).into()),
    }
}

fn conflict(contract: &Contract, order: &Order) -> No {
    let status = map::status(order, contract.now());
    No::Conflict { order_id: map::shown_id(order).to_string(), status }
}
