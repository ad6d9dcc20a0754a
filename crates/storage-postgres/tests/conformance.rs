//! PostgreSQL passes the suite of every storage.

mod fixture;

use fixture::fresh;

testkit::conformance!(fresh);
