//! The contracts through their routers, on a storage in memory: every documented example, every refusal, every state
//! that an order can be seen in. Workers are stepped, time is moved by hand.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what is not as expected here is a failed test, and must say so at once"
)]

/// Compares a text with the snapshot of the test that it is in.
macro_rules! assert_text {
    ($text:expr) => {{
        let text = $text;
        insta::with_settings!({ omit_expression => true }, { insta::assert_snapshot!(text) })
    }};
}

mod bad_input;
mod catalog;
mod harness;
mod marketplace;
mod marketplace_stores;
mod marketplace_webhooks;
mod mounting;
mod openapi;
mod orderstream;
mod orderstream_consumed;
mod orderstream_grpc;
mod orderstream_states;
mod oscarps;
mod oscarps_states;
mod parspec;
mod parspec_states;
mod sales;
mod sales_messages;
mod sales_states;
mod shared_refusals;
