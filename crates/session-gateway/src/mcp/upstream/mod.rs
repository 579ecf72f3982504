//! One connection to one MCP server: a program on the host, in a sidecar or in the session, or a server over HTTP.
//!
//! Whoever supervises servers asks a [`Connector`] for a [`Connection`], calls through it, and learns from it when and why
//! it ended. Nothing here is started again by itself, retried, or shared.
//!
//! ```text
//!  Connector ─▶ stdio: supervise ─▶ program    ┐            ┌ ending: why it is over
//!               program: a container's streams ├─ wire ─────┤
//!               http: link ─▶ gate ─▶ endpoint ┘  Guarded   └ life: who owns it, until nothing is left
//! ```

mod connection;
mod diary;
mod ending;
mod http;
mod life;
mod network;
mod program;
mod secrets;
mod speaker;
mod start;
mod stdio;
mod supervise;
mod words;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hyper::Uri;
use mcp_catalog::{OAuth, ServerDefinition, Transport};
use rmcp::ClientHandler;
use secrecy::SecretString;
use session_core::gateway::Programs;
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::time::Instant;

pub use self::connection::{Connection, never_left};
use self::diary::DiaryFile;
pub(super) use self::ending::Ending;
pub(super) use self::http::{Gate, Pool, judge_error};
pub(super) use self::life::Reason;
pub use self::network::Network;
use self::speaker::Era;
use self::stdio::Scratches;
pub use self::supervise::supervise;
pub(super) use self::words::one_line;
use super::call::{Failure, FailureCause};
use super::config::McpConfig;
use super::login::{self, LoggedIn, Login};
use super::servers::Inlet;
use crate::egress::tls::TlsClient;

/// How long a server over HTTP may take to answer the question of today before it is asked that of yesterday.
const DISCOVERY: Duration = Duration::from_secs(10);
/// Servers whose era is remembered.
const MAX_REMEMBERED: usize = 1024;

/// Makes connections. Cheap to clone; clones share what they know.
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    config: Arc<McpConfig>,
    programs: Arc<OnceLock<Arc<dyn Programs>>>,
    tls: Arc<TlsClient>,
    diaries: Mutex<HashMap<ServerName, Arc<DiaryFile>>>,
    scratches: Arc<Scratches>,
    /// Which servers know only the handshake of the time before.
    legacy: Mutex<HashMap<ServerName, Transport>>,
}

impl Connector {
    /// A connector that has started nothing. `programs` may be set later, before the first server in a container.
    pub fn new(config: Arc<McpConfig>, programs: Arc<OnceLock<Arc<dyn Programs>>>) -> Self {
        let tls = TlsClient::new(config.network.authorities.clone(), config.network.connect_timeout);
        Self(Arc::new(Inner {
            config,
            programs,
            tls: Arc::new(tls),
            diaries: Mutex::default(),
            scratches: Arc::default(),
            legacy: Mutex::default(),
        }))
    }

    /// Starts or dials the server and initializes it within `definition.times.start_ms`. `owner` is the session for which
    /// it is, `None` for one that is shared.
    ///
    /// The handler's notifications must not wait for others, least of all for the server itself: while too many of them
    /// run, nothing more is read. Dropping the future ends what was started.
    ///
    /// # Errors
    /// Why there is no connection; nothing of the server is left then.
    pub async fn connect<H: ClientHandler>(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        owner: Option<SessionId>,
        handler: H,
    ) -> Result<Connection<H>, Failure> {
        self.connect_tapped(name, definition, owner, handler, None).await
    }

    /// The same, with somebody who sees what passes in the order in which it passes, before the handler.
    pub(in crate::mcp) async fn connect_tapped<H: ClientHandler>(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        owner: Option<SessionId>,
        handler: H,
        inlet: Option<Arc<Inlet>>,
    ) -> Result<Connection<H>, Failure> {
        let patience = Duration::from_millis(definition.times.start_ms);
        let deadline = Instant::now() + patience;
        let handler = Arc::new(handler);
        let era = self.0.era(name, &definition.transport);
        let mut attempt = start::Attempt {
            inner: &self.0,
            name,
            definition,
            owner,
            deadline,
            inlet,
        };
        if era == Era::Modern && matches!(definition.transport, Transport::Http { .. }) {
            // There the library does not greet again while the first question is not answered.
            attempt.deadline = Instant::now() + DISCOVERY.min(patience / 2);
        }
        let failed = match attempt.make(Arc::clone(&handler), era).await {
            Ok(connection) => {
                self.0.remember(name, &definition.transport, &connection);
                return Ok(connection);
            }
            Err(failed) => failed,
        };
        let was_cut_short = attempt.deadline < deadline && failed.failure.cause == FailureCause::Silent;
        if era == Era::Legacy || !(failed.may_be_legacy || was_cut_short) || Instant::now() >= deadline {
            self.0.forget(name);
            return Err(failed.failure);
        }
        tracing::debug!(server = %name, "an MCP server is greeted again in the old way");
        attempt.deadline = deadline;
        let connection = attempt
            .make(handler, Era::Legacy)
            .await
            .map_err(|failed| failed.failure)?;
        self.0.remember(name, &definition.transport, &connection);
        Ok(connection)
    }

