//! The action log: what people and keys did to this installation, beside what happened to orders. Each row is committed
//! with the deed that it tells of, and carries the hash of the row before (see [`chain`]).
//!
//! A row names things by their ids. It holds nothing of an order's content, so that an erasure has nothing to look for
//! here; and nothing that is said to explain a deed (reasons, names), for people may be named in it: but for why an event
//! was never sent to a sink, which is told nowhere else, and whoever asks for that is told to name nobody.
//!
//! Who acts is ambient, as the trace is ([`crate::trace`]): the edge says it once, for every route that there is or will
//! be. Workers and followers act for nobody and leave no rows.

pub mod chain;
mod webhooks;

pub use webhooks::endpoint_state;

use crate::api_key::{ApiKey, ApiKeyAction, ApiKeyId};
use crate::app::App;
use crate::clock::Timestamp;
use crate::command::{ChangeKind, Changed, Command, FollowerAction, Reply};
use crate::error::Error;
use crate::ids::{OrderId, TenantId};
use crate::marketplace::{MarketCommand, StoreAction, StoreCommand};
use crate::order::Order;
use crate::order::state::Fulfilment;
use crate::query::FollowerRow;
use crate::sealing::resealing::SecretsCommand;
use crate::webhook::EndpointId;
use crate::webhook::command::{WebhookCommand, WebhookReply};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::net::IpAddr;
use std::sync::Arc;
use uuid::Uuid;

/// Who does something, and how it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// For which tenant.
    pub tenant: TenantId,
    /// The subject of a token, `key:ID`, `local`, or `contract:NAME` for whoever calls a contract without a login. What
    /// takes orders from elsewhere than requests says here which of those it is, as `consumer:NAME`.
    pub by: Arc<str>,
    /// Where the request came from: the other end of the connection, or what a stated proxy says that it was.
    pub address: Option<IpAddr>,
    /// The id of the request.
    pub request_id: Option<String>,
}

tokio::task_local! {
    static ACTOR: Option<Arc<Actor>>;
}

/// Who the present task acts for, if [`within`] has said so. A task that is spawned begins without.
pub fn current() -> Option<Arc<Actor>> {
    ACTOR.try_with(Clone::clone).ok().flatten()
}

/// The name of whoever the present task acts for.
pub fn current_name() -> Option<Arc<str>> {
    ACTOR.try_with(|actor| actor.as_ref().map(|actor| Arc::clone(&actor.by))).ok().flatten()
}

/// Runs `future` for `actor`.
pub async fn within<F: Future>(actor: Option<Arc<Actor>>, future: F) -> F::Output {
    ACTOR.scope(actor, future).await
}

/// Kinds of deeds. Their names are for ever; more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionKind {
    /// An API key was made.
    KeyCreated,
    /// It got another secret.
    KeyRotated,
    /// It was ended.
    KeyRevoked,
    /// A follower carries nothing on.
    FollowerPaused,
    /// It goes on.
    FollowerResumed,
    /// It goes on from another place.
    FollowerReplayed,
    /// What is parked for it is sent again.
    FollowerRedriven,
    /// The same, but for the events that its sink refused.
    FollowerSkipped,
    /// An endpoint of webhooks was made.
    EndpointCreated,
    /// What it says was changed.
    EndpointChanged,
    /// It is sent nothing; what it hears of waits for it.
    EndpointPaused,
    /// It is sent what it hears of again.
    EndpointEnabled,
    /// It is sent nothing, and nothing new is kept for it: somebody said so, or it takes nothing.
    EndpointDisabled,
    /// It got another secret.
    EndpointRotated,
    /// It was tried out.
    EndpointTested,
    /// It was taken away.
    EndpointDeleted,
    /// One delivery is made once more.
    DeliveryResent,
    /// Deliveries are made that were given up.
    DeliveriesRecovered,
    /// Deliveries are made that were missed.
    DeliveriesReplayed,
    /// Parked orders are sent to work again.
    RedriveStarted,
    /// An order was withdrawn.
    OrderWithdrawn,
    /// A person's data was blanked.
    OrderErased,
    /// A store was registered, or what is said of it changed.
    StoreRegistered,
    /// An import is to be tried again.
    ImportRetried,
    /// A copy of the database was asked for.
    BackupStarted,
    /// A copy became the database.
    DatabaseRestored,
    /// All of it was carried over to another storage.
    DatabaseMoved,
    /// Secrets at rest were sealed anew under another key.
    SecretsResealed,
    /// Credentials that were not good were refused: how many of an address, for one reason, in a while.
    LoginsRefused,
}

