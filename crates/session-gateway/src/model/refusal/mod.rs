//! What the agent is told when a request does not reach the provider, or when the provider's answer cannot be passed on.
//!
//! In the shape of the errors of the API that the agent speaks, because it understands that one; each says what happened
//! and what a person can do about it. Two header fields help: `x-should-retry`, which the vendor's clients obey, and
//! `x-cofferdam-refusal`, which tells our refusals from the provider's errors. Nothing here quotes the request, the
//! upstream's address or an error of the host: this text goes to an attacker.

mod shape;
mod words;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::accounts::SpentLimit;
use super::dialect::Dialect;

/// Whether the vendor's clients ask again.
pub(crate) const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
/// Names the rule in a refusal of ours.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("x-cofferdam-refusal");
/// The name of an error in AWS's answers.
const AMZN_ERRORTYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

/// Why a request was answered here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The session's token is absent, wrong, or another session's: all look the same.
    Unauthenticated,
    /// The operator configured no credential, or none was found where clouds keep them.
    NoCredential,
    /// The credential was found and has expired.
    CredentialExpired,
    /// The credential cannot be had: what keeps it is wrong or answers with an error.
    CredentialUnusable,
    /// What keeps the credential did not answer in time.
    CredentialTimedOut,
    /// The path names another project or region than the session's.
    OtherProject,
    /// Requests of this and other sessions hold as much memory as they may.
    NoMemory,
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
    /// The upstream's answer is not HTTP.
    Garbled,
    /// The upstream did not answer in time.
    TimedOut,
    /// The upstream wants the request sent elsewhere; a key is never sent there.
    Redirected,
    /// The upstream compressed its answer although it was asked not to.
    Encoded,
    /// This machine cannot make TLS connections.
    NoTls,
    /// A budget is spent.
    BudgetSpent(SpentLimit),
    /// The ledger cannot be read or written.
    AccountsUnavailable,
    /// As many requests of the session as allowed wait for their turn.
    QueueFull { limit: usize },
    /// The request waited for its turn as long as it may.
    QueueTimeout,
}

