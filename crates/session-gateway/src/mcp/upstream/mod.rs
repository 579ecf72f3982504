//! One connection to one MCP server: a program on the host, in a sidecar or in the session, or a server over HTTP.
//!
//! Whoever supervises servers asks a [`Connector`] for a [`Connection`], calls through it, and learns from it when and why
//! it ended. Nothing here is started twice, retried, or shared.

mod network;

use std::fmt;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mcp_catalog::ServerDefinition;
use rmcp::model::ServerPeerInfo;
use rmcp::service::{Peer, RunningService, ServiceError};
use rmcp::{ClientHandler, RoleClient};
use session_core::gateway::Programs;
use session_core::id::SessionId;
use session_core::mcp::ServerName;
use tokio::sync::watch;

use super::call::{Failure, FailureCause};
use super::config::McpConfig;

pub use self::network::Network;

/// Makes connections. Cheap to clone.
#[derive(Clone)]
pub struct Connector {
    config: Arc<McpConfig>,
    programs: Arc<OnceLock<Arc<dyn Programs>>>,
}

impl Connector {
    /// A connector that has started nothing. `programs` may be set later, before the first server in a container.
    pub fn new(config: Arc<McpConfig>, programs: Arc<OnceLock<Arc<dyn Programs>>>) -> Self {
        Self { config, programs }
    }

    /// Starts or dials the server and initializes it within `definition.times.start_ms`. `owner` is the session for which
    /// it is, `None` for one that is shared.
    ///
    /// The handler's notifications must not wait for others: while too many of them run, nothing more is read.
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
        let _ = (definition, owner, handler, &self.config, &self.programs);
        Err(Failure {
            server: name.clone(),
            cause: FailureCause::Unavailable,
            detail: "servers cannot be started yet".to_owned(),
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// A server that is initialized. Dropping it ends the server at once; [`Connection::close`] does it in order.
pub struct Connection<H: ClientHandler> {
    service: RunningService<RoleClient, H>,
    info: Arc<ServerPeerInfo>,
    ended: watch::Receiver<Option<Failure>>,
}

impl<H: ClientHandler> Connection<H> {
    /// For requests and notifications to the server.
    pub fn peer(&self) -> &Peer<RoleClient> {
        self.service.peer()
    }

    /// The handler that it was connected with.
    pub fn handler(&self) -> &H {
        self.service.service()
    }

    /// What the server said of itself, with the negotiated revision of the protocol. An attacker's text.
    pub fn info(&self) -> &ServerPeerInfo {
        &self.info
    }

    /// Waits until the connection has ended and says why. Can be asked again and again, and outlives the connection.
    pub fn ended(&self) -> impl Future<Output = Failure> + Send + 'static {
        let mut ended = self.ended.clone();
        async move {
            loop {
                if let Some(failure) = ended.borrow_and_update().clone() {
                    return failure;
                }
                if ended.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Ends it in order: the input is closed; after `grace` SIGTERM, after `grace` SIGKILL. Returns when no process of the
    /// server is left.
    pub async fn close(self, grace: Duration) {
        let _ = grace;
        drop(self.service.cancel().await);
    }
}

impl<H: ClientHandler> fmt::Debug for Connection<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// Whether a request that failed so never reached the server, or was turned away before anything ran: it may be sent
/// again, whatever it asks for. When in doubt it is not so.
pub fn never_left(error: &ServiceError) -> bool {
    let _ = error;
    false
}