impl ActionKind {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::KeyCreated,
        Self::KeyRotated,
        Self::KeyRevoked,
        Self::FollowerPaused,
        Self::FollowerResumed,
        Self::FollowerReplayed,
        Self::FollowerRedriven,
        Self::FollowerSkipped,
        Self::EndpointCreated,
        Self::EndpointChanged,
        Self::EndpointPaused,
        Self::EndpointEnabled,
        Self::EndpointDisabled,
        Self::EndpointRotated,
        Self::EndpointTested,
        Self::EndpointDeleted,
        Self::DeliveryResent,
        Self::DeliveriesRecovered,
        Self::DeliveriesReplayed,
        Self::RedriveStarted,
        Self::OrderWithdrawn,
        Self::OrderErased,
        Self::StoreRegistered,
        Self::ImportRetried,
        Self::BackupStarted,
        Self::DatabaseRestored,
        Self::DatabaseMoved,
        Self::SecretsResealed,
        Self::LoginsRefused,
    ];

    /// Its name in rows and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::KeyCreated => "key.created",
            Self::KeyRotated => "key.rotated",
            Self::KeyRevoked => "key.revoked",
            Self::FollowerPaused => "follower.paused",
            Self::FollowerResumed => "follower.resumed",
            Self::FollowerReplayed => "follower.replayed",
            Self::FollowerRedriven => "follower.redriven",
            Self::FollowerSkipped => "follower.skipped",
            Self::EndpointCreated => "endpoint.created",
            Self::EndpointChanged => "endpoint.changed",
            Self::EndpointPaused => "endpoint.paused",
            Self::EndpointEnabled => "endpoint.enabled",
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointRotated => "endpoint.rotated",
            Self::EndpointTested => "endpoint.tested",
            Self::EndpointDeleted => "endpoint.deleted",
            Self::DeliveryResent => "delivery.resent",
            Self::DeliveriesRecovered => "deliveries.recovered",
            Self::DeliveriesReplayed => "deliveries.replayed",
            Self::RedriveStarted => "redrive.started",
            Self::OrderWithdrawn => "order.withdrawn",
            Self::OrderErased => "order.erased",
            Self::StoreRegistered => "store.registered",
            Self::ImportRetried => "import.retried",
            Self::BackupStarted => "backup.started",
            Self::DatabaseRestored => "database.restored",
            Self::DatabaseMoved => "database.moved",
            Self::SecretsResealed => "secrets.resealed",
            Self::LoginsRefused => "logins.refused",
        }
    }
}

/// What is to be recorded.
#[derive(Debug, Clone)]
pub struct NewAction {
    /// Who.
    pub actor: Arc<Actor>,
    /// What.
    pub kind: ActionKind,
    /// To what: the id of a key, an order, a redrive; the name of a follower or a backup; an epoch; of logins why they were
    /// refused.
    pub subject: String,
    /// More about it: a JSON object.
    pub details: String,
    /// When.
    pub now: Timestamp,
}

/// See [`Command::Recorded`].
#[derive(Debug, Clone)]
pub struct Recorded {
    /// What is recorded if the command is not rejected and changes something.
    pub action: NewAction,
    /// The deed; `None` for one that happens outside of the storage.
    pub command: Option<Command>,
}

