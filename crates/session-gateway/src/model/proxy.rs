//! The proxy itself: accepts a session's connections, decides, forwards.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Body, Incoming};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use session_core::id::SessionId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::body::{AnswerBody, BodyFault, RequestBody};
use super::config::{Limits, ModelProxyConfig};
use super::credential::{Credential, CredentialSource};
use super::headers;
use super::policy::{self, Route};
use super::redact::Redactor;
use super::refusal::{Refusal, probe_response};
use super::session::{Exchange, Session, Sessions};
use super::upstream::Upstream;
use super::usage::{Usage, UsageTap};
use crate::error::{GatewayError, GatewayErrorKind};

/// A session token shorter than this could be guessed.
const MIN_TOKEN: usize = 16;

/// The least that hyper takes.
const MIN_BUFFER: usize = 8192;

type AnswerOrRefusal = Either<Full<Bytes>, AnswerBody>;

/// Answers the model port of every session. Clones share everything.
#[derive(Clone)]
pub struct ModelProxy(Arc<Inner>);

struct Inner {
    upstream: Upstream,
    credential: CredentialSource,
    limits: Limits,
    sessions: Sessions,
}

impl ModelProxy {
    /// A proxy without sessions. Contacts nobody.
    pub fn new(config: ModelProxyConfig) -> Self {
        let upstream = Upstream::new(config.base_url, &config.limits);
        let sessions = Sessions::default();
        Self(Arc::new(Inner {
            upstream,
            credential: config.credential,
            limits: config.limits,
            sessions,
        }))
    }

    /// Lets a session in, with its token and, if it has one, its own credential instead of the proxy's. A session that is
    /// registered already gets the new token and credential at its next request; its account goes on.
    ///
    /// # Errors
    /// `InvalidToken` when the token is shorter than 16 bytes.
    pub fn register(
        &self,
        session: SessionId,
        token: SecretString,
        credential: Option<Credential>,
    ) -> Result<(), GatewayError> {
        if token.expose_secret().len() < MIN_TOKEN {
            return Err(GatewayError::new(
                GatewayErrorKind::InvalidToken,
                "register a session at the model proxy",
                "its token is shorter than 16 bytes",
            )
            .with_context("session", session));
        }
        self.0.sessions.put(session, token, credential, &self.0.limits);
        Ok(())
    }

    /// Forgets a session: its open connections end at once and its token is worth nothing.
    pub fn forget(&self, session: &SessionId) {
        self.0.sessions.remove(session);
    }

    /// What a session used since it was registered; `None` when it is not.
    pub fn usage(&self, session: &SessionId) -> Option<Usage> {
        self.0
            .sessions
            .get(session)
            .map(|session| *session.watch_usage().borrow())
    }

    /// The account of a session as it changes, also in the middle of an answer; it closes when the session is forgotten
    /// and its last request is over.
    pub fn watch_usage(&self, session: &SessionId) -> Option<watch::Receiver<Usage>> {
        self.0.sessions.get(session).map(|session| session.watch_usage())
    }

    /// Serves one connection of a session until it is closed, the session is forgotten, or `shutdown` completes; requests
    /// that are under way then may end within the drain time. Dropping the future cuts the connection and what it asked for.
    ///
    /// # Errors
    /// `UnknownSession`, `TooManyConnections`, or `ConnectionFailed` when the other end broke off or did not speak HTTP.
    pub async fn serve<I, S>(&self, session: &SessionId, io: I, shutdown: S) -> Result<(), GatewayError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin,
        S: Future<Output = ()> + Send,
    {
        let refuse = |kind, message: &'static str| {
            GatewayError::new(kind, "serve a connection of the model proxy", message)
                .with_context("session", session)
        };
        let inner = &self.0;
        let session = inner
            .sessions
            .get(session)
            .ok_or_else(|| refuse(GatewayErrorKind::UnknownSession, "the session is not registered"))?;
        let _place = session.connection().ok_or_else(|| {
            refuse(
                GatewayErrorKind::TooManyConnections,
                "the session has as many connections open as it may",
            )
        })?;

        let service = service_fn(async |request| Ok::<_, Infallible>(inner.answer(&session, request).await));
        let mut connection = pin!(inner.http().serve_connection(TokioIo::new(io), service));
        // The connection is polled where it is and goes on below; the two others only say that it should not.
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = session.forgotten.cancelled() => Some(Ok(())),
            () = shutdown => None,
        };
        let ended = match ended {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                // Whatever comes first is the end; what is cut off here was asked to end.
                tokio::select! {
                    ended = connection => ended,
                    () = session.forgotten.cancelled() => Ok(()),
                    () = tokio::time::sleep(inner.limits.drain_timeout) => Ok(()),
                }
            }
        };
        match ended {
            // A kept connection that nobody used for long enough is closed as it should be.
            Err(error) if !error.is_timeout() => {
                let message = "the connection from inside the session broke off or was not HTTP";
                Err(refuse(GatewayErrorKind::ConnectionFailed, message).with_source(error))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for ModelProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelProxy")
            .field("upstream", self.0.upstream.base())
            .field("credential", &self.0.credential)
            .field("limits", &self.0.limits)
            .field("sessions", &self.0.sessions)
            .finish()
    }
}

