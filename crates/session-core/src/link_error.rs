//! What a failure of the link means to a caller of the lifecycle API.

use session_link::{ErrorKind as LinkKind, LinkError};

use crate::error::{Error, ErrorKind};

/// Puts a [`LinkError`] into our words; it stays as the source. Texts from a container in it are bounded and escaped by
/// the link.
pub(crate) fn from_link(operation: &'static str, error: LinkError) -> Error {
    let kind = match error.kind() {
        // A stream that breaks off is how a closing link looks to whoever reads it.
        LinkKind::Closed
        | LinkKind::Truncated
        | LinkKind::Timeout
        | LinkKind::Protocol
        | LinkKind::UnsupportedVersion => ErrorKind::LinkLost,
        LinkKind::InvalidArgument => ErrorKind::InvalidArgument,
        LinkKind::NoSuchProcess => ErrorKind::NotFound,
        LinkKind::Conflict | LinkKind::StdinClosed | LinkKind::PortInUse => ErrorKind::StateConflict,
        LinkKind::LimitReached | LinkKind::NoSpace => ErrorKind::LimitExceeded,
        LinkKind::NotFound => ErrorKind::PathNotFound,
        LinkKind::PermissionDenied => ErrorKind::InvalidArgument,
        LinkKind::UnsafeArchive | LinkKind::InvalidArchive => ErrorKind::ArchiveRefused,
        _ => ErrorKind::Internal,
    };
    let mut mapped =
        Error::new(kind, operation, error.message().to_owned()).with_retryable(error.retryable());
    if let Some(hint) = error.hint() {
        mapped = mapped.with_hint(hint);
    }
    for (key, value) in error.context() {
        mapped = mapped.with_context(*key, value);
    }
    mapped.with_source(error)
}
