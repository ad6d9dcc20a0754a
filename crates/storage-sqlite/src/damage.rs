//! Pages of the file that are no pages any more. SQLite cannot read past one, but it can begin behind it: where the
//! readable rows go on is searched for.

use rusqlite::{ErrorCode, Params, Statement};

/// Whether an error says that the file itself is damaged.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

/// Reads the first row, if there is one.
pub(crate) fn first(statement: &mut Statement<'_>, parameters: impl Params) -> rusqlite::Result<()> {
    statement.query(parameters)?.next().map(drop)
}

/// Where reading goes on: the lowest key, above `after`, behind which `read` finds no damage, as far as a search by halves
/// can tell. Reading behind `after` itself has failed.
pub(crate) fn past(after: i64, mut read: impl FnMut(i64) -> rusqlite::Result<()>) -> rusqlite::Result<i64> {
    let mut readable = |key| match read(key) {
        Ok(()) => Ok(true),
        Err(error) if is_damage(&error) => Ok(false),
        Err(error) => Err(error),
    };
    let (mut bad, mut step) = (after, 1_i64);
    let mut good = loop {
        let key = bad.saturating_add(step);
        if key == i64::MAX || readable(key)? {
            break key;
        }
        (bad, step) = (key, step.saturating_mul(2));
    };
    while let half = bad.midpoint(good)
        && half > bad
        && half < good
    {
        if readable(half)? { good = half } else { bad = half }
    }
    Ok(good)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn damaged() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), None)
    }

    #[test]
    fn reading_goes_on_right_behind_the_damage() {
        for (after, last_bad) in [(0, 1), (0, 2), (0, 57), (99, 100), (i64::MIN, 40), (5, i64::MAX - 2)] {
            let mut reads = 0;
            let read = |key| {
                reads += 1;
                if key < last_bad { Err(damaged()) } else { Ok(()) }
            };
            assert_eq!(past(after, read).unwrap(), last_bad, "{after}");
            assert!(reads < 200, "{reads}");
        }
        assert_eq!(past(7, |_| Err(damaged())).unwrap(), i64::MAX, "to the end");
        assert!(past(7, |_| Err(rusqlite::Error::InvalidQuery)).is_err());
    }
}
