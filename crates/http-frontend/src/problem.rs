//! Failures as answers: RFC 9457 problems, of the lifecycle API and of the surface itself.

use std::error::Error as StdError;
use std::fmt;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http_api::{Problem, SurfaceCode};
use session_core::error::{Error, ErrorKind};

use crate::scoped::Forbidden;

/// The media type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// In how many seconds to ask again where a limit is reached that others make room below.
const COME_BACK: &str = "5";

/// What a handler answers when it fails.
#[derive(Debug, Clone)]
pub struct Failure(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    problem: Problem,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Failure {
    /// A failure of the surface.
    pub fn new(code: SurfaceCode, detail: impl Into<String>) -> Self {
        Self::from(Problem::surface(code, detail))
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.problem.hint = Some(hint.into());
        self
    }

    /// With a header beside the problem.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The problem, as it is written: also the frame of a WebSocket that ends with it.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self(Box::new(Inner {
            problem,
            headers: Vec::new(),
        }))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        if error.source().is_some_and(<dyn StdError>::is::<Forbidden>) {
            let failure = Self::new(SurfaceCode::Forbidden, error.to_string());
            return match error.hint() {
                Some(hint) => failure.with_hint(hint),
                None => failure,
            };
        }
        let failure = Self::from(Problem::from(error));
        if failure.status().is_server_error() {
            tracing::warn!(error = %Chain(error), kind = %error.kind(), "a request failed");
        }
        if error.kind() == ErrorKind::LimitExceeded && error.is_retryable() {
            return failure.with_header(RETRY_AFTER, HeaderValue::from_static(COME_BACK));
        }
        failure
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = self.status();
        let body = serde_json::to_vec(&self.0.problem).unwrap_or_default();
        let mut answer = Response::new(Body::from(body));
        *answer.status_mut() = status;
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.extend(self.0.headers);
        answer
    }
}

/// An error with its sources, each once; for logs alone.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        while let Some(source) = next {
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_come_back_is_told_when() {
        let full = |retryable| {
            let error = Error::new(ErrorKind::LimitExceeded, "create the session", "there is no room")
                .with_retryable(retryable);
            let answer = Failure::from(error).into_response();
            let after = answer.headers().get(RETRY_AFTER).cloned();
            (
                answer.status().as_u16(),
                after.map(|value| value.as_bytes().to_vec()),
            )
        };
        assert_eq!(full(true), (429, Some(COME_BACK.as_bytes().to_vec())));
        assert_eq!(full(false), (429, None), "it would be refused again");
    }
}
