//! The contracts of order systems that exist: a client of one of them, unchanged, talks to wellorder instead.
//!
//! One module a contract, each of the same four parts:
//!
//! * `mod.rs`: the routes and thin handlers: read → core → answer; and the contract's OpenAPI document.
//! * `wire`: what goes over the wire, and how it is read and checked. Private: nobody else builds on a contract's form.
//! * `map`: wire ⇄ core, totally; the only place that knows both a field's name and its meaning.
//! * `refuse`: every way to say no, in the contract's own words; exhaustive, so that a new way of the core to say no does
//!   not compile until each contract has words for it.
//!
//! What they share lies beside them: `contract` (mounting, and asking the core), `refuse` (the core's refusals, sorted),
//! `describe` (those in OpenAPI), `reply`, `exact`, `invalid_json`. A contract sees the orders of its own tenant and source
//! only. The core knows no contract.

mod contract;
mod describe;
mod exact;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod invalid_json;
pub mod marketplace;
pub mod orderstream;
pub mod oscarps;
pub mod parspec;
mod refuse;
mod reply;
pub mod sales;
