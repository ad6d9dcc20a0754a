//! `grpc.health.v1.Health`: serving until the process is about to stop.

use super::orders::service::v1::orders_service_server::SERVICE_NAME;
use futures_util::stream::{self, Stream, StreamExt};
use std::pin::Pin;
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// See the module.
pub(super) struct Alive {
    stopping: watch::Receiver<bool>,
}

impl Alive {
    pub(super) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self { stopping }
    }

    fn now(&self) -> ServingStatus {
        if *self.stopping.borrow() { ServingStatus::NotServing } else { ServingStatus::Serving }
    }
}

/// Whether it is this server as a whole, or the service that it serves.
fn is_ours(service: &str) -> bool {
    matches!(service, "" | SERVICE_NAME)
}

fn told(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for Alive {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !is_ours(&request.into_inner().service) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(told(self.now())))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    /// Ends with the process, so that nobody who watches keeps it from that.
    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let ours = is_ours(&request.into_inner().service);
        let (first, last) = if ours {
            (self.now(), ServingStatus::NotServing)
        } else {
            (ServingStatus::ServiceUnknown, ServingStatus::ServiceUnknown)
        };
        let mut stopping = self.stopping.clone();
        let end = stream::once(async move {
            drop(stopping.wait_for(|stopping| *stopping).await);
            Ok(told(last))
        });
        Ok(Response::new(stream::iter([Ok(told(first))]).chain(end).boxed()))
    }
}
