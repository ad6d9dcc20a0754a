//! SQLite's errors in the core's words: the one place where they are translated.

use crate::rows::is_of_row;
use order_core::Fault;
use rusqlite::ErrorCode;
use std::time::Duration;

/// When to try again while the database cannot be used.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// A fault that passes once somebody frees, fills or mends something.
pub(crate) fn unavailable(why: impl Into<String>) -> Fault {
    Fault::Unavailable { why: why.into(), retry_after: RETRY_AFTER }
}

/// What an error of SQLite means.
pub(crate) fn fault(error: rusqlite::Error) -> Fault {
    let Some(failure) = error.sqlite_error() else {
        return match error {
            error if is_of_row(&error) => Fault::internal(format!("a row does not read back: {error}")),
            other => Fault::internal(other),
        };
    };
    match failure.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => unavailable(format!("locked: {error}")),
        ErrorCode::DiskFull => unavailable(format!("full: {error}")),
        ErrorCode::SystemIoFailure | ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::OutOfMemory => {
            unavailable(error.to_string())
        }
        ErrorCode::PermissionDenied | ErrorCode::FileLockingProtocolFailed | ErrorCode::SchemaChanged => {
            unavailable(error.to_string())
        }
        ErrorCode::ConstraintViolation
        | ErrorCode::TooBig
        | ErrorCode::TypeMismatch
        | ErrorCode::ParameterOutOfRange => Fault::Data { why: error.to_string() },
        _ => Fault::internal(error),
    }
}

/// Whether files could not be made or written, rather than somebody holding them.
pub(crate) fn is_of_the_disk(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure};
    matches!(
        error.sqlite_error_code(),
        Some(CannotOpen | DiskFull | PermissionDenied | ReadOnly | SystemIoFailure)
    )
}
