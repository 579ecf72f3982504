//! Serving, from the first connection to the last.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use http_api::SurfaceCode;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::accept::{self, Door, Hall};
use crate::caller::Caller;
use crate::connection::Open;
use crate::listen::{self, Certificate, Listeners, TlsConfig};
use crate::mount::{Mount, Mounted};
use crate::options::HttpOptions;
use crate::problem::Failure;
use crate::state::{AppState, ServerControl};
use crate::surface::{self, Gate, Surface};
use crate::tokens::TokenTable;

const OPERATION: &str = "serve the API";
/// The shortest secret that somebody may choose, in characters: nobody who tries comes by one in hexadecimal digits.
const MIN_KEY: usize = 32;
/// How often the server looks after itself: tokens that were revoked, certificates that were renewed.
const LOOK: Duration = Duration::from_secs(1);
/// Every so many looks.
const UPKEEP: u64 = 5;
const SWEEP: u64 = 60;
/// How long work may take that was begun and that nobody waits for any more.
const GRACE: Duration = Duration::from_secs(30);

/// The server of one lifecycle API.
pub struct HttpServer {
    state: AppState,
    router: Router<AppState>,
    mounts: Vec<Mount>,
    open: Arc<Open>,
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpServer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl HttpServer {
    /// A server over `api`. Nothing happens before it is served.
    pub fn new(api: Arc<dyn SessionApi>, options: HttpOptions, control: Arc<dyn ServerControl>) -> Self {
        let state = AppState::new(api, options, control);
        let mut router = crate::probes::router()
            .merge(crate::v1::router())
            .route("/v1/{*rest}", any(nothing))
            .merge(crate::compat::router(&state));
        if state.options().compat.is_none() {
            // The older interface has an answer of its own for what it does not know.
            router = router.fallback(nothing);
        }
        Self {
            router,
            open: state.open().clone(),
            state,
            mounts: Vec::new(),
        }
    }

    /// With a service at `path` that is made elsewhere: once for each caller, at their first request, over the API as they
    /// see it. It stops when its token fires, which the server waits for in the end.
    #[must_use]
    pub fn with_route(
        mut self,
        path: &str,
        make: impl Fn(&Caller, Arc<dyn SessionApi>, CancellationToken) -> Mounted + Send + Sync + 'static,
    ) -> Self {
        let mount = Mount::new(make);
        self.mounts.push(mount.clone());
        let handler = move |State(state): State<AppState>, caller: Caller, request: Request| {
            mount.clone().handle(state, caller, request)
        };
        self.router = self.router.route(path, any(handler));
        self
    }

    /// How many connections are open, from now on: a server that nobody talks to may leave.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.open.count()
    }

    /// Serves until `shutdown` completes; then lets what is under way come to its end.
    ///
    /// # Errors
    /// As [`HttpServer::prepare`].
    pub async fn serve(self, listeners: Listeners, shutdown: impl Future<Output = ()>) -> Result<()> {
        self.prepare(listeners)?.run(shutdown).await;
        Ok(())
    }

    /// Judges everything that may keep it from serving, so that nobody is told it serves before that is known.
    ///
    /// # Errors
    /// `InvalidArgument` for an address beyond loopback that was not asked for, an operator's key that is too short, or a
    /// certificate that cannot be used; `StateDirRefused` or `HostIo` when the tokens cannot be read.
    pub fn prepare(self, listeners: Listeners) -> Result<PreparedServer> {
        let options = self.state.options();
        let Listeners { unix, tcp } = listeners;
        let (tokens, mut doors, certificates) = match judge(tcp, options) {
            Ok(judged) => judged,
            Err(error) => {
                // Nobody will listen there.
                if let Some(socket) = unix {
                    socket.remove();
                }
                return Err(error);
            }
        };
        if let Some(socket) = unix {
            tracing::info!(path = %socket.path().display(), "listening");
            doors.push(Door::Socket(socket));
        }
        let surface = Surface::new(self.state.clone(), tokens.clone(), options);
        let keeper = Keeper {
            state: self.state.clone(),
            open: self.open.clone(),
            gate: surface.gate.clone(),
            mounts: self.mounts,
            tokens,
            certificates,
        };
        let router = self
            .router
            .layer(from_fn_with_state(self.state.clone(), attend))
            .with_state(self.state.clone())
            .layer(from_fn_with_state(surface, surface::pass));
        Ok(PreparedServer {
            state: self.state,
            router,
            open: self.open,
            doors,
            keeper,
        })
    }
}

/// A server that can serve: its settings, keys and certificates are judged, and its listeners are held.
#[must_use = "nobody is served before it runs"]
pub struct PreparedServer {
    state: AppState,
    router: Router,
    open: Arc<Open>,
    doors: Vec<Door>,
    keeper: Keeper,
}

