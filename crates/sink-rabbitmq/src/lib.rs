//! Carries events to RabbitMQ, and takes messages from it.
//!
//! What is published is durable: messages are persistent, confirmed by the server, and refused aloud when no queue takes them.
//! An event of an order leaves once the one before it is confirmed. What is consumed is acknowledged once it is dealt with: a
//! message is always in its queue, waiting in a queue of retries, or a dead letter with the reason.
//!
//! The same message may be published, and may come, more than once. Consumers know it by its id.

mod address;
mod cloud_events;
mod consumer;
mod frame;
mod handover;
mod link;
mod publisher;
mod retries;
mod topology;

pub use address::{Address, InvalidAddress};
pub use cloud_events::CloudEvents;
pub use consumer::{Consumer, ConsumerOptions, Handle, Incoming};
pub use link::{Options, Trouble, probe};
pub use publisher::{Encode, Message, Publisher, RabbitSink};
pub use retries::{ATTEMPT_HEADER, REASON_HEADER};
pub use topology::{Exchange, Queue, Topology};
