//! One request over HTTP: admitted, read, handed to the protocol.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio_util::sync::CancellationToken;

use super::body::{self, Unread};
use super::gate::{Gate, Refusal};
use crate::core::Core;
use crate::handler::Handler;
use crate::wire::{self, Shielded};

const PATH: &str = "/mcp";

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// How much of a server clients over HTTP may hold.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// Clients with a session of the protocol at once.
    pub max_sessions: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// After how long without a word a client's session of the protocol ends.
    pub idle_timeout: Duration,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            max_sessions: 256,
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(3600),
        }
    }
}

/// The protocol over HTTP, for a server that knows who may come in: it judges neither Host nor Origin nor token, and has
/// no path of its own. Cheap to clone.
#[derive(Clone)]
pub struct McpService {
    core: Arc<Core>,
    protocol: StreamableHttpService<Handler, LocalSessionManager>,
    sessions: Arc<LocalSessionManager>,
    options: ServiceOptions,
    stop: CancellationToken,
}

impl std::fmt::Debug for McpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpService")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl McpService {
    pub(crate) fn new(core: &Arc<Core>, options: ServiceOptions) -> Self {
        let mut sessions = LocalSessionManager::default();
        // A call may be silent for longer than the library's five minutes, and its client be there all the time.
        sessions.session_config.keep_alive = Some(options.idle_timeout);
        let sessions = Arc::new(sessions);
        let stop = CancellationToken::new();
        // Host and Origin were judged before, and more strictly.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_max_request_body_bytes(core.options.max_message)
            .with_cancellation_token(stop.clone());
        let handler = Handler(core.clone());
        let protocol = StreamableHttpService::new(move || Ok(handler.clone()), sessions.clone(), config);
        Self {
            core: core.clone(),
            protocol,
            sessions,
            options,
            stop,
        }
    }

    /// Ends every session of the protocol.
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Ends every session of the protocol, and waits for what must be brought to its end, at most for the grace of
    /// [`crate::McpOptions::shutdown_grace`].
    pub async fn close(&self) {
        self.stop();
        self.core.shutdown().await;
    }

    pub(super) async fn answer<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
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

    async fn post<B>(&self, request: Request<B>) -> Answer
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let (mut parts, body) = request.into_parts();
        let limit = self.core.options.max_message;
        let bytes = match body::read(body, limit, self.options.body_timeout).await {
            Ok(bytes) => bytes,
            Err(unread) => return unreadable(unread, limit),
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
        self.sessions.sessions.read().await.len() >= self.options.max_sessions
    }
}

impl<B> tower_service::Service<Request<B>> for McpService
where
    B: Body<Data = Bytes> + Send + 'static,
{
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        async move { Ok(service.answer(request).await) }.boxed()
    }
}

/// The protocol behind a gate of its own, for a server that has nothing else in front.
#[derive(Clone)]
pub(super) struct Endpoint {
    gate: Arc<Gate>,
    service: McpService,
}

impl Endpoint {
    pub(super) fn new(gate: Gate, service: McpService) -> Self {
        Self {
            gate: Arc::new(gate),
            service,
        }
    }

    async fn handle(self, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = self.gate.admit(request.uri(), request.headers()) {
            tracing::warn!(reason = ?refusal, "a request was refused");
            return refuse(refusal);
        }
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "the MCP endpoint is /mcp");
        }
        self.service.answer(request).await
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
