//! A registry over puppets, with the operator's files in a directory of the test.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use mcp_catalog::{Catalog, CatalogPaths, ServerDefinition};
use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, ClientJsonRpcMessage, ClientRequest, ContentBlock,
    ProtocolVersion, ServerJsonRpcMessage, ServerPeerInfo, ServerResult,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, Peer, RunningService, ServiceError};
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use session_core::gateway::McpGrant;
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, ServerName, ServerState, ServerStatus};
use testkit::ledger::MemoryLedger;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::super::client::Client;
use super::super::connect::{Connect, Link};
use super::super::registry::Registry;
use super::super::server::Server;
use super::super::tap::Tap;
use super::caller::Quiet;
use super::puppet::Puppet;
use crate::mcp::call::{CallError, Caller, Failure, FailureCause};
use crate::mcp::config::McpLimits;

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Connects to puppets by the names of servers.
#[derive(Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Arc<Puppet>>>);

impl Memory {
    pub(crate) fn puppet(&self, name: &str) -> Arc<Puppet> {
        let mut puppets = self.0.lock().unwrap();
        Arc::clone(puppets.entry(name.to_owned()).or_insert_with(Puppet::new))
    }
}

struct MemoryLink {
    service: RunningService<RoleClient, Client>,
    ended: CancellationToken,
    life: JoinHandle<()>,
    name: ServerName,
}

/// Says when the transport is gone.
struct Watched<T> {
    inner: T,
    _gone: DropGuard,
}

impl<T: Transport<RoleClient>> Transport<RoleClient> for Watched<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(item)
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        self.inner.receive().await
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}

#[async_trait]
impl Connect for Memory {
    async fn connect(
        &self,
        name: &ServerName,
        definition: &ServerDefinition,
        _owner: Option<SessionId>,
        client: Client,
    ) -> Result<Box<dyn Link>, Failure> {
        let failure = |cause, detail: &str| Failure {
            server: name.clone(),
            cause,
            detail: detail.to_owned(),
        };
        let puppet = self.puppet(name.as_str());
        if puppet.failing.load(Ordering::SeqCst) > 0 {
            puppet.failing.fetch_sub(1, Ordering::SeqCst);
            puppet.starts.fetch_add(1, Ordering::SeqCst);
            return Err(failure(FailureCause::Missing, "there is no such program"));
        }
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let life = tokio::spawn(puppet.live(theirs));
        let (reader, writer) = tokio::io::split(ours);
        let ended = CancellationToken::new();
        let inlet = client.inlet();
        let transport = Watched {
            inner: AsyncRwTransport::new_client(reader, writer),
            _gone: ended.clone().drop_guard(),
        };
        let patience = Duration::from_millis(definition.times.start_ms);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::LATEST],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        let served = tokio::time::timeout(
            patience,
            client.serve_with_lifecycle(Tap::new(transport, Some(inlet)), lifecycle),
        )
        .await;
        match served {
            Ok(Ok(service)) => Ok(Box::new(MemoryLink {
                service,
                ended,
                life,
                name: name.clone(),
            })),
            Ok(Err(error)) => Err(failure(FailureCause::Broken, &error.to_string())),
            Err(_) => {
                life.abort();
                Err(failure(FailureCause::Silent, "it was not initialized in time"))
            }
        }
    }

    fn never_left(&self, _error: &ServiceError) -> bool {
        false
    }
}

#[async_trait]
impl Link for MemoryLink {
    fn peer(&self) -> Peer<RoleClient> {
        self.service.peer().clone()
    }

    fn info(&self) -> Arc<ServerPeerInfo> {
        self.service.peer().peer_info().unwrap()
    }

    fn ended(&self) -> BoxFuture<'static, Failure> {
        let (ended, server) = (self.ended.clone(), self.name.clone());
        async move {
            ended.cancelled().await;
            Failure {
                server,
                cause: FailureCause::Ended,
                detail: "it ended".to_owned(),
            }
        }
        .boxed()
    }

    async fn close(self: Box<Self>, grace: Duration) {
        drop(self.service.cancel().await);
        let mut life = self.life;
        if tokio::time::timeout(grace, &mut life).await.is_err() {
            life.abort();
            drop(life.await);
        }
    }
}

/// See the module.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    pub(crate) memory: Arc<Memory>,
    pub(crate) registry: Arc<Registry>,
}

