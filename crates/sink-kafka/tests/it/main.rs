//! The sink against a real broker: `cargo xtask services up kafka`, or the one that `WELLORDER_TEST_KAFKA_BROKERS` names.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests name topics by chance and read the environment")]

mod chaos;
mod consuming;
mod delivery;
mod outage;
mod rig;
mod telling;
