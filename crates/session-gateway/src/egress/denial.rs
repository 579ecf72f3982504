//! What a session is told when it does not get through: one shape, for a program to branch on and for a person to act on.
//!
//! A denial is 403, a failure another status; both have the same fields. Many clients show of a proxy's refusal nothing
//! but the reason phrase of its status line, so that one carries the way out, too. All words are ours and the host is
//! escaped and cut: nothing here quotes the operator's configuration or an error of the host.

use bytes::Bytes;
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use session_core::egress::{DenialReason, HostRule};
use session_core::id::SessionId;

/// Names the reason in an answer of ours, so that none is taken for the host's.
pub(crate) const REFUSAL: HeaderName = HeaderName::from_static("x-cofferdam-refusal");

/// Where a session wanted to go, written so that it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    /// Escaped and cut, when it is no proper name.
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A connection that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Denial {
    pub(crate) to: Destination,
    pub(crate) reason: DenialReason,
    /// The rule by which it was denied, if it was a rule.
    pub(crate) rule: Option<HostRule>,
    /// Whether that rule holds for every session: then nothing that is decided for one changes it.
    pub(crate) for_all: bool,
}

/// A request that may pass and did not come through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request is none for a proxy.
    NotForAProxy(&'static str),
    /// The name has no address.
    Unresolvable,
    /// The name server did not answer in time.
    ResolveTimedOut,
    /// No connection; the cause is in our words.
    Unreachable(&'static str),
    /// No connection in time.
    ConnectTimedOut,
    /// The connection broke before an answer came.
    Broken,
    /// No answer in time.
    AnswerTimedOut,
    /// What people decided cannot be read, so nothing is allowed.
    Undecidable,
    /// A rule adds a credential here and has none.
    NoCredential,
    /// The host compressed an answer that must be searched for the credential.
    Encoded,
    /// This machine cannot make TLS connections.
    NoTls,
}

#[derive(Serialize)]
struct Body<'a> {
    error: ErrorBody<'a>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    r#type: &'a str,
    host: Option<&'a str>,
    port: Option<u16>,
    reason: &'a str,
    rule: Option<&'a HostRule>,
    message: &'a str,
    how_to_allow: Option<&'a str>,
}

impl Denial {
    /// The whole answer.
    pub(crate) fn response(&self, session: &SessionId) -> Response<Full<Bytes>> {
        let message = self.message();
        let how = self.how_to_allow(session);
        let phrase = format!("{message} {how}");
        let error = ErrorBody {
            r#type: "egress_denied",
            host: Some(&self.to.host),
            port: Some(self.to.port),
            reason: reason_code(self.reason),
            rule: self.rule.as_ref(),
            message: &message,
            how_to_allow: Some(&how),
        };
        respond(StatusCode::FORBIDDEN, &phrase, error)
    }

    fn message(&self) -> String {
        let Destination { host, port } = &self.to;
        match self.reason {
            DenialReason::NotAllowed => {
                format!("{host}:{port} is not on this session's list of allowed hosts.")
            }
            DenialReason::Refused => format!("{host}:{port} was refused by a person."),
            DenialReason::ForbiddenAddress => {
                format!("{host}:{port} is or leads to a private, local or reserved address.")
            }
            DenialReason::MalformedHost => format!("{host}:{port} is no plain host name."),
            DenialReason::NameMismatch => {
                format!("the connection to {host}:{port} is not TLS for {host}.")
            }
            DenialReason::LimitReached => {
                "this session has used up what it may move or have open.".to_owned()
            }
            _ => format!("{host}:{port} is denied."),
        }
    }

    fn how_to_allow(&self, session: &SessionId) -> String {
        let approve = |rule: &HostRule| {
            if self.for_all {
                format!("cofferdam egress approve all '{rule}'")
            } else {
                format!("cofferdam egress approve {session} '{rule}'")
            }
        };
        match self.reason {
            DenialReason::NotAllowed => match HostRule::exact(&self.to.host, self.to.port) {
                Ok(rule) => format!("A person can allow it on the host: {}", approve(&rule)),
                Err(_) => "It cannot be allowed.".to_owned(),
            },
            DenialReason::Refused => match &self.rule {
                Some(rule) => format!("Only a person can take that back on the host: {}", approve(rule)),
                None => "Only a person can take that back.".to_owned(),
            },
            DenialReason::ForbiddenAddress => {
                "The operator can open private networks for names, never for addresses by number; see the guide \
                 about egress."
                    .to_owned()
            }
            DenialReason::MalformedHost => "Ask for the host by its plain name.".to_owned(),
            DenialReason::NameMismatch => {
                "Ask the proxy for the name that the TLS handshake is for; at port 443 only TLS passes.".to_owned()
            }
            _ => "Close connections that are not needed; the operator can raise the limits.".to_owned(),
        }
    }
}

/// The stable name of a reason, the same that events carry.
fn reason_code(reason: DenialReason) -> &'static str {
    match reason {
        DenialReason::NotAllowed => "not_allowed",
        DenialReason::Refused => "refused",
        DenialReason::ForbiddenAddress => "forbidden_address",
        DenialReason::MalformedHost => "malformed_host",
        DenialReason::NameMismatch => "name_mismatch",
        DenialReason::LimitReached => "limit_reached",
        _ => "denied",
    }
}

