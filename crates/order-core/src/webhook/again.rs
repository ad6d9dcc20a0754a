//! Sending again: one delivery, all that were given up since a moment, or all that were missed.

use super::attempt::{DeliveryId, GivenUp};
use super::body::Told;
use super::command::{AGAIN_STREAMS_MAX, AgainFor, SendAgain, WebhookCommand, WebhookReply};
use super::endpoint::{Endpoint, EndpointState};
use super::manage::unexpected;
use super::stream::Subject;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Rejection};
use crate::ids::{OrderId, StoreId, TenantId};
use crate::redrive::{BoundedCount, COUNT_MAX};
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Deliveries that are looked at, or sent again, in one step.
pub(super) const STEP: u32 = 500;

impl App {
    /// Makes a delivery once more, whatever became of it before; tells whether it would not have been made anyway.
    ///
    /// # Errors
    /// [`Rejection::EndpointUnknown`]; [`Rejection::EndpointDisabled`]; [`Rejection::DeliveryUnknown`] when there is no such event;
    /// faults of storage.
    pub async fn resend(&self, tenant: &TenantId, delivery: DeliveryId) -> Result<bool, Error> {
        let found = self.storage.endpoint(tenant, delivery.endpoint_id).await?;
        let endpoint = found.ok_or(Rejection::EndpointUnknown)?;
        let told = self.told(tenant, delivery).await?.ok_or(Rejection::DeliveryUnknown)?;
        let subject = told.subject().ok_or(Rejection::DeliveryUnknown)?;
        is_sent_to(&endpoint)?;
        let versions = vec![(subject, vec![delivery.version])];
        Ok(self.send_again(&endpoint, versions, AgainFor::Asked).await? > 0)
    }

    /// What a delivery tells, as it is kept now; `None` when there is no such event of this tenant's, or none any more.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn told(&self, tenant: &TenantId, delivery: DeliveryId) -> Result<Option<Told>, Error> {
        let DeliveryId { subject: id, version, .. } = delivery;
        let before = version.saturating_sub(1);
        if let Some(page) = self.storage.order_events(tenant, OrderId(id), before, 1).await? {
            let event = page.events.into_iter().next().filter(|event| event.version == version);
            return Ok(event.map(|event| Told::Order(Arc::new(event))));
        }
        let event = self.storage.markets().store_events(StoreId(id), before, 1).await?.pop();
        let event = event.filter(|event| event.tenant == *tenant && event.version == version);
        Ok(event.map(|event| Told::Store(Box::new(event))))
    }

    pub(super) async fn send_again(
        &self,
        endpoint: &Endpoint,
        versions: Vec<(Subject, Vec<u64>)>,
        because: AgainFor,
    ) -> Result<u64, Error> {
        debug_assert!(versions.len() <= AGAIN_STREAMS_MAX);
        let (tenant, endpoint_id, endpoint) =
            (endpoint.tenant.clone(), endpoint.endpoint_id, endpoint.number);
        let again = SendAgain { tenant, endpoint, endpoint_id, versions, now: self.clock.now(), because };
        match self.webhook(WebhookCommand::Again(again)).await? {
            WebhookReply::Again(count) => {
                self.wakes.deliveries.notify_one();
                Ok(count)
            }
            other => Err(unexpected("sending again", other)),
        }
    }

    /// Counts the deliveries to an endpoint that were given up since a moment, and neither made since nor on their way again; sends
    /// them again unless that is only to be known. At most [`COUNT_MAX`] in one go; then there may be more.
    ///
    /// # Errors
    /// [`Rejection::EndpointDisabled`] if they are to be sent; faults of storage.
    pub async fn recover(
        &self,
        endpoint: &Endpoint,
        since: Timestamp,
        dry_run: bool,
    ) -> Result<BoundedCount, Error> {
        if !dry_run {
            is_sent_to(endpoint)?;
        }
        let mut of = GivenUp { endpoint: endpoint.number, since, after: first_id(since), limit: STEP };
        let mut count = 0;
        loop {
            let page = self.storage.given_up(&of).await?;
            let Some(last) = page.last() else { return Ok(BoundedCount { count, more: false }) };
            of.after = Some(last.attempt_id);
            if count >= COUNT_MAX {
                return Ok(BoundedCount { count, more: true });
            }
            let given_up: Vec<_> = page.iter().map(|attempt| (attempt.subject, attempt.version)).collect();
            count += if dry_run {
                count_of(&self.lacking(endpoint, given_up).await?)
            } else {
                // What is on its way already is not counted, but tried at once.
                self.send_again(endpoint, by_subject(given_up), AgainFor::Recovery).await?
            };
        }
    }

    /// Those of some versions that an endpoint was never sent with success and that are not to come, by subject, each once.
    pub(super) async fn lacking(
        &self,
        endpoint: &Endpoint,
        wanted: Vec<(Subject, u64)>,
    ) -> Result<Vec<(Subject, Vec<u64>)>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let is_there = self.storage.was_or_comes(endpoint.number, &wanted).await?;
        let lacking = wanted.into_iter().zip(is_there).filter(|(_, is_there)| !is_there);
        Ok(by_subject(lacking.map(|(one, _)| one)))
    }
}

/// Versions by subject, each once: sent again and given up again, one is there twice.
fn by_subject(versions: impl IntoIterator<Item = (Subject, u64)>) -> Vec<(Subject, Vec<u64>)> {
    let mut subjects: BTreeMap<Subject, Vec<u64>> = BTreeMap::new();
    for (subject, version) in versions {
        let of_subject = subjects.entry(subject).or_default();
        if !of_subject.contains(&version) {
            of_subject.push(version);
        }
    }
    subjects.into_iter().collect()
}

/// What is put before an endpoint that is disabled would wait for as long as it is: whoever asks for it is told.
pub(super) fn is_sent_to(endpoint: &Endpoint) -> Result<(), Rejection> {
    if endpoint.state == EndpointState::Disabled { Err(Rejection::EndpointDisabled) } else { Ok(()) }
}

/// How many versions these are.
pub(super) fn count_of(versions: &[(Subject, Vec<u64>)]) -> u64 {
    versions.iter().map(|(_, versions)| versions.len() as u64).sum()
}

/// An id below those of all tries that began at a moment or later: they are of version 7, which begins with the time in
/// milliseconds (RFC 9562 §5.7).
fn first_id(since: Timestamp) -> Option<Uuid> {
    let millis = u128::try_from(since.micros() / 1_000).ok()?;
    Some(Uuid::from_u128(millis << 80))
}
