//! Roughly how much memory a command or an order holds, so that what waits, and a page, can be bounded by bytes. Lengths
//! are added up; nothing is written out.

use crate::api_key::ApiKeyAction;
use crate::budget::Allowance;
use crate::command::{ChangeKind, Command, FollowerAction};
use crate::intake::Intake;
use crate::lease::Outcome;
use crate::marketplace::command::{ImportOutcome, Seen};
use crate::marketplace::{MarketCommand, StoreAction};
use crate::order::{Content, Line, Order};
use crate::parking::ParkedStream;
use crate::sealing::resealing::SecretsCommand;
use serde_json::{Map, Value};
use std::mem::size_of;

/// What a member of an object takes besides its key and value: the map's hash and index.
const MEMBER_OVERHEAD: usize = 16;

impl Command {
    /// Bytes that it holds in memory, roughly: at least its texts, and what lies around each value.
    pub fn footprint(&self) -> usize {
        let held = match self {
            Self::Accept(accept) => {
                let withdrawal = accept.withdrawal.as_ref();
                let withdrawal =
                    withdrawal.map_or(0, |one| size_of_val(&**one) + one.reason.len() + one.by.len());
                size_of_val(&**accept) + intake(&accept.intake) + withdrawal
            }
            Self::Change(change) => size_of_val(&**change) + kind(&change.kind),
            Self::Consume(consume) => {
                size_of_val(&**consume) + consume.message.footprint() + kind(&consume.change.kind)
            }
            Self::Settle(settle) => size_of_val(&**settle) + outcome(&settle.outcome),
            Self::Claim(claim) => size_of_val(&*claim.tokens) + size_of_val(&*claim.event_ids),
            Self::Heartbeat(heartbeat) => size_of_val(&*heartbeat.held),
            Self::Advance(advance) => {
                let detail = |stream: &ParkedStream| stream.detail.len() + stream.tenant.as_str().len();
                advance.follower.len()
                    + size_of_val(&*advance.moves)
                    + size_of_val(&*advance.resent)
                    + size_of_val(&*advance.parked)
                    + advance.parked.iter().map(detail).sum::<usize>()
            }
            Self::Share(share) => share.follower.len() + optional(share.fault.as_ref()),
            Self::Follower(follower) => {
                let named = match &follower.action {
                    FollowerAction::Redrive { orders, skip } => {
                        orders.as_ref().map_or(0, |orders| size_of_val(&**orders)) + optional(skip.as_ref())
                    }
                    FollowerAction::Ensure { sink, .. } => sink.len(),
                    FollowerAction::Replay(cursor) => size_of_val(&*cursor.positions),
                    FollowerAction::ReplayRange { from, to } => {
                        size_of_val(&*from.positions) + size_of_val(&*to.positions)
                    }
                    FollowerAction::Pause | FollowerAction::Resume => 0,
                };
                follower.name.len() + named
            }
            Self::StartRedrive(start) => {
                let filter = &start.filter;
                size_of_val(&**start)
                    + filter.order_ids.as_ref().map_or(0, |ids| size_of_val(&**ids))
                    + optional(filter.error_contains.as_ref())
                    + start.reason.len()
                    + start.by.len()
            }
            Self::StepRedrive(step) => size_of_val(&*step.event_ids),
            Self::ApiKey(command) => {
                let said = match &command.action {
                    ApiKeyAction::Create(new, _) => new.name.len() + new.scopes.len() + new.by.len(),
                    ApiKeyAction::Rotate { .. } | ApiKeyAction::Revoke | ApiKeyAction::Touch => 0,
                };
                size_of_val(&**command) + said
            }
            Self::Secrets(command) => size_of_val(&**command) + secrets(command),
            Self::Market(command) => size_of_val(&**command) + market(command),
            Self::Webhook(command) => size_of_val(&**command) + command.footprint(),
            Self::Recorded(recorded) => {
                let action = &recorded.action;
                size_of_val(&**recorded)
                    + action.subject.len()
                    + action.details.len()
                    + recorded.command.as_ref().map_or(0, Self::footprint)
            }
            Self::Sweep { .. } | Self::SweepInbox { .. } | Self::Probe => 0,
        };
        size_of::<Self>() + held
    }
}

impl Order {
    /// Bytes that it holds in memory, roughly, as those of [`Command::footprint`].
    pub fn footprint(&self) -> usize {
        let reference = self.reference.as_ref().map_or(0, |reference| reference.as_str().len());
        let told = optional(self.last_error.as_ref()) + optional(self.tracking_number.as_ref());
        size_of::<Self>() + reference + told + content(&self.content)
    }
}

fn secrets(command: &SecretsCommand) -> usize {
    match command {
        SecretsCommand::Keep { tenant, name, sealed, .. } => {
            tenant.as_str().len() + name.len() + sealed.as_bytes().len()
        }
        SecretsCommand::Reseal { rows, .. } => {
            let held = rows.iter().map(|(row, sealed)| {
                row.tenant.as_str().len()
                    + row.row.len()
                    + row.sealed.as_bytes().len()
                    + sealed.as_bytes().len()
            });
            size_of_val(&**rows) + held.sum::<usize>()
        }
    }
}

