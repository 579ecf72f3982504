//! One session's MCP door at a port of loopback: what the session would find inside, without a session.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mcp_catalog::{Catalog, CatalogPaths};
use secrecy::SecretString;
use session_core::budget::Budget;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{Gateway, MCP_DOOR, McpGrant, SessionGrant};
use session_core::id::SessionId;
use session_core::mcp::McpSelection;
use session_core::secret::{SecretReference, SecretSource, Secrets};
use session_gateway::SessionGateway;
use session_gateway::mcp::McpConfig;
use session_gateway::model::{BaseUrl, CredentialSource, ModelProxyConfig};
use testkit::ledger::MemoryLedger;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// See the module. Its servers live until [`Door::close`].
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    gateway: Arc<SessionGateway>,
    session: SessionId,
    accepting: JoinHandle<()>,
}

impl Door {
    /// Serves the profile `default` of a `servers.toml`; everything that the gateway keeps is below `state`.
    pub(crate) async fn open(servers: &Path, state: &Path, token: SecretString) -> Result<Self> {
        let gateway = gateway(servers, state);
        let session = SessionId::new();
        let plan = gateway.plan_mcp(&McpSelection::default(), None).await?;
        let grant = SessionGrant {
            token,
            account: None,
            sealed: false,
            allow: Vec::new(),
            budget: Budget::default(),
            mcp: McpGrant { plan, own: None },
            ledger: Arc::new(MemoryLedger::default()),
        };
        gateway.admit(&session, grant).await?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(cannot_listen)?;
        let address = listener.local_addr().map_err(cannot_listen)?;
        let accepting = tokio::spawn(accept(listener, Arc::clone(&gateway), session));
        Ok(Self {
            address,
            gateway,
            session,
            accepting,
        })
    }

    /// Ends its connections and its servers.
    pub(crate) async fn close(self) {
        // The task owns the connections, too.
        self.accepting.abort();
        self.gateway.dismiss(&self.session).await;
        self.gateway.shutdown().await;
    }
}

async fn accept(listener: TcpListener, gateway: Arc<SessionGateway>, session: SessionId) {
    let mut connections = JoinSet::new();
    while let Ok((connection, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // Small messages go both ways in turn: as on the link, none waits to be joined by another.
        let _as_it_is = connection.set_nodelay(true);
        connections.spawn(gateway.serve(&session, MCP_DOOR, Box::new(connection)));
    }
}

fn gateway(servers: &Path, state: &Path) -> Arc<SessionGateway> {
    let catalog = Catalog::new(CatalogPaths {
        servers: servers.to_owned(),
        storage: state.join("storage/mcp"),
        keys: state.join("keys"),
    });
    let config = McpConfig {
        catalog: Arc::new(catalog),
        secrets: Arc::new(NoSecrets),
        host_environment: environment(),
        telemetry: state.join("telemetry/mcp"),
        logins: state.join("storage/mcp/logins"),
        supervisor: supervisor(),
        network: Default::default(),
        limits: Default::default(),
    };
    // Nobody asks a model here.
    let model = ModelProxyConfig::messages(BaseUrl::default(), CredentialSource::new(None));
    Arc::new(SessionGateway::new(model).with_mcp(config))
}

/// This program again, as `main` knows it by its one argument.
pub(crate) const SUPERVISE: &str = "supervise";

fn supervisor() -> Option<Vec<OsString>> {
    let program = std::env::current_exe().ok()?;
    Some(vec![program.into(), SUPERVISE.into()])
}

#[expect(clippy::disallowed_methods, reason = "a program of its own, as `cli` is one")]
fn environment() -> BTreeMap<String, String> {
    let names = ["HOME", "LANG", "PATH", "TMPDIR", "USER"];
    let values = names
        .iter()
        .map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)));
    values.flatten().collect()
}

fn cannot_listen(source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::HostIo,
        "serve an MCP door",
        "nobody can listen on loopback",
    )
    .with_source(source)
}

/// The servers here need none.
#[derive(Debug)]
struct NoSecrets;

#[async_trait]
impl Secrets for NoSecrets {
    fn follow(&self, _reference: &SecretReference) -> Result<Arc<dyn SecretSource>> {
        Err(Error::new(
            ErrorKind::InvalidArgument,
            "follow a reference",
            "there are no secrets here",
        ))
    }
}
