//! What the engine's failures mean, in the core's words. The one place that reads the engine's messages.
//!
//! The engine's own text is kept as context, on one line and cut: it can quote paths and names that an image chose.

use std::error::Error as StdError;
use std::io;

use bollard::errors::Error as EngineError;
use session_core::error::{Error, ErrorKind};

/// The longest text of an engine that is passed on.
const MAX_TEXT: usize = 400;
/// How runc says that processes could not be frozen.
const FREEZE_FAILED: &str = "unable to freeze";

pub(crate) const START_HINT: &str = "start the engine: cargo xtask engine up (or: systemctl start docker)";
pub(crate) const TOOLBOX_HINT: &str = "build the session image: cargo xtask image";

/// What a call was about, so that a plain "not found" can be told apart.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// Nothing in particular.
    Engine,
    /// An image.
    Image(&'a str),
    /// A container.
    Container(&'a str),
    /// A volume.
    Volume(&'a str),
}

impl About<'_> {
    fn pair(self) -> Option<(&'static str, String)> {
        match self {
            Self::Engine => None,
            Self::Image(name) => Some(("image", name.to_owned())),
            Self::Container(name) => Some(("container", name.to_owned())),
            Self::Volume(name) => Some(("volume", name.to_owned())),
        }
    }
}

/// The core's error for a call of the engine that failed.
pub(crate) fn failed(operation: &'static str, about: About<'_>, error: EngineError) -> Error {
    let mapped = match &error {
        EngineError::DockerResponseServerError { status_code, message } => {
            answered(operation, about, *status_code, message)
        }
        EngineError::DockerStreamError { error } => answered(operation, about, 500, error),
        EngineError::RequestTimeoutError => Error::new(
            ErrorKind::EngineTimeout,
            operation,
            "the engine did not answer in time",
        )
        .with_hint("see whether the engine is alive: cofferdam doctor"),
        EngineError::SocketNotFoundError(path) => Error::new(
            ErrorKind::EngineUnavailable,
            operation,
            "there is no engine's socket",
        )
        .with_context("socket", line(path))
        .with_hint(START_HINT),
        other => match broken_connection(other) {
            Some(kind) => unreachable_engine(operation, kind),
            None => Error::new(
                ErrorKind::EngineFailed,
                operation,
                "the engine's answer could not be understood",
            )
            .with_context("engine", line(&other.to_string())),
        },
    };
    let mapped = match about.pair() {
        Some((key, value)) => mapped.with_context(key, value),
        None => mapped,
    };
    mapped.with_source(error)
}

/// The status code of the engine's answer, if it answered.
pub(crate) fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Whether the engine says that there is no such thing.
pub(crate) fn is_absent(error: &EngineError) -> bool {
    status(error) == Some(404)
}

/// `text` on one line, without control characters, cut to a bounded length.
pub(crate) fn line(text: &str) -> String {
    let mut cut: String = text.trim().chars().take(MAX_TEXT + 1).collect();
    if cut.chars().count() > MAX_TEXT {
        cut.pop();
        cut.push('…');
    }
    cut.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

struct Verdict {
    kind: ErrorKind,
    message: &'static str,
    hint: Option<&'static str>,
}

const fn verdict(kind: ErrorKind, message: &'static str, hint: Option<&'static str>) -> Verdict {
    Verdict { kind, message, hint }
}

fn answered(operation: &'static str, about: About<'_>, status: u16, text: &str) -> Error {
    let lower = text.to_ascii_lowercase();
    let verdict = by_text(&lower).unwrap_or_else(|| by_status(about, status, &lower));
    let error = Error::new(verdict.kind, operation, verdict.message)
        .with_context("status", status)
        .with_context("engine", line(text));
    match verdict.hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// Failures that the status code alone does not tell: engines give most of them as 400 or 500.
fn by_text(text: &str) -> Option<Verdict> {
    let has = |part: &str| text.contains(part);
    Some(if has("bind source path does not exist") {
        verdict(
            ErrorKind::WorkspaceMissing,
            "a directory to be mounted does not exist where the engine runs",
            Some("create the directory, or give the workspace as a copy"),
        )
    } else if has("unknown runtime") || has("invalid runtime name") || has("unknown or invalid runtime") {
        verdict(
            ErrorKind::EngineFailed,
            "the engine does not know the runtime that was asked for",
            Some("install the runtime and name it in the engine's daemon.json; there is no fallback"),
        )
    } else if has("no such image") {
        verdict(
            ErrorKind::ImageNotFound,
            "the image is not on the engine",
            Some("prepare the session again"),
        )
    } else if is_missing_session_init(text) {
        verdict(
            ErrorKind::EngineFailed,
            "session-init could not be started",
            Some(TOOLBOX_HINT),
        )
    } else if has(FREEZE_FAILED) {
        verdict(
            ErrorKind::EngineTimeout,
            "the engine could not freeze the container's processes in time",
            Some("try again when the machine is less busy"),
        )
    } else if has("no space left on device") {
        verdict(
            ErrorKind::EngineFailed,
            "the engine's disk is full",
            Some("free disk space where the engine keeps its data: docker system df"),
        )
    } else {
        return None;
    })
}

/// Whether processes were not frozen, and run as before (`libcontainer/cgroups/fs/freezer.go` of runc).
pub(crate) fn could_not_freeze(error: &EngineError) -> bool {
    matches!(error, EngineError::DockerResponseServerError { message, .. } if message.contains(FREEZE_FAILED))
}

/// Whether a container was not started because there is no `session-init` in it.
pub(crate) fn lacks_session_init(error: &EngineError) -> bool {
    matches!(error, EngineError::DockerResponseServerError { message, .. } if is_missing_session_init(&message.to_lowercase()))
}

fn is_missing_session_init(text: &str) -> bool {
    text.contains("session-init") && (text.contains("no such file") || text.contains("not found"))
}

fn by_status(about: About<'_>, status: u16, text: &str) -> Verdict {
    match (status, about) {
        (404, About::Image(_)) => verdict(
            ErrorKind::ImageNotFound,
            "there is no such image",
            Some("pull or build the image first"),
        ),
        (404, About::Container(_)) => verdict(ErrorKind::ContainerLost, "there is no such container", None),
        (409, About::Container(_)) if text.contains("not running") => {
            verdict(ErrorKind::ContainerLost, "the container does not run", None)
        }
        // Podman's way to say the same.
        (500, About::Container(_)) if text.contains("exec sessions on running containers") => {
            verdict(ErrorKind::ContainerLost, "the container does not run", None)
        }
        (409, _) => verdict(ErrorKind::StateConflict, "the engine refuses in this state", None),
        (401 | 403, _) => verdict(
            ErrorKind::EngineFailed,
            "the engine denies access",
            Some("see who may use this engine"),
        ),
        (503, _) => verdict(
            ErrorKind::EngineUnavailable,
            "the engine is not ready",
            Some(START_HINT),
        ),
        _ => verdict(
            ErrorKind::EngineFailed,
            "the engine answered with a failure",
            None,
        ),
    }
}

/// The kind of I/O failure that broke the connection; `None` when the connection was fine.
fn broken_connection(error: &EngineError) -> Option<io::ErrorKind> {
    // The library's variant for I/O shows the source of its source only.
    if let EngineError::IOError { err } = error {
        return Some(err.kind());
    }
    let mut cause = error.source();
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        cause = current.source();
    }
    let transport = matches!(
        error,
        EngineError::HyperLegacyError { .. } | EngineError::HyperResponseError { .. }
    );
    transport.then_some(io::ErrorKind::ConnectionAborted)
}

fn unreachable_engine(operation: &'static str, kind: io::ErrorKind) -> Error {
    let (message, hint) = match kind {
        io::ErrorKind::PermissionDenied => (
            "this user may not use the engine's socket",
            "add yourself to the engine's group and log in again: sudo usermod -aG docker $USER",
        ),
        io::ErrorKind::NotFound => ("there is no engine's socket", START_HINT),
        io::ErrorKind::ConnectionRefused => ("nobody listens at the engine's address", START_HINT),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => ("the engine closed the connection", START_HINT),
        _ => ("the engine cannot be reached", START_HINT),
    };
    Error::new(ErrorKind::EngineUnavailable, operation, message)
        .with_context("io", kind)
        .with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server(status_code: u16, message: &str) -> EngineError {
        EngineError::DockerResponseServerError {
            status_code,
            message: message.to_owned(),
        }
    }

    fn kind(about: About<'_>, status: u16, message: &str) -> ErrorKind {
        failed("test", about, server(status, message)).kind()
    }

    #[test]
    fn each_failure_of_the_engine_has_its_kind() {
        let container = About::Container("c");
        for (about, status, message, expected) in [
            (
                About::Image("x"),
                404,
                "No such image: x",
                ErrorKind::ImageNotFound,
            ),
            (
                container,
                404,
                "No such image: sha256:1",
                ErrorKind::ImageNotFound,
            ),
            (container, 404, "No such container: c", ErrorKind::ContainerLost),
            (
                container,
                500,
                "Cannot pause container c: OCI runtime pause failed: unable to freeze: unknown",
                ErrorKind::EngineTimeout,
            ),
            (
                container,
                409,
                "Conflict. The container name \"/c\" is already in use",
                ErrorKind::StateConflict,
            ),
            (
                container,
                409,
                "Container c is not running",
                ErrorKind::ContainerLost,
            ),
            (
                container,
                409,
                "Container c is paused, unpause the container before exec",
                ErrorKind::StateConflict,
            ),
            (
                container,
                400,
                "invalid mount config for type \"bind\": bind source path does not exist: /x",
                ErrorKind::WorkspaceMissing,
            ),
            (
                container,
                400,
                "Unknown runtime specified runsc",
                ErrorKind::EngineFailed,
            ),
            (About::Engine, 503, "", ErrorKind::EngineUnavailable),
            (About::Engine, 500, "boom", ErrorKind::EngineFailed),
        ] {
            assert_eq!(kind(about, status, message), expected, "{status} {message}");
        }
    }

    #[test]
    fn a_connection_that_cannot_be_made_says_what_to_do() {
        for (io, word) in [
            (io::ErrorKind::PermissionDenied, "group"),
            (io::ErrorKind::ConnectionRefused, "start the engine"),
            (io::ErrorKind::NotFound, "start the engine"),
        ] {
            let error = failed("test", About::Engine, EngineError::IOError { err: io.into() });
            assert_eq!(error.kind(), ErrorKind::EngineUnavailable);
            assert!(error.hint().unwrap().contains(word), "{error}");
            assert!(error.is_retryable());
        }
        let error = failed("test", About::Engine, EngineError::RequestTimeoutError);
        assert_eq!(error.kind(), ErrorKind::EngineTimeout);
    }

    proptest! {
        #[test]
        fn what_the_engine_says_is_one_bounded_line(text in ".{0,2000}", status in 400u16..600) {
            let shown = failed("test", About::Engine, server(status, &text)).to_string();
            prop_assert!(!shown.chars().any(char::is_control));
            prop_assert!(shown.chars().count() < MAX_TEXT + 200);
        }
    }
}
