//! What tests of this workspace share. Never part of a release.
//!
//! * [`build`]: orders to send, in short words. [`clock`]: time and chance that a test holds in its hands.
//! * [`MemoryStorage`]: a storage in memory, with faults to order. [`Wrapped`]: faults around any storage.
//! * [`ScriptedProcessor`], [`RecordingSink`], [`ScriptedReceiver`]: what work, events and
//!   deliveries meet in tests. [`http`]: a client for real sockets.
//! * [`postgres`]: where the programs of a server are.
//! * [`mod@conformance`]: the suite that every storage must pass. [`model`]: random histories, compared with the memory
//!   storage. [`dump`]: all that can be read of a storage.
//! * [`shopify`]: a server that answers as Shopify does.
//! * [`chaos`]: a way to a real server that cuts, hangs, and keeps back the very answer that a test names.
//!
//! A storage is put through both by a [`conformance::Fixture`] that can open it again:
//!
//! ```text
//! struct Database { folder: TempDir, storage: Option<Arc<dyn Storage>> }
//!
//! #[async_trait]
//! impl Fixture for Database {
//!     fn storage(&self) -> Arc<dyn Storage> { Arc::clone(self.storage.as_ref().unwrap()) }
//!     async fn reopen(&mut self, now: Timestamp) {
//!         released(self.storage.take().unwrap()).await;
//!         self.storage = Some(open(self.folder.path(), now));
//!     }
//! }
//!
//! async fn fresh() -> Box<dyn Fixture> { … }
//!
//! testkit::conformance!(fresh);
//!
//! #[test]
//! fn it_agrees_with_the_model() { testkit::model::check(1_000, fresh); }
//! ```
//!
//! The crate needs `tokio` (`macros`, `rt-multi-thread`) and `async-trait`. A case that a storage cannot meet is a
//! defect of the storage or of the case, never skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected here is a failed test, and must say so at once"
)]

pub mod build;
pub mod chaos;
pub mod clock;
pub mod conformance;
pub mod dump;
pub mod http;
pub mod marketplaces;
pub mod memory;
pub mod model;
pub mod postgres;
pub mod processors;
pub mod receivers;
pub mod shopify;
pub mod sinks;
pub mod wrapped;

pub use clock::{ManualClock, SeededIds};
pub use memory::MemoryStorage;
pub use processors::ScriptedProcessor;
pub use receivers::ScriptedReceiver;
pub use sinks::RecordingSink;
pub use wrapped::Wrapped;