/// Quick limits.
pub(crate) fn limits() -> McpLimits {
    McpLimits {
        backoff: Duration::from_millis(20),
        max_backoff: Duration::from_millis(400),
        max_failures: 3,
        health_interval: Duration::from_millis(100),
        health_timeout: Duration::from_millis(150),
        stop_grace: Duration::from_millis(300),
        ..McpLimits::default()
    }
}

impl Lab {
    /// A lab in which these servers are declared, each with these lines.
    pub(crate) fn new(servers: &[(&str, &str)], limits: McpLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let memory = Arc::new(Memory::default());
        let lab = Self {
            registry: Registry::new(catalog(&dir), Arc::clone(&memory) as Arc<dyn Connect>, limits),
            memory,
            dir,
        };
        lab.declare(servers);
        lab
    }

    /// What the operator declares from now on.
    pub(crate) fn declare(&self, servers: &[(&str, &str)]) {
        let server =
            |(name, lines): &(&str, &str)| format!("[servers.{name}]\ncommand = \"puppet\"\n{lines}\n");
        let text: String = servers.iter().map(server).collect();
        std::fs::write(self.dir.path().join("servers.toml"), text).unwrap();
    }

    /// The catalog as another process has it.
    pub(crate) fn another_process(&self) -> Arc<Catalog> {
        catalog(&self.dir)
    }

    pub(crate) fn puppet(&self, name: &str) -> Arc<Puppet> {
        self.memory.puppet(name)
    }

    /// A session with these servers.
    pub(crate) async fn session(&self, servers: &[&str]) -> Session {
        let (id, ledger) = (SessionId::new(), MemoryLedger::default());
        let grant = McpGrant {
            plan: McpPlan {
                servers: servers.iter().map(|name| name.parse().unwrap()).collect(),
                ..McpPlan::default()
            },
            own: None,
        };
        let admitted = self.registry.admit(id, &grant, Arc::new(ledger.clone())).await;
        Session {
            id,
            ledger,
            servers: admitted.unwrap(),
        }
    }
}

fn catalog(dir: &tempfile::TempDir) -> Arc<Catalog> {
    Arc::new(Catalog::new(CatalogPaths {
        servers: dir.path().join("servers.toml"),
        storage: dir.path().join("storage"),
        keys: dir.path().join("keys"),
    }))
}

/// A session of the lab.
pub(crate) struct Session {
    pub(crate) id: SessionId,
    pub(crate) ledger: MemoryLedger,
    pub(crate) servers: Vec<Server>,
}

impl Session {
    pub(crate) fn server(&self, name: &str) -> &Server {
        self.servers
            .iter()
            .find(|server| server.name().as_str() == name)
            .unwrap()
    }

    /// Calls a tool; its text.
    pub(crate) async fn call(&self, server: &str, tool: &str) -> Result<String, CallError> {
        self.call_as(server, tool, Quiet::new()).await
    }

    pub(crate) async fn call_as(
        &self,
        server: &str,
        tool: &str,
        caller: Arc<dyn Caller>,
    ) -> Result<String, CallError> {
        match self.server(server).request(call(tool), caller).await? {
            ServerResult::CallToolResult(result) => match &result.content[0] {
                ContentBlock::Text(text) => Ok(text.text.clone()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Waits for a status.
    pub(crate) async fn wait(&self, server: &str, state: ServerState) -> ServerStatus {
        let server = self.server(server);
        until(
            || server.status().state == state,
            || format!("{:?}", server.status()),
        )
        .await;
        server.status()
    }
}

pub(crate) fn call(tool: &str) -> ClientRequest {
    let mut params = CallToolRequestParams::new(tool.to_owned());
    params.arguments = Some(serde_json::Map::from_iter([("text".to_owned(), "hello".into())]));
    ClientRequest::CallToolRequest(CallToolRequest::new(params))
}

/// Waits until something is so.
pub(crate) async fn until(so: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(PATIENCE, waiting).await.is_ok(),
        "{}",
        otherwise()
    );
}

impl Lab {
    /// Writes nonsense where the approvals of a server are.
    pub(crate) fn damage_approvals(&self, server: &str) {
        let dir = self.dir.path().join("storage/approvals");
        let mut damaged = 0;
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(server) {
                std::fs::write(&path, "{").unwrap();
                damaged += 1;
            }
        }
        assert!(damaged > 0, "there are none");
    }

    /// As if nobody had approved anything.
    pub(crate) fn forget_approvals(&self) {
        std::fs::remove_dir_all(self.dir.path().join("storage/approvals")).unwrap();
    }

    pub(crate) fn has_approvals(&self) -> bool {
        self.dir.path().join("storage/approvals").exists()
    }
}
