//! Exact money. No float ever holds it.

use rust_decimal::Decimal;
use std::fmt;
use std::str::FromStr;

/// Most significant digits, and most decimals, that an amount may have.
pub const DIGITS_MAX: usize = 28;

/// An exact decimal amount, kept with the digits that were given (`19.90` stays `19.90`), compared by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Money(Decimal);

/// Why a text is no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMoney {
    /// Not a decimal number in JSON's form.
    #[error("must be a decimal number")]
    NotANumber,
    /// More than 28 significant digits or 28 decimals.
    #[error("must have at most 28 significant digits and 28 decimals")]
    TooLong,
}

impl Money {
    /// Zero.
    pub const ZERO: Self = Self(Decimal::ZERO);

    /// Reads a number in JSON's form (RFC 8259 §6), exactly.
    ///
    /// # Errors
    /// When the text is no such number, or has over 28 significant digits or 28 decimals.
    pub fn parse(text: &str) -> Result<Self, InvalidMoney> {
        let number = Parts::split(text).ok_or(InvalidMoney::NotANumber)?;
        let exponent: i64 = match number.exponent {
            "" => 0,
            digits if digits.len() > 6 => return Err(InvalidMoney::TooLong),
            digits => digits.parse().map_err(|_| InvalidMoney::NotANumber)?,
        };
        let mut digits = String::with_capacity(number.whole.len() + number.decimals.len());
        digits.push_str(number.whole);
        digits.push_str(number.decimals);
        let decimals = i64::try_from(number.decimals.len()).map_err(|_| InvalidMoney::TooLong)? - exponent;
        Self::from_digits(digits, decimals, number.negative)
    }

    fn from_digits(mut digits: String, mut decimals: i64, negative: bool) -> Result<Self, InvalidMoney> {
        let limit = DIGITS_MAX as i64;
        let significant = digits.trim_start_matches('0').len();
        if significant == 0 {
            // Zero: keep its decimals as far as they can be kept.
            let scale = decimals.clamp(0, limit);
            return Ok(Self(Decimal::new(0, u32::try_from(scale).unwrap_or(0))));
        }
        if decimals < 0 {
            if decimals < -limit {
                return Err(InvalidMoney::TooLong);
            }
            digits.extend(std::iter::repeat_n('0', usize::try_from(-decimals).unwrap_or(0)));
            decimals = 0;
        }
        if decimals > limit || digits.trim_start_matches('0').len() > DIGITS_MAX {
            return Err(InvalidMoney::TooLong);
        }
        let mantissa: i128 = digits.parse().map_err(|_| InvalidMoney::TooLong)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        let scale = u32::try_from(decimals).map_err(|_| InvalidMoney::TooLong)?;
        Decimal::try_from_i128_with_scale(mantissa, scale).map(Self).map_err(|_| InvalidMoney::TooLong)
    }

    /// Whether the amount is below zero.
    pub fn is_negative(self) -> bool {
        self.0.is_sign_negative() && !self.0.is_zero()
    }

    /// Whether the amount is zero.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }

    /// `self + other`; `None` when the exact sum has over 28 digits.
    pub fn plus(self, other: Self) -> Option<Self> {
        let add = |one: Decimal, other: Decimal| {
            // `Decimal` itself rounds what does not fit, and drops the decimals that a zero was given with.
            let scale = one.scale().max(other.scale());
            let mantissa = mantissa_at(one, scale)?.checked_add(mantissa_at(other, scale)?)?;
            Decimal::try_from_i128_with_scale(mantissa, scale).ok().and_then(Self::within_digits)
        };
        // Decimals that are kept for their looks only must not make it too long.
        add(self.0, other.0).or_else(|| add(self.0.normalize(), other.0.normalize()))
    }

    /// `self × count`; `None` when the exact product has over 28 digits.
    pub fn times(self, count: u32) -> Option<Self> {
        let multiply = |one: Decimal| {
            let mantissa = one.mantissa().checked_mul(i128::from(count))?;
            Decimal::try_from_i128_with_scale(mantissa, one.scale()).ok().and_then(Self::within_digits)
        };
        multiply(self.0).or_else(|| multiply(self.0.normalize()))
    }

    /// `self × other`; `None` when the exact product has over 28 digits or decimals.
    pub fn product(self, other: Self) -> Option<Self> {
        let multiply = |one: Decimal, other: Decimal| {
            let mantissa = one.mantissa().checked_mul(other.mantissa())?;
            let product = Decimal::try_from_i128_with_scale(mantissa, one.scale() + other.scale()).ok()?;
            Self::within_digits(product)
        };
        multiply(self.0, other.0).or_else(|| multiply(self.0.normalize(), other.0.normalize()))
    }

    /// What is computed is held to the same digits as what is read: it must read back. (`Decimal` holds a few more.)
    fn within_digits(value: Decimal) -> Option<Self> {
        (value.mantissa().unsigned_abs() < 10_u128.pow(DIGITS_MAX as u32)).then_some(Self(value))
    }