/// A row of the action log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// 1, 2, 3 … over all tenants, without gaps.
    pub number: u64,
    /// In which history of the database.
    pub epoch: u32,
    /// For which tenant.
    pub tenant: TenantId,
    /// Who.
    pub by: String,
    /// From where.
    pub address: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
    /// What: the name of an [`ActionKind`], or of one that a later version knows.
    pub kind: String,
    /// To what.
    pub subject: String,
    /// More about it: a JSON object.
    pub details: String,
    /// SHA-256 over the state of what it was done to, before; `None` where there was none, or nothing has one.
    pub before: Option<[u8; 32]>,
    /// The same, after.
    pub after: Option<[u8; 32]>,
    /// When.
    pub at: Timestamp,
    /// The hash of the row before.
    pub previous: [u8; 32],
    /// Of all of the above.
    pub hash: [u8; 32],
}

/// What a deed changes: the storage takes its state before and after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// An API key.
    Key(ApiKeyId),
    /// A follower.
    Follower(String),
    /// An order.
    Order(OrderId),
    /// An endpoint of webhooks.
    Endpoint(EndpointId),
}

impl Command {
    /// What is told of this command when a person or a key gives it; `None` for what is told elsewhere (an order's
    /// journal) or is no deed.
    fn deed(&self) -> Option<(ActionKind, String, Value)> {
        match self {
            Self::Change(change) => {
                let kind = match change.kind {
                    ChangeKind::Withdraw { .. } => ActionKind::OrderWithdrawn,
                    ChangeKind::Erase => ActionKind::OrderErased,
                    // The redrive of one order that is no job tells itself in the journal, with who asked.
                    ChangeKind::Revise { .. }
                    | ChangeKind::Ship { .. }
                    | ChangeKind::Deliver { .. }
                    | ChangeKind::Redrive { .. }
                    | ChangeKind::Finish => return None,
                };
                Some((kind, change.order_id.to_string(), json!({})))
            }
            Self::Follower(command) => {
                let (kind, details) = follower_deed(&command.action)?;
                Some((kind, command.name.clone(), details))
            }
            Self::StartRedrive(start) => {
                // Not what may be of a person: no erasure reaches this.
                let filter = &start.filter;
                let details = json!({
                    "orders": filter.order_ids.as_ref().map(Vec::len),
                    "source": filter.source.as_ref().map(crate::SourceId::as_str),
                    "fulfilment": filter.fulfilment.map(Fulfilment::word),
                    "withdrawn": filter.withdrawn,
                    "accepted_from": filter.accepted_from.map(|from| from.to_string()),
                    "accepted_to": filter.accepted_to.map(|to| to.to_string()),
                });
                Some((ActionKind::RedriveStarted, start.redrive_id.to_string(), details))
            }
            Self::ApiKey(command) => {
                let (kind, details) = match &command.action {
                    ApiKeyAction::Create(new, _) => (
                        ActionKind::KeyCreated,
                        json!({ "scopes": new.scopes, "expires_at": new.expires_at.map(|end| end.to_string()) }),
                    ),
                    ApiKeyAction::Rotate { previous_until, .. } => {
                        (ActionKind::KeyRotated, json!({ "previous_until": previous_until.to_string() }))
                    }
                    ApiKeyAction::Revoke => (ActionKind::KeyRevoked, json!({})),
                    ApiKeyAction::Touch => return None,
                };
                Some((kind, command.key_id.to_string(), details))
            }
            Self::Secrets(command) => match &**command {
                SecretsCommand::Keep { .. } => None,
                SecretsCommand::Reseal { column, key_id, rows } => {
                    let details = json!({ "key_id": key_id.to_string(), "secrets": rows.len() });
                    Some((ActionKind::SecretsResealed, column.to_string(), details))
                }
            },
            Self::Market(command) => market_deed(command),
            Self::Webhook(command) => webhooks::deed(command),
            Self::Accept(_)
            | Self::Consume(_)
            | Self::Claim(_)
            | Self::Heartbeat(_)
            | Self::Settle(_)
            | Self::Advance(_)
            | Self::Share(_)
            | Self::StepRedrive(_)
            | Self::Recorded(_)
            | Self::Sweep { .. }
            | Self::SweepInbox { .. }
            | Self::Probe => None,
        }
    }

