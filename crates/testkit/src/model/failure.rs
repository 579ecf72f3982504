//! The vendor's error answers. An agent decides by status *and* by `error.type` whether it retries, so both are the vendor's.

use std::time::Duration;

use serde_json::{Value, json};

/// An error of the Messages API: a status, the vendor's JSON body, and perhaps `retry-after`.
///
/// In the middle of a stream (see [`Ending::Fail`](super::Ending::Fail)) only the body is sent, as an `error` event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiFailure {
    status: u16,
    kind: String,
    message: String,
    retry_after: Option<Duration>,
}

impl ApiFailure {
    /// A failure of any status and kind, for those that have no name here.
    pub fn new(status: u16, kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            status,
            kind: kind.into(),
            message: message.into(),
            retry_after: None,
        }
    }

    /// 400: the request is wrong; not retried by clients.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(400, "invalid_request_error", message)
    }

    /// 401: the key is wrong.
    pub fn unauthorized() -> Self {
        Self::new(401, "authentication_error", "invalid x-api-key")
    }

    /// 403: the key may not do this.
    pub fn forbidden() -> Self {
        Self::new(
            403,
            "permission_error",
            "Your API key does not have permission to use the specified resource.",
        )
    }

    /// 404: the model or the path does not exist.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(404, "not_found_error", what)
    }

    /// 413: the body is larger than the API takes.
    pub fn too_large() -> Self {
        Self::new(413, "request_too_large", "Request exceeds the maximum size")
    }

    /// 429 without `retry-after`; add it with [`retry_after`](Self::retry_after).
    pub fn rate_limited() -> Self {
        Self::new(
            429,
            "rate_limit_error",
            "This request would exceed your account's rate limit. Please try again later.",
        )
    }

    /// 500: the provider broke.
    pub fn internal() -> Self {
        Self::new(500, "api_error", "Internal server error")
    }

    /// 529: the provider is overloaded.
    pub fn overloaded() -> Self {
        Self::new(529, "overloaded_error", "Overloaded")
    }

    /// Adds `retry-after`, which the API counts in whole seconds: fractions are rounded up.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }

    pub(super) fn kind(&self) -> &str {
        &self.kind
    }

    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after
            .map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0))
    }

    pub(super) fn body(&self, request_id: &str) -> Value {
        json!({
            "type": "error",
            "error": { "type": self.kind, "message": self.message },
            "request_id": request_id,
        })
    }
}
