//! The one error of this crate: what a caller can act on, where it happened, and whether trying again can help.

use std::{error::Error as StdError, fmt, io};

use serde::{Deserialize, Serialize};

/// A result whose error is a [`LinkError`].
pub type Result<T, E = LinkError> = std::result::Result<T, E>;

type Source = Box<dyn StdError + Send + Sync + 'static>;

/// What went wrong, as far as a caller can act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The link is gone; whatever was asked may or may not have happened.
    Closed,
    /// The other end did not answer in time.
    Timeout,
    /// The other end broke the protocol; the link is not usable any more.
    Protocol,
    /// The other end speaks another version of the protocol.
    UnsupportedVersion,
    /// An argument was refused before anything was done.
    InvalidArgument,
    /// No process has that id.
    NoSuchProcess,
    /// The id is in use for something else.
    Conflict,
    /// The process takes no (more) input.
    StdinClosed,
    /// A bound was reached: streams, processes, connections, bytes or entries.
    LimitReached,
    /// The port of a door is taken by another program in the container.
    PortInUse,
    /// No such file or directory in the container.
    NotFound,
    /// The container's file permissions forbid it.
    PermissionDenied,
    /// The container's file system is full.
    NoSpace,
    /// The archive names a path outside its destination or an entry of a kind that is never written.
    UnsafeArchive,
    /// The archive is damaged or ended early.
    InvalidArchive,
    /// The transfer ended before it was complete.
    Truncated,
    /// The operating system refused something else.
    Io,
    /// The other end failed in a way this end has no word for.
    #[serde(other)]
    Remote,
}

impl ErrorKind {
    /// The stable name of this kind.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::UnsupportedVersion => "unsupported_version",
            Self::InvalidArgument => "invalid_argument",
            Self::NoSuchProcess => "no_such_process",
            Self::Conflict => "conflict",
            Self::StdinClosed => "stdin_closed",
            Self::LimitReached => "limit_reached",
            Self::PortInUse => "port_in_use",
            Self::NotFound => "not_found",
            Self::PermissionDenied => "permission_denied",
            Self::NoSpace => "no_space",
            Self::UnsafeArchive => "unsafe_archive",
            Self::InvalidArchive => "invalid_archive",
            Self::Truncated => "truncated",
            Self::Io => "io",
            Self::Remote => "remote",
        }
    }

    /// Whether the same request can succeed later without anybody changing it. `Closed` counts: a new link may be up.
    pub fn retryable(self) -> bool {
        matches!(
            self,
            Self::Closed | Self::Timeout | Self::LimitReached | Self::NoSpace | Self::Truncated
        )
    }

    /// What to do next, where there is something to do.
    pub fn hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Closed => "establish a new link and attach again from the last offset that was handled",
            Self::Truncated => "ask again; go on reading a process from the last offset that was handled",
            Self::Timeout => "check that the container runs and is not paused",
            Self::UnsupportedVersion => "recreate the session with the toolbox of this version",
            Self::NoSuchProcess => "list the processes: it was forgotten, or the container was restarted",
            Self::PortInUse => "choose another port for the door or end the program that listens there",
            Self::NoSpace => "free space in the container's workspace or raise its limit",
            Self::LimitReached => "wait for work in the session to finish, or raise the limit",
            Self::UnsafeArchive => "remove absolute paths, `..`, devices and links that leave the archive",
            _ => return None,
        })
    }

    /// The kind that says best what an I/O error means inside a container.
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Self::PermissionDenied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Io,
        }
    }
}

/// An error of the link. `Display` says kind, operation and context, never the source: walk [`StdError::source`].
#[derive(Debug)]
pub struct LinkError {
    kind: ErrorKind,
    operation: &'static str,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
}

impl LinkError {
    /// A new error of `kind` in `operation`; `message` says what was expected and is safe to show.
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            operation,
            message: message.into(),
            context: Vec::new(),
            source: None,
        }
    }

    /// The link is gone.
    pub fn closed(operation: &'static str) -> Self {
        Self::new(ErrorKind::Closed, operation, "the link is closed")
    }

    /// The other end broke the protocol.
    pub fn protocol(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Protocol, operation, message)
    }

    /// An argument was refused.
    pub fn invalid(operation: &'static str, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, operation, message)
    }

    /// Reading or writing the carrier failed: to a caller the link is gone.
    pub fn carrier(operation: &'static str, source: io::Error) -> Self {
        Self::closed(operation).with_source(source)
    }

    /// A local system call failed.
    pub fn io(operation: &'static str, message: impl Into<String>, source: io::Error) -> Self {
        Self::new(ErrorKind::of_io(&source), operation, message).with_source(source)
    }

    /// Adds one fact about where it happened.
    #[must_use]
    pub fn with_context(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.context.push((key, value.into()));
        self
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Source>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What a caller can act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The method that failed.
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// What was expected; text from a container in it is bounded and escaped.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Facts about where it happened.
    pub fn context(&self) -> &[(&'static str, String)] {
        &self.context
    }

    /// Whether the same request can succeed later.
    pub fn retryable(&self) -> bool {
        self.kind.retryable()
    }

    /// What to do next.
    pub fn hint(&self) -> Option<&'static str> {
        self.kind.hint()
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} failed ({}): {}",
            self.operation,
            self.kind.as_str(),
            self.message
        )?;
        for (index, (key, value)) in self.context.iter().enumerate() {
            write!(f, "{}{key}: {value}", if index == 0 { " [" } else { ", " })?;
        }
        if self.context.is_empty() {
            Ok(())
        } else {
            f.write_str("]")
        }
    }
}

impl StdError for LinkError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
