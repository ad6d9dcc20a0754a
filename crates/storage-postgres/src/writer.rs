//! The lanes' connections, and what a commit does when something goes wrong.

use crate::connect::{Conn, Target};
use order_core::Fault;
use order_core::command::Command;
use order_core::ports::Committed;
use order_core::query::Install;
use std::sync::Arc;
use tokio::sync::Mutex;

/// One connection for each lane, made when it is needed.
pub(crate) struct Writers {
    #[expect(dead_code, reason = "not written yet")]
    target: Target,
    #[expect(dead_code, reason = "not written yet")]
    install: Arc<Install>,
    lanes: Vec<Mutex<Option<Conn>>>,
}

impl Writers {
    pub(crate) fn new(target: Target, install: Arc<Install>, lanes: usize) -> Self {
        Self { target, install, lanes: (0..lanes).map(|_| Mutex::new(None)).collect() }
    }

    pub(crate) fn lanes(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) async fn commit(&self, _lane: usize, _batch: &[Command]) -> Result<Committed, Fault> {
        Err(Fault::internal("not written yet"))
    }
}
