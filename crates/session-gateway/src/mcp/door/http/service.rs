//! One request over HTTP: admitted, read, handed to the protocol.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rmcp::transport::streamable_http_server::session::SessionId;
use rmcp::transport::streamable_http_server::session::SessionManager;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use secrecy::SecretString;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::body::{self, Room, Unread};
use super::clients::{Clients, Loss, Watched};
use super::gate::{self, Refusal};
use super::{Answer, early};
use crate::mcp::door::audience::Abandoned;
use crate::mcp::door::core::Core;
use crate::mcp::door::handler::Handler;
use crate::mcp::door::wire::{self, Head};

const PATH: &str = "/mcp";
const SESSION_ID: &str = "mcp-session-id";
const LAST_EVENT_ID: &str = "last-event-id";
/// How long a client may take to begin, which waits for nothing but this program.
const BEGINNING: Duration = Duration::from_secs(10);
/// How long a session of the protocol may take to hear that it is over. It ends also when it does not.
const ENDING: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

struct Inner {
    core: Arc<Core>,
    token: SecretString,
    protocol: StreamableHttpService<Handler, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    clients: Arc<Clients>,
    /// Held by the one client that begins.
    beginning: Arc<Mutex<()>>,
    room: Room,
}

impl Service {
    pub(super) fn new(core: Arc<Core>, token: SecretString) -> Self {
        let mut manager = LocalSessionManager::default();
        // A call may be silent for long, and so may an agent between its calls. What is bounded is how many there are.
        manager.session_config.keep_alive = None;
        let manager = Arc::new(manager);
        // Host and Origin were judged by the gate, and more strictly.
        let config = StreamableHttpServerConfig::default()
            .disable_allowed_hosts()
            .disable_allowed_origins()
            .with_json_response(true)
            .with_max_request_body_bytes(core.options.max_message)
            .with_cancellation_token(core.stop.child_token());
        let of_handler = core.clone();
        let make = move || Ok(Handler::new(of_handler.clone(), CancellationToken::new()));
        Self(Arc::new(Inner {
            token,
            protocol: StreamableHttpService::new(make, manager.clone(), config),
            manager,
            clients: Arc::default(),
            beginning: Arc::default(),
            room: Room::new(core.options.max_bodies),
            core,
        }))
    }

    #[cfg(test)]
    pub(super) async fn sessions(&self) -> usize {
        self.0.manager.sessions.read().await.len()
    }

    async fn handle(self, request: Request<Incoming>) -> Answer {
        if let Err(refusal) = gate::admit(&self.0.token, request.uri(), request.headers()) {
            tracing::warn!(reason = ?refusal, "a request to the MCP endpoint was refused");
            return refuse(refusal);
        }
        if request.uri().path() != PATH {
            return plain(StatusCode::NOT_FOUND, "the MCP endpoint is /mcp");
        }
        let mut answer = match *request.method() {
            Method::POST => self.post(request).await,
            Method::GET => self.get(request).await,
            Method::DELETE => self.delete(request).await,
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
        let inner = &self.0;
        let options = &inner.core.options;
        if !is_json(request.headers()) {
            return plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "the content type has to be application/json",
            );
        }
        let (mut parts, body) = request.into_parts();
        let (bytes, taken) =
            match body::read(body, options.max_message, options.body_timeout, &inner.room).await {
                Ok(read) => read,
                Err(unread) => return unreadable(unread),
            };
        let head = match wire::head(&bytes) {
            Ok(head) => head,
            Err(refusal) => return protocol_error(refusal),
        };
        parts.headers.remove(AUTHORIZATION);
        parts.headers.remove(CONTENT_LENGTH);
        // Given back when the request is over: its handler keeps the parts, and what it began keeps a clone of this.
        parts.extensions.insert(taken);
        match header(&parts.headers, SESSION_ID) {
            Some(id) => self.message_of(id, parts, bytes, head).await,
            None if head.is("initialize") => self.initialize(parts, bytes, head).await,
            None => {
                let id = head.id.clone();
                let answer = self.clone().pass(parts, bytes, head).boxed();
                early::open(answer, id, options.open_after).await
            }
        }
    }

