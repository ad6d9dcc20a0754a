//! What can be asked of a storage about webhooks without changing anything.

use super::attempt::{Attempt, AttemptQuery, GivenUp, StreamQuery, WebhookBacklog};
use super::endpoint::{Endpoint, EndpointId};
use super::stream::{Stream, Subject};
use crate::clock::Timestamp;
use crate::error::Fault;
use crate::ids::TenantId;
use async_trait::async_trait;

/// See the module. Part of [`crate::ports::Storage`], and held by the same conformance suite.
#[async_trait]
pub trait WebhookReads: Send + Sync {
    /// One endpoint that is not deleted.
    async fn endpoint(&self, tenant: &TenantId, endpoint_id: EndpointId) -> Result<Option<Endpoint>, Fault>;

    /// The endpoints of a tenant, and of an organization where one is named, with numbers below `before`, the newest first, at
    /// most `limit`; without those that are deleted.
    async fn endpoints(
        &self,
        tenant: &TenantId,
        organization: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Fault>;

    /// Streams of which something is left to send.
    async fn streams(&self, query: &StreamQuery) -> Result<Vec<Stream>, Fault>;

    /// Tries, the newest first.
    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, Fault>;

    /// The last tries of deliveries that were given up and not made since, the oldest first.
    async fn given_up(&self, of: &GivenUp) -> Result<Vec<Attempt>, Fault>;

    /// For each version of a subject, whether an endpoint has been sent it with success, or it is still to come.
    async fn was_or_comes(&self, endpoint: i64, of: &[(Subject, u64)]) -> Result<Vec<bool>, Fault>;

    /// How much waits for receivers.
    async fn webhook_backlog(&self, now: Timestamp) -> Result<WebhookBacklog, Fault>;
}
