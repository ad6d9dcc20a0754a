//! How often who may ask. The arithmetic is in [`rate`], what is remembered of whom in [`table`].

mod forwarded;
mod pacer;
mod rate;
mod share;
mod table;

pub use forwarded::{ClientAddress, InvalidNetwork, Network, Proxies, ProxyHeader};
pub(crate) use pacer::Pacer;
pub use rate::Rate;
pub use share::{ShareKey, Spent};

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
    /// What nodes that share these rates have in common; `None`: each node counts for itself.
    pub shared: Option<ShareKey>,
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
        let table = |of: Of, rate: Option<Rate>| {
            let table = Table::new(rate?, policy.tracked_max);
            Some(match policy.shared {
                Some(key) => table.shared(&key, of.word()),
                None => table,
            })
        };
        metrics::describe_counter!(
            LIMITED,
            "Requests that were refused because too many came, by whose limit"
        );
        for of in Of::ALL {
            // There from the start: a rate needs a zero to rise from.
            metrics::counter!(LIMITED, "limit" => of.word()).increment(0);
        }
        Self {
            key: table(Of::Key, policy.key),
            tenant: table(Of::Tenant, policy.tenant),
            address: table(Of::Address, policy.address),
            failed_login: table(Of::FailedLogin, policy.failed_login),
        }
    }

    /// What was admitted since the last call and others are to hear of, of at most `max` buckets; empty where nothing is
    /// shared.
    pub fn spent(&self, max: usize, now: Timestamp) -> Vec<Spent> {
        let mut all = Vec::new();
        for of in Of::ALL {
            let Some(table) = self.table(of) else { continue };
            let (cost, owed_max) = (table.rate().cost(), table.rate().owed_max());
            let left = max.saturating_sub(all.len());
            all.extend(table.spent(left, now).into_iter().map(|(name, count, ago)| Spent {
                limit: of.word(),
                name,
                cost: cost.saturating_mul(count),
                ago,
                owed_max,
            }));
        }
        all
    }

    /// Takes up how much is owed in a bucket, as all nodes together know it.
    pub fn owed(&self, spent: &Spent, owed: Duration, now: Timestamp) {
        let of = Of::ALL.into_iter().find(|of| of.word() == spent.limit);
        if let Some(table) = of.and_then(|of| self.table(of)) {
            table.owes(spent.name, owed, now);
        }
    }

    fn table(&self, of: Of) -> Option<&Table> {
        match of {
            Of::Key => self.key.as_ref(),
            Of::Tenant => self.tenant.as_ref(),
            Of::Address => self.address.as_ref(),
            Of::FailedLogin => self.failed_login.as_ref(),
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
    ///
    /// # Errors
    /// They, or all of their tenant, asked too often: [`Refusal::RateLimited`].
    pub fn caller(&self, caller: &Caller, now: Timestamp) -> Result<(), Refusal> {
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
