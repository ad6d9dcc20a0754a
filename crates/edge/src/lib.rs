//! HTTP plumbing under every mounted API. It refuses what no API should have to look at (too large, too slow, too deep,
//! not JSON), names each request, and lets each mount say no in its own words.

mod refusal;

pub use refusal::{Refusal, RequestId, Refused, Style};