impl Failure {
    /// The whole answer.
    pub(crate) fn response(self, to: Option<&Destination>) -> Response<Full<Bytes>> {
        let (status, reason, message) = self.parts();
        let error = ErrorBody {
            r#type: "egress_failed",
            host: to.map(|to| to.host.as_str()),
            port: to.map(|to| to.port),
            reason,
            rule: None,
            message,
            how_to_allow: None,
        };
        respond(status, message, error)
    }

    fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::NotForAProxy(why) => (StatusCode::BAD_REQUEST, "not_for_a_proxy", why),
            Self::Unresolvable => (
                StatusCode::BAD_GATEWAY,
                "unresolvable",
                "the host's name has no address.",
            ),
            Self::ResolveTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "resolve_timeout",
                "the name server did not answer in time.",
            ),
            Self::Unreachable(cause) => (StatusCode::BAD_GATEWAY, "unreachable", cause),
            Self::ConnectTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "connect_timeout",
                "the host did not take the connection in time.",
            ),
            Self::Broken => (
                StatusCode::BAD_GATEWAY,
                "broken",
                "the host closed the connection before it answered.",
            ),
            Self::AnswerTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "answer_timeout",
                "the host did not answer in time.",
            ),
            Self::Undecidable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "undecidable",
                "what people decided about hosts cannot be read now, so nothing is allowed. Try again.",
            ),
            Self::NoCredential => (
                StatusCode::BAD_GATEWAY,
                "no_credential",
                "the operator's rule adds a credential here and the host has none that can be sent. The operator should \
                 check it; no restart of the session is needed.",
            ),
            Self::Encoded => (
                StatusCode::BAD_GATEWAY,
                "encoded",
                "the host compressed an answer although it was asked not to, so that it cannot be searched for the \
                 credential.",
            ),
            Self::NoTls => (
                StatusCode::BAD_GATEWAY,
                "no_tls",
                "Cofferdam's machine has no usable root certificates (the package ca-certificates).",
            ),
        }
    }
}

fn respond(status: StatusCode, phrase: &str, error: ErrorBody<'_>) -> Response<Full<Bytes>> {
    let reason = HeaderValue::from_str(error.reason);
    // Plain data cannot fail to be written.
    let body = serde_json::to_vec(&Body { error }).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(reason) = reason {
        headers.insert(REFUSAL, reason);
    }
    if let Ok(phrase) = ReasonPhrase::try_from(phrase.as_bytes()) {
        response.extensions_mut().insert(phrase);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use serde_json::Value;

    fn to() -> Destination {
        Destination {
            host: "example.com".to_owned(),
            port: 443,
        }
    }

    async fn json(response: Response<Full<Bytes>>) -> Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_denial_has_one_shape() {
        let session = SessionId::new();
        for reason in [
            DenialReason::NotAllowed,
            DenialReason::Refused,
            DenialReason::ForbiddenAddress,
            DenialReason::MalformedHost,
            DenialReason::NameMismatch,
            DenialReason::LimitReached,
        ] {
            let rule = (reason == DenialReason::Refused).then(|| "*.example.com".parse().unwrap());
            let denial = Denial {
                to: to(),
                reason,
                rule,
                for_all: false,
            };
            let response = denial.response(&session);
            assert_eq!(response.status(), StatusCode::FORBIDDEN);
            assert_eq!(response.headers()[CONTENT_TYPE], "application/json");
            let code = serde_json::to_value(reason).unwrap();
            assert_eq!(response.headers()[REFUSAL], code.as_str().unwrap());
            assert!(response.extensions().get::<ReasonPhrase>().is_some());
            let body = json(response).await;
            let error = body["error"].as_object().unwrap();
            let mut fields: Vec<_> = error.keys().map(String::as_str).collect();
            fields.sort_unstable();
            assert_eq!(
                fields,
                [
                    "host",
                    "how_to_allow",
                    "message",
                    "port",
                    "reason",
                    "rule",
                    "type"
                ]
            );
            assert_eq!(error["type"], "egress_denied");
            assert_eq!(error["reason"], code);
            assert_eq!(
                (&error["host"], &error["port"]),
                (&"example.com".into(), &443.into())
            );
            for text in ["message", "how_to_allow"] {
                assert!(!error[text].as_str().unwrap().contains("  "));
            }
        }
    }

    #[tokio::test]
    async fn a_denial_names_the_command_that_allows_it() {
        let session = SessionId::new();
        let denial = |reason, rule: Option<&str>| Denial {
            to: to(),
            reason,
            rule: rule.map(|rule| rule.parse().unwrap()),
            for_all: false,
        };
        let body = json(denial(DenialReason::NotAllowed, None).response(&session)).await;
        let how = body["error"]["how_to_allow"].as_str().unwrap();
        assert!(how.ends_with(&format!("cofferdam egress approve {session} 'example.com:443'")));
        let body = json(denial(DenialReason::Refused, Some("*.com.example")).response(&session)).await;
        let how = body["error"]["how_to_allow"].as_str().unwrap();
        assert!(how.ends_with(&format!("cofferdam egress approve {session} '*.com.example'")));
    }

    #[tokio::test]
    async fn a_failure_has_the_same_fields() {
        let response = Failure::Unresolvable.response(Some(&to()));
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(response.headers()[REFUSAL], "unresolvable");
        let body = json(response).await;
        assert_eq!(body["error"]["type"], "egress_failed");
        assert_eq!(body["error"]["host"], "example.com");
        assert_eq!(body["error"]["how_to_allow"], Value::Null);
        let body = json(Failure::NotForAProxy("no").response(None)).await;
        assert_eq!(body["error"]["host"], Value::Null);
    }
}
