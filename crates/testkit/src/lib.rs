//! What tests of this workspace share. Never part of a release.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected here is a failed test, and must say so at once"
)]

pub mod build;
pub mod clock;
pub mod conformance;
pub mod dump;
pub mod http;
pub mod memory;
pub mod model;
pub mod processors;
pub mod sinks;
pub mod wrapped;

pub use clock::{ManualClock, SeededIds};
pub use memory::MemoryStorage;
pub use processors::ScriptedProcessor;
pub use sinks::RecordingSink;
pub use wrapped::Wrapped;
