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
        self.text(3)
    }

    fn text(self, decimals: usize) -> String {
        let seconds = self.0.div_euclid(1_000_000);
        let micros = self.0.rem_euclid(1_000_000);
        let moment = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let (year, month, day) = moment.to_calendar_date();
        let (hour, minute, second) = moment.to_hms();
        let month = u8::from(month);
        if decimals == 3 {
            let millis = micros / 1_000;
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
        } else {
            format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
        }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(6))
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
