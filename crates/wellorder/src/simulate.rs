//! The processor that only pretends: waits, then succeeds, or fails as it was told.

use async_trait::async_trait;
use order_core::lease::Leased;
use order_core::ports::{Processed, Processor};
use order_core::{Ids, Order};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait that an order may ask for.
const DELAY_MAX: Duration = Duration::from_secs(3_600);

/// Pretends to process. An order's attribute `simulate` goes before the settings: `"fail"` fails every try, `"park"`
/// parks at once, `{"fail": n, "delay_ms": n}` fails the first `n` tries (those before a redrive included) and takes
/// so long each time.
pub(crate) struct Simulate {
    pub(crate) delay: Duration,
    /// Which part of the tries fails, 0.0–1.0.
    pub(crate) fail_rate: f64,
    pub(crate) ids: Arc<dyn Ids>,
}

#[derive(Debug, PartialEq, Eq)]
enum Plan {
    Succeed,
    Fail,
    Park,
}

impl Simulate {
    fn plan(&self, order: &Order) -> (Plan, Duration) {
        let Some(told) = order.content.attributes.get("simulate") else {
            let fails = self.fail_rate > 0.0 && self.ids.unit() < self.fail_rate;
            return (if fails { Plan::Fail } else { Plan::Succeed }, self.delay);
        };
        let delay = told.get("delay_ms").and_then(Value::as_u64).map_or(self.delay, Duration::from_millis);
        let plan = match (told.as_str(), told.get("fail").and_then(Value::as_u64)) {
            (Some("fail"), _) => Plan::Fail,
            (Some("park"), _) => Plan::Park,
            // Each failed try has left an event: the version tells how many there were.
            (_, Some(failures)) if order.version <= failures => Plan::Fail,
            _ => Plan::Succeed,
        };
        (plan, delay.min(DELAY_MAX))
    }
}

#[async_trait]
impl Processor for Simulate {
    fn name(&self) -> &'static str {
        "simulate"
    }

    async fn process(&self, work: &Leased) -> Processed {
        let (plan, delay) = self.plan(&work.order);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        match plan {
            Plan::Succeed => Processed::Done,
            Plan::Fail => Processed::Failed { why: "simulated failure".to_owned(), retry_after: None },
            Plan::Park => Processed::Hopeless { why: "simulated: hopeless".to_owned() },
        }
    }
}
