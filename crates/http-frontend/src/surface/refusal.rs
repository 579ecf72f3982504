//! Why a request goes no further.

use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::{CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use http_api::SurfaceCode;

use super::rates::Allowance;
use crate::problem::Failure;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Addressed by another name.
    Host,
    /// From a page that may not.
    Origin,
    /// No token, or none that is known.
    Token,
    /// Too many wrong tokens from this address; so long to wait.
    Guessing(Duration),
    /// A body as forms of web pages send them.
    Form,
    /// Too many requests; so long to wait.
    Rate(Duration, Allowance),
}

impl Refusal {
    /// As logs and metrics name it.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
            Self::Token => "token",
            Self::Guessing(_) => "guessing",
            Self::Form => "form",
            Self::Rate(..) => "rate",
        }
    }

    /// As the audit log names it; `None` for what is only not understood.
    pub(crate) fn rule(self) -> Option<&'static str> {
        (!matches!(self, Self::Form)).then(|| self.reason())
    }

    fn failure(self) -> Failure {
        match self {
            Self::Host => Failure::new(
                SurfaceCode::Forbidden,
                "the Host is not one of this server's names",
            )
            .with_hint("address the server as localhost, or start it with the name among its hosts"),
            Self::Origin => Failure::new(
                SurfaceCode::Forbidden,
                "pages of this Origin may not talk to this server",
            )
            .with_hint("start the server with the page's origin among those that it allows"),
            Self::Token => Failure::new(SurfaceCode::Unauthorized, "a bearer token is needed")
                .with_hint("send `Authorization: Bearer …` with a token from `cofferdam token create`")
                .with_header(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"cofferdam\""),
                ),
            Self::Guessing(_) => Failure::new(
                SurfaceCode::TooManyRequests,
                "too many wrong tokens came from this address",
            ),
            Self::Form => Failure::new(
                SurfaceCode::UnsupportedMediaType,
                "bodies of this kind are sent by forms of web pages, and no operation takes one",
            )
            .with_hint("send JSON, announced as `Content-Type: application/json`"),
            Self::Rate(..) => Failure::new(SurfaceCode::TooManyRequests, "this token asks too often"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut answer = self.failure().into_response();
        let headers = answer.headers_mut();
        if let Self::Guessing(wait) | Self::Rate(wait, _) = self {
            // Whole seconds, so that whoever waits for so long is not refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Self::Rate(_, allowance) = self {
            allowance.tell(headers);
        } else {
            // Whoever was not let in keeps no connection.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }
}
