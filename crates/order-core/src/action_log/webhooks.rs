//! What is told of what people and keys do about webhooks.

use super::chain::hex;
use super::{ActionKind, state};
use crate::webhook::Listens;
use crate::webhook::command::{AgainFor, WebhookCommand};
use crate::webhook::endpoint::{DisabledFor, Endpoint, EndpointAction};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// What is told of what is done about webhooks: of endpoints neither where they are nor who may be named there.
pub(super) fn deed(command: &WebhookCommand) -> Option<(ActionKind, String, Value)> {
    match command {
        WebhookCommand::Endpoint(command) => {
            let (kind, details) = endpoint_deed(&command.action);
            Some((kind, command.endpoint_id.to_string(), details))
        }
        WebhookCommand::Again(again) => {
            let kind = match again.because {
                AgainFor::Asked => ActionKind::DeliveryResent,
                AgainFor::Recovery => ActionKind::DeliveriesRecovered,
                AgainFor::Missing => ActionKind::DeliveriesReplayed,
            };
            let deliveries: usize = again.versions.iter().map(|(_, versions)| versions.len()).sum();
            let first =
                again.versions.first().map(|(subject, versions)| (subject.to_string(), versions.first()));
            let details = match (deliveries, first) {
                (1, Some((subject, Some(version)))) => json!({ "subject": subject, "version": version }),
                _ => json!({ "deliveries": deliveries }),
            };
            Some((kind, again.endpoint_id.to_string(), details))
        }
        WebhookCommand::FanOut(_)
        | WebhookCommand::Claim(_)
        | WebhookCommand::Settle(_)
        | WebhookCommand::Sweep(_) => None,
    }
}

fn endpoint_deed(action: &EndpointAction) -> (ActionKind, Value) {
    match action {
        EndpointAction::Create(new) => {
            let details =
                json!({ "events": new.listens.text(), "dialect": new.dialect.word(), "rate": new.rate });
            (ActionKind::EndpointCreated, details)
        }
        EndpointAction::Change(change) => {
            let details = json!({
                "url": change.url.is_some(),
                "events": change.listens.as_ref().map(Listens::text),
                "rate": change.rate.flatten(),
            });
            (ActionKind::EndpointChanged, details)
        }
        EndpointAction::Pause => (ActionKind::EndpointPaused, json!({})),
        EndpointAction::Enable => (ActionKind::EndpointEnabled, json!({})),
        EndpointAction::Prove { .. } => (ActionKind::EndpointEnabled, json!({ "proven": true })),
        EndpointAction::Disable(why) => (ActionKind::EndpointDisabled, json!({ "because": why.word() })),
        EndpointAction::Rotate { previous, .. } => {
            let until = previous.as_ref().map(|previous| previous.until.to_string());
            (ActionKind::EndpointRotated, json!({ "previous_until": until }))
        }
        EndpointAction::Delete => (ActionKind::EndpointDeleted, json!({})),
    }
}

/// The state of an endpoint, as a hash: what people say of it, not how its receiver does.
pub fn endpoint_state(endpoint: &Endpoint) -> [u8; 32] {
    let until = endpoint.previous.as_ref().map(|previous| previous.until.to_string());
    state(&[
        &endpoint.endpoint_id.to_string(),
        endpoint.tenant.as_str(),
        &endpoint.url,
        &endpoint.listens.text(),
        endpoint.dialect.word(),
        endpoint.organization.as_deref().unwrap_or_default(),
        endpoint.state.word(),
        endpoint.disabled_for.map_or("", DisabledFor::word),
        &endpoint.rate.map_or(String::new(), |rate| rate.to_string()),
        &endpoint.secret.as_ref().map_or(String::new(), |sealed| hex(&Sha256::digest(sealed.as_bytes()))),
        &until.unwrap_or_default(),
        &endpoint.deleted_at.map_or(String::new(), |at| at.to_string()),
    ])
}
