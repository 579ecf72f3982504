//! The door itself: accepts a session's connections, decides, connects.

use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Empty, Full};
use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use session_core::egress::{AllowEntry, DenialReason, EgressDecision, HostRule};
use session_core::error::Result as CoreResult;
use session_core::gateway::Ledger;
use session_core::id::SessionId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::body::PassingBody;
use super::config::EgressConfig;
use super::credential::{Credentials, Stand};
use super::denial::{Denial, Destination, Failure};
use super::dial::{DialFault, Dialer};
use super::forward::{Courier, Errand, Forwarder};
use super::policy::{Policy, Verdict};
use super::session::{EgressUsage, Session, Sessions};
use super::target::{self, Host, HostFault, Target, TargetFault, TargetKind};
use super::tls::TlsClient;
use super::tunnel::{Tunnel, TunnelEnd};
use crate::error::{GatewayError, GatewayErrorKind};

/// The least that hyper takes.
const MIN_BUFFER: usize = 8192;
/// How much of a refused body is read so that its sender reads the answer.
const MAX_READ_AWAY: u64 = 4 * 1024 * 1024;

type AnswerBody = Either<Either<Full<Bytes>, Empty<Bytes>>, PassingBody>;

/// Answers the egress port of every session. Clones share everything.
#[derive(Clone)]
pub struct EgressProxy(Arc<Inner>);

struct Inner {
    config: EgressConfig,
    credentials: Credentials,
    forwarder: Forwarder,
    sessions: Sessions,
}

impl EgressProxy {
    /// A door without sessions. Contacts nobody.
    pub fn new(config: EgressConfig) -> Self {
        let tls = TlsClient::new(config.authorities.clone(), config.limits.connect_timeout);
        let inner = Inner {
            credentials: Credentials::new(config.credentials.clone()),
            forwarder: Forwarder::new(Dialer::new(&config), tls, &config.limits),
            sessions: Sessions::default(),
            config,
        };
        Self(Arc::new(inner))
    }

    /// Lets a session in, with the hosts that it may reach. For a session that is in already they change at its next
    /// request; what it moved and has open goes on.
    ///
    /// # Errors
    /// `InvalidArgument` for a preset that is not configured.
    pub fn register(
        &self,
        session: SessionId,
        allow: &[AllowEntry],
        ledger: Arc<dyn Ledger>,
    ) -> CoreResult<()> {
        let Inner { config, sessions, .. } = &*self.0;
        let policy = Policy::new(allow, &config.presets, &config.always)?;
        sessions.put(session, policy, ledger, &config.limits);
        Ok(())
    }

    /// Forgets a session: its open connections end at once and no new one is served.
    pub fn forget(&self, session: &SessionId) {
        self.0.sessions.remove(session);
    }

    /// What a session used since it was registered; `None` when it is not.
    pub fn usage(&self, session: &SessionId) -> Option<EgressUsage> {
        self.0.sessions.get(session).map(|session| session.usage())
    }

    /// Hosts (with a port when it is not 443) for which a credential is added when they are asked for over plain HTTP.
    pub fn credential_hosts(&self) -> Vec<String> {
        self.0.credentials.hosts()
    }

    /// Serves one connection of a session until it is closed or the session is forgotten. Dropping the future cuts the
    /// connection and what it led to.
    ///
    /// # Errors
    /// `UnknownSession`, or `ConnectionFailed` when the other end broke off or did not speak HTTP.
    pub async fn serve<I>(&self, session: &SessionId, io: I) -> Result<(), GatewayError>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let refuse = |kind, message: &'static str| {
            GatewayError::new(kind, "serve a connection of the egress door", message)
                .with_context("session", session)
        };
        let inner = &*self.0;
        let session = inner
            .sessions
            .get(session)
            .ok_or_else(|| refuse(GatewayErrorKind::UnknownSession, "the session is not registered"))?;
        let place = session.connection();
        let visit = Visit {
            door: inner,
            session: &session,
            full: place.is_none(),
            courier: Courier::default(),
            opened: Mutex::new(None),
        };
        let serving = async {
            visit.talk(io).await.map_err(|error| {
                let message = "the connection from inside the session broke off or was not HTTP";
                refuse(GatewayErrorKind::ConnectionFailed, message).with_source(error)
            })
        };
        // What is cut off when the session is forgotten was meant to end.
        tokio::select! {
            ended = Box::pin(serving) => ended,
            () = session.forgotten.cancelled() => Ok(()),
        }
    }
}

