//! The order backend in one binary: what the program is made of. `main.rs` only calls [`run`].
//!
//! * `config` settles what it is told; `cli` are the commands that end by themselves.
//! * `dev` and `serve_command` start the `server`: `wire_up` builds it, `access` says who may call, `serve` listens,
//!   `shutdown` stops it.

mod access;
mod banner;
mod boot;
mod catalog;
mod cli;
mod config;
mod demo;
mod dev;
mod dev_secret;
mod failed_logins;
mod files;
mod folder;
mod following;
mod further;
mod http_processor;
mod invocation;
mod kafka;
#[cfg(feature = "killpoints")]
mod killpoint;
mod local;
mod lookout;
mod markets;
mod moving;
mod orderstream;
mod otlp;
mod output;
mod rabbitmq;
mod redis;
mod restore;
mod run;
#[cfg(feature = "amqp")]
mod sales;
mod secrets;
mod seldom;
mod serve;
mod serve_check;
mod serve_command;
mod server;
mod shutdown;
mod simulate;
mod simulate_delivery;
mod simulate_flow;
mod simulate_receiver;
mod sink_ndjson;
mod storage;
mod system;
mod telemetry;
mod transport;
mod trust;
mod webhooks;
mod wire_up;

#[cfg(feature = "fuzzing")]
pub use config::fuzzing;
pub use run::run;
pub use serve::bare;