impl Refusal {
    /// The stable name of the rule.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Unauthenticated => "unauthenticated",
            Self::NoCredential => "no_credential",
            Self::CredentialExpired => "credential_expired",
            Self::CredentialUnusable => "credential_unusable",
            Self::CredentialTimedOut => "credential_timeout",
            Self::OtherProject => "other_project",
            Self::NoMemory => "no_memory",
            Self::MalformedTarget => "malformed_target",
            Self::UnknownPath => "unknown_path",
            Self::WrongMethod { .. } => "wrong_method",
            Self::BodyTooLarge { .. } => "body_too_large",
            Self::BodyStalled => "body_stalled",
            Self::BodyBroken => "body_broken",
            Self::TooManyRequests { .. } => "too_many_requests",
            Self::Unreachable { .. } => "upstream_unreachable",
            Self::Broken => "upstream_broken",
            Self::Garbled => "upstream_garbled",
            Self::TimedOut => "upstream_timeout",
            Self::Redirected => "upstream_redirected",
            Self::Encoded => "upstream_encoded",
            Self::NoTls => "no_tls",
            Self::BudgetSpent(_) => "budget_spent",
            Self::AccountsUnavailable => "accounts_unavailable",
            Self::QueueFull { .. } => "queue_full",
            Self::QueueTimeout => "queue_timeout",
        }
    }

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Unauthenticated
            | Self::NoCredential
            | Self::CredentialExpired
            | Self::CredentialUnusable => StatusCode::UNAUTHORIZED,
            Self::MalformedTarget | Self::OtherProject => StatusCode::FORBIDDEN,
            Self::UnknownPath => StatusCode::NOT_FOUND,
            Self::WrongMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::BodyTooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            // Of the statuses that say so, the one with which the agent stops at once and shows the message as it is.
            Self::BudgetSpent(_) => StatusCode::PAYMENT_REQUIRED,
            Self::TooManyRequests { .. } | Self::QueueFull { .. } | Self::QueueTimeout => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoMemory | Self::AccountsUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unreachable { .. } | Self::Broken | Self::Garbled | Self::Redirected | Self::Encoded => {
                StatusCode::BAD_GATEWAY
            }
            Self::TimedOut | Self::CredentialTimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::NoTls => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether the same request can succeed a moment later.
    fn should_retry(self) -> bool {
        matches!(
            self,
            Self::TooManyRequests { .. }
                | Self::QueueFull { .. }
                | Self::QueueTimeout
                | Self::AccountsUnavailable
                | Self::NoMemory
                | Self::Unreachable { .. }
                | Self::Broken
                | Self::Garbled
                | Self::TimedOut
                | Self::CredentialTimedOut
                | Self::BodyStalled
        )
    }

    /// The whole answer.
    pub(crate) fn response(self, dialect: Dialect) -> Response<Full<Bytes>> {
        let retry = self.should_retry();
        let status = if retry {
            self.status()
        } else {
            dialect.final_status(self.status())
        };
        let message = format!("cofferdam model proxy: {}", words::message(self, dialect));
        let mut response = json_response(status, &shape::error_body(dialect, status, &message));
        let headers = response.headers_mut();
        if dialect == Dialect::Bedrock {
            headers.insert(
                AMZN_ERRORTYPE,
                HeaderValue::from_static(shape::bedrock_error(status)),
            );
        }
        headers.insert(SHOULD_RETRY, should_retry(retry));
        headers.insert(REFUSAL, HeaderValue::from_static(self.code()));
        if let Self::WrongMethod { allowed } = self {
            headers.insert(ALLOW, HeaderValue::from_static(allowed));
        }
        if self.status() == StatusCode::TOO_MANY_REQUESTS || self.status() == StatusCode::SERVICE_UNAVAILABLE
        {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The value of [`SHOULD_RETRY`].
pub(crate) fn should_retry(retry: bool) -> HeaderValue {
    HeaderValue::from_static(if retry { "true" } else { "false" })
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
    use serde_json::Value;
    use session_core::budget::BudgetLimit;

    const ALL: [Refusal; 25] = [
        Refusal::Unauthenticated,
        Refusal::NoCredential,
        Refusal::CredentialExpired,
        Refusal::CredentialUnusable,
        Refusal::CredentialTimedOut,
        Refusal::OtherProject,
        Refusal::NoMemory,
        Refusal::Garbled,
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
        Refusal::BudgetSpent(SpentLimit {
            limit: BudgetLimit::Cost,
            today: false,
            allowed: 5_000_000,
        }),
        Refusal::AccountsUnavailable,
        Refusal::QueueFull { limit: 1 },
        Refusal::QueueTimeout,
    ];

    const DIALECTS: [Dialect; 3] = [Dialect::Messages, Dialect::Bedrock, Dialect::Vertex];

    async fn read(response: Response<Full<Bytes>>) -> Value {
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn every_refusal_is_an_error_of_the_api_that_the_agent_speaks() {
        for dialect in DIALECTS {
            let mut codes = std::collections::HashSet::new();
            for refusal in ALL {
                assert!(codes.insert(refusal.code()), "{} twice", refusal.code());
                let response = refusal.response(dialect);
                let status = response.status();
                assert!(status.is_client_error() || status.is_server_error());
                assert_eq!(response.headers()[REFUSAL], refusal.code());
                let aws = response.headers().get(AMZN_ERRORTYPE).is_some();
                assert_eq!(aws, dialect == Dialect::Bedrock);
                let body = read(response).await;
                let message = match dialect {
                    Dialect::Messages => {
                        assert_eq!(body["type"], "error");
                        assert!(body["error"]["type"].as_str().unwrap().len() > 5);
                        &body["error"]["message"]
                    }
                    Dialect::Bedrock => &body["message"],
                    Dialect::Vertex => {
                        assert_eq!(body["error"]["code"], status.as_u16());
                        assert!(body["error"]["status"].as_str().unwrap().len() > 5);
                        &body["error"]["message"]
                    }
                };
                let message = message.as_str().unwrap();
                assert!(
                    message.starts_with("cofferdam model proxy: ") && message.ends_with('.'),
                    "{message}"
                );
                assert!(!message.contains("  "), "{message}");
            }
        }
    }

    #[test]
    fn a_final_refusal_has_a_status_that_the_agent_takes_as_final() {
        for refusal in ALL.into_iter().filter(|refusal| !refusal.should_retry()) {
            for dialect in DIALECTS {
                let status = refusal.response(dialect).status();
                assert_eq!(dialect.final_status(status), status, "{}", refusal.code());
            }
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
            assert_eq!(refusal.response(Dialect::Messages).headers()[SHOULD_RETRY], retry);
        }
    }
}
