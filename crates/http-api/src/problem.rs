//! Failures on the wire: RFC 9457 problems that carry everything a client needs to have our error again.
//!
//! Those of the lifecycle API bear the code of their kind. Those of the surface itself (no token, a method that a path does
//! not have, a body that is too long) have codes of their own, which no [`ErrorKind`] has.

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The media type of a problem.
pub const PROBLEM_JSON: &str = "application/problem+json";
/// What stands before the code in a problem's `type`.
pub const TYPE_PREFIX: &str = "https://cofferdam.dev/problems/";

/// A failure, as RFC 9457 wants it, with our extensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "https://cofferdam.dev/problems/not_found",
    "title": "There is nothing of this id",
    "status": 404,
    "detail": "could not find the session: there is no such session (session: 7d9f0a4e-6a0f-4c7e-9d53-1f2a3b4c5d6e)",
    "code": "not_found",
    "hint": "see `cofferdam ls --all`",
    "retryable": false,
    "operation": "find the session",
    "message": "there is no such session",
    "context": [["session", "7d9f0a4e-6a0f-4c7e-9d53-1f2a3b4c5d6e"]]
}))]
pub struct Problem {
    /// A page about failures of this code.
    #[serde(rename = "type")]
    #[schema(pattern = r"^https://cofferdam\.dev/problems/[a-z_]+$")]
    pub kind: String,
    /// What failures of this code are, in a few words.
    pub title: String,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What happened this time, in one line: operation, message and context.
    pub detail: String,
    /// The stable code that a program can act on.
    #[schema(pattern = "^[a-z_]+$")]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact(pub String, pub String);

impl PartialSchema for Fact {
    fn schema() -> RefOr<Schema> {
        ArrayBuilder::new()
            .items(ObjectBuilder::new().schema_type(Type::String))
            .min_items(Some(2))
            .max_items(Some(2))
            .description(Some("A fact: a key and a value."))
            .into()
    }
}

impl ToSchema for Fact {}

macro_rules! surface_codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal, $code:literal, $title:literal;)*) => {
        /// What goes wrong at the surface, before anything is asked of the lifecycle API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SurfaceCode {
            $($(#[$doc])* $name,)*
        }

        impl SurfaceCode {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The stable code.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// The status of answers that tell it.
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status),* }
            }

            fn title(self) -> &'static str {
                match self { $(Self::$name => $title),* }
            }
        }
    };
}

surface_codes! {
    /// The request is not as HTTP or this path wants it.
    BadRequest = 400, "bad_request", "The request is not valid";
    /// No token, or none that is known.
    Unauthorized = 401, "unauthorized", "A token is needed";
    /// The token, the Host or the Origin does not allow it.
    Forbidden = 403, "forbidden", "It is not allowed";
    /// There is no such path.
    NoSuchPath = 404, "no_such_path", "There is no such path";
    /// The path has other methods.
    MethodNotAllowed = 405, "method_not_allowed", "The path has other methods";
    /// No media type that the client takes.
    NotAcceptable = 406, "not_acceptable", "There is no such representation";
    /// The body did not arrive in time.
    RequestTimeout = 408, "request_timeout", "The body did not arrive in time";
    /// The body's length has to be told.
    LengthRequired = 411, "length_required", "The length of the body is needed";
    /// The body is too long.
    PayloadTooLarge = 413, "payload_too_large", "The body is too long";
    /// The address is too long.
    UriTooLong = 414, "uri_too_long", "The address is too long";
    /// The body has another media type than is needed.
    UnsupportedMediaType = 415, "unsupported_media_type", "The body has another media type";
    /// The request misses the upgrade to a WebSocket.
    UpgradeRequired = 426, "upgrade_required", "A WebSocket is needed";
    /// Too many requests in a short time.
    TooManyRequests = 429, "too_many_requests", "Too many requests";
    /// The header is too long.
    HeadersTooLarge = 431, "headers_too_large", "The header is too long";
    /// A defect of the server.
    Internal = 500, "internal", "A defect of the server";
    /// The server cannot serve now.
    Unavailable = 503, "unavailable", "The server cannot serve now";
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

    /// What a client can act on: the kind that the code names, or the one that comes closest to the status.
    pub fn error_kind(&self) -> ErrorKind {
        let code = serde_json::Value::String(self.code.clone());
        serde_json::from_value(code).unwrap_or(match self.status {
            404 => ErrorKind::NotFound,
            409 => ErrorKind::StateConflict,
            413 | 414 | 429 | 431 => ErrorKind::LimitExceeded,
            408 | 502..=504 => ErrorKind::LinkLost,
            501 => ErrorKind::Unsupported,
            400..=499 => ErrorKind::InvalidArgument,
            _ => ErrorKind::Internal,
        })
    }
}

/// The error that the manager gave. One of the surface has no operation; it is the request that failed.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = problem.error_kind();
        let operation = problem
            .operation
            .unwrap_or_else(|| "serve the request".to_owned());
        let message = problem.message.unwrap_or(problem.detail);
        let mut error = Self::new(kind, operation, message).with_retryable(problem.retryable);
        for Fact(key, value) in problem.context {
            error = error.with_context(key, value);
        }
        match problem.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
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
        | ErrorKind::ImageNotFound
        // What was asked for is well formed, and cannot be had as it is.
        | ErrorKind::ProgramNotFound
        | ErrorKind::ProgramNotExecutable
        | ErrorKind::ArchiveRefused => 422,
        ErrorKind::LimitExceeded => 429,
        ErrorKind::Unsupported => 501,
        ErrorKind::EngineFailed | ErrorKind::AgentFailed | ErrorKind::ContainerLost => 502,
        ErrorKind::EngineUnavailable | ErrorKind::EngineTimeout | ErrorKind::LinkLost | ErrorKind::Cancelled => 503,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_that_the_surface_shares_with_the_core_has_the_same_status() {
        for code in SurfaceCode::ALL {
            let value = serde_json::Value::from(code.code());
            if let Ok(kind) = serde_json::from_value::<ErrorKind>(value) {
                assert_eq!(status_of(kind), code.status(), "{code:?}");
            }
        }
    }

    #[test]
    fn a_problem_of_the_surface_becomes_an_error_that_says_what_to_do() {
        let problem = Problem::surface(SurfaceCode::Unauthorized, "there is no token").with_hint("send one");
        assert_eq!(problem.kind, "https://cofferdam.dev/problems/unauthorized");
        let error = Error::from(problem);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert_eq!(error.message(), "there is no token");
        assert_eq!(error.hint(), Some("send one"));
        assert!(!error.is_retryable());
    }
}
