//! Carrying out what messages of Kafka say, for whoever reads them: whatever happens here may happen again, and then changes
//! nothing.

use super::events::{Ack, AckStatus, OrderEvent, Ruling};
use super::history::{self, Known, Open};
use super::map;
use super::telling::{self, BY};
use order_core::change::Target;
use order_core::command::ChangeKind;
use order_core::intake::Accepted;
use order_core::state::Processing;
use order_core::{App, Error, Fault, Order, OrderId, Rejection, TenantId, Timestamp};
use std::sync::Arc;
use uuid::Uuid;

/// How far a worker's clock may be behind ours, in milliseconds, where its acknowledgement can hardly be of anything else.
const SLOW_MS: i64 = 5_000;
/// Why an order is withdrawn, for people.
const DELETED: &str = "deleted over Kafka";
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

/// The order that others know by this id: one that was made here, of whichever tenant, or one that came in as an event, which
/// is `tenant`'s.
async fn find(app: &App, tenant: &TenantId, order_id: Uuid) -> Result<Option<Order>, Fault> {
    let (storage, here) = (&app.storage, OrderId(order_id));
    if let Some(owner) = storage.owner(here).await? {
        let order = storage.order(&owner, here).await?;
        if let Some(order) = order.filter(|order| order.source == telling::source()) {
            return Ok(Some(order));
        }
    }
    match map::foreign_id(tenant, order_id) {
        Some(foreign) => storage.order(tenant, foreign).await,
        None => Ok(None),
    }
}

/// Does what an event of another program says; an order that it makes is `tenant`'s. What is to be acknowledged at once comes
/// back, with the order as it is; what is to be worked on first is acknowledged at its end
/// ([`AcksTold`](super::telling::AcksTold)).
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
        match heard(app, tenant, event, found).await {
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
    /// The order is another one now, and so is what the event means for it.
    Again,
}

async fn heard(
    app: &App,
    tenant: &TenantId,
    event: &OrderEvent,
    found: Option<Order>,
) -> Result<Heard, Error> {
    let known = match &found {
        Some(order) => Some((order, known(app, order, event).await?)),
        None => None,
    };
    Ok(match (event.ruling(tenant, known), found) {
        (Ruling::Accept(intake), _) => match app.accept_by(*intake, BY.into()).await? {
            Accepted::New(_) => Heard::Done(None),
            Accepted::Duplicate { .. } => Heard::Again,
        },
        (Ruling::Bury(intake), _) => {
            app.accept_withdrawn(*intake, DELETED, BY.into()).await?;
            Heard::Again
        }
        (Ruling::Revise(content), Some(order)) => {
            let order = change(app, order, ChangeKind::Revise { content, requeue: true }).await?;
            // It was so already, by whatever way: then there is no work to wait for.
            let is_done = order.processing == Processing::Done;
            Heard::Done(is_done.then(|| (AckStatus::Updated, Box::new(order))))
        }
        (Ruling::Withdraw, Some(order)) => {
            // Its processor hears of it, and the end of that work is acknowledged.
            change(app, order, withdraw(true)).await?;
            Heard::Done(None)
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

/// What is known of an order, as far as an event needs it.
async fn known(app: &App, order: &Order, event: &OrderEvent) -> Result<Known, Error> {
    Ok(match event.content().filter(|_| !order.withdrawn) {
        Some(content) => history::known(app.storage.as_ref(), order, content).await?,
        None => Known { at: order.updated_at, seen: false },
    })
}

/// Ends the work of an order that another program has acknowledged. Orders that came in as events are `tenant`'s.
///
/// # Errors
/// See [`Undone`].
pub async fn acknowledged(app: &App, tenant: &TenantId, ack: &Ack) -> Result<(), Undone> {
    for _ in 0..TRIES {
        // Another installation's, perhaps.
        let found = find(app, tenant, ack.order_id).await.map_err(Error::Fault)?;
        let Some(order) = found else { return Ok(()) };
        let open = history::open(app.storage.as_ref(), &order).await.map_err(Error::Fault)?;
        let Some(kind) = meant(ack, &order, &open) else { return Ok(()) };
        match change(app, order, kind).await {
            Ok(_) => return Ok(()),
            Err(Error::Rejection(Rejection::VersionMismatch { .. })) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Undone::Later("others keep changing the order".to_owned()))
}

/// What an acknowledgement means for the order as it is now; nothing when it is of a change before the last.
fn meant(ack: &Ack, order: &Order, open: &Open) -> Option<ChangeKind> {
    match (ack.status, order.withdrawn) {
        // Its worker has it deleted already, and so it is here.
        (AckStatus::Deleted, false) => Some(withdraw(false)),
        (AckStatus::Deleted, true) => Some(ChangeKind::Finish),
        (AckStatus::Created | AckStatus::Updated, true) => None,
        (AckStatus::Created | AckStatus::Updated, false) => {
            is_of_last(ack, open).then_some(ChangeKind::Finish)
        }
    }
}

/// Whether an acknowledgement is of the last content that an order got. It does not name one: its worker's clock tells.
fn is_of_last(ack: &Ack, open: &Open) -> bool {
    // As it is written, in messages of both sides.
    let millis = |at: Timestamp| at.micros().div_euclid(1_000);
    let known_of_it = |slow: i64| ack.processed_at.map(|at| millis(at) + slow >= millis(open.since));
    match ack.status {
        // It can be of nothing else.
        _ if open.is_create => true,
        // That of the create comes late, unless its worker knows of the update.
        AckStatus::Created => known_of_it(0) == Some(true),
        _ if open.contents > 1 => known_of_it(0) != Some(false),
        // Most likely: only that of an update that was done long ago comes again.
        _ => known_of_it(SLOW_MS) != Some(false),
    }
}

fn withdraw(requeue: bool) -> ChangeKind {
    ChangeKind::Withdraw { reason: DELETED.to_owned(), by: BY.to_owned(), requeue }
}

async fn change(app: &App, order: Order, kind: ChangeKind) -> Result<Order, Error> {
    let expected_version = Some(order.version);
    let (tenant, source) = (order.tenant, Some(order.source));
    let target = Target { tenant, source, order_id: order.id, expected_version };
    Ok(*app.change_by(target, kind, Arc::from(BY)).await?.order)
}
