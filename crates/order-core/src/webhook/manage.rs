//! What people and keys do with endpoints.

use super::body::Told;
use super::command::{SweepWebhooks, WebhookCommand, WebhookReply};
use super::endpoint::{
    self, Dialect, Endpoint, EndpointAction, EndpointCommand, EndpointId, NewEndpoint, PreviousSecret,
};
use super::listens::Listens;
use super::sending::Answered;
use super::{FOLLOWER, parcel, signing};
use crate::action_log::ActionKind;
use crate::app::{self, App};
use crate::clock::Timestamp;
use crate::command::{Command, Reply};
use crate::error::{Error, Fault, Rejection};
use crate::ids::{EventId, TenantId};
use crate::journal::Cursor;
use crate::ports::Deliverer;
use crate::sealing::{Sealed, Secret};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// How long the secret before a rotation counts, unless said; and longest.
pub const GRACE: Duration = Duration::from_secs(24 * 3_600);
/// How long tries that ended are kept at least.
pub const TRIES_KEPT: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Longest that a test may take: whoever asked for it waits for the answer, and not for ever.
const TEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a rotation is tried while others change the same endpoint.
const ROTATIONS_MAX: u32 = 3;

/// An endpoint that is asked for.
#[derive(Debug, Clone)]
pub struct AskedEndpoint {
    /// Where it is; that it may be called was checked.
    pub url: String,
    /// What it hears of.
    pub listens: Listens,
    /// In whose words.
    pub dialect: Dialect,
    /// See [`Endpoint::organization`].
    pub organization: Option<String>,
    /// See [`Endpoint::rate`].
    pub rate: Option<u32>,
    /// What its deliveries are signed with.
    pub secret: AskedSecret,
}

/// What the deliveries of an endpoint are signed with.
#[derive(Debug, Clone)]
pub enum AskedSecret {
    /// A secret that is made for it.
    Fresh,
    /// This one.
    Given(Secret),
    /// Nothing: for the contract `marketplace`, where that is so.
    None,
}

/// A storage answered with what was not asked.
pub(super) fn unexpected(command: &str, reply: WebhookReply) -> Error {
    app::unexpected(command, &Reply::Webhook(Box::new(reply)))
}

impl App {
    /// Gives it what carries deliveries; once.
    pub fn deliver_with(&self, deliverer: Arc<dyn Deliverer>) {
        drop(self.deliverer.set(deliverer));
    }

    /// What carries deliveries, if this process was given any.
    pub fn deliverer(&self) -> Option<&Arc<dyn Deliverer>> {
        self.deliverer.get()
    }

    /// Carries out a command about webhooks, and records it if it is a deed and somebody acts.
    pub(super) async fn webhook(&self, command: WebhookCommand) -> Result<WebhookReply, Error> {
        match self.lanes.submit(self.recorded(Command::Webhook(Box::new(command)))).await? {
            Reply::Webhook(reply) => Ok(*reply),
            other => Err(app::unexpected("a command about webhooks", &other)),
        }
    }