    /// The shortest text of the same value: `19.90` and `19.9` both give `19.9`.
    pub fn canonical(self) -> String {
        self.0.normalize().to_string()
    }
}

impl fmt::Display for Money {
    /// The amount with the decimals it was given; a valid JSON number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Money {
    type Err = InvalidMoney;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

/// The digits of `value` as an integer, with `scale` decimals, of which it has no more.
fn mantissa_at(value: Decimal, scale: u32) -> Option<i128> {
    value.mantissa().checked_mul(10_i128.checked_pow(scale.checked_sub(value.scale())?)?)
}

/// The parts of a number in JSON's form.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    decimals: &'a str,
    exponent: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Option<Self> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], Some(&rest[at + 1..])),
            None => (rest, None),
        };
        let (whole, decimals) = match mantissa.split_once('.') {
            Some((_, "")) => return None,
            Some((whole, decimals)) => (whole, decimals),
            None => (mantissa, ""),
        };
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if whole.is_empty() || leading_zero || !digits(whole) || !digits(decimals) {
            return None;
        }
        let exponent = match exponent {
            None => "",
            Some(text) => {
                let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
                if unsigned.is_empty() || !digits(unsigned) {
                    return None;
                }
                text.strip_prefix('+').unwrap_or(text)
            }
        };
        Some(Self { negative, whole, decimals, exponent })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_amount_keeps_its_digits() {
        for text in
            ["0", "0.00", "19.90", "199.990", "12345678901234567.89", "9999999999999999999999999999", "-3.5"]
        {
            assert_eq!(Money::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Money::parse("1e3").unwrap().to_string(), "1000");
        assert_eq!(Money::parse("1.5E-2").unwrap().to_string(), "0.015");
    }

    #[test]
    fn equal_values_are_equal_and_have_one_canonical_text() {
        let (long, short) = (Money::parse("199.990").unwrap(), Money::parse("199.99").unwrap());
        assert_eq!(long, short);
        assert_eq!(long.canonical(), short.canonical());
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for bad in [
            "", " 1", "1 ", "+1", ".5", "5.", "01", "1e", "1e+", "NaN", "Infinity", "0x10", "1_000", "1,5",
            "--1",
        ] {
            assert_eq!(Money::parse(bad), Err(InvalidMoney::NotANumber), "{bad}");
        }
    }

    #[test]
    fn over_28_digits_are_refused_and_never_rounded() {
        assert!(Money::parse(&"9".repeat(28)).is_ok());
        assert_eq!(Money::parse(&"9".repeat(29)), Err(InvalidMoney::TooLong));
        assert!(Money::parse(&format!("0.{}1", "0".repeat(27))).is_ok());
        assert_eq!(Money::parse(&format!("0.{}1", "0".repeat(28))), Err(InvalidMoney::TooLong));
        assert_eq!(Money::parse("1e400"), Err(InvalidMoney::TooLong));
        assert_eq!(Money::parse("1e99999999999999"), Err(InvalidMoney::TooLong));
        assert_eq!(Money::parse("1e-400"), Err(InvalidMoney::TooLong));
    }

    #[test]
    fn sums_and_products_are_exact_or_refused() {
        let price = Money::parse("9.95").unwrap();
        assert_eq!(price.times(2).unwrap().to_string(), "19.90");
        assert_eq!(price.plus(Money::parse("0.05").unwrap()).unwrap().to_string(), "10.00");
        assert_eq!(price.product(Money::parse("1.5").unwrap()).unwrap().to_string(), "14.925");
        assert_eq!(price.product(Money::parse("-2").unwrap()).unwrap().to_string(), "-19.90");
        let huge = Money::parse(&"9".repeat(28)).unwrap();
        assert_eq!(huge.product(huge), None);
        assert_eq!(huge.times(u32::MAX), None);
        // 29 digits fit a `Decimal`, and would not read back.
        assert_eq!(huge.times(7), None);
        assert_eq!(huge.plus(huge), None);
        assert!(Money::parse(&"1".repeat(28)).unwrap().times(8).is_some());
        assert_eq!(huge.plus(Money::parse("0.1").unwrap()), None);
    }

    #[test]
    fn nothing_costs_nothing_with_any_decimals() {
        let sum = |one: &str, other: &str| {
            let sum = Money::parse(one).unwrap().plus(Money::parse(other).unwrap()).unwrap();
            assert_eq!(Money::parse(other).unwrap().plus(Money::parse(one).unwrap()), Some(sum));
            sum.to_string()
        };
        assert_eq!(sum("0.00", "5"), "5.00");
        assert_eq!(sum("0.0", "0"), "0.0");
        let huge = "9".repeat(28);
        assert_eq!(sum(&huge, "0.00"), huge);
        assert_eq!(sum(&huge, "-1.000"), format!("{}8", "9".repeat(27)));
        let ones = Money::parse(&format!("1.{}", "0".repeat(27))).unwrap();
        assert_eq!(ones.times(10).unwrap().to_string(), "10");
    }
}
