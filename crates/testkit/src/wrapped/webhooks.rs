//! What is asked about webhooks goes straight through.

use super::Wrapped;
use async_trait::async_trait;
use order_core::clock::Timestamp;
use order_core::error::Fault;
use order_core::ids::TenantId;
use order_core::webhook::attempt::{Attempt, AttemptQuery, GivenUp, StreamQuery, WebhookBacklog};
use order_core::webhook::reads::WebhookReads;
use order_core::webhook::stream::Stream;
use order_core::webhook::{Endpoint, EndpointId, Subject};

#[async_trait]
impl WebhookReads for Wrapped {
    async fn endpoint(&self, tenant: &TenantId, endpoint_id: EndpointId) -> Result<Option<Endpoint>, Fault> {
        self.inner.endpoint(tenant, endpoint_id).await
    }

    async fn endpoints(
        &self,
        tenant: &TenantId,
        organization: Option<&str>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Endpoint>, Fault> {
        self.inner.endpoints(tenant, organization, before, limit).await
    }

    async fn streams(&self, query: &StreamQuery) -> Result<Vec<Stream>, Fault> {
        self.inner.streams(query).await
    }

    async fn attempts(&self, query: &AttemptQuery) -> Result<Vec<Attempt>, Fault> {
        self.inner.attempts(query).await
    }

    async fn given_up(&self, of: &GivenUp) -> Result<Vec<Attempt>, Fault> {
        self.inner.given_up(of).await
    }

    async fn was_or_comes(&self, endpoint: i64, of: &[(Subject, u64)]) -> Result<Vec<bool>, Fault> {
        self.inner.was_or_comes(endpoint, of).await
    }

    async fn webhook_backlog(&self, now: Timestamp) -> Result<WebhookBacklog, Fault> {
        self.inner.webhook_backlog(now).await
    }
}