fn market(command: &MarketCommand) -> usize {
    let command = match command {
        MarketCommand::Budget(command) => {
            let allowance = |allowance: &Allowance| size_of::<Allowance>() + allowance.key.len();
            return command.allowances.iter().map(allowance).sum();
        }
        MarketCommand::Sweep(_) => return 0,
        MarketCommand::Store(command) => command,
    };
    match &command.action {
        StoreAction::Register(said) => {
            let texts =
                [said.tenant.as_str(), &said.organization, &said.external_id, &said.name, &said.currency];
            let texts: usize = texts.iter().map(|text| text.len()).sum();
            size_of_val(&**said) + texts + said.access_token.as_bytes().len()
        }
        StoreAction::Begin { receipt, .. } | StoreAction::Retry { receipt } => receipt.as_str().len(),
        StoreAction::Hear { receipt } => receipt.as_ref().map_or(0, |receipt| receipt.as_str().len()),
        StoreAction::Settle(settle) => {
            size_of_val(&**settle) + settle.receipt.as_str().len() + imported(&settle.outcome)
        }
        StoreAction::ExtendSync { held, .. } => {
            size_of_val(&**held) + held.iter().map(|(receipt, _)| receipt.as_str().len()).sum::<usize>()
        }
        StoreAction::Note { seen, .. } => {
            let one = |seen: &Seen| seen.receipt.as_str().len() + seen.outcome.as_ref().map_or(0, imported);
            size_of_val(&**seen) + seen.iter().map(one).sum::<usize>()
        }
        StoreAction::KeepPlace { place, .. } => optional(place.page.as_ref()),
        StoreAction::ClaimDue { tokens, .. } => size_of_val(&**tokens),
        StoreAction::EndSync { detail, .. } => optional(detail.as_ref()),
        StoreAction::ClaimSync { .. } => 0,
    }
}

fn imported(outcome: &ImportOutcome) -> usize {
    match outcome {
        ImportOutcome::Imported(result) => result.external_order_id.len() + result.currency.len(),
        ImportOutcome::Failed { why } => why.len(),
        ImportOutcome::Invalid
        | ImportOutcome::RateLimited { .. }
        | ImportOutcome::Unavailable
        | ImportOutcome::Released { .. } => 0,
    }
}

fn intake(intake: &Intake) -> usize {
    let reference = intake.reference.as_ref().map_or(0, |reference| reference.as_str().len());
    let key = intake.key.as_ref().map_or(0, |key| key.key.len());
    intake.tenant.as_str().len() + intake.source.as_str().len() + reference + key + content(&intake.content)
}

fn kind(kind: &ChangeKind) -> usize {
    match kind {
        ChangeKind::Revise { content: new, .. } => size_of_val(&**new) + content(new),
        ChangeKind::Withdraw { reason, by, .. } | ChangeKind::Redrive { reason, by } => {
            reason.len() + by.len()
        }
        ChangeKind::Ship { tracking_number, .. } => optional(tracking_number.as_ref()),
        ChangeKind::Deliver { .. } | ChangeKind::Erase | ChangeKind::Finish => 0,
    }
}

fn outcome(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Retry { why, .. } | Outcome::Park { why } => why.len(),
        Outcome::Done | Outcome::Release { .. } => 0,
    }
}

fn content(content: &Content) -> usize {
    let line = |line: &Line| size_of::<Line>() + line.sku.len() + optional(line.name.as_ref());
    optional(content.customer.as_ref())
        + optional(content.currency.as_ref())
        + content.lines.iter().map(line).sum::<usize>()
        + members(&content.attributes)
}

fn optional(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

fn members(object: &Map<String, Value>) -> usize {
    let member =
        |(key, value): (&String, &Value)| MEMBER_OVERHEAD + size_of::<String>() + key.len() + json(value);
    object.iter().map(member).sum()
}

/// JSON from outside nests no deeper than its limit allows, so this does not either.
fn json(value: &Value) -> usize {
    let held = match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(json).sum(),
        Value::Object(object) => members(object),
    };
    size_of::<Value>() + held
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::command::FollowerCommand;
    use crate::journal::Cursor;

    fn of(json: &str) -> usize {
        super::json(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn json_takes_its_texts_and_a_value_for_each_value() {
        let value = size_of::<Value>();
        for (json, expected) in [
            ("null", value),
            ("12.50", value + 5),
            ("\"four\"", value + 4),
            ("[]", value),
            ("[[],[],\"x\"]", 4 * value + 1),
            ("{\"key\":1}", 2 * value + 3 + 1 + size_of::<String>() + MEMBER_OVERHEAD),
        ] {
            assert_eq!(of(json), expected, "{json}");
        }
    }

    #[test]
    fn what_followers_are_told_counts_too() {
        let of = |action: FollowerAction| {
            let (name, now) = ("f".to_owned(), crate::Timestamp::from_micros(0));
            Command::Follower(FollowerCommand { name, now, action }).footprint()
        };
        let (cursor, none) = (Cursor::beginning(1, 1_000), of(FollowerAction::Pause));
        assert_eq!(of(FollowerAction::Ensure { sink: "four".to_owned(), from_now: true }) - none, 4);
        assert_eq!(of(FollowerAction::Replay(cursor.clone())) - none, 8_000);
        let (from, to) = (cursor.clone(), cursor);
        assert_eq!(of(FollowerAction::ReplayRange { from, to }) - none, 16_000);
    }

    /// The text of a request says little about what it takes in memory.
    #[test]
    fn many_small_values_count_for_more_than_their_text() {
        let many = format!("[{}]", vec!["[]"; 1_000].join(","));
        assert!(of(&many) > 5 * many.len(), "{} for {}", of(&many), many.len());
        let long = format!("\"{}\"", "x".repeat(100_000));
        assert!((100_000..101_000).contains(&of(&long)));
    }
}