impl fmt::Debug for EgressProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EgressProxy")
            .field("config", &self.0.config)
            .field("sessions", &self.0.sessions)
            .finish_non_exhaustive()
    }
}

/// One connection from inside.
struct Visit<'a> {
    door: &'a Inner,
    session: &'a Arc<Session>,
    /// It is one too many, and is told so.
    full: bool,
    courier: Courier,
    /// The tunnel that its last request asked for.
    opened: Mutex<Option<Opened>>,
}

/// A connection with a host that waits for the client's end.
struct Opened {
    upgrade: OnUpgrade,
    server: TcpStream,
    host: Host,
    port: u16,
}

/// Why a request is answered here.
enum Refusal {
    Denied(Denial),
    Failed(Failure, Option<Destination>),
}

/// What was allowed, and by which rule.
struct Permit<'a> {
    to: Destination,
    rule: HostRule,
    target: Target,
    stand: Option<Stand<'a>>,
}

impl Visit<'_> {
    /// Answers requests until the connection ends or becomes a tunnel, and that one ends.
    async fn talk<I>(&self, io: I) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let limits = &self.door.config.limits;
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(limits.head_timeout)
            .max_buf_size(limits.max_buffer.max(MIN_BUFFER))
            .max_headers(limits.max_headers)
            .half_close(true);
        let service = service_fn(async |request| Ok::<_, Infallible>(self.answer(request).await));
        let connection = pin!(http.serve_connection(TokioIo::new(io), service).with_upgrades());
        match connection.await {
            // A kept connection that nobody used for long enough is closed as it should be.
            Err(error) if !error.is_timeout() => return Err(error),
            _ => {}
        }
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(opened) = opened {
            self.tunnel::<I>(opened).await?;
        }
        Ok(())
    }

    async fn tunnel<I>(&self, opened: Opened) -> Result<(), hyper::Error>
    where
        I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let Opened {
            upgrade,
            server,
            host,
            port,
        } = opened;
        let tunnel = Tunnel {
            server,
            host: &host,
            port,
            meter: &self.session.meter,
            idle_timeout: self.door.config.limits.idle_timeout,
        };
        let end = match upgrade.await?.downcast::<TokioIo<I>>() {
            Ok(parts) => tunnel.run(parts.io.into_inner(), parts.read_buf).await,
            // It is what `talk` was given; through hyper's eyes it carries the same bytes.
            Err(upgraded) => tunnel.run(TokioIo::new(upgraded), Bytes::new()).await,
        };
        let reason = match end {
            TunnelEnd::Closed | TunnelEnd::Idle => return Ok(()),
            TunnelEnd::Mismatch => DenialReason::NameMismatch,
            TunnelEnd::Spent => DenialReason::LimitReached,
        };
        let denial = Denial {
            to: destination(&host, port),
            reason,
            rule: None,
            for_all: false,
        };
        self.session.denied(&denial).await;
        Ok(())
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<AnswerBody> {
        let upgrade = hyper::upgrade::on(&mut request);
        let (parts, body) = request.into_parts();
        let permit = match self.judge(&parts).await {
            Ok(permit) => permit,
            Err(refusal) => {
                // A client that is still writing reads no answer; let it finish.
                self.read_away(body).await;
                return self.refuse(refusal).await;
            }
        };
        let Permit {
            to,
            rule,
            target,
            stand,
        } = permit;
        let done = match target.kind {
            TargetKind::Tunnel => {
                let opened = self.open(upgrade, target.host, target.port).await;
                if opened.is_ok() {
                    self.session.reached(&to, &rule.to_string()).await;
                }
                opened
            }
            TargetKind::Plain(path) => {
                let errand = Errand {
                    session: self.session,
                    to: &to,
                    rule: &rule,
                    host: target.host,
                    port: to.port,
                    path,
                    stand,
                };
                let forwarded = self
                    .door
                    .forwarder
                    .forward(&self.courier, errand, parts, body)
                    .await;
                forwarded.map(|answer| answer.map(Either::Right))
            }
        };
        match done {
            Ok(answer) => answer,
            Err(DialFault::Forbidden) => {
                let denial = Denial {
                    to,
                    reason: DenialReason::ForbiddenAddress,
                    rule: Some(rule),
                    for_all: false,
                };
                self.refuse(Refusal::Denied(denial)).await
            }
            Err(DialFault::Failed(failure)) => self.refuse(Refusal::Failed(failure, Some(to))).await,
        }
    }

    /// Everything that is decided before anybody is contacted.
    async fn judge(&self, parts: &Parts) -> Result<Permit<'_>, Refusal> {
        let target = target::read(&parts.method, &parts.uri).map_err(refusal_of)?;
        let stand = match &target.kind {
            TargetKind::Plain(path) => self.stand(&target, path),
            TargetKind::Tunnel => None,
        };
        // Where the door speaks TLS in the client's place, that is the port that counts.
        let port = stand.as_ref().map_or(target.port, |stand| stand.port);
        let to = destination(&target.host, port);
        let denied = |reason, by: Option<&EgressDecision>| {
            Err(Refusal::Denied(Denial {
                to: destination(&target.host, port),
                reason,
                rule: by.map(|decision| decision.rule.clone()),
                for_all: by.is_some_and(|decision| decision.session.is_none()),
            }))
        };
        if self.full || self.session.meter.is_spent() {
            return denied(DenialReason::LimitReached, None);
        }
        let decisions = match self.session.decisions().await {
            Ok(decisions) => decisions,
            Err(error) => {
                tracing::error!(session = %self.session.id, %error, "decisions about hosts cannot be read");
                return Err(Refusal::Failed(Failure::Undecidable, Some(to)));
            }
        };
        let policy = self.session.policy();
        let rule = match policy.judge(&self.session.id, &decisions, &target.host, port) {
            Verdict::Allowed(rule) => rule.clone(),
            Verdict::Refused(decision) => return denied(DenialReason::Refused, Some(decision)),
            Verdict::NotAllowed => return denied(DenialReason::NotAllowed, None),
        };
        Ok(Permit {
            to,
            rule,
            target,
            stand,
        })
    }

    fn stand(&self, target: &Target, path: &PathAndQuery) -> Option<Stand<'_>> {
        self.door
            .credentials
            .stand(&target.host, target.port, path.path())
    }

    async fn open(
        &self,
        upgrade: OnUpgrade,
        host: Host,
        port: u16,
    ) -> Result<Response<AnswerBody>, DialFault> {
        let server = self.door.forwarder.dialer.dial(&host, port).await?;
        let opened = Opened {
            upgrade,
            server,
            host,
            port,
        };
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
        Ok(Response::new(Either::Left(Either::Right(Empty::new()))))
    }

    async fn refuse(&self, refusal: Refusal) -> Response<AnswerBody> {
        let mut response = match refusal {
            Refusal::Denied(denial) => {
                self.session.denied(&denial).await;
                denial.response(&self.session.id)
            }
            Refusal::Failed(failure, to) => failure.response(to.as_ref()),
        };
        if self.full {
            // Its place is needed.
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Either::Left(Either::Left(body)))
    }

    /// Reads a body to its end without keeping it, up to a bound.
    async fn read_away(&self, mut body: Incoming) {
        if body.is_end_stream() {
            return;
        }
        let reading = async {
            let mut left = MAX_READ_AWAY;
            while let Some(Ok(frame)) = body.frame().await {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                let Some(rest) = left.checked_sub(length) else {
                    return;
                };
                left = rest;
            }
        };
        // Past the time limit the answer is sent all the same and the connection closes after it.
        drop(tokio::time::timeout(self.door.config.limits.drain_timeout, reading).await);
    }
}

fn destination(host: &Host, port: u16) -> Destination {
    Destination {
        host: host.as_str().to_owned(),
        port,
    }
}

fn refusal_of(fault: TargetFault) -> Refusal {
    match fault {
        TargetFault::NotForAProxy(why) => Refusal::Failed(Failure::NotForAProxy(why), None),
        TargetFault::Host { shown, port, fault } => Refusal::Denied(Denial {
            to: Destination { host: shown, port },
            reason: match fault {
                HostFault::Address => DenialReason::ForbiddenAddress,
                HostFault::Malformed => DenialReason::MalformedHost,
            },
            rule: None,
            for_all: false,
        }),
    }
}
