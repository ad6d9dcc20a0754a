//! The domain of wellorder and its use cases. Nothing here does I/O: storage, time, randomness, processors and sinks
//! are ports, passed in.
//!
//! Dramatis personae, in the order in which an order meets them:
//!
//! * [`intake`] turns a parsed request into an [`intake::Intake`]: content, derived id, digest.
//! * [`lane`] batches commands of many callers into one transaction each (group commit).
//! * [`shed`] keeps it from taking on more than it can do in time.
//! * [`ports::Storage`] applies a batch; it asks [`decide`] what a command means and writes what comes back.
//! * [`order::Order`] changes only by [`event::EventBody`]s, through [`order::Order::apply`]; the same function folds
//!   the journal in an audit.
//! * [`process`] claims work under a [`lease`], runs a [`ports::Processor`] and settles.
//! * [`follow`] carries the [`journal`] to a [`ports::Sink`], cursor behind it.
//! * [`tail`] reads on at the end of the journal, once for all who [`wait`] for an order and all who read the feed [`live`].
//! * [`marketplace`] fetches orders from stores, within their [`budget`].
//! * [`inbox`] makes messages of others, which may come again, count once.
//! * [`trace`] remembers which request all of that goes back to.
//! * [`webhook`] tells receivers outside of events, over [`ports::Deliverer`].
//! * [`sealing`] keeps what others entrusted to us under a key that is not in the database.
//! * [`action_log`] keeps what people and keys did meanwhile.
//! * [`app::App`] is what the edges (HTTP, command line) hold.

pub mod action_log;
pub mod api_key;
pub mod app;
pub mod audit;
pub mod backup;
pub mod breaker;
pub mod budget;
pub mod carry;
pub mod catalog;
pub mod change;
pub mod clock;
pub mod command;
pub mod consumers;
pub mod decide;
pub mod desk;
pub mod error;
pub mod external;
pub mod fault_point;
pub mod follow;
mod footprint;
pub mod ids;
pub mod inbox;
pub mod intake;
pub mod journal;
pub mod json;
pub mod lane;
pub mod lease;
pub mod listing;
pub mod live;
pub mod marketplace;
pub mod meter;
pub mod order;
pub mod parking;
pub mod ports;
pub mod process;
pub mod pull;
pub mod query;
pub mod redrive;
pub mod remote;
pub mod replay;
pub mod sealing;
pub mod share;
pub mod shed;
pub mod tail;
pub mod telling;
pub mod trace;
pub mod wait;
pub mod webhook;

pub use api_key::{ApiKey, ApiKeyId, Pepper};
pub use app::App;
pub use clock::{Clock, Timestamp};
pub use error::{Error, Fault, Rejection};
pub use ids::{EventId, Ids, LeaseToken, OrderId, Reference, Shard, SourceId, StoreId, TenantId};
pub use order::{Order, event, money::Money, state};