    /// What is to be done, without what is recorded of it; a record alone is itself.
    pub fn itself(&self) -> &Self {
        match self {
            Self::Recorded(recorded) => recorded.command.as_ref().map_or(self, Self::itself),
            other => other,
        }
    }

    /// What it changes that has a state to take.
    pub fn touched(&self) -> Option<Touched> {
        match self {
            Self::Change(change) => Some(Touched::Order(change.order_id)),
            Self::Follower(command) => Some(Touched::Follower(command.name.clone())),
            Self::ApiKey(command) => Some(Touched::Key(command.key_id)),
            Self::Webhook(command) => match &**command {
                WebhookCommand::Endpoint(command) => Some(Touched::Endpoint(command.endpoint_id)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl Reply {
    /// Whether something was changed, as far as the reply tells.
    pub fn changed(&self) -> bool {
        match self {
            Self::Webhook(reply) => !matches!(**reply, WebhookReply::Again(0)),
            other => !matches!(
                other,
                Self::Changed(Changed { changed: false, .. }) | Self::Redriven(0) | Self::Resealed(0)
            ),
        }
    }
}

impl App {
    /// `command`, to be recorded with its deed if somebody acts and it is one.
    pub(crate) fn recorded(&self, command: Command) -> Command {
        match (current(), command.deed()) {
            (Some(actor), Some((kind, subject, details))) => {
                let (details, now) = (details.to_string(), self.clock.now());
                let action = NewAction { actor, kind, subject, details, now };
                Command::Recorded(Box::new(Recorded { action, command: Some(command) }))
            }
            _ => command,
        }
    }

    /// Records a deed that happens outside of the storage, if somebody acts.
    ///
    /// # Errors
    /// Faults of storage: then it should not be done.
    pub async fn record(&self, kind: ActionKind, subject: &str, details: &Value) -> Result<(), Error> {
        let Some(actor) = current() else { return Ok(()) };
        let (subject, details) = (subject.to_owned(), details.to_string());
        let action = NewAction { actor, kind, subject, details, now: self.clock.now() };
        let recorded = Recorded { action, command: None };
        self.lanes.submit(Command::Recorded(Box::new(recorded))).await.map(drop)
    }
}

/// What is told of what is done to a store: what a sync does, and an import that a client asks for, is told beside the store.
fn market_deed(command: &MarketCommand) -> Option<(ActionKind, String, Value)> {
    let MarketCommand::Store(StoreCommand { store_id, action, .. }) = command else { return None };
    let (kind, details) = match action {
        StoreAction::Register(said) => {
            (ActionKind::StoreRegistered, json!({ "marketplace": said.marketplace.word() }))
        }
        StoreAction::Retry { receipt } => (ActionKind::ImportRetried, json!({ "receipt": receipt.as_str() })),
        StoreAction::Begin { .. }
        | StoreAction::Hear { .. }
        | StoreAction::Settle(_)
        | StoreAction::ClaimSync { .. }
        | StoreAction::ExtendSync { .. }
        | StoreAction::Note { .. }
        | StoreAction::KeepPlace { .. }
        | StoreAction::ClaimDue { .. }
        | StoreAction::EndSync { .. } => return None,
    };
    Some((kind, store_id.to_string(), details))
}

/// What is told of what is done to a follower.
fn follower_deed(action: &FollowerAction) -> Option<(ActionKind, Value)> {
    Some(match action {
        FollowerAction::Ensure { .. } => return None,
        FollowerAction::Pause => (ActionKind::FollowerPaused, json!({})),
        FollowerAction::Resume => (ActionKind::FollowerResumed, json!({})),
        FollowerAction::Replay(to) => {
            (ActionKind::FollowerReplayed, json!({ "epoch": to.epoch, "positions": to.positions }))
        }
        FollowerAction::ReplayRange { from, to } => (
            ActionKind::FollowerReplayed,
            json!({ "epoch": from.epoch, "positions": from.positions, "up_to": to.positions }),
        ),
        FollowerAction::Redrive { orders, skip: None } => {
            (ActionKind::FollowerRedriven, json!({ "orders": named(orders.as_deref()) }))
        }
        FollowerAction::Redrive { orders, skip: Some(reason) } => {
            (ActionKind::FollowerSkipped, json!({ "orders": named(orders.as_deref()), "reason": reason }))
        }
    })
}

/// The orders that are named, if not all are meant.
fn named(orders: Option<&[OrderId]>) -> Option<Vec<String>> {
    orders.map(|orders| orders.iter().map(OrderId::to_string).collect())
}

/// The state of a key, as a hash.
pub fn key_state(key: &ApiKey) -> [u8; 32] {
    let moment = |moment: Option<Timestamp>| moment.map_or(String::new(), |moment| moment.to_string());
    state(&[
        &key.key_id.to_string(),
        key.tenant.as_str(),
        &key.name,
        &key.scopes,
        &chain::hex(&key.hash.0),
        &key.previous.map_or(String::new(), |previous| previous.until.to_string()),
        &moment(key.expires_at),
        &moment(key.rotated_at),
        &moment(key.revoked_at),
    ])
}

/// The state of a follower, as a hash.
pub fn follower_state(row: &FollowerRow) -> [u8; 32] {
    let positions = format!("{:?}", row.cursor.positions);
    let replay = row.replay.as_ref().map(|replay| format!("{:?} {:?}", replay.next, replay.up_to));
    let (paused, epoch) = (row.paused.to_string(), row.cursor.epoch.to_string());
    let parts = [&*row.name, &row.sink, &paused, &epoch, &positions];
    state(&parts.into_iter().chain(replay.as_deref()).collect::<Vec<_>>())
}

/// The state of an order, as a hash: where it stands, nothing of what is in it.
pub fn order_state(order: &Order) -> [u8; 32] {
    state(&[
        &order.id.to_string(),
        order.tenant.as_str(),
        &order.version.to_string(),
        order.processing.word(),
        order.fulfilment.word(),
        &order.withdrawn.to_string(),
    ])
}

fn state(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// Whoever showed credentials that were not good, at `address`; told to `tenant`, which runs the installation.
pub fn nobody(tenant: TenantId, address: Option<IpAddr>) -> Actor {
    Actor { tenant, by: "nobody".into(), address, request_id: None }
}

/// For whoever restores a database, or acts on it otherwise without a server: who sits at the machine.
pub fn local() -> Actor {
    Actor { tenant: TenantId::default_tenant(), by: "local".into(), address: None, request_id: None }
}

/// The row behind `head` that tells of `action`.
pub fn row(
    head: &chain::Link,
    (installation_id, epoch): (Uuid, u32),
    action: &NewAction,
    (before, after): (Option<[u8; 32]>, Option<[u8; 32]>),
) -> Action {
    let NewAction { actor, kind, subject, details, now } = action;
    let mut row = Action {
        number: head.number + 1,
        epoch,
        tenant: actor.tenant.clone(),
        by: actor.by.as_ref().to_owned(),
        address: actor.address.map(|address| address.to_string()),
        request_id: actor.request_id.clone(),
        kind: kind.name().to_owned(),
        subject: subject.clone(),
        details: details.clone(),
        before,
        after,
        at: *now,
        previous: head.hash,
        hash: [0; 32],
    };
    row.hash = chain::hash(installation_id, &row);
    row
}
