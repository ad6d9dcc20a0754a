//! A histogram that can be kept where no recorder of metrics is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds; the last bucket has none.
const BOUNDS: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// Counts spans of time by their length.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

/// What a histogram held at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// (upper bound in seconds, how many were not longer), ascending.
    pub buckets: Vec<(f64, u64)>,
    /// How many there were.
    pub count: u64,
    /// All of them together, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, span: Duration) {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS.partition_point(|bound| *bound < micros);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// What it holds now.
    pub fn read(&self) -> Distribution {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(BOUNDS.len());
        for (bound, counted) in BOUNDS.iter().zip(&self.counts) {
            count += counted.load(Ordering::Relaxed);
            buckets.push((Duration::from_micros(*bound).as_secs_f64(), count));
        }
        count += self.counts[BOUNDS.len()].load(Ordering::Relaxed);
        let sum = Duration::from_micros(self.micros.load(Ordering::Relaxed)).as_secs_f64();
        Distribution { buckets, count, sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_span_is_counted_in_every_bucket_that_it_fits_into() {
        let histogram = Histogram::default();
        for micros in [0, 100, 101, 1_000_000, 9_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let Distribution { buckets, count, sum } = histogram.read();
        let at = |bound: u64| {
            let wanted = Duration::from_micros(bound).as_secs_f64();
            buckets.iter().find(|(bound, _)| (bound - wanted).abs() < 1e-9).map(|(_, count)| *count)
        };
        assert_eq!([at(100), at(250), at(500_000), at(1_000_000), at(5_000_000)], [2, 3, 3, 4, 4].map(Some));
        assert_eq!(count, 5);
        assert!((sum - 10.000_201).abs() < 1e-9, "{sum}");
    }
}
