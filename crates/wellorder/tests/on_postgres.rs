//! The tests of the built program that go through its front door, on PostgreSQL: the same text as on SQLite, each test on a
//! database of its own. And what only several nodes can show.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    unused_imports,
    reason = "what is not as expected here is a failed test; the harness has more than these tests use"
)]

#[path = "it/bad_receivers.rs"]
mod bad_receivers;
#[path = "it/bulk.rs"]
mod bulk;
#[path = "it/changes.rs"]
mod changes;
#[path = "it/chaos_postgres.rs"]
mod chaos_postgres;
#[path = "it/cli_work.rs"]
mod cli_work;
#[path = "it/feed.rs"]
mod feed;
#[path = "it/followers.rs"]
mod followers;
#[path = "it/harness/mod.rs"]
mod harness;
#[cfg(all(feature = "amqp", feature = "killpoints"))]
#[path = "it/inbox.rs"]
mod inbox;
#[cfg(feature = "kafka")]
#[path = "it/kafka.rs"]
mod kafka;
#[cfg(feature = "killpoints")]
#[path = "it/kill_market.rs"]
mod kill_market;
#[cfg(feature = "killpoints")]
#[path = "it/kill_points.rs"]
mod kill_points;
#[path = "it/login.rs"]
mod login;
#[path = "it/market_nodes.rs"]
mod market_nodes;
#[path = "it/matrix.rs"]
mod matrix;
#[path = "it/moves.rs"]
mod moves;
#[path = "it/nodes.rs"]
mod nodes;
#[path = "it/orderstream.rs"]
mod orderstream;
#[cfg(all(feature = "kafka", feature = "redis"))]
#[path = "it/orderstream_kafka.rs"]
mod orderstream_kafka;
#[cfg(all(feature = "kafka", feature = "redis"))]
#[path = "it/orderstream_nodes.rs"]
mod orderstream_nodes;
#[path = "it/oscarps.rs"]
mod oscarps;
#[path = "it/own_server.rs"]
mod own_server;
#[path = "it/parspec.rs"]
mod parspec;
#[path = "it/parts.rs"]
mod parts;
#[path = "it/processors.rs"]
mod processors;
#[path = "it/pull.rs"]
mod pull;
#[cfg(feature = "amqp")]
#[path = "it/rabbitmq.rs"]
mod rabbitmq;
#[path = "it/reads.rs"]
mod reads;
#[path = "it/redrives.rs"]
mod redrives;
#[path = "it/roles.rs"]
mod roles;
#[path = "it/sales.rs"]
mod sales;
#[cfg(all(feature = "amqp", feature = "kafka"))]
#[path = "it/sales_messages.rs"]
mod sales_messages;
#[path = "it/secrets.rs"]
mod secrets;
#[path = "it/secured_postgres.rs"]
mod secured_postgres;
#[path = "it/server_database.rs"]
mod server_database;
#[path = "it/v1.rs"]
mod v1;
#[path = "it/values.rs"]
mod values;
#[path = "it/waits.rs"]
mod waits;
#[path = "it/webhooks.rs"]
mod webhooks;
#[path = "it/who.rs"]
mod who;

use harness::Kept;
use values::{is_moment, names};

/// Where the databases of these tests are.
const KEPT: Kept = Kept::OnServer;
