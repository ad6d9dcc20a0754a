//! Webhooks: endpoints that are told of events, in order within an order (or a store), at least once.
//!
//! * An [`Endpoint`] is a receiver: where it is, what it [`listens`] to, in which dialect it is told.
//! * A follower of the journal, [`fan_out::FanOut`], raises the [`stream`]s of those that listen: one row for each endpoint and
//!   subject of which something is left to send. A stream of which nothing is left has no row.
//! * The [`courier`] claims streams that are due, sends the event at the head of each, and settles: the row moves on, or waits
//!   for the next try by the [`schedule`]. Each try leaves an [`attempt`].
//! * What was given up, or was missed, is put [`again`] before the rest of its stream.
//!
//! At most one event of a stream is on its way at a time, so what a receiver gets of one order is in order; streams go beside
//! each other. Claims are fair: see [`claims`].

pub mod again;
pub mod attempt;
pub mod body;
pub mod challenge;
pub mod claims;
pub mod command;
pub mod courier;
pub mod endpoint;
pub mod fan_out;
pub mod listens;
pub mod manage;
pub mod missed;
mod parcel;
pub mod reads;
pub mod registering;
pub mod schedule;
pub mod sending;
pub mod signing;
pub mod stream;

pub use endpoint::{Endpoint, EndpointId};
pub use listens::Listens;
pub use stream::Subject;

/// The name of the follower that raises streams.
pub const FOLLOWER: &str = "webhooks";