    /// A client with a session begins. The answer names the session, so who it is is known only when it is there; by then
    /// the connection may be gone. So a client begins in a task of its own, one after the other, and whatever the library
    /// has at the end that is no client of ours is closed.
    async fn initialize(&self, parts: Parts, bytes: Bytes, head: Head) -> Answer {
        let inner = &self.0;
        // Waited for here: who leaves meanwhile leaves nothing.
        let turn = inner.beginning.clone().lock_owned().await;
        let service = self.clone();
        let begun = inner.core.tasks.spawn(async move {
            let _turn = turn;
            let answer = service.begin(parts, bytes, head).await;
            service.close_strangers().await;
            answer
        });
        begun.await.unwrap_or_else(|died| {
            tracing::error!(%died, "the beginning of a client died");
            plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the request failed in the gateway; its log says more",
            )
        })
    }

    async fn begin(&self, parts: Parts, bytes: Bytes, head: Head) -> Answer {
        let inner = &self.0;
        let there = inner.manager.sessions.read().await;
        inner.clients.retain(|id| there.contains_key(id));
        drop(there);
        match inner.clients.make_room(inner.core.options.max_clients) {
            Ok(None) => {}
            Ok(Some(oldest)) => self.close(&oldest.into()).await,
            Err(super::clients::Full) => {
                return again_later(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many clients have a session; try again later",
                );
            }
        }
        let Ok(answer) = timeout(BEGINNING, self.clone().pass(parts, bytes, head)).await else {
            return again_later(
                StatusCode::SERVICE_UNAVAILABLE,
                "the endpoint is too slow; try again later",
            );
        };
        if let Some(id) = header(answer.headers(), SESSION_ID) {
            inner.clients.begin(&id);
        }
        answer
    }

    /// Closes sessions that no client of ours has. Nobody may be beginning.
    async fn close_strangers(&self) {
        let inner = &self.0;
        let there: Vec<SessionId> = inner.manager.sessions.read().await.keys().cloned().collect();
        for id in there.iter().filter(|id| !inner.clients.knows(id)) {
            self.close(id).await;
        }
    }

    async fn close(&self, id: &SessionId) {
        match timeout(ENDING, self.0.manager.close_session(id)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "a client's session did not end as it should"),
            Err(_) => tracing::debug!("a client's session does not listen"),
        }
    }

    /// A message of a client that has a session.
    async fn message_of(&self, id: String, mut parts: Parts, bytes: Bytes, head: Head) -> Answer {
        let core = &self.0.core;
        self.0.clients.used(&id);
        if !head.is_request() {
            return self.clone().pass(parts, bytes, head).await;
        }
        let abandoned = CancellationToken::new();
        parts.extensions.insert(Abandoned(abandoned.clone()));
        let answer = self.clone().pass(parts, bytes, head).await;
        let loss = Loss {
            clients: self.0.clients.clone(),
            id,
            abandoned,
            patience: core.options.resume_within,
            tasks: core.tasks.clone(),
            stop: core.stop.clone(),
        };
        answer.map(|body| Watched::new(body, loss).boxed_unsync())
    }

    /// Hands a message to the protocol.
    async fn pass(self, parts: Parts, bytes: Bytes, head: Head) -> Answer {
        let request = Request::from_parts(parts, Full::new(bytes));
        let answer = self.0.protocol.handle(request).await;
        // It was JSON, so it was no message.
        if answer.status() == StatusCode::UNSUPPORTED_MEDIA_TYPE {
            return protocol_error(head.no_message());
        }
        answer.map(BodyExt::boxed_unsync)
    }

    /// A client that has a session listens, or comes for the rest of an answer.
    async fn get(&self, request: Request<Incoming>) -> Answer {
        if let Some(id) = header(request.headers(), SESSION_ID) {
            self.0.clients.used(&id);
            if request.headers().contains_key(LAST_EVENT_ID) {
                self.0.clients.resumed(&id);
            }
        }
        self.without_body(request).await
    }

    async fn delete(&self, request: Request<Incoming>) -> Answer {
        let id = header(request.headers(), SESSION_ID);
        let answer = self.without_body(request).await;
        if let (Some(id), true) = (id, answer.status().is_success()) {
            self.0.clients.end(&id);
        }
        answer
    }

    async fn without_body(&self, request: Request<Incoming>) -> Answer {
        let (mut parts, _) = request.into_parts();
        parts.headers.remove(AUTHORIZATION);
        let request = Request::from_parts(parts, Full::new(Bytes::new()));
        self.0.protocol.handle(request).await.map(BodyExt::boxed_unsync)
    }
}

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Answer;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Answer, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.clone().handle(request).map(Ok).boxed()
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    respond(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

fn again_later(status: StatusCode, text: &'static str) -> Answer {
    let mut answer = plain(status, text);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("5"));
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

fn unreadable(unread: Unread) -> Answer {
    tracing::debug!(reason = ?unread, "a body was not read");
    match unread {
        Unread::TooLong => plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is longer than this endpoint takes",
        ),
        Unread::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time"),
        Unread::NoRoom => again_later(
            StatusCode::TOO_MANY_REQUESTS,
            "other requests of this session take all its room; try again later",
        ),
        Unread::Broken => plain(StatusCode::BAD_REQUEST, "the body broke off"),
    }
}

fn protocol_error(refusal: wire::Refusal) -> Answer {
    respond(
        StatusCode::BAD_REQUEST,
        "application/json",
        refusal.into_bytes().into(),
    )
}
