//! Failures on the wire: RFC 9457 problems that carry everything a client needs to have our error again.
//!
//! Those of the lifecycle API bear the code of their kind. Those of the surface itself (no token, a method that a path does
//! not have, a body that is too long) have codes of their own, which no [`ErrorKind`] has.

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind};
use utoipa::ToSchema;

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// What stands before the code in a problem's `type`.
pub const TYPE_PREFIX: &str = "https://cofferdam.dev/problems/";

/// A failure, as RFC 9457 wants it, with our extensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A page about failures of this code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What failures of this code are, in a few words.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// What happened this time, in one line: operation, message and context.
    pub detail: String,
    /// The stable code that a program can act on.
    pub code: String,
    /// What to do next, when something can be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same request may succeed later unchanged.
    pub retryable: bool,
    /// The operation that failed, a verb phrase; of failures of the lifecycle API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// What happened, without operation and context; of failures of the lifecycle API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Facts about the failure as pairs of a key and a value, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub context: Vec<Fact>,
}

/// A fact about a failure: a key and a value, written as a list of the two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(value_type = Vec<String>)]
pub struct Fact(pub String, pub String);

/// What goes wrong at the surface, before anything is asked of the lifecycle API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SurfaceCode {
    /// The request is not as HTTP or this path wants it.
    BadRequest,
    /// No token, or none that is known.
    Unauthorized,
    /// The token, the Host or the Origin does not allow it.
    Forbidden,
    /// There is no such path.
    NoSuchPath,
    /// The path has other methods.
    MethodNotAllowed,
    /// No media type that the client takes.
    NotAcceptable,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is too long.
    PayloadTooLarge,
    /// The body has another media type than is needed.
    UnsupportedMediaType,
    /// Too many requests in a short time.
    TooManyRequests,
    /// The server cannot serve now.
    Unavailable,
    /// A defect of the server.
    Internal,
}

impl SurfaceCode {
    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NoSuchPath => "no_such_path",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::NotAcceptable => "not_acceptable",
            Self::RequestTimeout => "request_timeout",
            Self::PayloadTooLarge => "payload_too_large",
            Self::UnsupportedMediaType => "unsupported_media_type",
            Self::TooManyRequests => "too_many_requests",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The status of answers that tell it.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NoSuchPath => 404,
            Self::MethodNotAllowed => 405,
            Self::NotAcceptable => 406,
            Self::RequestTimeout => 408,
            Self::PayloadTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::TooManyRequests => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is not valid",
            Self::Unauthorized => "A token is needed",
            Self::Forbidden => "It is not allowed",
            Self::NoSuchPath => "There is no such path",
            Self::MethodNotAllowed => "The path has other methods",
            Self::NotAcceptable => "There is no such representation",
            Self::RequestTimeout => "The body did not arrive in time",
            Self::PayloadTooLarge => "The body is too long",
            Self::UnsupportedMediaType => "The body has another media type",
            Self::TooManyRequests => "Too many requests",
            Self::Unavailable => "The server cannot serve now",
            Self::Internal => "A defect of the server",
        }
    }
}

impl Problem {
    /// A failure of the surface itself.
    pub fn surface(code: SurfaceCode, detail: impl Into<String>) -> Self {
        let retryable = matches!(
            code,
            SurfaceCode::RequestTimeout | SurfaceCode::TooManyRequests | SurfaceCode::Unavailable
        );
        Self {
            retryable,
            ..Self::new(code.status(), code.code(), code.title(), detail)
        }
    }

    fn new(status: u16, code: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("{TYPE_PREFIX}{code}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            code: code.to_owned(),
            hint: None,
            retryable: false,
            operation: None,
            message: None,
            context: Vec::new(),
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A failure of the lifecycle API. Its source stays at home.
impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        let kind = error.kind();
        let context = error.context().iter();
        Self {
            hint: error.hint().map(str::to_owned),
            retryable: error.is_retryable(),
            operation: Some(error.operation().to_owned()),
            message: Some(error.message().to_owned()),
            context: context
                .map(|(key, value)| Fact(key.clone().into_owned(), value.clone()))
                .collect(),
            ..Self::new(status_of(kind), kind.code(), title_of(kind), error.to_string())
        }
    }
}

/// The status of answers that tell a failure of this kind.
pub fn status_of(kind: ErrorKind) -> u16 {
    match kind {
        ErrorKind::InvalidArgument => 400,
        ErrorKind::NotFound | ErrorKind::PathNotFound => 404,
        ErrorKind::StateConflict | ErrorKind::Busy | ErrorKind::IdempotencyMismatch => 409,
        ErrorKind::WorkspaceMissing
        | ErrorKind::WorkspaceRefused
        | ErrorKind::WorkspaceNotWritable
        | ErrorKind::ImageNotFound => 422,
        ErrorKind::LimitExceeded => 429,
        ErrorKind::Unsupported => 501,
        ErrorKind::EngineFailed | ErrorKind::AgentFailed | ErrorKind::ContainerLost => 502,
        ErrorKind::EngineUnavailable | ErrorKind::EngineTimeout | ErrorKind::LinkLost => 503,
        _ => 500,
    }
}

fn title_of(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidArgument => "An argument is not valid",
        ErrorKind::NotFound => "There is nothing of this id",
        ErrorKind::StateConflict => "The state does not allow it",
        ErrorKind::Busy => "Something else holds what is needed",
        ErrorKind::IdempotencyMismatch => "The idempotency key belongs to another request",
        ErrorKind::WorkspaceMissing => "The workspace does not exist",
        ErrorKind::WorkspaceRefused => "The workspace is never handed to a session",
        ErrorKind::WorkspaceNotWritable => "The session could not write its workspace",
        ErrorKind::ImageNotFound => "The image does not exist",
        ErrorKind::EngineUnavailable => "The engine does not answer",
        ErrorKind::EngineTimeout => "The engine took too long",
        ErrorKind::EngineFailed => "The engine failed",
        ErrorKind::Unsupported => "It cannot be done here",
        ErrorKind::ContainerLost => "The container is lost",
        ErrorKind::LinkLost => "The link to the session is lost",
        ErrorKind::ProgramNotFound => "The program does not exist",
        ErrorKind::ProgramNotExecutable => "The program cannot be executed",
        ErrorKind::AgentFailed => "The agent failed",
        ErrorKind::PathNotFound => "The path does not exist",
        ErrorKind::ArchiveRefused => "The archive is refused",
        ErrorKind::LimitExceeded => "A limit is reached",
        ErrorKind::StateDirRefused => "The state directory cannot be used",
        ErrorKind::StoreFailed => "The store failed",
        ErrorKind::HostIo => "A file of the host could not be used",
        ErrorKind::Cancelled => "It was cancelled",
        _ => "A defect of the server",
    }
}
