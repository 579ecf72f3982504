//! Answers, in the forms of the interface that existed before.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde_json::{Value, json};
use session_core::error::Error;

use crate::json::Json;
use crate::problem::Failure;

/// Every path that is served, for whoever asked for another.
pub(super) const ENDPOINTS: [&str; 6] = [
    "GET /",
    "GET /health",
    "POST /claude-code/analyze",
    "POST /claude-code/execute",
    "GET /claude-code/status",
    "GET /claude-code/task/:taskId",
];

/// A failure in one of its forms.
#[derive(Debug)]
pub(super) enum Refusal {
    /// `{error: "Bad Request", message}`.
    Bad(String),
    /// `{error, message}` with another status.
    Other(StatusCode, String),
    /// `{status: "error", error, timestamp}`, with what else there is to know.
    Failed(String, Value),
    /// What the surface says everywhere.
    Surface(Failure),
}

impl Refusal {
    pub(super) fn failed(error: impl Into<String>) -> Self {
        Self::Failed(error.into(), Value::Null)
    }

    /// What it says.
    pub(super) fn message(&self) -> &str {
        match self {
            Self::Bad(message) | Self::Other(_, message) | Self::Failed(message, _) => message,
            Self::Surface(failure) => &failure.problem().detail,
        }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        tracing::warn!(error = %error, kind = %error.kind(), "a request of the older interface failed");
        Self::failed(error.to_string())
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let detail = failure.problem().detail.clone();
        match failure.status() {
            StatusCode::BAD_REQUEST => Self::Bad(detail),
            StatusCode::INTERNAL_SERVER_ERROR => Self::failed(detail),
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                Self::Other(failure.status(), detail)
            }
            _ => Self::Surface(failure),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, body) = match self {
            Self::Bad(message) => (
                StatusCode::BAD_REQUEST,
                json!({ "error": "Bad Request", "message": message }),
            ),
            Self::Other(status, message) => {
                let error = status.canonical_reason().unwrap_or("Error");
                (status, json!({ "error": error, "message": message }))
            }
            Self::Failed(error, more) => {
                let mut body = json!({ "status": "error", "error": error, "timestamp": now() });
                if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
                    body.extend(more);
                }
                (StatusCode::INTERNAL_SERVER_ERROR, body)
            }
            Self::Surface(failure) => return failure.into_response(),
        };
        (status, Json(body)).into_response()
    }
}

/// This moment, RFC 3339 with milliseconds.
pub(super) fn now() -> String {
    time(Timestamp::now())
}

/// RFC 3339 with milliseconds.
pub(super) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
