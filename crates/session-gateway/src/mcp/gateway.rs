//! The MCP gateway as a whole: which servers sessions have, and their endpoints.

mod probe;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{Ledger, McpGrant, Programs};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, McpSelection, McpStatus};
use session_core::runtime::BoxedByteStream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

pub use self::probe::{Probe, Unrecorded};
use super::config::McpConfig;
use super::door::{Door, DoorOptions, Endpoint, Upstream, View};
use super::plan;
use super::servers::{Registry, Server};
use super::upstream::Connector;

/// See the module. Cheap to clone. [`McpGateway::shutdown`] ends what it holds.
#[derive(Clone)]
pub struct McpGateway(Arc<Inner>);

/// What a person's own client gets.
pub struct ClientGrant {
    /// Under which what happens to its servers is told to the ledger.
    pub id: SessionId,
    /// Its servers and tools.
    pub plan: McpPlan,
    /// Whether it has its servers as they were published under the plan's artifact, whatever is declared now; one that is
    /// declared no more it has not.
    pub published: bool,
    /// Who is told.
    pub ledger: Arc<dyn Ledger>,
}

impl fmt::Debug for ClientGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientGrant")
            .field("id", &self.id)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}

struct Inner {
    config: Arc<McpConfig>,
    registry: Arc<Registry>,
    programs: Arc<OnceLock<Arc<dyn Programs>>>,
    doors: Mutex<HashMap<SessionId, Arc<Door>>>,
}

impl McpGateway {
    /// A gateway without sessions. Starts nobody.
    pub fn new(config: McpConfig) -> Self {
        let config = Arc::new(config);
        let programs = Arc::new(OnceLock::new());
        let connector = Connector::new(Arc::clone(&config), Arc::clone(&programs));
        let registry = Registry::new(
            Arc::clone(&config.catalog),
            Arc::new(connector),
            config.limits.clone(),
        );
        Self(Arc::new(Inner {
            config,
            registry,
            programs,
            doors: Mutex::default(),
        }))
    }

    fn doors(&self) -> MutexGuard<'_, HashMap<SessionId, Arc<Door>>> {
        self.0.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who starts programs in containers. The first one counts.
    pub fn attach(&self, programs: Arc<dyn Programs>) {
        if self.0.programs.set(programs).is_err() {
            tracing::debug!("the MCP gateway was attached before");
        }
    }

    /// Decides what a session that is to be made has of MCP. Asks no server, but reads files: for threads that may wait.
    ///
    /// # Errors
    /// `InvalidArgument` for servers or a profile that do not exist or may not be used, that were not published where only
    /// those count, and for servers of the session's own that cannot be used or have a name of the operator's; `HostIo`
    /// and `StateDirRefused` for files that cannot be read.
    pub fn plan(&self, selection: &McpSelection, own: Option<&serde_json::Value>) -> Result<McpPlan> {
        plan::plan(&self.0.config.catalog, selection, own)
    }

    /// Gives a session its servers and its endpoint. Replaces an earlier grant.
    ///
    /// # Errors
    /// `InvalidArgument` for servers of its own that cannot be used, or a publication that does not hold; `HostIo` and
    /// `StateDirRefused` for files that cannot be read.
    pub async fn admit(
        &self,
        session: SessionId,
        grant: &McpGrant,
        token: SecretString,
        ledger: Arc<dyn Ledger>,
    ) -> Result<()> {
        let servers = self.0.registry.admit(session, grant, ledger).await?;
        let door = Arc::new(Door::new(self.endpoint(&grant.plan, servers).await, token));
        let before = self.doors().insert(session, door);
        if let Some(before) = before {
            before.close().await;
        }
        Ok(())
    }

    async fn endpoint(&self, plan: &McpPlan, servers: Vec<Server>) -> Endpoint {
        let config = &self.0.config;
        let catalog = Arc::clone(&config.catalog);
        let declared = tokio::task::spawn_blocking(move || catalog.declared()).await;
        let above = declared
            .ok()
            .and_then(Result::ok)
            .map(|declared| declared.search_above);
        let view = View {
            servers: servers
                .into_iter()
                .map(|server| Arc::new(server) as Arc<dyn Upstream>)
                .collect(),
            tools: plan.tools.clone(),
            search: plan.search,
            search_above: above.map_or(usize::MAX, |above| usize::try_from(above).unwrap_or(usize::MAX)),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        Endpoint::new(view, DoorOptions::new(&config.limits))
    }

    /// Serves one connection of a session to its endpoint, until either side ends it.
    pub async fn serve(&self, session: &SessionId, tunnel: BoxedByteStream) {
        let door = self.doors().get(session).cloned();
        match door {
            Some(door) => door.serve(tunnel).await,
            None => tracing::debug!(%session, "a session without MCP servers came to their door"),
        }
    }

    /// Serves one client of a person on a pair of streams, with what the plan gives, until it goes or `shutdown` is
    /// cancelled.
    ///
    /// # Errors
    /// As [`Self::admit`]; `InvalidArgument` when the client does not begin as MCP wants it.
    pub async fn serve_client<R, W>(
        &self,
        client: ClientGrant,
        reader: R,
        writer: W,
        shutdown: &CancellationToken,
    ) -> Result<()>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let ClientGrant {
            id,
            plan,
            published,
            ledger,
        } = client;
        let grant = McpGrant { plan, own: None };
        let registry = &self.0.registry;
        let servers = if published {
            registry.admit_published(id, &grant, ledger).await?
        } else {
            registry.admit(id, &grant, ledger).await?
        };
        let endpoint = self.endpoint(&grant.plan, servers).await;
        let served = endpoint.serve_lines(reader, writer, shutdown).await;
        endpoint.close().await;
        self.0.registry.dismiss(&id).await;
        served.map_err(|error| {
            Error::new(
                ErrorKind::InvalidArgument,
                "serve an MCP client",
                "the client does not begin as MCP wants it",
            )
            .with_source(error)
        })
    }

    /// The servers of a session, or all that are declared. Starts none and changes nothing, but reads files: for threads
    /// that may wait.
    pub fn status(&self, session: Option<&SessionId>) -> McpStatus {
        let registry = &self.0.registry;
        let Some(session) = session else {
            let declared = self.0.config.catalog.declared();
            return McpStatus {
                servers: declared.map_or_else(
                    |error| {
                        tracing::warn!(%error, "the declared MCP servers cannot be read");
                        Vec::new()
                    },
                    |declared| registry.declared_status(&declared),
                ),
                drifted: false,
            };
        };
        let servers = registry.servers(session).unwrap_or_default();
        let plan = registry.plan(session).unwrap_or_default();
        McpStatus {
            servers: servers.iter().map(Server::status).collect(),
            drifted: plan::has_drifted(&self.0.config.catalog, &plan),
        }
    }

    /// Forgets a session: its endpoint closes, and servers that were its alone end. Returns when nothing of them is left.
    pub async fn dismiss(&self, session: &SessionId) {
        let door = self.doors().remove(session);
        if let Some(door) = door {
            door.close().await;
        }
        self.0.registry.dismiss(session).await;
    }

    /// Ends every server and takes no more sessions. Returns when nothing of them is left.
    pub async fn shutdown(&self) {
        let doors: Vec<_> = self.doors().drain().map(|(_, door)| door).collect();
        let closing = futures::future::join_all(doors.iter().map(|door| door.close()));
        // Together: calls that are under way end with their servers.
        tokio::join!(closing, self.0.registry.shutdown());
    }
}

impl fmt::Debug for McpGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("McpGateway")
            .field("sessions", &self.doors().len())
            .finish_non_exhaustive()
    }
}