    /// Makes an endpoint, which hears of what is committed after this returns, or after it is proven where that is asked for; with
    /// its secret, which nobody can show again, if one was made.
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`], [`Rejection::EndpointsTooMany`]; faults of storage.
    pub async fn create_endpoint(
        &self,
        tenant: &TenantId,
        asked: AskedEndpoint,
    ) -> Result<(Endpoint, Option<Secret>), Error> {
        // Before the end of the journal is read: so the follower begins nowhere behind it.
        self.ensure_follower(FOLLOWER, "webhooks", true).await?;
        let start = self.journal_end().await?;
        let now = self.clock.now();
        let endpoint_id = EndpointId(self.ids.uuid_v7(now));
        let AskedEndpoint { url, listens, dialect, organization, rate, secret } = asked;
        let (secret, shown) = match secret {
            AskedSecret::Fresh => {
                let fresh = signing::fresh(self.ids.as_ref());
                (Some(fresh.clone()), Some(fresh))
            }
            AskedSecret::Given(secret) => (Some(secret), None),
            AskedSecret::None => (None, None),
        };
        let secret = secret.map(|secret| self.sealed(tenant, endpoint_id, &secret)).transpose()?;
        let unproven = dialect == Dialect::V1 && self.challenges();
        let new = NewEndpoint { url, listens, dialect, organization, rate, secret, unproven, start };
        let action = EndpointAction::Create(Box::new(new));
        Ok((self.change_endpoint(tenant, endpoint_id, action).await?, shown))
    }

    /// Where what comes from now on begins.
    pub(super) async fn journal_end(&self) -> Result<Cursor, Fault> {
        Ok(Cursor::at_heads(self.storage.install().epoch, &self.storage.heads().await?))
    }

    /// Changes an endpoint.
    ///
    /// # Errors
    /// As [`endpoint::decide`]; faults of storage.
    pub async fn change_endpoint(
        &self,
        tenant: &TenantId,
        endpoint_id: EndpointId,
        action: EndpointAction,
    ) -> Result<Endpoint, Error> {
        let goes_on = matches!(action, EndpointAction::Enable | EndpointAction::Prove { .. });
        let command = EndpointCommand { tenant: tenant.clone(), endpoint_id, now: self.clock.now(), action };
        match self.webhook(WebhookCommand::Endpoint(command)).await? {
            WebhookReply::Endpoint(endpoint) => {
                if goes_on {
                    self.wakes.deliveries.notify_one();
                }
                Ok(*endpoint)
            }
            other => Err(unexpected("a change of an endpoint", other)),
        }
    }

    /// Gives an endpoint another secret, which is the answer's; what is sent is signed with the present one too for `grace`, at
    /// most [`GRACE`]. While one before that still counts this is refused, unless `end_previous` ends that.
    ///
    /// # Errors
    /// [`Rejection::EndpointUnknown`], [`Rejection::SecretsKeyMissing`], [`Rejection::EndpointChanged`],
    /// [`Rejection::EndpointGrace`]; faults of storage.
    pub async fn rotate_endpoint_secret(
        &self,
        tenant: &TenantId,
        endpoint_id: EndpointId,
        grace: Duration,
        end_previous: bool,
    ) -> Result<(Endpoint, Secret), Error> {
        let fresh = signing::fresh(self.ids.as_ref());
        let mut tries = 0;
        loop {
            tries += 1;
            let found =
                self.storage.endpoint(tenant, endpoint_id).await?.ok_or(Rejection::EndpointUnknown)?;
            let until = found.previous.as_ref().map(|previous| previous.until);
            if let Some(until) = until.filter(|until| self.clock.now() < *until && !end_previous) {
                return Err(Rejection::EndpointGrace { until }.into());
            }
            let action = self.rotation(&found, &fresh, grace)?;
            match self.change_endpoint(tenant, endpoint_id, action).await {
                Err(Error::Rejection(Rejection::EndpointChanged)) if tries < ROTATIONS_MAX => {}
                rotated => return Ok((rotated?, fresh)),
            }
        }
    }

    /// What gives an endpoint a secret in place of the present one, which counts for `grace` more.
    pub(super) fn rotation(
        &self,
        found: &Endpoint,
        secret: &Secret,
        grace: Duration,
    ) -> Result<EndpointAction, Error> {
        let (tenant, row) = (&found.tenant, found.endpoint_id.to_string());
        // It lies in another place then, so it is sealed for that.
        let previous = match &found.secret {
            Some(sealed) if !grace.is_zero() => {
                let keyring = self.keyring()?;
                let plain = keyring.open(&endpoint::place(tenant, &row), sealed)?;
                let place = endpoint::previous_place(tenant, &row);
                let sealed = keyring.seal(&place, plain.bytes(), self.ids.as_ref())?;
                Some(PreviousSecret { sealed, until: self.clock.now().plus(grace.min(GRACE)) })
            }
            _ => None,
        };
        let (secret, was) = (self.sealed(tenant, found.endpoint_id, secret)?, found.secret.clone());
        Ok(EndpointAction::Rotate { secret, previous, was })
    }

    fn sealed(&self, tenant: &TenantId, endpoint_id: EndpointId, secret: &Secret) -> Result<Sealed, Error> {
        let row = endpoint_id.to_string();
        let place = endpoint::place(tenant, &row);
        Ok(self.keyring()?.seal(&place, secret.bytes(), self.ids.as_ref())?)
    }

    /// Takes away up to `limit` rows: what belongs to deleted endpoints, and tries that were kept for [`TRIES_KEPT`]. Returns how
    /// many.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn sweep_webhooks(&self, limit: u32) -> Result<u32, Error> {
        let kept = i64::try_from(TRIES_KEPT.as_micros()).unwrap_or(i64::MAX);
        let before = Timestamp::from_micros(self.clock.now().micros().saturating_sub(kept));
        match self.webhook(WebhookCommand::Sweep(SweepWebhooks { before, limit })).await? {
            WebhookReply::Swept(count) => Ok(count),
            other => Err(unexpected("a sweep of webhooks", other)),
        }
    }

    /// Sends an endpoint an event that tells of nothing, at once and once, whatever its state once it is proven; nothing of it is
    /// kept.
    ///
    /// # Errors
    /// [`Rejection::EndpointUnknown`], [`Rejection::EndpointUnproven`], [`Rejection::SecretsKeyMissing`]; faults of storage.
    pub async fn test_endpoint(
        &self,
        tenant: &TenantId,
        endpoint_id: EndpointId,
        deliverer: &dyn Deliverer,
    ) -> Result<(EventId, Answered), Error> {
        let found = self.storage.endpoint(tenant, endpoint_id).await?.ok_or(Rejection::EndpointUnknown)?;
        if found.is_unproven() {
            return Err(Rejection::EndpointUnproven("was not asked yet".to_owned()).into());
        }
        self.record(ActionKind::EndpointTested, &endpoint_id.to_string(), &json!({})).await?;
        let at = self.clock.now();
        let event_id = EventId(self.ids.uuid_v7(at));
        let mut sending = parcel::sending(self, &found, &Told::Test { event_id, at }, at)?;
        sending.timeout = sending.timeout.min(TEST_TIMEOUT);
        Ok((event_id, deliverer.deliver(sending).await))
    }
}
