//! A server over a real manager with an engine in memory, and a client that sends exactly what it is told.

pub(crate) mod client;
mod routes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use http_api::ServerInfo;
use http_frontend::caller::Scope;
use http_frontend::listen::{TlsConfig, bind_socket};
use http_frontend::tokens::{NewToken, TokenFile};
use http_frontend::{HttpOptions, HttpServer, Listeners, ServerControl};
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use session_core::api::SessionApi;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::SessionId;
use session_core::session::CreateSession;
use session_core::state_dir::{ServingLock, StateDir};
use testkit::harness::{ManagerProcess, Site};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::client::{Reply, request};

/// How long anything of a test may take that should happen soon.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// The process around the server.
pub(crate) struct Control {
    ready: AtomicBool,
    stop: CancellationToken,
}

impl Control {
    pub(crate) fn break_engine(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl ServerControl for Control {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0".to_owned(),
            pid: std::process::id(),
            started_at: Timestamp::UNIX_EPOCH,
            settings: String::new(),
            settings_without_credentials: String::new(),
            auto_started: false,
            working: false,
        }
    }

    fn stop(&self) {
        self.stop.cancel();
    }

    async fn ready(&self) -> Result<()> {
        if self.ready.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::EngineUnavailable,
            "ask the engine",
            "it does not answer",
        ))
    }
}

/// A server and everything beneath it.
pub(crate) struct House {
    pub(crate) site: Site,
    pub(crate) manager: Arc<ManagerProcess>,
    pub(crate) tokens: TokenFile,
    pub(crate) address: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) control: Arc<Control>,
    pub(crate) connections: watch::Receiver<usize>,
    /// A token that may do everything.
    pub(crate) admin: String,
    served: JoinHandle<Result<()>>,
    _lock: ServingLock,
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut HttpOptions)) -> Self {
        Self::build(change, None).await
    }

    pub(crate) async fn encrypted(tls: TlsConfig) -> Self {
        Self::build(|_| {}, Some(tls)).await
    }

    async fn build(change: impl FnOnce(&mut HttpOptions), tls: Option<TlsConfig>) -> Self {
        let site = Site::new().unwrap();
        let manager = Arc::new(site.manager().await.unwrap());
        let state = StateDir::open(&site.state_dir()).unwrap();
        let tokens = TokenFile::of(&state);
        let mut options = HttpOptions {
            tokens: Some(tokens.clone()),
            ..HttpOptions::default()
        };
        change(&mut options);
        let control = Arc::new(Control {
            ready: AtomicBool::new(true),
            stop: CancellationToken::new(),
        });
        let server = HttpServer::new(manager.clone(), options, control.clone())
            .with_route("/t/{what}", routes::mounted)
            .with_route("/mcp", routes::mcp);
        let lock = state.lock_serving().unwrap();
        let socket = state.path().join("cofferdam.sock");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listeners = Listeners {
            unix: Some(bind_socket(&socket, &lock).unwrap()),
            tcp: vec![(listener, tls)],
        };
        let (connections, stop) = (server.connections(), control.stop.clone());
        let served = tokio::spawn(async move {
            server
                .serve(listeners, async move { stop.cancelled().await })
                .await
        });
        let admin = make_token(&tokens, "admin", Scope::Admin, false);
        Self {
            site,
            manager,
            tokens,
            address,
            socket,
            control,
            connections,
            admin,
            served,
            _lock: lock,
        }
    }

    pub(crate) fn token(&self, name: &str, scope: Scope) -> String {
        make_token(&self.tokens, name, scope, false)
    }

    /// A session, made on behalf of somebody.
    pub(crate) async fn session(&self, owner: Option<&str>) -> SessionId {
        let request = CreateSession {
            owner: owner.map(str::to_owned),
            ..CreateSession::default()
        };
        self.manager.create(request).await.unwrap().id
    }

    pub(crate) async fn tcp(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn unix(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.unwrap()
    }

    /// Asks as `admin` over TCP.
    pub(crate) async fn ask(&self, head: &str) -> Reply {
        self.ask_as(&self.admin, head).await
    }

    /// Asks over TCP with a token.
    pub(crate) async fn ask_as(&self, token: &str, head: &str) -> Reply {
        let bearer = format!("Bearer {token}");
        let text = request(head, &[("host", "localhost"), ("authorization", &bearer)], b"");
        client::exchange(self.tcp().await, &text).await
    }

    /// Sends this over TCP and reads what comes until the server closes.
    pub(crate) async fn send(&self, text: &[u8]) -> Reply {
        client::exchange(self.tcp().await, text).await
    }

    /// Sends this over the socket and reads what comes until the server closes.
    pub(crate) async fn send_local(&self, text: &[u8]) -> Reply {
        client::exchange(self.unix().await, text).await
    }

    /// Waits until so many connections are open.
    pub(crate) async fn until_connections(&mut self, wanted: impl FnMut(&usize) -> bool) {
        let waiting = self.connections.wait_for(wanted);
        tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    }

    pub(crate) fn begin_to_end(&self) {
        self.control.stop.cancel();
    }

    pub(crate) async fn ended(self) {
        self.control.stop.cancel();
        tokio::time::timeout(SOON, self.served)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        Arc::into_inner(self.manager).unwrap().shutdown().await;
    }
}

pub(crate) fn make_token(tokens: &TokenFile, name: &str, scope: Scope, all_sessions: bool) -> String {
    let token = NewToken {
        name: name.to_owned(),
        scope,
        all_sessions,
        expires_at: None,
    };
    let (_, secret) = tokens.create(token).unwrap();
    secret.expose_secret().to_owned()
}
