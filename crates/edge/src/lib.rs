//! HTTP plumbing under every mounted API. It refuses what no API should have to look at (too large, too slow, too deep,
//! not JSON), names each request, and lets each mount say no in its own words.
//!
//! * [`serve`] accepts connections, with limits that hold before a request is understood.
//! * [`Rates`] says who asks too often, [`Room`] whether a write would wait too long, [`Reads`] whether
//!   a read would, and how much of what was read clients have not taken.
//! * [`mount`] wraps the routes of one API: request id, checks, time limit, panics, metrics, refusals in its [`Style`].
//! * [`Routes`] declares each route with the [`Scope`] that it needs; a [`Gate`] says who calls.
//! * [`RawBody`] and [`Json`] read bodies within the limits, [`Lines`] a long one line by line.
//! * [`docs`] serves an API's own description, offline.

mod access;
mod answers;
mod bare;
mod body;
mod check;
mod docs;
mod framing;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guard;
mod http2;
mod limit;
mod lines;
mod metering;
mod mount;
mod preface;
mod reads;
mod refusal;
mod request_id;
pub mod respond;
mod room;
mod serve;
mod socket;
mod stalling;
mod standing;
mod tls;
mod traceparent;

pub use access::{Caller, Declared, Gate, Need, Open, Routes, Scope, Scopes};
pub use answers::Answers;
pub use body::{Json, MaybeJson, RawBody, content_type_is_json, refuse_coded};
pub use docs::{MakeDocument, description, docs, finish};
pub use framing::Stalled;
pub use guard::{Guard, Limits, Pressure};
pub use limit::{
    ClientAddress, InvalidNetwork, Network, Proxies, ProxyHeader, Rate, RatePolicy, Rates, ShareKey, Spent,
};
pub use lines::{Line, Lines};
pub use mount::{LoggedOrder, Mount, mount, mount_routes, mount_unable, nest};
pub use reads::{AnswerRoom, ReadPolicy, Reads};
pub use refusal::{Refusal, Refused, RequestId, Style, Worded};
pub use room::Room;
pub use serve::{Listening, Transport, serve};
pub use standing::Standing;
pub use tls::{InvalidTls, Tls};
