//! The sink and the consumer against a real server: `cargo xtask services up rabbitmq`, or the one that
//! `WELLORDER_TEST_RABBITMQ_URL` names. Tests that stop a server start their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(clippy::disallowed_methods, reason = "tests name queues by chance and read the environment")]

mod chaos;
mod consuming;
mod foreign;
mod frames;
mod outage;
mod own_server;
mod publishing;
mod rig;