impl Inner {
    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(self.limits.head_timeout)
            .max_buf_size(self.limits.max_buffer.max(MIN_BUFFER))
            .max_headers(self.limits.max_headers)
            .half_close(true);
        http
    }

    /// Answers one request, here or from the upstream.
    async fn answer(&self, session: &Arc<Session>, request: Request<Incoming>) -> Response<AnswerOrRefusal> {
        let (parts, body) = request.into_parts();
        let local = match self.admit(session, &parts, body.size_hint().exact()) {
            Ok(Admitted::Forward(forward)) => match self.forward(*forward, parts, body).await {
                Ok(answer) => return answer.map(Either::Right),
                Err(refusal) => self.told(session, refusal),
            },
            Ok(Admitted::Probe) => probe_response(),
            Err(refusal) => {
                session.refused();
                // A client that is still writing reads no answer; let it finish.
                self.read_away(body).await;
                self.told(session, refusal)
            }
        };
        local.map(Either::Left)
    }

    /// Everything that is decided before the body is looked at.
    fn admit(&self, session: &Arc<Session>, parts: &Parts, length: Option<u64>) -> Result<Admitted, Refusal> {
        if !session.with_token(|token| policy::is_authorised(&parts.headers, token)) {
            return Err(Refusal::Unauthenticated);
        }
        let route = policy::route(&parts.method, &parts.uri)?;
        if route == Route::Probe {
            return Ok(Admitted::Probe);
        }
        let limit = self.limits.max_request_body;
        if length.is_some_and(|length| length > limit) {
            return Err(Refusal::BodyTooLarge { limit });
        }
        let credential = session
            .credential()
            .or_else(|| self.credential.current())
            .ok_or(Refusal::NoCredential)?;
        let path = parts.uri.path_and_query().ok_or(Refusal::MalformedTarget)?;
        let address = self.upstream.address(path.as_str())?;
        let limit = self.limits.max_concurrent_requests;
        let place = session.request().ok_or(Refusal::TooManyRequests { limit })?;
        let exchange = Exchange::begin(Arc::clone(session), place);
        Ok(Admitted::Forward(Box::new(Forward {
            route,
            address,
            credential,
            exchange,
        })))
    }

    async fn forward(
        &self,
        forward: Forward,
        parts: Parts,
        body: Incoming,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let Forward {
            route,
            address,
            credential,
            mut exchange,
        } = forward;
        let (body, leftover) =
            RequestBody::new(body, self.limits.max_request_body, self.limits.stall_timeout);
        let mut request = Request::new(body);
        *request.method_mut() = parts.method;
        *request.uri_mut() = address;
        *request.headers_mut() = headers::to_upstream(parts.headers);
        credential.apply(request.headers_mut());

        let sent = self.upstream.send(request).await;
        let sent = sent.map_err(|refusal| leftover.fault().map_or(refusal, |fault| self.refusal_of(fault)));
        let (answer, body) = match sent.and_then(acceptable) {
            Ok(answer) => answer.into_parts(),
            Err(refusal) => {
                exchange.failed();
                // A body that has stalled already is not waited for again.
                let unread = leftover.unread().filter(|_| refusal != Refusal::BodyStalled);
                if let Some(unread) = unread {
                    self.read_away(unread).await;
                }
                return Err(refusal);
            }
        };
        if answer.status.is_client_error() || answer.status.is_server_error() {
            exchange.failed();
        }
        let counts = route == Route::Messages && answer.status.is_success();
        let tap = if counts {
            UsageTap::new(&answer.headers)
        } else {
            UsageTap::deaf()
        };
        let redactor = Redactor::new(Arc::clone(credential.needle()));
        // A new response: the provider's reason phrase and other extensions of the connection stay outside.
        let body = AnswerBody::new(body, redactor, tap, self.limits.stall_timeout, exchange);
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = headers::to_session(answer.headers, credential.needle());
        Ok(response)
    }

    fn refusal_of(&self, fault: BodyFault) -> Refusal {
        match fault {
            BodyFault::TooLarge => Refusal::BodyTooLarge {
                limit: self.limits.max_request_body,
            },
            BodyFault::Stalled => Refusal::BodyStalled,
            BodyFault::Broken => Refusal::BodyBroken,
        }
    }

    /// Reads a body to its end without keeping it, within the limits of a body that would be sent on.
    async fn read_away(&self, mut body: Incoming) {
        let reading = async {
            let mut left = self.limits.max_request_body;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        };
        // Past the time limit the answer is sent all the same and the connection closes after it.
        drop(tokio::time::timeout(self.limits.drain_timeout, reading).await);
    }

    fn told(&self, session: &Session, refusal: Refusal) -> Response<Full<Bytes>> {
        tracing::info!(session = %session.id, rule = refusal.code(), "a model request was refused");
        refusal.response()
    }
}

/// What `admit` let pass.
enum Admitted {
    /// Answered here.
    Probe,
    /// Sent on.
    Forward(Box<Forward>),
}

/// All that a request needs beside itself to be sent on.
struct Forward {
    route: Route,
    address: Uri,
    credential: Credential,
    exchange: Exchange,
}

/// Whether an answer can be passed on at all.
fn acceptable(answer: Response<Incoming>) -> Result<Response<Incoming>, Refusal> {
    let status = answer.status();
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        Err(Refusal::Redirected)
    } else if status.is_informational() {
        Err(Refusal::Broken)
    } else if !headers::is_unencoded(answer.headers()) {
        Err(Refusal::Encoded)
    } else {
        Ok(answer)
    }
}
