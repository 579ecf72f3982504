//! What the agent is told when a request does not reach the provider, or when the provider's answer cannot be passed on.
//!
//! In the shape of the provider's own errors, because the agent understands that one; each says what happened and what a
//! person can do about it. Two header fields help: `x-should-retry`, which the vendor's clients obey, and
//! `x-cofferdam-refusal`, which tells our refusals from the provider's errors. Nothing here quotes the request, the
//! upstream's address or an error of the host: this text goes to an attacker.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Names the rule in a refusal of ours.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("x-cofferdam-refusal");

/// Why a request was answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session's token is absent, wrong, or another session's: all look the same.
    Unauthenticated,
    /// The operator configured no credential.
    NoCredential,
    /// The target is not in plain origin form.
    MalformedTarget,
    /// Nothing is offered at this path.
    UnknownPath,
    /// The path is offered with other methods.
    WrongMethod { allowed: &'static str },
    /// The body is longer than the limit.
    BodyTooLarge { limit: u64 },
    /// The body stopped coming.
    BodyStalled,
    /// The body broke off or was not framed as HTTP.
    BodyBroken,
    /// As many requests as allowed are under way.
    TooManyRequests { limit: usize },
    /// No connection with the upstream; `cause` is one of ours, never the system's words.
    Unreachable { cause: &'static str },
    /// The connection with the upstream broke before an answer came.
    Broken,
    /// The upstream did not answer in time.
    TimedOut,
    /// The upstream wants the request sent elsewhere; a key is never sent there.
    Redirected,
    /// The upstream compressed its answer although it was asked not to.
    Encoded,
    /// This machine cannot make TLS connections.
    NoTls,
}

impl Refusal {
    /// The stable name of the rule.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::NoCredential => "no_credential",
            Self::MalformedTarget => "malformed_target",
            Self::UnknownPath => "unknown_path",
            Self::WrongMethod { .. } => "wrong_method",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyStalled => "body_stalled",
            Self::BodyBroken => "body_broken",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Unreachable { .. } => "upstream_unreachable",
            Self::Broken => "upstream_broken",
            Self::TimedOut => "upstream_timeout",
            Self::Redirected => "upstream_redirected",
            Self::Encoded => "upstream_encoded",
            Self::NoTls => "no_tls",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated | Self::NoCredential => StatusCode::UNAUTHORIZED,
            Self::MalformedTarget => StatusCode::FORBIDDEN,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::TooManyRequests { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Unreachable { .. } | Self::Broken | Self::Redirected | Self::Encoded => {
                StatusCode::BAD_GATEWAY
            }
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::NoTls => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The provider's name for this class of error.
    fn error_type(self) -> &'static str {
        match self {
            Self::Unauthenticated | Self::NoCredential => "authentication_error",
            Self::MalformedTarget => "permission_error",
            Self::UnknownPath => "not_found_error",
            Self::WrongMethod { .. } | Self::BodyStalled | Self::BodyBroken => "invalid_request_error",
            Self::BodyTooLarge { .. } => "request_too_large",
            Self::TooManyRequests { .. } => "rate_limit_error",
            Self::Unreachable { .. } | Self::Broken | Self::Redirected | Self::Encoded | Self::NoTls => {
                "api_error"
            }
            Self::TimedOut => "timeout_error",
        }
    }

    /// Whether the same request can succeed a moment later.
    fn should_retry(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests { .. }
                | Self::Unreachable { .. }
                | Self::Broken
                | Self::TimedOut
                | Self::BodyStalled
        )
    }

    /// What happened, and what to do.
    fn message(self) -> String {
        match self {
            Self::Unauthenticated => "the request does not carry this session's own token. Send the value of \
                ANTHROPIC_API_KEY as this session has it."
                .into(),
            Self::NoCredential => "no model credential is configured on the host. The operator must set \
                ANTHROPIC_API_KEY for Cofferdam, or give this session its own key; no restart of the session is needed."
                .into(),
            Self::MalformedTarget => "the request target is not a plain path. Absolute URLs, empty or dotted segments \
                and escaped characters in the path are refused."
                .into(),
            Self::UnknownPath => "this path is not offered to sessions. Offered are /v1/messages, \
                /v1/messages/count_tokens and /v1/models."
                .into(),
            Self::WrongMethod { allowed } => format!("this path is offered with {allowed} only."),
            Self::BodyTooLarge { limit } => format!("the request body is longer than {limit} bytes."),
            Self::BodyStalled => "the request body stopped arriving.".into(),
            Self::BodyBroken => "the request body broke off or is not valid HTTP.".into(),
            Self::TooManyRequests { limit } => {
                format!("{limit} requests of this session are under way, which is all it may have. Try again.")
            }
            Self::Unreachable { cause } => format!(
                "the model provider cannot be reached from the host: {cause}. The operator should check the host's \
                network and ANTHROPIC_BASE_URL."
            ),
            Self::Broken => "the model provider closed the connection before it answered.".into(),
            Self::TimedOut => "the model provider did not answer in time.".into(),
            Self::Redirected => "the model provider answered with a redirect, which is not followed so that the key goes \
                nowhere else. The operator should set ANTHROPIC_BASE_URL to the final address."
                .into(),
            Self::Encoded => "the model provider compressed its answer although it was asked not to. The operator should \
                switch compression off in the gateway that ANTHROPIC_BASE_URL names."
                .into(),
            Self::NoTls => "the host has no usable root certificates. The operator should install the system's CA \
                certificates (the package ca-certificates)."
                .into(),
        }
    }

    /// The whole answer.
    pub(crate) fn response(self) -> Response<Full<Bytes>> {
        let body = json!({
            "type": "error",
            "error": { "type": self.error_type(), "message": format!("cofferdam model proxy: {}", self.message()) },
        });
        let mut response = json_response(self.status(), &body);
        let headers = response.headers_mut();
        headers.insert(
            SHOULD_RETRY,
            HeaderValue::from_static(if self.should_retry() { "true" } else { "false" }),
        );
        headers.insert(REFUSAL, HeaderValue::from_static(self.code()));
        if let Self::WrongMethod { allowed } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if let Self::TooManyRequests { .. } = self {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a probe: somebody is here.
pub(crate) fn probe_response() -> Response<Full<Bytes>> {
    json_response(StatusCode::OK, &json!({ "type": "cofferdam_model_proxy" }))
}

fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    const ALL: [Refusal; 15] = [
        Refusal::Unauthenticated,
        Refusal::NoCredential,
        Refusal::MalformedTarget,
        Refusal::UnknownPath,
        Refusal::WrongMethod { allowed: "POST" },
        Refusal::BodyTooLarge { limit: 1 },
        Refusal::BodyStalled,
        Refusal::BodyBroken,
        Refusal::TooManyRequests { limit: 1 },
        Refusal::Unreachable {
            cause: "connection refused",
        },
        Refusal::Broken,
        Refusal::TimedOut,
        Refusal::Redirected,
        Refusal::Encoded,
        Refusal::NoTls,
    ];

    #[tokio::test]
    async fn every_refusal_is_an_error_of_the_provider_s_shape() {
        let mut codes = std::collections::HashSet::new();
        for refusal in ALL {
            assert!(codes.insert(refusal.code()), "{} twice", refusal.code());
            let response = refusal.response();
            assert!(response.status().is_client_error() || response.status().is_server_error());
            assert_eq!(response.headers()[REFUSAL], refusal.code());
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            let body: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(body["type"], "error");
            assert!(body["error"]["type"].as_str().unwrap().len() > 5);
            let message = body["error"]["message"].as_str().unwrap();
            assert!(
                message.starts_with("cofferdam model proxy: ") && message.ends_with('.'),
                "{message}"
            );
            assert!(!message.contains("  "), "{message}");
        }
    }

    #[test]
    fn what_a_retry_cannot_help_is_not_retried() {
        for (refusal, retry) in [
            (Refusal::NoCredential, "false"),
            (Refusal::Redirected, "false"),
            (Refusal::Unreachable { cause: "x" }, "true"),
            (Refusal::TimedOut, "true"),
        ] {
            assert_eq!(refusal.response().headers()[SHOULD_RETRY], retry);
        }
    }
}
