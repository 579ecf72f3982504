//! What can go wrong between a client and its server, in the words of the lifecycle API.
//!
//! A problem that the server tells becomes the error that its manager gave, fact by fact. All else that may come back is
//! told as what it is, with the name of the server, so that a proxy's page or another program on the port is recognised.

use std::fmt::Display;

use http_api::{Fact, Problem};
use hyper::StatusCode;
use session_core::error::{Error, ErrorKind};

/// The key under which errors of the connection name the server.
pub(crate) const SERVER: &str = "server";

/// The server could not be reached: nothing of the request arrived. It stands in the chain of sources of such errors, so
/// that a caller who can start a server knows when to.
#[derive(Debug)]
pub struct NotReached(Box<dyn std::error::Error + Send + Sync>);

impl std::fmt::Display for NotReached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no connection could be made")
    }
}

impl std::error::Error for NotReached {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.0.as_ref())
    }
}

/// Whether an error says that no server could be reached.
pub fn is_not_reached(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<NotReached>())
}

/// One request, for the errors that it may come to.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// A verb phrase.
    pub(crate) operation: &'static str,
    /// Who was asked.
    pub(crate) server: &'a str,
}

impl Asked<'_> {
    fn error(self, kind: ErrorKind, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        Error::new(kind, self.operation, message).with_context(SERVER, self.server)
    }

    pub(crate) fn not_reached(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.error(ErrorKind::LinkLost, "the server does not answer")
            .with_hint("see whether it runs; `cofferdam serve` starts one")
            .with_source(NotReached(source.into()))
    }

    /// The connection broke. What was asked for may have happened.
    pub(crate) fn broken(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.error(ErrorKind::LinkLost, "the connection to the server broke")
            .with_source(source)
    }

    pub(crate) fn late(self) -> Error {
        self.error(ErrorKind::LinkLost, "the server took too long to answer")
            .with_hint("it is overloaded or hangs; its log says more")
    }

    pub(crate) fn closed(self) -> Error {
        self.error(ErrorKind::Cancelled, "this client was closed")
    }

    pub(crate) fn too_long(self, limit: usize) -> Error {
        self.error(ErrorKind::LimitExceeded, "the server's answer is too long")
            .with_context("limit_bytes", limit)
            .with_retryable(false)
    }

    /// What came does not mean anything in version 1 of the API.
    pub(crate) fn strange(self, what: impl Display) -> Error {
        self.error(
            ErrorKind::Unsupported,
            "what answers there is not a server that this client understands",
        )
        .with_context("answer", what)
        .with_hint("compare the versions of both, and see whether a proxy is in between")
    }

    /// An answer that tells a failure, and its body.
    pub(crate) fn refused(self, status: StatusCode, body: &[u8]) -> Error {
        match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => self.problem(problem),
            Err(_) => self.without_problem(status),
        }
    }

    /// The error that the server had.
    pub(crate) fn problem(self, problem: Problem) -> Error {
        let kind = serde_json::from_value::<ErrorKind>(problem.code.clone().into()).ok();
        let error = match (kind, problem.operation, problem.message) {
            (Some(kind), Some(operation), Some(message)) => Error::new(kind, operation, message),
            // The surface refused it before any manager saw it.
            (kind, ..) => {
                let kind = kind.unwrap_or_else(|| kind_of(problem.status));
                self.error(kind, problem.detail)
                    .with_context("code", problem.code.escape_debug())
            }
        };
        let error = problem
            .context
            .into_iter()
            .fold(error, |error, Fact(key, value)| error.with_context(key, value));
        let error = match problem.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        };
        error.with_retryable(problem.retryable)
    }

    fn without_problem(self, status: StatusCode) -> Error {
        let passing = matches!(status.as_u16(), 502..=504);
        let error = if passing {
            self.error(
                ErrorKind::LinkLost,
                "something before the server says that it does not answer",
            )
        } else if status.is_redirection() {
            self.strange("a redirection, which is never followed")
        } else {
            self.strange("a failure without an explanation")
        };
        error.with_context("status", status.as_u16())
    }
}

/// The nearest kind of a failure of the surface, whose codes are no kinds.
fn kind_of(status: u16) -> ErrorKind {
    match status {
        404 => ErrorKind::NotFound,
        409 => ErrorKind::StateConflict,
        413 | 429 | 431 => ErrorKind::LimitExceeded,
        405 | 406 | 415 | 501 => ErrorKind::Unsupported,
        408 | 502..=504 => ErrorKind::LinkLost,
        500 => ErrorKind::Internal,
        _ => ErrorKind::InvalidArgument,
    }
}

#[cfg(test)]
mod tests {
    use http_api::SurfaceCode;

    use super::*;

    const ASKED: Asked<'static> = Asked {
        operation: "do it",
        server: "unix:/run/x",
    };

    #[test]
    fn an_error_survives_the_way_with_every_fact() {
        let error = Error::new(ErrorKind::StoreFailed, "create session", "the disk is full")
            .with_context("path", "/a")
            .with_context("session", "b")
            .with_hint("make room")
            .with_retryable(false);
        let body = serde_json::to_vec(&Problem::from(&error)).unwrap();
        let back = ASKED.refused(StatusCode::INTERNAL_SERVER_ERROR, &body);
        assert_eq!(back.to_string(), error.to_string());
        assert_eq!(back.report(), error.report());
        assert_eq!(
            (back.kind(), back.operation(), back.message(), back.context()),
            (error.kind(), error.operation(), error.message(), error.context())
        );
    }

    #[test]
    fn refusals_of_the_surface_name_the_server_and_their_code() {
        let problem = Problem::surface(SurfaceCode::Unauthorized, "a token is needed").with_hint("give one");
        let error = ASKED.problem(problem);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.hint(), Some("give one"));
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            "could not do it: a token is needed (server: unix:/run/x, code: unauthorized)"
        );
    }

    #[test]
    fn answers_without_a_problem_are_told_as_what_they_are() {
        let error = ASKED.refused(StatusCode::BAD_GATEWAY, b"<html>nginx</html>");
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::LinkLost, true));
        for status in [
            StatusCode::FOUND,
            StatusCode::NOT_FOUND,
            StatusCode::INTERNAL_SERVER_ERROR,
        ] {
            let error = ASKED.refused(status, b"{}");
            assert_eq!(
                (error.kind(), error.is_retryable()),
                (ErrorKind::Unsupported, false),
                "{status}"
            );
            assert!(error.to_string().contains("unix:/run/x"), "{error}");
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn whoever_can_start_a_server_knows_when_to() {
        let refused = || std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert!(is_not_reached(&ASKED.not_reached(refused())));
        assert!(!is_not_reached(&ASKED.broken(refused())));
        assert!(!is_not_reached(&ASKED.late()));
    }
}
