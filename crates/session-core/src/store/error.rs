//! What a failure of SQLite means to a caller.

use std::path::Path;
use std::sync::Arc;

use rusqlite::ErrorCode;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind};
use crate::id::SessionId;

/// Why a piece of work on the store did not succeed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The store itself failed: the transaction is lost, and everything in it with it.
    Sqlite(rusqlite::Error),
    /// The request cannot be fulfilled as things are; others in the same transaction are not concerned.
    Refused(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl Failure {
    /// The failure as a caller sees it.
    pub(super) fn into_error(self, operation: &'static str, path: &Path) -> Error {
        match self {
            Self::Sqlite(error) => storage_error(operation, path, Arc::new(error)),
            Self::Refused(error) => error,
        }
    }
}

/// A failure of the store at `path`; shared because one failed transaction is answered to everybody in it.
pub(super) fn storage_error(operation: &'static str, path: &Path, source: Arc<rusqlite::Error>) -> Error {
    let shown = path.display();
    let (kind, message, hint, retryable) = match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            ErrorKind::StoreFailed,
            "another process has held the store for too long",
            Some("try again".to_owned()),
            true,
        ),
        Some(ErrorCode::DiskFull) => (
            ErrorKind::HostIo,
            "there is no space left for the store",
            Some("free space on the file system of the state directory, then try again".to_owned()),
            true,
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => (
            ErrorKind::HostIo,
            "the store's file cannot be opened for writing",
            Some("check that the state directory's file system is there and writable".to_owned()),
            false,
        ),
        Some(ErrorCode::SystemIoFailure | ErrorCode::FileLockingProtocolFailed) => (
            ErrorKind::HostIo,
            "the host could not read or write the store's file",
            Some("look for errors of the disk in the kernel's log, then try again".to_owned()),
            true,
        ),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => (
            ErrorKind::StoreFailed,
            "the store's file is damaged; nothing was changed in it",
            Some(format!(
                "restore {shown} from a copy, or move it away to begin anew"
            )),
            false,
        ),
        _ => (
            ErrorKind::StoreFailed,
            "the store refused the operation",
            None,
            false,
        ),
    };
    let error = Error::new(kind, operation, message)
        .with_context("store", shown)
        .with_retryable(retryable)
        .with_source(source);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Whether somebody else holds the lock, so that trying piece by piece would only wait again.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

/// No such session.
pub(super) fn no_session(operation: &'static str, session: &SessionId) -> Error {
    Error::new(ErrorKind::NotFound, operation, "there is no such session").with_context("session", session)
}

/// A value as it is kept in a column.
pub(super) fn encode(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|source| {
        Failure::Refused(
            Error::new(
                ErrorKind::Internal,
                "store a value",
                "it cannot be written as JSON",
            )
            .with_source(source),
        )
    })
}

/// A value out of a column.
pub(super) fn decode<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Failure> {
    serde_json::from_str(text).map_err(|source| {
        Failure::Refused(
            Error::new(
                ErrorKind::StoreFailed,
                "read the store",
                "a stored value is not readable",
            )
            .with_context("value", what)
            .with_retryable(false)
            .with_source(source),
        )
    })
}