    /// Logs a person in at an HTTP server. `show` is given the URL to open; the login is kept, and used by the next
    /// request to the server, in whatever process.
    ///
    /// # Errors
    /// Why there is no login.
    pub async fn login(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        show: impl FnOnce(&str),
    ) -> Result<LoggedIn, Failure> {
        let failed = |reason| failure(name, reason);
        let Transport::Http {
            url, oauth, private, ..
        } = &definition.transport
        else {
            let detail = "it is no server over HTTP, and has no login".to_owned();
            return Err(failed((FailureCause::Unavailable, detail)));
        };
        let Some(oauth) = oauth else {
            let detail = "it is declared without a login: add `oauth = {}` to it".to_owned();
            return Err(failed((FailureCause::Unavailable, detail)));
        };
        let gate = self.0.gate(*private);
        let inquiry = login::Inquiry {
            server: name,
            endpoint: http::endpoint(url, &gate).map_err(failed)?,
            oauth,
            client_secret: self.0.client_secret(oauth).await.map_err(failed)?,
            store: &self.0.config.logins,
            gate,
        };
        login::run(inquiry, show).await.map_err(failed)
    }

    /// Whether somebody logged in at a server. Asks nobody: it may have expired, or been taken back.
    pub async fn has_login(&self, name: &ServerName) -> bool {
        login::is_there(&self.0.config.logins, name).await
    }

    /// Forgets the login at a server; whether there was one. The authorization server is not told.
    ///
    /// # Errors
    /// When it cannot be taken away.
    pub async fn logout(&self, name: &ServerName) -> Result<bool, Failure> {
        let removed = login::forget(&self.0.config.logins, name).await;
        removed.map_err(|reason| failure(name, reason))
    }
}

impl Inner {
    fn gate(&self, private: bool) -> Gate {
        Gate::new(&self.config.network, Arc::clone(&self.tls), private)
    }

    async fn client_secret(&self, oauth: &OAuth) -> Result<Option<SecretString>, Reason> {
        let Some(reference) = &oauth.client_secret else {
            return Ok(None);
        };
        let missing = || secrets::missing(reference);
        let source = self.config.secrets.follow(reference).map_err(|_| missing())?;
        source.secret().await.map(Some).ok_or_else(missing)
    }

    fn login_at(
        &self,
        name: &ServerName,
        endpoint: &Uri,
        gate: &Gate,
        client_secret: Option<SecretString>,
    ) -> Login {
        Login::new(
            name.clone(),
            endpoint.clone(),
            &self.config.logins,
            gate.clone(),
            client_secret,
        )
    }

    /// The file of what a server writes to its standard error.
    fn diary(&self, name: &ServerName) -> Arc<DiaryFile> {
        let mut diaries = self.diaries.lock().unwrap_or_else(PoisonError::into_inner);
        // Sessions bring servers of their own: what nobody writes to is not kept open.
        if diaries.len() >= MAX_REMEMBERED {
            diaries.retain(|_, file| Arc::strong_count(file) > 1);
        }
        let make = || Arc::new(DiaryFile::new(self.config.telemetry.join(format!("{name}.log"))));
        Arc::clone(diaries.entry(name.clone()).or_insert_with(make))
    }

    fn era(&self, name: &ServerName, transport: &Transport) -> Era {
        let legacy = self.legacy.lock().unwrap_or_else(PoisonError::into_inner);
        if legacy.get(name) == Some(transport) {
            Era::Legacy
        } else {
            Era::Modern
        }
    }

    fn remember<H: ClientHandler>(
        &self,
        name: &ServerName,
        transport: &Transport,
        connection: &Connection<H>,
    ) {
        let mut legacy = self.legacy.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.info().protocol_version.has_initialize() {
            legacy.remove(name);
        } else if connection.is_of_old() {
            if legacy.len() >= MAX_REMEMBERED {
                legacy.clear();
            }
            legacy.insert(name.clone(), transport.clone());
        }
    }

    fn forget(&self, name: &ServerName) {
        self.legacy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name);
    }
}

fn failure(name: &ServerName, (cause, detail): Reason) -> Failure {
    Failure {
        server: name.clone(),
        cause,
        detail: one_line(&detail),
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}
