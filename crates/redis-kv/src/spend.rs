//! How much of a rate all nodes together have used up: of each bucket one moment, until which what was admitted is paid for
//! (the generic cell rate algorithm, ITU-T I.371 §A.1), by the clock of Redis. A key is gone as soon as its bucket is full.

use crate::{Error, RedisKv};
use redis::Script;
use std::sync::LazyLock;
use std::time::Duration;

/// Most buckets of one call: a script keeps everybody else waiting.
pub const SPENDS_MAX: usize = 1_000;

/// What a bucket that nobody drew on is kept longer than it must be.
const SLACK_MS: u64 = 1_000;

/// What was admitted here since the last call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// Which limit.
    pub limit: &'static str,
    /// Whose bucket; the same on every node.
    pub name: u64,
    /// The time that it takes to fill up again what was drawn.
    pub cost: Duration,
    /// How long ago it was drawn: it fills up since.
    pub ago: Duration,
    /// The most that may be owed at once: what comes beyond is forgiven.
    pub owed_max: Duration,
}

// All keys of an installation are in one slot, so that a cluster of Redis takes them in one call.
static SPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local time = redis.call('TIME')
        local now = time[1] * 1000000 + time[2]
        local owed = {}
        for i, key in ipairs(KEYS) do
            local cost, ago, most = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i]), tonumber(ARGV[3 * i + 1])
            local paid = tonumber(redis.call('GET', key) or 0) or 0
            paid = math.max(now, math.min(math.max(paid, now - ago) + cost, now + most))
            redis.call('SET', key, string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + ARGV[1])
            owed[i] = math.floor(paid - now)
        end
        return owed
        ",
    )
});

impl RedisKv {
    /// Adds what was admitted here, and says for each bucket how long it takes from now on until everything that all nodes
    /// admitted is paid for. `installation` keeps apart those who share a server. At most [`SPENDS_MAX`].
    ///
    /// # Errors
    /// It is not there, or refuses; it may have added it all the same.
    pub async fn spend(&self, installation: &str, spends: &[Spend]) -> Result<Vec<Duration>, Error> {
        if spends.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = SPEND.prepare_invoke();
        call.arg(SLACK_MS);
        for spend in spends {
            call.key(format!("wellorder:{{{installation}}}:rate:{}:{:016x}", spend.limit, spend.name));
            call.arg(micros(spend.cost)).arg(micros(spend.ago)).arg(micros(spend.owed_max));
        }
        let mut connection = self.connection.clone();
        let owed: Vec<u64> = self.within(call.invoke_async(&mut connection)).await?;
        Ok(owed.into_iter().map(Duration::from_micros).collect())
    }
}

/// With what is less than a microsecond: of a rate in millions, one costs that.
fn micros(span: Duration) -> String {
    format!("{}.{:03}", span.as_micros(), span.subsec_nanos() % 1_000)
}
