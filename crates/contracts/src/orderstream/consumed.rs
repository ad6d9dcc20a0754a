//! Carrying out what messages of Kafka say, for whoever reads them: whatever happens here may happen again, and then changes
//! nothing.

use super::events::{Ack, AckStatus, OrderEvent, Ruling, ack_of};
use super::telling::{self, BY};
use super::{EVENTS, map};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::intake::Accepted;
use order_core::state::Processing;
use order_core::{App, Error, Fault, Order, OrderId, Rejection, TenantId};
use std::sync::Arc;
use uuid::Uuid;

/// Tries at an order that others change at the same time.
const TRIES: usize = 20;

/// Why a message was not carried out, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It never can be: it is parked.
    Never(String),
    /// It may be later: it is held.
    Later(String),
    /// A defect of ours, for the log. It may be of this message alone, which must not keep the others waiting for ever: it is
    /// parked too.
    Defect(String),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        match error {
            Error::Rejection(refused) => Self::Never(refused.to_string()),
            Error::Fault(Fault::Data { .. }) => Self::Never("the database refuses what it says".to_owned()),
            Error::Fault(Fault::Internal { why }) => Self::Defect(why),
            Error::Fault(fault) => Self::Later(fault.to_string()),
        }
    }
}

/// The order that others know by this id: one that was made here, or one that came in as an event.
async fn find(app: &App, tenant: &TenantId, order_id: Uuid) -> Result<Option<Order>, Fault> {
    let here = app.storage.order(tenant, OrderId(order_id)).await?;
    if let Some(order) = here.filter(|order| order.source == telling::source()) {
        return Ok(Some(order));
    }
    match map::foreign_id(tenant, order_id) {
        Some(foreign) => app.storage.order(tenant, foreign).await,
        None => Ok(None),
    }
}

/// Does what an event of another program says. What is to be acknowledged at once comes back, with the order as it is; what
/// is to be worked on first is acknowledged at its end ([`AcksTold`](super::telling::AcksTold)).
///
/// # Errors
/// See [`Undone`].
pub async fn hear(
    app: &App,
    tenant: &TenantId,
    event: &OrderEvent,
) -> Result<Option<(AckStatus, Order)>, Undone> {
    for _ in 0..TRIES {
        let found = match event.order_id {
            Some(order_id) => find(app, tenant, order_id).await.map_err(Error::Fault)?,
            None => None,
        };
        match heard(app, event.ruling(tenant, found.as_ref()), found).await {
            Ok(Heard::Done(ack)) => return Ok(ack.map(|(status, order)| (status, *order))),
            Ok(Heard::Again) | Err(Error::Rejection(Rejection::VersionMismatch { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Undone::Later("others keep changing the order".to_owned()))
}

enum Heard {
    /// It is done.
    Done(Option<(AckStatus, Box<Order>)>),
    /// Somebody else was first: what it means now is another thing.
    Again,
}

async fn heard(app: &App, ruling: Ruling, found: Option<Order>) -> Result<Heard, Error> {
    Ok(match (ruling, found) {
        (Ruling::Accept(intake), _) => match app.accept_by(*intake, BY.into()).await? {
            Accepted::New(_) => Heard::Done(None),
            Accepted::Duplicate { .. } => Heard::Again,
        },
        (Ruling::Bury(intake), _) => match app.accept_by(*intake, BY.into()).await? {
            Accepted::New(order) => {
                let order = change(app, *order, withdraw(false)).await?;
                Heard::Done(Some((AckStatus::Deleted, Box::new(order))))
            }
            Accepted::Duplicate { .. } => Heard::Again,
        },
        (Ruling::Revise(content), Some(order)) => {
            change(app, order, ChangeKind::Revise { content, requeue: true }).await?;
            Heard::Done(None)
        }
        (Ruling::Withdraw, Some(order)) => {
            // Nothing in an order that was made here tells at the end of its work that others wait to hear of it.
            let requeue = order.source.as_str() == EVENTS;
            let order = change(app, order, withdraw(requeue)).await?;
            Heard::Done((!requeue).then(|| (AckStatus::Deleted, Box::new(order))))
        }
        // While something is left to do, the end of that is acknowledged.
        (Ruling::Acknowledge(status), Some(order)) if order.processing == Processing::Done => {
            Heard::Done(Some((status, Box::new(order))))
        }
        (Ruling::Acknowledge(_), _) => Heard::Done(None),
        // Only what was found is changed.
        (Ruling::Revise(_) | Ruling::Withdraw, None) => Heard::Again,
    })
}

/// Ends the work of an order that another program has acknowledged.
///
/// # Errors
/// See [`Undone`].
pub async fn acknowledged(app: &App, tenant: &TenantId, ack: &Ack) -> Result<(), Undone> {
    for _ in 0..TRIES {
        // Another installation's, perhaps.
        let found = find(app, tenant, ack.order_id).await.map_err(Error::Fault)?;
        let Some(order) = found else { return Ok(()) };
        let Some(kind) = meant(ack, &order) else { return Ok(()) };
        match change(app, order, kind).await {
            Ok(_) => return Ok(()),
            Err(Error::Rejection(Rejection::VersionMismatch { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Undone::Later("others keep changing the order".to_owned()))
}

/// What an acknowledgement means for the order as it is now; nothing when it is of a change before the last.
fn meant(ack: &Ack, order: &Order) -> Option<ChangeKind> {
    match (ack.status, ack_of(order)) {
        // Its worker has it deleted already, and so it is here.
        (AckStatus::Deleted, AckStatus::Created | AckStatus::Updated) => Some(withdraw(false)),
        (AckStatus::Created | AckStatus::Updated, AckStatus::Deleted) => None,
        // That of the create comes late, unless its worker says by its clock that it knows of the update.
        (AckStatus::Created, AckStatus::Updated) => {
            ack.processed_at.filter(|at| *at >= order.updated_at).map(|_| ChangeKind::Finish)
        }
        _ => Some(ChangeKind::Finish),
    }
}

fn withdraw(requeue: bool) -> ChangeKind {
    ChangeKind::Withdraw { reason: "deleted over Kafka".to_owned(), by: BY.to_owned(), requeue }
}

async fn change(app: &App, order: Order, kind: ChangeKind) -> Result<Order, Error> {
    let expected_version = Some(order.version);
    let (tenant, source) = (order.tenant, Some(order.source));
    let target = Target { tenant, source, order_id: order.id, expected_version };
    Ok(*app.change_by(target, kind, Arc::from(BY)).await?.order)
}
