//! What is served while the storage cannot be had yet: the process lives, is not ready, and refuses all else.

use crate::health::{Check, asks_for_checks, live, respond};
use crate::params::Params;
use crate::problem::{Failure, style};
use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use edge::{Guard, Mount};
use order_core::Fault;
use std::sync::Arc;
use std::time::Duration;

/// When a client is to try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why it waits, as whoever runs it is told.
#[derive(Clone)]
pub struct Waiting {
    /// What cannot be had, why, and what to do.
    pub why: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether `/readyz?verbose` tells it.
    pub tells_checks: bool,
}

/// What clients are told of the storage meanwhile.
pub fn not_yet() -> Fault {
    Fault::Unavailable { why: "the server waits for its storage".to_owned(), retry_after: RETRY_AFTER }
}

/// `/livez` and `/readyz`; with `root_taken` the rest is another's, else it is refused.
pub fn waiting_router(waiting: Waiting, guard: &Arc<Guard>, root_taken: bool) -> Router {
    let health = Router::new().route("/livez", get(live)).route("/readyz", get(ready)).with_state(waiting);
    let mount = Mount { name: "ops", style };
    let health = edge::mount_routes(health, mount, Arc::clone(guard));
    let v1 = edge::mount_unable(not_yet(), Mount { name: "v1", style }, Arc::clone(guard));
    let router = health.nest("/v1", v1);
    if root_taken { router } else { router.merge(edge::mount_unable(not_yet(), mount, Arc::clone(guard))) }
}

async fn ready(State(waiting): State<Waiting>, params: Params) -> Result<Response, Failure> {
    let verbose = asks_for_checks(params)? && waiting.tells_checks;
    let check = Check::vital("storage", false, (waiting.why)());
    Ok(respond(&[check], verbose))
}
