//! What can be had of a product, as the product catalogue of another system knows it; and how often it is asked again.

use async_trait::async_trait;
use std::time::Duration;
use uuid::Uuid;

/// How many of a product can be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    /// As many as are asked for.
    Any,
    /// So many.
    Count(u64),
}

impl Available {
    /// Whether `quantity` can be had.
    pub fn covers(self, quantity: u32) -> bool {
        match self {
            Self::Any => true,
            Self::Count(count) => count >= u64::from(quantity),
        }
    }
}

/// The catalogue gave no answer that can be used. Nothing follows from that for the product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the catalogue gave no answer: {why}")]
pub struct CatalogAway {
    /// Why, for the log; never shown to a client.
    pub why: String,
    /// When to ask again.
    pub retry_after: Duration,
}

/// A product catalogue. It is asked before an order is taken in, and never inside a transaction; nothing is reserved.
#[async_trait]
pub trait Catalog: Send + Sync {
    /// How many of a product can be had; `None` when there is no such product.
    ///
    /// # Errors
    /// When that cannot be found out now.
    async fn available(&self, product_id: Uuid) -> Result<Option<Available>, CatalogAway>;
}

/// What one retry costs, in what one call earns.
const RETRY_COSTS: u32 = 10;
/// Retries that may be made at once after a time without any.
const RESERVE: u32 = 10;

/// Keeps retries to one in ten calls, so that whoever is in trouble gets a tenth more to do and not three times as much.
#[derive(Debug)]
pub struct RetryBudget {
    earned: u32,
}

impl Default for RetryBudget {
    /// With ten retries at hand.
    fn default() -> Self {
        Self { earned: RESERVE * RETRY_COSTS }
    }
}

impl RetryBudget {
    /// A call is made for the first time.
    pub fn earn(&mut self) {
        self.earned = (self.earned + 1).min(RESERVE * RETRY_COSTS);
    }

    /// Whether it may be made once more; if so, that is taken off.
    pub fn spend(&mut self) -> bool {
        match self.earned.checked_sub(RETRY_COSTS) {
            Some(left) => {
                self.earned = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_made_for_one_call_in_ten() {
        let mut budget = RetryBudget::default();
        let mut retries = 0;
        for _ in 0..1_000 {
            budget.earn();
            // Two retries are wanted of each call.
            retries += u32::from(budget.spend()) + u32::from(budget.spend());
        }
        assert!((100..=110).contains(&retries), "{retries}");
    }

    #[test]
    fn a_quiet_time_saves_up_ten_and_no_more() {
        let mut budget = RetryBudget::default();
        for _ in 0..10_000 {
            budget.earn();
        }
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 10);
    }

    #[test]
    fn what_can_be_had_covers_as_much_and_no_more() {
        assert!(Available::Any.covers(u32::MAX));
        assert!(Available::Count(2).covers(2));
        assert!(!Available::Count(2).covers(3));
        assert!(!Available::Count(0).covers(1));
    }
}
