//! The built program through its front door: real processes, real sockets, real files.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected here is a failed test, and must say so at once"
)]

mod action_log;
mod audit;
mod authorities;
mod backups;
mod bad_input;
mod bad_receivers;
mod bad_requests;
mod boot;
mod bulk;
mod changes;
#[cfg(all(feature = "amqp", feature = "kafka", feature = "redis"))]
mod chaos_brokers;
mod cli;
mod cli_orders;
mod cli_work;
mod config;
mod disk;
mod docs;
mod durability;
mod faults;
mod feed;
mod folder;
mod followers;
mod harness;
mod hints;
mod images;
#[cfg(all(feature = "amqp", feature = "killpoints"))]
mod inbox;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "killpoints")]
mod kill_market;
#[cfg(feature = "killpoints")]
mod kill_points;
mod limits;
mod login;
mod logs;
mod marketplace;
mod marketplace_told;
mod matrix;
#[cfg(feature = "amqp")]
mod metrics;
mod orderstream;
#[cfg(all(feature = "kafka", feature = "redis"))]
mod orderstream_kafka;
mod oscarps;
mod parspec;
mod printed;
mod processor;
mod processors;
mod pull;
#[cfg(feature = "amqp")]
mod rabbitmq;
mod reads;
mod redrives;
mod roles;
mod sales;
#[cfg(all(feature = "amqp", feature = "kafka"))]
mod sales_messages;
mod secrets;
mod secured;
mod serve;
mod shut_out;
mod shutdown;
mod tls;
mod traces;
mod v1;
mod values;
mod waits;
mod webhook_receiver;
mod webhooks;
mod who;

use harness::Kept;
use values::{is_moment, names};

/// Where the databases of these tests are.
const KEPT: Kept = Kept::InFolder;
