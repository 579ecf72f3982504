//! A gateway with an operator's files, and a client of its endpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mcp_catalog::{Catalog, CatalogPaths};
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ElicitRequestParams,
    ElicitResult, ElicitationAction, ElicitationCapability, ErrorData, Implementation,
    ProgressNotificationParam,
};
use rmcp::service::{NotificationContext, RequestContext, RunningService, ServiceError, ServiceExt};
use rmcp::{ClientHandler, RoleClient};
use serde_json::{Value, json};
use session_core::error::{Error, ErrorKind};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, McpSelection};
use session_core::secret::{SecretReference, SecretSource, Secrets};
use session_gateway::mcp::{ClientGrant, McpConfig, McpGateway, McpLimits, Network};
use tempfile::TempDir;
use testkit::ledger::MemoryLedger;
use testkit::mcp::server_path;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// See the module.
pub(crate) struct Lab {
    pub(crate) directory: TempDir,
    pub(crate) gateway: McpGateway,
}

impl Lab {
    /// A gateway over what stands in `servers.toml`; `PROGRAM` is the testkit's server.
    pub(crate) fn new(servers: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = McpConfig {
            catalog: Arc::new(catalog(directory.path())),
            secrets: Arc::new(NoSecrets),
            host_environment: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
            telemetry: directory.path().join("telemetry"),
            logins: directory.path().join("logins"),
            supervisor: None,
            network: Network::default(),
            limits: McpLimits {
                backoff: Duration::from_millis(10),
                stop_grace: Duration::from_millis(500),
                ..McpLimits::default()
            },
        };
        let lab = Self {
            gateway: McpGateway::new(config),
            directory,
        };
        lab.declare(servers);
        lab
    }

    pub(crate) fn declare(&self, servers: &str) {
        let program = server_path().unwrap();
        let text = servers.replace("PROGRAM", program.to_str().unwrap());
        std::fs::write(self.directory.path().join("servers.toml"), text).unwrap();
    }

    /// As another process has it.
    pub(crate) fn catalog(&self) -> Catalog {
        catalog(self.directory.path())
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.directory.path().join("journal")
    }

    /// Every process that the servers were.
    pub(crate) fn pids(&self) -> Vec<i32> {
        let text = std::fs::read_to_string(self.journal()).unwrap_or_default();
        let words = text.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        words
            .filter(|words| matches!(words[0], "start" | "orphan"))
            .map(|words| words[1].parse().unwrap())
            .collect()
    }

    pub(crate) fn plan(&self, names: &[&str]) -> McpPlan {
        let selection = McpSelection {
            servers: names.iter().map(|name| name.parse().unwrap()).collect(),
            ..McpSelection::default()
        };
        self.gateway.plan(&selection, None).unwrap()
    }

    /// A client that has these servers.
    pub(crate) async fn client(&self, names: &[&str]) -> Client {
        let agent = Agent::default();
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let (reader, writer) = tokio::io::split(theirs);
        let id = SessionId::new();
        let grant = ClientGrant {
            id,
            plan: self.plan(names),
            published: false,
            ledger: Arc::new(agent.ledger.clone()),
        };
        let stop = CancellationToken::new();
        let serving = {
            let (gateway, stop) = (self.gateway.clone(), stop.clone());
            tokio::spawn(async move { gateway.serve_client(grant, reader, writer, &stop).await })
        };
        let service = agent.clone().serve(ours).await.unwrap();
        Client {
            id,
            agent,
            service,
            serving,
            _stop: stop,
        }
    }
}

fn catalog(directory: &Path) -> Catalog {
    Catalog::new(CatalogPaths {
        servers: directory.join("servers.toml"),
        storage: directory.join("storage"),
        keys: directory.join("keys"),
    })
}

#[derive(Debug)]
struct NoSecrets;

impl Secrets for NoSecrets {
    fn follow(&self, _: &SecretReference) -> session_core::error::Result<Arc<dyn SecretSource>> {
        let told = "there are none";
        Err(Error::new(ErrorKind::InvalidArgument, "follow a reference", told))
    }
}

/// What an agent is told and asked.
#[derive(Clone, Default)]
pub(crate) struct Agent {
    pub(crate) progress: Arc<Mutex<Vec<ProgressNotificationParam>>>,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    pub(crate) ledger: MemoryLedger,
}

impl ClientHandler for Agent {
    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.progress.lock().unwrap().push(params);
    }

    async fn create_elicitation(
        &self,
        request: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        if let ElicitRequestParams::FormElicitationParams { message, .. } = request {
            self.asked.lock().unwrap().push(message);
        }
        Ok(ElicitResult::new(ElicitationAction::Decline))
    }

    fn get_info(&self) -> ClientConfig {
        let mut capabilities = ClientCapabilities::default();
        capabilities.elicitation = Some(ElicitationCapability::default());
        ClientConfig::new(capabilities, Implementation::new("agent", "1"))
    }
}

/// See [`Lab::client`].
pub(crate) struct Client {
    pub(crate) id: SessionId,
    pub(crate) agent: Agent,
    pub(crate) service: RunningService<RoleClient, Agent>,
    serving: JoinHandle<session_core::error::Result<()>>,
    _stop: CancellationToken,
}

impl Client {
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> Result<CallToolResult, ServiceError> {
        let mut params = CallToolRequestParams::new(tool.to_owned());
        params.arguments = arguments.as_object().cloned();
        self.service.call_tool(params).await
    }

    /// The text of a result, and whether it is an error.
    pub(crate) async fn text(&self, tool: &str, arguments: Value) -> (String, bool) {
        let result = self.call(tool, arguments).await.unwrap();
        let content = serde_json::to_value(&result.content).unwrap();
        let text = content[0]["text"].as_str().unwrap_or_default().to_owned();
        (text, result.is_error == Some(true))
    }

    pub(crate) async fn tools(&self) -> Vec<String> {
        let tools = self.service.list_all_tools().await.unwrap();
        tools.into_iter().map(|tool| tool.name.into_owned()).collect()
    }

    pub(crate) async fn pid(&self, server: &str) -> i32 {
        let (told, _) = self.text(&format!("{server}__whoami"), json!({})).await;
        let told: Value = serde_json::from_str(&told).unwrap();
        i32::try_from(told["pid"].as_i64().unwrap()).unwrap()
    }

    /// Leaves, and waits until everything that it had has ended.
    pub(crate) async fn leave(self) {
        drop(self.service.cancel().await);
        self.serving.await.unwrap().unwrap();
    }
}

pub(crate) fn runs(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

pub(crate) fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

/// Waits for something that comes soon.
pub(crate) async fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .is_ok(),
        "{what}"
    );
}
