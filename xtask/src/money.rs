//! Comparing decimal numbers as written, without a float in between.

/// The one spelling of a decimal's value: no leading zeros, no trailing zeros after the point, no `+`, no
/// exponent. None when `text` is no plain decimal number (an exponent is expanded).
pub(crate) fn canonical(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || exponent.unsigned_abs() > 60 {
        return None;
    }
    let point = whole.len() as i32 + exponent;
    let (whole, fraction) = if point <= 0 {
        (String::new(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize)))
    } else if point as usize >= digits.len() {
        (format!("{digits}{}", "0".repeat(point as usize - digits.len())), String::new())
    } else {
        let (whole, fraction) = digits.split_at(point as usize);
        (whole.to_owned(), fraction.to_owned())
    };
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// Whether two spellings are the same number, to the last digit.
pub(crate) fn same(left: &str, right: &str) -> bool {
    match (canonical(left), canonical(right)) {
        (Some(left), Some(right)) => left == right,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_spelling() {
        for (left, right) in [
            ("19.90", "19.9"),
            ("0.10", "1e-1"),
            ("100", "1E2"),
            ("007.0", "7"),
            ("-0.0", "0"),
            ("12345678901234567.89", "12345678901234567.890"),
            ("1.5e3", "1500"),
            ("0.00012", "1.2e-4"),
        ] {
            assert!(same(left, right), "{left} and {right}");
        }
    }

    #[test]
    fn a_digit_lost_is_a_difference() {
        assert!(!same("12345678901234567.89", "12345678901234568"));
        assert!(!same("19.90", "19.91"));
        assert!(!same("19.90", "NaN"));
        assert!(!same("", "0"));
    }
}
