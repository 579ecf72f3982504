//! What a token is not for.

use std::fmt;

use session_core::error::{Error, ErrorKind};

use crate::caller::Scope;

/// Marks a failure as a matter of what the caller may do. The lifecycle API knows no callers, so none of its kinds says
/// that; the answer over HTTP does.
#[derive(Debug)]
pub(crate) struct Forbidden;

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token is not for this")
    }
}

impl std::error::Error for Forbidden {}

pub(crate) fn forbidden(operation: &'static str, needed: Scope) -> Error {
    let (message, hint) = match needed {
        Scope::Admin => (
            "this needs a token with the scope `admin`",
            "use such a token, or the server's socket",
        ),
        _ => (
            "this token may only look",
            "use a token with the scope `use` or `admin`",
        ),
    };
    Error::new(ErrorKind::Unsupported, operation, message)
        .with_hint(hint)
        .with_source(Forbidden)
}

pub(crate) fn unsupported(operation: &'static str, message: &'static str) -> Error {
    Error::new(ErrorKind::Unsupported, operation, message)
}

/// About sessions of others, too.
pub(crate) fn others(operation: &'static str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        operation,
        "this token sees its own sessions alone, and this is about all of them",
    )
    .with_hint("name a session")
    .with_source(Forbidden)
}
