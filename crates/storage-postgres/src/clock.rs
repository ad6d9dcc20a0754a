//! The database's time, so that a node with a wrong clock takes nobody's lease.

use crate::connect::{Purpose, Target};
use crate::error::Tried;
use crate::rows::time;
use order_core::Fault;
use order_core::clock::{Clock, Timestamp};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// The time of the database's server, as it was measured last, moved on by this machine's monotonic clock.
pub struct DatabaseClock {
    target: Target,
    began: Instant,
    /// Microseconds from the beginning of this clock to 1970, on the server's clock, negated.
    epoch: AtomicI64,
}

impl DatabaseClock {
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn new(target: Target) -> Self {
        Self { target, began: Instant::now(), epoch: AtomicI64::new(0) }
    }

    fn elapsed(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// Measures again: to be called each minute or so. Returns by how many microseconds the two clocks had come apart.
    ///
    /// # Errors
    /// When the database cannot be asked; the clock goes on as it was.
    pub async fn measure(&self) -> Result<i64, Fault> {
        Ok(self.measured().await?)
    }

    pub(crate) async fn measured(&self) -> Tried<i64> {
        let conn = self.target.connect(Purpose::Read).await?;
        // The quickest of a few answers tells best when the question was asked.
        let mut best: Option<(i64, i64)> = None;
        for _ in 0..3 {
            let asked = self.elapsed();
            let row = conn.query_one("SELECT clock_timestamp()", &[]).await?;
            let took = self.elapsed() - asked;
            let epoch = time(&row, 0)?.micros() - (asked + took / 2);
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, epoch));
            }
        }
        let Some((_, epoch)) = best else { return Ok(0) };
        Ok(epoch - self.epoch.swap(epoch, Ordering::Relaxed))
    }
}

impl Clock for DatabaseClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.epoch.load(Ordering::Relaxed).saturating_add(self.elapsed()))
    }
}
