//! Time as a port. Every function that needs to know the time is told.

use std::fmt;
use std::time::Duration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A moment in UTC, in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// The latest moment that RFC 3339 can write: 9999-12-31T23:59:59.999999Z.
const MICROS_MAX: i64 = 253_402_300_799_999_999;

impl Timestamp {
    /// The moment `micros` after the epoch, clamped to what RFC 3339 can write (years 1970 to 9999).
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(0, MICROS_MAX))
    }

    /// Microseconds since the epoch.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// This moment moved into the future.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// How long `self` is after `earlier`; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// Reads an RFC 3339 date-time; digits below a microsecond are cut.
    ///
    /// # Errors
    /// When the text is no RFC 3339 date-time of the years 1970 to 9999.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| InvalidTimestamp)?;
        let micros = i64::try_from(moment.unix_timestamp_nanos() / 1_000).map_err(|_| InvalidTimestamp)?;
        if (0..=MICROS_MAX).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTimestamp) }
    }

    /// RFC 3339 in UTC with three decimals, as the contracts write it.
    pub fn millis_text(self) -> String {
        let text = self.text();
        let mut millis = str::from_utf8(&text[..23]).unwrap_or_default().to_owned();
        millis.push('Z');
        millis
    }

    /// RFC 3339 in UTC with six decimals. By hand: every event that is shown or sent has one.
    fn text(self) -> [u8; 27] {
        let micros = self.0.unsigned_abs();
        let (seconds, days) = (micros / 1_000_000 % 86_400, micros / 86_400_000_000);
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        for (at, number) in [
            (0..4, year),
            (5..7, month),
            (8..10, day),
            (11..13, seconds / 3_600),
            (14..16, seconds / 60 % 60),
            (17..19, seconds % 60),
            (20..26, micros % 1_000_000),
        ] {
            put(&mut text[at], number);
        }
        text
    }
}

/// Writes the last digits of a number.
fn put(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day so many days after 1970-01-01. Years are taken to begin with March, so that a leap day ends one; 400
/// of them have as many days as any other 400.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + later, month, day)
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(&self.text()).unwrap_or_default())
    }
}

/// The text is no RFC 3339 date-time in the range that is supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no RFC 3339 date-time of the years 1970 to 9999")]
pub struct InvalidTimestamp;

/// Where the time comes from: the database's clock on PostgreSQL, the machine's on SQLite, a test's own.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> Timestamp;

    /// How far [`Self::now`] runs ahead of the machine's own clock, because that was set back and time does not go back.
    fn ahead(&self) -> Duration {
        Duration::ZERO
    }

    /// Where the time is a server's: how many microseconds the machine's own clock is ahead of it (or behind, below zero).
    fn off(&self) -> Option<i64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_its_text() {
        for micros in [0, 1, 1_732_147_200_123_456, MICROS_MAX] {
            let moment = Timestamp::from_micros(micros);
            assert_eq!(Timestamp::parse(&moment.to_string()), Ok(moment));
        }
    }

    #[test]
    fn every_day_has_its_date() {
        // Dates come again after 400 years.
        let mut expected = OffsetDateTime::UNIX_EPOCH;
        for day in 0..400 * 366 {
            let (year, month, date) = expected.to_calendar_date();
            let moment = Timestamp::from_micros(day * 86_400_000_000 + 86_399_999_999);
            let text = format!("{year:04}-{:02}-{date:02}T23:59:59.999999Z", u8::from(month));
            assert_eq!(moment.to_string(), text);
            expected += Duration::from_secs(86_400);
        }
        assert_eq!(Timestamp::from_micros(i64::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn the_contracts_text_has_three_decimals() {
        assert_eq!(Timestamp::from_micros(1_740_218_400_000_999).millis_text(), "2025-02-22T10:00:00.000Z");
    }

    #[test]
    fn an_offset_is_taken_to_utc_and_other_text_is_refused() {
        assert_eq!(Timestamp::parse("1970-01-01T01:00:00+01:00"), Ok(Timestamp::from_micros(0)));
        for bad in ["", "now", "2025-02-22", "2025-13-01T00:00:00Z", "1969-12-31T23:59:59Z"] {
            assert_eq!(Timestamp::parse(bad), Err(InvalidTimestamp), "{bad}");
        }
    }
}