impl std::fmt::Debug for PreparedServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreparedServer")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl PreparedServer {
    /// How many connections are open, from now on: a server that nobody talks to may leave.
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.open.count()
    }

    /// Serves until `shutdown` completes; then lets what is under way come to its end.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let cut = CancellationToken::new();
        open_doors(self.doors, &self.state, &self.router, &self.open, &cut);
        let tasks = self.state.tasks();
        tasks.spawn(self.keeper.run());
        shutdown.await;
        self.state.closing().cancel();
        tasks.close();
        drain(&self.open, self.state.options().drain).await;
        cut.cancel();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!(left = tasks.len(), "some work did not come to its end in time");
        }
    }
}

/// Counts a request until its answer has gone, or refuses it when the server has already decided to end.
async fn attend(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let Some(visit) = state.enter() else {
        return Failure::from(
            Error::new(ErrorKind::LinkLost, OPERATION, "the server is about to end").with_retryable(true),
        )
        .into_response();
    };
    let mut answer = next.run(request).await;
    // A connection that becomes a WebSocket counts by itself when its answer goes.
    answer.extensions_mut().insert(Arc::new(visit));
    answer
}

fn judge_key(options: &HttpOptions) -> Result<()> {
    let short = |key: &secrecy::SecretString| key.expose_secret().chars().count() < MIN_KEY;
    if options.operator_key.as_ref().is_some_and(|(_, key)| short(key)) {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the operator's key is shorter than 32 characters",
        )
        .with_hint("use 32 random bytes, for example from `openssl rand -hex 32`"));
    }
    Ok(())
}

type Judged = (Arc<TokenTable>, Vec<Door>, Vec<Arc<Certificate>>);

/// What may keep a server from serving: keys, tokens, addresses, certificates.
fn judge(tcp: Vec<(TcpListener, Option<TlsConfig>)>, options: &HttpOptions) -> Result<Judged> {
    judge_key(options)?;
    let tokens = Arc::new(TokenTable::new(
        options.tokens.clone(),
        options.operator_key.as_ref(),
    )?);
    let (mut doors, mut certificates) = (Vec::new(), Vec::new());
    for (listener, tls) in tcp {
        let address = listen::judge(&listener, tls.is_some(), options, &tokens)?;
        tracing::info!(%address, encrypted = tls.is_some(), "listening");
        let tls = tls.map(listen::acceptor).transpose()?;
        let (acceptor, certificate) = tls.unzip();
        certificates.extend(certificate);
        doors.push(Door::Tcp(listener, acceptor));
    }
    Ok((tokens, doors, certificates))
}

fn open_doors(
    doors: Vec<Door>,
    state: &AppState,
    router: &Router,
    open: &Arc<Open>,
    cut: &CancellationToken,
) {
    let permits = || Arc::new(Semaphore::new(accept::bound(state.options().max_connections)));
    let (local, remote) = (permits(), permits());
    let refusals = Hall::refusals();
    for door in doors {
        let permits = match door {
            Door::Socket(_) => &local,
            Door::Tcp(..) => &remote,
        };
        let hall = Hall {
            state: state.clone(),
            router: router.clone(),
            open: open.clone(),
            cut: cut.clone(),
            permits: permits.clone(),
            refusals: refusals.clone(),
        };
        state.tasks().spawn(accept::accept(door, hall));
    }
}

/// Waits until every connection has ended, but no longer than `patience`.
async fn drain(open: &Arc<Open>, patience: Duration) {
    let mut count = open.count();
    let ended = async move { count.wait_for(|open| *open == 0).await.is_ok() };
    if tokio::time::timeout(patience, ended).await.is_err() {
        tracing::debug!("some connections did not come to their end in time and are cut");
    }
}

/// The older interface has a form of its own for what is not there; everything under `/v1` is ours.
async fn nothing(State(state): State<AppState>, method: Method, uri: Uri) -> Response {
    let ours = uri.path() == "/v1" || uri.path().starts_with("/v1/");
    if !ours && state.options().compat.is_some() {
        return crate::compat::not_found(&method, &uri);
    }
    Failure::new(SurfaceCode::NoSuchPath, "there is nothing at this path")
        .with_hint("see /v1/openapi.json for what there is")
        .into_response()
}

/// What a server looks after while it serves.
struct Keeper {
    state: AppState,
    open: Arc<Open>,
    gate: Arc<Gate>,
    mounts: Vec<Mount>,
    tokens: Arc<TokenTable>,
    certificates: Vec<Arc<Certificate>>,
}

impl Keeper {
    async fn run(self) {
        let closing = self.state.closing().clone();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut looks: u64 = 0;
        loop {
            // Both lose nothing when they are dropped.
            tokio::select! {
                _ = look.tick() => {}
                () = closing.cancelled() => return,
            }
            looks += 1;
            self.look();
            if looks.is_multiple_of(UPKEEP) {
                self.state.metrics().upkeep();
            }
            if looks.is_multiple_of(SWEEP) {
                self.gate.sweep();
            }
        }
    }

    fn look(&self) {
        self.tokens.refresh();
        let now = Timestamp::now();
        self.open.cut_unless(|identity| self.tokens.holds(identity, now));
        for mount in &self.mounts {
            mount.prune(|caller| self.tokens.has(caller, now));
        }
        for certificate in &self.certificates {
            certificate.refresh();
        }
    }
}
