//! What is told about a request: one line when its answer has gone, and figures.
//!
//! Paths are told as their route, without what callers put into them; a query is never told. What a client says of itself
//! is escaped, so that no line can be forged.

use std::fmt::Write as _;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use session_core::id::SessionId;
use tracing::Span;

use super::RequestId;
use crate::body::Watched;
use crate::caller::Caller;
use crate::state::AppState;

/// How much of what a client calls its request is told, in characters.
const MAX_CLIENT_ID: usize = 64;

/// See the module.
pub(super) struct Record {
    id: RequestId,
    client_id: Option<String>,
    method: &'static str,
    route: String,
    session: Option<SessionId>,
    token: Option<String>,
    refused: Option<&'static str>,
    status: u16,
    streams: bool,
    began: Instant,
    state: Option<AppState>,
}

impl Record {
    pub(super) fn of(request: &Request<Body>, id: &RequestId) -> Self {
        let route = request.extensions().get::<MatchedPath>();
        Self {
            id: id.clone(),
            client_id: request
                .headers()
                .get("x-request-id")
                .map(|value| escaped(value.as_bytes())),
            method: known(request.method()),
            route: route.map_or_else(|| "-".to_owned(), |route| route.as_str().to_owned()),
            session: session(request.uri().path()),
            token: None,
            refused: None,
            status: 0,
            streams: false,
            began: Instant::now(),
            state: None,
        }
    }

    pub(super) fn caller(&mut self, caller: &Caller) {
        self.token = caller.name().map(str::to_owned);
    }

    pub(super) fn refused(&mut self, reason: &'static str) {
        self.refused = Some(reason);
    }

    /// Around everything that is done for the request, so that its log lines can be found.
    pub(super) fn span(&self) -> Span {
        tracing::info_span!(
            "request",
            request_id = %self.id.0,
            session = self.session.map(tracing::field::display),
        )
    }

    pub(super) fn answered(&mut self, answer: &Response, began: Instant, state: AppState) {
        self.status = answer.status().as_u16();
        self.began = began;
        self.streams = is_event_stream(answer);
        let metrics = state.metrics();
        metrics.answered(self.method, &self.route, self.status, began.elapsed());
        if self.streams {
            metrics.streams().increment(1.0);
        }
        self.state = Some(state);
    }
}

impl Watched for Record {
    fn ended(&mut self, bytes: u64) {
        if self.streams
            && let Some(state) = &self.state
        {
            state.metrics().streams().decrement(1.0);
        }
        tracing::info!(
            parent: &self.span(),
            request_id = %self.id.0,
            client_request = self.client_id.as_deref(),
            method = self.method,
            route = self.route,
            status = self.status,
            ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes,
            token = self.token.as_deref(),
            session = self.session.map(tracing::field::display),
            refused = self.refused,
            "answered"
        );
    }
}

pub(super) fn is_event_stream(answer: &Response) -> bool {
    answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// Methods have names of any length.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// The session that a path is about.
fn session(path: &str) -> Option<SessionId> {
    let rest = path.strip_prefix("/v1/sessions/")?;
    rest.split('/').next()?.parse().ok()
}

fn escaped(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .take(MAX_CLIENT_ID)
        .fold(String::new(), |mut told, c| {
            // Writing to a string does not fail.
            let _ = write!(told, "{}", c.escape_default());
            told
        })
}
