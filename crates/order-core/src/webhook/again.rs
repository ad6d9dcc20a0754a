//! Sending again: one delivery, all that were given up since a moment, or all that were missed.

use super::attempt::{DeliveryId, GivenUp};
use super::command::{AGAIN_STREAMS_MAX, AgainFor, SendAgain, WebhookCommand, WebhookReply};
use super::endpoint::Endpoint;
use super::manage::unexpected;
use super::stream::Subject;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Rejection};
use crate::follow;
use crate::ids::{OrderId, StoreId, TenantId};
use crate::journal::{Cursor, Event};
use crate::marketplace::StoreEvent;
use crate::redrive::{BoundedCount, COUNT_MAX};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Deliveries that are looked at, or sent again, in one step.
const STEP: u32 = 500;
/// Events that are looked at for one answer.
pub const EVENTS_MAX: u64 = 20_000;

/// What looking for missed deliveries came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Events that were looked at, of all tenants.
    pub looked_at: u64,
    /// Deliveries that were neither made nor are to come.
    pub missing: u64,
    /// Where to go on; `None` at the end of the journal.
    pub next: Option<Cursor>,
}

impl App {
    /// Makes a delivery once more, whatever became of it before; tells whether it would not have been made anyway.
    ///
    /// # Errors
    /// [`Rejection::EndpointUnknown`]; [`Rejection::DeliveryUnknown`] when there is no such event; faults of storage.
    pub async fn resend(&self, tenant: &TenantId, delivery: DeliveryId) -> Result<bool, Error> {
        let found = self.storage.endpoint(tenant, delivery.endpoint_id).await?;
        let endpoint = found.ok_or(Rejection::EndpointUnknown)?;
        let subject = self.subject(tenant, delivery).await?.ok_or(Rejection::DeliveryUnknown)?;
        let versions = vec![(subject, vec![delivery.version])];
        Ok(self.send_again(&endpoint, versions, AgainFor::Asked).await? > 0)
    }

    /// What a delivery is about, if there is such an event of this tenant's.
    async fn subject(&self, tenant: &TenantId, delivery: DeliveryId) -> Result<Option<Subject>, Error> {
        let DeliveryId { subject: id, version, .. } = delivery;
        let before = version.saturating_sub(1);
        let order_id = OrderId(id);
        if let Some(page) = self.storage.order_events(tenant, order_id, before, 1).await? {
            let is_there = page.events.first().is_some_and(|event| event.version == version);
            return Ok(is_there.then_some(Subject::order(order_id)));
        }
        let event = self.storage.markets().store_events(StoreId(id), before, 1).await?.pop();
        let is_it = |event: &StoreEvent| event.tenant == *tenant && event.version == version;
        Ok(event.filter(is_it).map(|_| Subject::store(id)))
    }

    async fn send_again(
        &self,
        endpoint: &Endpoint,
        versions: Vec<(Subject, Vec<u64>)>,
        because: AgainFor,
    ) -> Result<u64, Error> {
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

    /// Counts the deliveries to an endpoint that were given up since a moment and not made since; sends them again unless
    /// that is only to be known. At most [`COUNT_MAX`] in one go; then there may be more.
    ///
    /// # Errors
    /// Faults of storage.
    pub async fn recover(
        &self,
        endpoint: &Endpoint,
        since: Timestamp,
        dry_run: bool,
    ) -> Result<BoundedCount, Error> {
        let mut of = GivenUp { endpoint: endpoint.number, since, after: first_id(since), limit: STEP };
        let mut count = 0;
        loop {
            let page = self.storage.given_up(&of).await?;
            let Some(last) = page.last() else { return Ok(BoundedCount { count, more: false }) };
            of.after = Some(last.attempt_id);
            if count >= COUNT_MAX {
                return Ok(BoundedCount { count, more: true });
            }
            let mut versions: BTreeMap<Subject, Vec<u64>> = BTreeMap::new();
            for attempt in &page {
                let of_subject = versions.entry(attempt.subject).or_default();
                // Sent again and given up again, it is there twice.
                if !of_subject.contains(&attempt.version) {
                    of_subject.push(attempt.version);
                    count += 1;
                }
            }
            if !dry_run {
                let versions = versions.into_iter().collect();
                self.send_again(endpoint, versions, AgainFor::Recovery).await?;
            }
        }
    }

    /// Looks for deliveries that an endpoint was never sent with success and that are not to come, among the events behind a
    /// place that it listens to; has them sent unless that is only to be known.
    ///
    /// # Errors
    /// As [`follow::feed`].
    pub async fn replay_missing(
        &self,
        endpoint: &Endpoint,
        from: Cursor,
        dry_run: bool,
    ) -> Result<Missing, Error> {
        let mut found = Missing { looked_at: 0, missing: 0, next: None };
        let mut cursor = from;
        while found.looked_at < EVENTS_MAX {
            let (events, next) = follow::feed(self, cursor, STEP).await?;
            if events.is_empty() {
                return Ok(found);
            }
            cursor = next;
            found.looked_at += events.len() as u64;
            let missing = self.missing_of(endpoint, &events).await?;
            found.missing += missing.iter().map(|(_, versions)| versions.len() as u64).sum::<u64>();
            if !dry_run && !missing.is_empty() {
                self.send_again(endpoint, missing, AgainFor::Missing).await?;
            }
        }
        found.next = Some(cursor);
        Ok(found)
    }

    /// Those of some events that an endpoint lacks, by subject.
    async fn missing_of(
        &self,
        endpoint: &Endpoint,
        events: &[Event],
    ) -> Result<Vec<(Subject, Vec<u64>)>, Error> {
        let hears =
            |event: &&Event| event.tenant == endpoint.tenant && endpoint.listens.hears(event.kind.as_str());
        let wanted: Vec<(Subject, u64)> = events
            .iter()
            .filter(hears)
            .map(|event| (Subject::order(event.order_id), event.version))
            .collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let is_there = self.storage.was_or_comes(endpoint.number, &wanted).await?;
        let mut missing: BTreeMap<Subject, Vec<u64>> = BTreeMap::new();
        for ((subject, version), _) in wanted.iter().zip(is_there).filter(|(_, is_there)| !is_there) {
            missing.entry(*subject).or_default().push(*version);
        }
        debug_assert!(missing.len() <= AGAIN_STREAMS_MAX);
        Ok(missing.into_iter().collect())
    }
}

/// An id below those of all tries that began at a moment or later: they are of version 7, which begins with the time in
/// milliseconds (RFC 9562 §5.7).
fn first_id(since: Timestamp) -> Option<Uuid> {
    let millis = u128::try_from(since.micros() / 1_000).ok()?;
    Some(Uuid::from_u128(millis << 80))
}
