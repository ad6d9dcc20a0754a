//! How often who may ask. The arithmetic is in [`rate`], what is remembered of whom in [`table`].

mod forwarded;
mod pacer;
mod rate;
mod table;

pub use forwarded::{ClientAddress, InvalidNetwork, Network, Proxies, ProxyHeader};
pub(crate) use pacer::Pacer;
pub use rate::Rate;

use crate::access::Caller;
use crate::refusal::Refusal;
use order_core::Timestamp;
use std::net::IpAddr;
use std::time::Duration;
use table::Table;

const LIMITED: &str = "wellorder_rate_limited_total";

/// The rates there are; none is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RatePolicy {
    /// Of one credential: an API key, or a subject of an issuer.
    pub key: Option<Rate>,
    /// Of all credentials of a tenant.
    pub tenant: Option<Rate>,
    /// Of one address, requests without a credential.
    pub address: Option<Rate>,
    /// Of one address, credentials that are not good.
    pub failed_login: Option<Rate>,
    /// How many are remembered of each kind.
    pub tracked_max: usize,
}

/// Whose rate it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Key,
    Tenant,
    Address,
    FailedLogin,
}

impl Of {
    const ALL: [Self; 4] = [Self::Key, Self::Tenant, Self::Address, Self::FailedLogin];

    fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Tenant => "tenant",
            Self::Address => "address",
            Self::FailedLogin => "failed-login",
        }
    }
}

/// Says who has asked too often.
pub struct Rates {
    key: Option<Table>,
    tenant: Option<Table>,
    address: Option<Table>,
    failed_login: Option<Table>,
}

impl Rates {
    /// Nothing remembered yet.
    pub fn new(policy: RatePolicy) -> Self {
        let table = |rate: Option<Rate>| rate.map(|rate| Table::new(rate, policy.tracked_max));
        metrics::describe_counter!(
            LIMITED,
            "Requests that were refused because too many came, by whose limit"
        );
        for of in Of::ALL {
            // There from the start: a rate needs a zero to rise from.
            metrics::counter!(LIMITED, "limit" => of.word()).increment(0);
        }
        Self {
            key: table(policy.key),
            tenant: table(policy.tenant),
            address: table(policy.address),
            failed_login: table(policy.failed_login),
        }
    }

    /// A credential of this address was not good.
    pub(crate) fn login_failed(&self, address: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        refused(Of::FailedLogin, self.failed_login.as_ref().map(|table| table.take(&address, now)))
    }

    /// A request without a credential.
    pub(crate) fn anonymous(&self, address: IpAddr, now: Timestamp) -> Result<(), Refusal> {
        refused(Of::Address, self.address.as_ref().map(|table| table.take(&address, now)))
    }

    /// A request of a caller who showed a good credential.
    pub(crate) fn caller(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
        // First the key, so that one that asks too often does not use up what its tenant has.
        let key = (&caller.tenant, &caller.subject);
        refused(Of::Key, self.key.as_ref().map(|table| table.take(&key, now)))?;
        refused(Of::Tenant, self.tenant.as_ref().map(|table| table.take(&caller.tenant, now)))
    }
}

fn refused(of: Of, outcome: Option<Result<(), Duration>>) -> Result<(), Refusal> {
    match outcome {
        Some(Err(retry_after)) => {
            metrics::counter!(LIMITED, "limit" => of.word()).increment(1);
            Err(Refusal::RateLimited { retry_after })
        }
        None | Some(Ok(())) => Ok(()),
    }
}
