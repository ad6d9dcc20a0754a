//! What a batch names: known before anything is asked of the database.

use order_core::command::{Accept, ChangeKind, Command, FollowerAction};
use order_core::ids::{OrderId, Shard};
use order_core::inbox::Consume;
use order_core::marketplace::{MarketCommand, StoreAction};
use order_core::webhook::command::WebhookCommand;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// An idempotency key: tenant, route, key.
pub(super) type Key<'b> = (&'b str, &'b str, &'b str);

/// An order that a command names.
#[derive(Default, Clone, Copy)]
pub(super) struct Named<'b> {
    /// Whether it may be new.
    pub(super) accept: Option<&'b Accept>,
    /// Whether it may change, and its work with it.
    pub(super) work: bool,
    /// Whether a try at its work ends.
    pub(super) settled: bool,
}

impl Named<'_> {
    /// Whether nothing happens to it but that a try ends.
    pub(super) fn only_settled(&self) -> bool {
        self.settled && !self.work && self.accept.is_none()
    }
}

/// See the module. Whatever is locked is locked in the order of these members, and each of them in the order of its keys:
/// so no two commits ever wait for each other.
#[derive(Default)]
pub(super) struct Plan<'b> {
    /// Shards whose orders or journal may change.
    pub(super) heads: BTreeSet<Shard>,
    pub(super) latches: BTreeSet<&'static str>,
    pub(super) followers: BTreeSet<&'b str>,
    pub(super) redrives: BTreeSet<Uuid>,
    pub(super) stores: BTreeSet<Uuid>,
    pub(super) budgets: BTreeSet<&'b str>,
    /// By key, the accept that uses it first.
    pub(super) keys: BTreeMap<Key<'b>, &'b Accept>,
    /// By tenant, consumer and id, what a message causes.
    pub(super) messages: BTreeMap<Key<'b>, &'b Consume>,
    /// By shard and id; in the order in which they are named.
    pub(super) orders: BTreeMap<OrderId, Named<'b>>,
    /// The orders that may be new, in the order of their commands.
    pub(super) accepts: Vec<OrderId>,
}

impl<'b> Plan<'b> {
    /// What `commands` name; with the heads of all shards when `all_heads`.
    pub(super) fn of(commands: &'b [Command], shards: u16, all_heads: bool) -> Self {
        let mut plan = Self::default();
        if all_heads {
            plan.heads.extend((0..shards).map(Shard));
        }
        for command in commands {
            plan.add(command, shards);
        }
        plan
    }

    fn add(&mut self, command: &'b Command, shards: u16) {
        match command {
            Command::Accept(accept) => {
                self.heads.insert(accept.order_id.shard(shards));
                let named = self.orders.entry(accept.order_id).or_default();
                if named.accept.is_none() {
                    named.accept = Some(accept);
                    self.accepts.push(accept.order_id);
                }
                if let Some(key) = &accept.intake.key {
                    let key = (accept.intake.tenant.as_str(), key.route, key.key.as_str());
                    self.keys.entry(key).or_insert(accept);
                }
            }
            Command::Change(change) => {
                self.changed(change.order_id, shards);
                if change.kind == ChangeKind::Erase {
                    self.latches.insert("terms");
                }
            }
            Command::Consume(consume) => {
                self.changed(consume.change.order_id, shards);
                self.messages.entry(message_key(consume)).or_insert(consume);
            }
            Command::Settle(settle) => {
                self.heads.insert(settle.order_id.shard(shards));
                self.orders.entry(settle.order_id).or_default().settled = true;
            }
            Command::Advance(advance) => drop(self.followers.insert(&advance.follower)),
            Command::Share(share) => drop(self.followers.insert(&share.follower)),
            Command::Follower(command) => {
                self.followers.insert(&command.name);
                if let FollowerAction::Ensure { .. } = command.action {
                    self.latches.insert("followers");
                }
            }
            Command::ApiKey(_) => drop(self.latches.insert("api_keys")),
            Command::Secrets(_) => drop(self.latches.insert("secrets")),
            Command::Market(command) => match &**command {
                MarketCommand::Store(command) => {
                    self.stores.insert(command.store_id.0);
                    if let StoreAction::Register(_) = command.action {
                        self.latches.insert("stores");
                    }
                }
                MarketCommand::Budget(command) => self.budgets.extend(command.keys()),
                // What it takes away nobody writes.
                MarketCommand::Sweep(_) => {}
            },
            Command::Webhook(command) => self.latches.extend(latch_of(command)),
            Command::Recorded(recorded) => {
                self.latches.insert("actions");
                if let Some(command) = &recorded.command {
                    self.add(command, shards);
                }
            }
            Command::StepRedrive(step) => {
                // Which orders it comes to is in the database.
                self.heads.extend((0..shards).map(Shard));
                self.redrives.insert(step.redrive_id.0);
            }
            Command::Claim(_)
            | Command::Heartbeat(_)
            | Command::StartRedrive(_)
            | Command::Sweep { .. }
            | Command::SweepInbox { .. }
            | Command::Probe => {}
        }
    }

    /// Whether tries end and no other order's work is locked: only then may they be locked by a statement of their own, else
    /// work would be locked in two goes, each in order and both together not.
    pub(super) fn settles_alone(&self) -> bool {
        self.orders.values().all(|named| named.only_settled() || !(named.work || named.settled))
    }

    fn changed(&mut self, order_id: OrderId, shards: u16) {
        self.heads.insert(order_id.shard(shards));
        self.orders.entry(order_id).or_default().work = true;
    }
}

/// What whoever claims streams or changes endpoints holds.
fn latch_of(command: &WebhookCommand) -> Option<&'static str> {
    match command {
        WebhookCommand::Endpoint(_) => Some("endpoints"),
        WebhookCommand::Claim(_) => Some("webhook_claims"),
        WebhookCommand::FanOut(_)
        | WebhookCommand::Settle(_)
        | WebhookCommand::Again(_)
        | WebhookCommand::Sweep(_) => None,
    }
}

/// The key of a message.
fn message_key(consume: &Consume) -> Key<'_> {
    (consume.change.tenant.as_str(), consume.message.consumer(), consume.message.id())
}
