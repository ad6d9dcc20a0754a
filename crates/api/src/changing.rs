//! What the doors to changes have in common.

use crate::Api;
use crate::if_match::IfMatch;
use crate::problem::Failure;
use edge::Caller;
use order_core::change::Target;
use order_core::command::{ChangeKind, Changed};
use order_core::{Error, Fault, Order, OrderId, Rejection};

/// Tries to change an order that keeps being changed by others.
const TRIES_MAX: u32 = 16;

/// Changes an order, whatever it is like; or, with `if_match`, one of the versions that it admits.
pub(crate) async fn change(
    api: &Api,
    caller: &Caller,
    order_id: OrderId,
    if_match: Option<&IfMatch>,
    kind: ChangeKind,
) -> Result<Changed, Failure> {
    match if_match {
        Some(tags @ IfMatch::Tags(_)) => {
            change_as_read(api, caller, order_id, tags, |_| Ok(kind.clone())).await
        }
        Some(IfMatch::Any) | None => Ok(api.app.change(target(caller, order_id, None), kind).await?),
    }
}

/// Makes a change of an order out of what the order is like, which must be one of the versions that `if_match` admits.
/// When somebody else changes it in between, that is done again with what it is like then.
pub(crate) async fn change_as_read(
    api: &Api,
    caller: &Caller,
    order_id: OrderId,
    if_match: &IfMatch,
    make: impl Fn(&Order) -> Result<ChangeKind, Failure>,
) -> Result<Changed, Failure> {
    for _ in 0..TRIES_MAX {
        let order = api.app.storage.order(&caller.tenant, order_id).await?.ok_or(Rejection::OrderUnknown)?;
        if_match.check(&order)?;
        let kind = make(&order)?;
        match api.app.change(target(caller, order_id, Some(order.version)), kind).await {
            Err(Error::Rejection(Rejection::VersionMismatch { .. })) => {}
            Ok(changed) => return Ok(changed),
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::overloaded().into())
}

fn target(caller: &Caller, order_id: OrderId, expected_version: Option<u64>) -> Target {
    Target { tenant: caller.tenant.clone(), source: None, order_id, expected_version }
}
