//! Endpoints that are registered rather than made: asked for again, it is the same endpoint.

use super::endpoint::{self, Dialect, ENDPOINTS_MAX, Endpoint, EndpointAction, EndpointState};
use super::listens::Listens;
use super::manage::{AskedEndpoint, AskedSecret, GRACE};
use crate::app::App;
use crate::error::{Error, Fault, Rejection};
use crate::ids::TenantId;
use crate::sealing::Secret;
use subtle::ConstantTimeEq;

/// Endpoints that are read at once.
const PAGE: u32 = 200;
/// How often it is tried to give one its secret while others change it.
const TRIES_MAX: u32 = 3;

/// An endpoint as whoever registers it names it.
#[derive(Debug)]
pub struct RegisteredEndpoint {
    /// In whose words it is told.
    pub dialect: Dialect,
    /// See [`Endpoint::organization`].
    pub organization: String,
    /// What it hears of.
    pub listens: Listens,
    /// Where it is; that it may be called was checked.
    pub url: String,
    /// What its deliveries are signed with, if that is said.
    pub secret: Option<Secret>,
    /// What those of a new one are signed with where that is not said.
    pub unless_said: Option<Secret>,
}

impl App {
    /// Makes an endpoint, unless the organization has one of this dialect and address that hears of the same: then that is it,
    /// active again, with the secret that is said or else the one that it has; one that takes another's place counts beside it for
    /// [`GRACE`], in place of any before. Who registers the same at the same time at another node may make another.
    ///
    /// # Errors
    /// [`Rejection::SecretsKeyMissing`], [`Rejection::EndpointsTooMany`], [`Rejection::EndpointChanged`]; faults of storage.
    pub async fn register_endpoint(
        &self,
        tenant: &TenantId,
        asked: RegisteredEndpoint,
    ) -> Result<Endpoint, Error> {
        let _alone = self.registering_endpoints.lock().await;
        let Some(mut found) = self.registered(tenant, &asked).await? else {
            let RegisteredEndpoint { dialect, organization, listens, url, secret, unless_said } = asked;
            let secret = secret.or(unless_said).map_or(AskedSecret::None, AskedSecret::Given);
            let organization = Some(organization);
            let new = AskedEndpoint { url, listens, dialect, organization, rate: None, secret };
            return Ok(self.create_endpoint(tenant, new).await?.0);
        };
        if let Some(secret) = &asked.secret {
            found = self.give_secret(found, secret).await?;
        }
        if found.state == EndpointState::Disabled {
            found = self.change_endpoint(tenant, found.endpoint_id, EndpointAction::Enable).await?;
        }
        Ok(found)
    }

    async fn registered(
        &self,
        tenant: &TenantId,
        asked: &RegisteredEndpoint,
    ) -> Result<Option<Endpoint>, Fault> {
        let is_it = |one: &Endpoint| {
            one.dialect == asked.dialect && one.url == asked.url && one.listens == asked.listens
        };
        let (mut seen, mut before) = (0, None);
        while seen < ENDPOINTS_MAX {
            let page = self.storage.endpoints(tenant, Some(&asked.organization), before, PAGE).await?;
            (seen, before) = (seen + page.len() as u64, page.last().map(|one| one.number));
            let is_last = page.len() < PAGE as usize;
            match page.into_iter().find(is_it) {
                None if !is_last => {}
                found => return Ok(found),
            }
        }
        Ok(None)
    }

    /// Has an endpoint signed for with `secret` from now on.
    async fn give_secret(&self, mut found: Endpoint, secret: &Secret) -> Result<Endpoint, Error> {
        let (keyring, row) = (self.keyring()?, found.endpoint_id.to_string());
        for _ in 0..TRIES_MAX {
            let place = endpoint::place(&found.tenant, &row);
            if let Some(sealed) = &found.secret
                && bool::from(keyring.open(&place, sealed)?.bytes().ct_eq(secret.bytes()))
            {
                return Ok(found);
            }
            let action = self.rotation(&found, secret, GRACE)?;
            match self.change_endpoint(&found.tenant, found.endpoint_id, action).await {
                Err(Error::Rejection(Rejection::EndpointChanged)) => {
                    let now = self.storage.endpoint(&found.tenant, found.endpoint_id).await?;
                    found = now.ok_or(Rejection::EndpointUnknown)?;
                }
                given => return given,
            }
        }
        Err(Rejection::EndpointChanged.into())
    }
}
