//! The proxy itself: lets sessions in and out, and serves their connections. What becomes of a request: see `forward`.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use secrecy::{ExposeSecret, SecretString};
use session_core::gateway::{ModelActivity, ModelApi, ProviderAccount};
use session_core::id::SessionId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::accounts::{Accounts, Terms};
use super::body::AnswerBody;
use super::config::ModelProxyConfig;
use super::forward::Forwarder;
use super::held::Memory;
use super::provider::Lineups;
use super::session::{Session, Sessions};
use super::upstream::Upstream;
use super::usage::Usage;
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
    lineups: Lineups,
    forwarder: Forwarder,
    sessions: Sessions,
    accounts: Accounts,
}

/// What a session is let in with.
pub struct Access {
    /// What it presents.
    pub token: SecretString,
    /// Its own account at a provider, instead of the operator's.
    pub account: Option<ProviderAccount>,
    /// Its budget, and where its account is kept.
    pub terms: Terms,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

impl ModelProxy {
    /// A proxy without sessions. Contacts nobody.
    pub fn new(config: ModelProxyConfig) -> Self {
        let accounts = Accounts::new(
            config.prices,
            config.session_budget,
            config.daily_budget,
            config.sharing.max_wait,
        );
        let forwarder = Forwarder {
            upstream: Upstream::new(&config.limits),
            retry: config.retry,
            memory: Memory::new(config.limits.max_held_in_all),
            limits: config.limits,
        };
        Self(Arc::new(Inner {
            lineups: Lineups::new(config.providers, config.aws, config.sharing),
            forwarder,
            sessions: Sessions::default(),
            accounts,
        }))
    }

    /// Lets a session in and says which API its agent has to speak. A session that is registered already gets the new
    /// token, account and terms at its next request; what it used so far stays counted.
    ///
    /// May read files, for a region that stands in a profile; contacts nobody.
    ///
    /// # Errors
    /// `InvalidToken` when the token is shorter than 16 bytes, `InvalidCredential` for an account that cannot be one,
    /// `InvalidProvider` when a region or a project is missing or is none.
    pub async fn register(&self, session: SessionId, access: Access) -> Result<ModelApi, GatewayError> {
        if access.token.expose_secret().len() < MIN_TOKEN {
            return Err(GatewayError::new(
                GatewayErrorKind::InvalidToken,
                "register a session at the model proxy",
                "its token is shorter than 16 bytes",
            )
            .with_context("session", session));
        }
        let inner = &self.0;
        let lineup = inner.lineups.of(access.account.as_ref()).await?;
        let api = lineup.api().clone();
        inner.sessions.put(
            session,
            access.token,
            lineup,
            access.terms,
            &inner.accounts,
            &inner.forwarder.limits,
        );
        Ok(api)
    }

    /// Forgets a session: its open connections end at once and its token is worth nothing.
    pub fn forget(&self, session: &SessionId) {
        self.0.sessions.remove(session);
    }

    /// Forgets a session and waits, for a few seconds at most, until what it used is charged.
    pub async fn dismiss(&self, session: &SessionId) {
        if let Some(session) = self.0.sessions.remove(session) {
            session.account.close().await;
        }
    }

    /// What goes on at a session's door; `None` when it is not registered.
    pub fn activity(&self, session: &SessionId) -> Option<ModelActivity> {
        let session = self.0.sessions.get(session)?;
        Some(session.activity.snapshot())
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
                    () = tokio::time::sleep(inner.forwarder.limits.drain_timeout) => Ok(()),
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
            .field("lineups", &self.0.lineups)
            .field("limits", &self.0.forwarder.limits)
            .field("sessions", &self.0.sessions)
            .finish()
    }
}

impl Inner {
    fn http(&self) -> http1::Builder {
        let limits = &self.forwarder.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.max_buffer.max(MIN_BUFFER))
            .max_headers(limits.max_headers)
            .half_close(true);
        http
    }

    async fn answer(&self, session: &Arc<Session>, request: Request<Incoming>) -> Response<AnswerOrRefusal> {
        match self.forwarder.answer(session, request).await {
            Ok(answer) => answer.map(Either::Right),
            Err(here) => here.map(Either::Left),
        }
    }
}
