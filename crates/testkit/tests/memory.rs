//! The memory storage passes the suite that it helps to judge others by: as one process's own, and as a shared one with
//! several lanes.

use testkit::MemoryStorage;
use testkit::conformance::Fixture;
use testkit::memory::MemoryFixture;

async fn alone() -> Box<dyn Fixture> {
    MemoryFixture::alone(MemoryStorage::new())
}

async fn shared() -> Box<dyn Fixture> {
    MemoryFixture::shared(MemoryStorage::with(6, 3))
}

mod one_process {
    use super::*;
    testkit::conformance!(alone);
}

mod several_lanes {
    use super::*;
    testkit::conformance!(shared);
}

/// Proves little of the storage, but that the model answers the same when asked the same.
#[test]
fn the_model_agrees_with_itself() {
    testkit::model::check(100, alone);
    testkit::model::check(100, shared);
}
