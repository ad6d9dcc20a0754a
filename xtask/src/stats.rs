//! Medians, ranges and percentiles.

/// The value below which `percent` of `sorted` lie (nearest rank); 0 when there is none.
pub(crate) fn percentile(sorted: &[f64], percent: f64) -> f64 {
    if sorted.is_empty() {
        return 0.0;
    }
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

/// Sorts a list of finite numbers.
pub(crate) fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle of an unsorted list; the mean of the two middles when their number is even.
pub(crate) fn median(values: &[f64]) -> f64 {
    let values = sorted(values.to_vec());
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

/// The least and the greatest of a list; zeros when it is empty.
pub(crate) fn range(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(*v), high.max(*v)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let values = sorted((1..=100).rev().map(f64::from).collect());
        let drawn: Vec<String> =
            [0.0, 50.0, 99.0, 100.0].iter().map(|p| percentile(&values, *p).to_string()).collect();
        assert_eq!(drawn, ["1", "50", "99", "100"]);
        assert_eq!(percentile(&[], 50.0).to_string(), "0");
    }

    #[test]
    fn median_and_range_need_no_order() {
        assert_eq!(median(&[3.0, 1.0, 2.0]).to_string(), "2");
        assert_eq!(median(&[4.0, 1.0]).to_string(), "2.5");
        let (low, high) = range(&[3.0, 1.0, 2.0]);
        assert_eq!((low.to_string(), high.to_string()), ("1".to_owned(), "3".to_owned()));
    }
}
