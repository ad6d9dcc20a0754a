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
mod bad_requests;
mod boot;
mod bulk;
mod changes;
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
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "killpoints")]
mod kill_points;
mod limits;
mod login;
mod logs;
mod matrix;
mod metrics;
mod orderstream;
mod oscarps;
mod parspec;
mod printed;
mod processor;
mod pull;
mod reads;
mod redrives;
mod roles;
mod serve;
mod shut_out;
mod shutdown;
mod tls;
mod traces;
mod v1;
mod waits;
mod who;

use serde_json::Value;

/// Whether the value is a moment in UTC with so many decimals, such as `2025-02-23T10:00:00.000Z` with three.
fn is_moment(value: &Value, decimals: usize) -> bool {
    let Some((seconds, rest)) = value.as_str().and_then(|text| text.split_once('.')) else { return false };
    let shape: String =
        seconds.chars().map(|digit| if digit.is_ascii_digit() { '0' } else { digit }).collect();
    let fraction = rest.strip_suffix('Z').unwrap_or_default();
    shape == "0000-00-00T00:00:00"
        && fraction.len() == decimals
        && fraction.bytes().all(|digit| digit.is_ascii_digit())
}

/// The names of an object's members, in their order.
fn names(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
