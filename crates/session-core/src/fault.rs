//! What a fault point lets fail, in builds for tests alone.
//!
//! A fault point is a named place in the code, a `fail_point!` such as `store.commit.before`, at which a test lets the
//! process die, be late, or fail as the disk, the engine or the link might. They are listed in
//! `docs/reliability/fault-points.md`. Without the feature `faults` the macro expands to nothing, and this module to
//! nothing with it: no release has a name of a point in it.

use std::io;

use crate::error::{Error, ErrorKind, Result};

const MESSAGE: &str = "a fault point lets it fail";

/// The store fails.
///
/// # Errors
/// Always, as all of these.
pub fn store<T>(operation: &'static str) -> Result<T> {
    Err(failure(ErrorKind::StoreFailed, operation))
}

/// The engine fails.
///
/// # Errors
/// Always.
pub fn engine<T>(operation: &'static str) -> Result<T> {
    Err(failure(ErrorKind::EngineFailed, operation))
}

/// The link breaks.
///
/// # Errors
/// Always.
pub fn link<T>(operation: &'static str) -> Result<T> {
    Err(failure(ErrorKind::LinkLost, operation))
}

/// The host's file system fails.
///
/// # Errors
/// Always.
pub fn host<T>(operation: &'static str) -> Result<T> {
    Err(failure(ErrorKind::HostIo, operation))
}

/// A call of the host's file system fails.
///
/// # Errors
/// Always with EIO.
pub fn io<T>() -> io::Result<T> {
    Err(rustix::io::Errno::IO.into())
}

/// SQLite could not read or write its file.
pub(crate) fn sqlite<T>() -> rusqlite::Result<T> {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
    Err(rusqlite::Error::SqliteFailure(code, None))
}

/// Retryable: the next time it need not fail.
fn failure(kind: ErrorKind, operation: &'static str) -> Error {
    Error::new(kind, operation, MESSAGE).with_retryable(true)
}
