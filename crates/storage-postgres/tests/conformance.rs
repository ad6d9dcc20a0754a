//! PostgreSQL passes the suite of every storage.
#![expect(clippy::unwrap_used, reason = "tests")]

mod fixture;

use fixture::fresh;

testkit::conformance!(fresh);
