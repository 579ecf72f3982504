//! The one error type of the lifecycle API (I10).
//!
//! A caller acts on [`ErrorKind`]; a person reads the message and the hint; a log walks the sources. `Display` never
//! repeats its source, so an edge that prints the chain prints each fact once.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// What went wrong, as far as a caller can act on it. Each kind has a stable code, see [`ErrorKind::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is malformed, too long, or contradicts another.
    InvalidArgument,
    /// No session, turn or command has this id (or it belongs to somebody else, which looks the same).
    NotFound,
    /// The state of the session does not allow the operation.
    StateConflict,
    /// Another process or request holds what this one needs.
    Busy,
    /// The same idempotency key was used before for a different request.
    IdempotencyMismatch,
    /// The workspace directory does not exist.
    WorkspaceMissing,
    /// The workspace or a mount is a path that is never handed to a session, or a repository that it may not reach.
    WorkspaceRefused,
    /// The user inside the session cannot write the mounted workspace.
    WorkspaceNotWritable,
    /// The image exists neither here nor in a registry that answers.
    ImageNotFound,
    /// The engine does not answer at all.
    EngineUnavailable,
    /// The engine took longer than the operation may take.
    EngineTimeout,
    /// The engine answered with a failure.
    EngineFailed,
    /// The runtime lacks a capability that the request needs.
    Unsupported,
    /// The container is gone or stopped although nobody asked for it.
    ContainerLost,
    /// The link to `session-init` broke or could not be made.
    LinkLost,
    /// The program is not in the session's image (exit code 127).
    ProgramNotFound,
    /// The program exists and cannot be executed (exit code 126).
    ProgramNotExecutable,
    /// The agent did not start, died, or broke its protocol.
    AgentFailed,
    /// A path inside the session does not exist.
    PathNotFound,
    /// An archive breaks a rule of the extractor.
    ArchiveRefused,
    /// A limit in bytes, entries, time or number was reached.
    LimitExceeded,
    /// The state directory cannot be used: wrong owner, wrong mode, newer schema.
    StateDirRefused,
    /// The store could not be read or written.
    StoreFailed,
    /// A file on the host could not be read or written.
    HostIo,
    /// The operation was cancelled by its caller or by a shutdown.
    Cancelled,
    /// A defect of ours.
    Internal,
}

impl ErrorKind {
    /// The stable code of the kind, `snake_case`; the same text that serde writes.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::StateConflict => "state_conflict",
            Self::Busy => "busy",
            Self::IdempotencyMismatch => "idempotency_mismatch",
            Self::WorkspaceMissing => "workspace_missing",
            Self::WorkspaceRefused => "workspace_refused",
            Self::WorkspaceNotWritable => "workspace_not_writable",
            Self::ImageNotFound => "image_not_found",
            Self::EngineUnavailable => "engine_unavailable",
            Self::EngineTimeout => "engine_timeout",
            Self::EngineFailed => "engine_failed",
            Self::Unsupported => "unsupported",
            Self::ContainerLost => "container_lost",
            Self::LinkLost => "link_lost",
            Self::ProgramNotFound => "program_not_found",
            Self::ProgramNotExecutable => "program_not_executable",
            Self::AgentFailed => "agent_failed",
            Self::PathNotFound => "path_not_found",
            Self::ArchiveRefused => "archive_refused",
            Self::LimitExceeded => "limit_exceeded",
            Self::StateDirRefused => "state_dir_refused",
            Self::StoreFailed => "store_failed",
            Self::HostIo => "host_io",
            Self::Cancelled => "cancelled",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request can succeed later without being changed. An [`Error`] may override it.
    pub fn retryable_by_default(self) -> bool {
        matches!(
            self,
            Self::Busy | Self::EngineUnavailable | Self::EngineTimeout | Self::LinkLost | Self::StoreFailed
        )
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A failure of the lifecycle API: kind, operation, message, context, hint, source.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: Cow<'static, str>,
    message: Cow<'static, str>,
    context: Vec<(Cow<'static, str>, String)>,
    hint: Option<Cow<'static, str>>,
    retryable: bool,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Result of the lifecycle API.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure of `kind` in `operation` (a verb phrase such as `"create session"`).
    pub fn new(
        kind: ErrorKind,
        operation: impl Into<Cow<'static, str>>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self(Box::new(Inner {
            kind,
            operation: operation.into(),
            message: message.into(),
            context: Vec::new(),
            hint: None,
            retryable: kind.retryable_by_default(),
            source: None,
        }))
    }

    /// Adds a fact for the reader, such as the session's id or a path. Never a secret.
    #[must_use]
    pub fn with_context(mut self, key: impl Into<Cow<'static, str>>, value: impl fmt::Display) -> Self {
        self.0.context.push((key.into(), value.to_string()));
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Keeps the cause, for logs and `--verbose`.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Overrides whether a retry can help.
    #[must_use]
    pub fn with_retryable(mut self, retryable: bool) -> Self {
        self.0.retryable = retryable;
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The operation that failed, a verb phrase.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// What happened, without operation, context or source.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Facts about the failure, in the order in which they were added.
    pub fn context(&self) -> &[(Cow<'static, str>, String)] {
        &self.0.context
    }

    /// What to do next, when something can be done.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Whether the same request may succeed later unchanged.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// The parts that may leave the process: what a front end prints, serialises or sends.
    pub fn report(&self) -> ErrorReport {
        ErrorReport {
            code: self.0.kind,
            message: self.to_string(),
            hint: self.0.hint.as_deref().map(str::to_owned),
            retryable: self.0.retryable,
        }
    }
}

/// An [`Error`] as data: what clients get and what the store keeps.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorReport {
    /// The stable code.
    pub code: ErrorKind,
    /// Operation, message and context in one line.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same request may succeed later unchanged.
    pub retryable: bool,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {}: {}", self.0.operation, self.0.message)?;
        for (index, (key, value)) in self.0.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if index == 0 { " (" } else { ", " })?;
        }
        if self.0.context.is_empty() {
            Ok(())
        } else {
            f.write_str(")")
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("message", &self.0.message)
            .field("context", &self.0.context)
            .field("retryable", &self.0.retryable)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_gives_each_fact_once_and_never_the_source() {
        let error = Error::new(ErrorKind::EngineFailed, "start the session", "the engine refused")
            .with_context("session", "abc")
            .with_source(std::io::Error::other("inner cause"));
        assert_eq!(
            error.to_string(),
            "could not start the session: the engine refused (session: abc)"
        );
        assert_eq!(
            error.source().map(ToString::to_string).as_deref(),
            Some("inner cause")
        );
    }

    #[test]
    fn serde_writes_the_code() {
        for kind in [
            ErrorKind::NotFound,
            ErrorKind::WorkspaceNotWritable,
            ErrorKind::Internal,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
        }
    }
}
