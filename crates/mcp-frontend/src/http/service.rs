//! One request over HTTP: admitted, read, handed to the protocol.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::HttpOptions;
use super::body::{self, Unread};
use super::gate::{Gate, Refusal};
use crate::core::Core;
use crate::handler::Handler;
use crate::wire::{self, Shielded};

const PATH: &str = "/mcp";

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// See the module.
#[derive(Clone)]
pub(super) struct Endpoint {
    gate: Arc<Gate>,
    protocol: StreamableHttpService<Handler, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    max_sessions: usize,
    max_body: usize,
    body_timeout: Duration,
    stop: CancellationToken,
}

impl Endpoint {
    pub(super) fn new(core: &Arc<Core>, gate: Gate, options: &HttpOptions) -> Self {
        let mut sessions = LocalSessionManager::default();
        // A call may be silent for longer than the library's five minutes, and its client be there all the time.
        sessions.session_config.keep_alive = Some(options.idle_timeout);
        let sessions = Arc::new(sessions);
        let stop = CancellationToken::new();
        // Host and Origin were judged by the gate, and more strictly.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(core.options.max_message)
            .with_cancellation_token(stop.clone());
        let handler = Handler(core.clone());
        let protocol = StreamableHttpService::new(move || Ok(handler.clone()), sessions.clone(), config);
        Self {
            gate: Arc::new(gate),
            protocol,
            sessions,
            max_sessions: options.max_sessions,
            max_body: core.options.max_message,
            body_timeout: options.body_timeout,
            stop,
        }
    }

    /// Ends every session of the protocol.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    async fn handle(self, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = self.gate.admit(request.uri(), request.headers()) {
            tracing::warn!(reason = ?refusal, "a request was refused");
            return refuse(refusal);
        }
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "the MCP endpoint is /mcp");
        }
        let mut answer = match *request.method() {
            Method::POST => self.post(request).await,
            Method::GET | Method::DELETE => {
                let (mut parts, _) = request.into_parts();
                parts.headers.remove(AUTHORIZATION);
                self.protocol
                    .handle(Request::from_parts(parts, Full::new(Bytes::new())))
                    .await
            }
            _ => {
                let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "GET, POST and DELETE are allowed");
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, POST, DELETE"));
                answer
            }
        };
        let headers = answer.headers_mut();
        headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        headers
            .entry("cache-control")
            .or_insert(HeaderValue::from_static("no-store"));
        answer
    }

    async fn post(&self, request: Request<Incoming>) -> Answer {
        let (mut parts, body) = request.into_parts();
        let bytes = match body::read(body, self.max_body, self.body_timeout).await {
            Ok(bytes) => bytes,
            Err(unread) => return unreadable(unread, self.max_body),
        };
        let Shielded { message, arguments } = match wire::shield(&bytes) {
            Ok(shielded) => shielded,
            Err(refusal) => return protocol_error(refusal),
        };
        drop(bytes);
        if message.get("method").is_some_and(|method| method == "initialize") && self.is_full().await {
            let mut answer = plain(
                StatusCode::TOO_MANY_REQUESTS,
                "too many clients have a session; try again later",
            );
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("5"));
            return answer;
        }
        parts.headers.remove(AUTHORIZATION);
        parts.headers.remove(CONTENT_LENGTH);
        if let Some(arguments) = arguments {
            parts.extensions.insert(arguments);
        }
        let body = Full::new(Bytes::from(message.to_string()));
        self.protocol.handle(Request::from_parts(parts, body)).await
    }

    async fn is_full(&self) -> bool {
        self.sessions.sessions.read().await.len() >= self.max_sessions
    }
}

impl hyper::service::Service<Request<Incoming>> for Endpoint {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.clone().handle(request).map(Ok).boxed()
    }
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    respond(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn refuse(refusal: Refusal) -> Answer {
    let mut answer = plain(refusal.status(), refusal.message());
    if refusal == Refusal::Token {
        answer.headers_mut().insert(
            WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"cofferdam\""),
        );
    }
    answer
}

fn unreadable(unread: Unread, limit: usize) -> Answer {
    tracing::debug!(reason = ?unread, limit, "a body was not read");
    match unread {
        Unread::TooLong => plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than this server takes",
        ),
        Unread::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        Unread::Broken => plain(StatusCode::BAD_REQUEST, "the body broke off"),
    }
}

fn protocol_error(refusal: wire::Refusal) -> Answer {
    let error = rmcp::model::JsonRpcError::new(refusal.id, refusal.error);
    let body = serde_json::to_vec(&error).unwrap_or_default();
    respond(StatusCode::BAD_REQUEST, "application/json", body.into())
}
