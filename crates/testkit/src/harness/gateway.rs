//! A gateway whose model door gives back what it gets, whose egress door refuses what a test says, and that remembers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use session_core::egress::DenialReason;
use session_core::error::{Error, ErrorKind, Result};
use session_core::gateway::{
    Admission, DoorEvent, EGRESS_DOOR, EGRESS_PORT, Gateway, GatewayDoor, MCP_DOOR, MCP_PORT, MODEL_DOOR,
    MODEL_PORT, ModelActivity, ModelApi, ModelUsage, Programs, SessionGrant,
};
use session_core::id::SessionId;
use session_core::mcp::{McpPlan, McpSelection, McpStatus, ServerName, ServerState, ServerStatus};
use session_core::runtime::BoxedByteStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// See the module.
#[derive(Default)]
pub struct EchoGateway {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    grants: BTreeMap<SessionId, SessionGrant>,
    /// The doors at which connections came, in order.
    came_at: Vec<String>,
    refuses: bool,
    collides: bool,
    denies: Option<String>,
    credential_hosts: Vec<String>,
    activity: ModelActivity,
    programs: Option<Arc<dyn Programs>>,
    /// The operator's MCP servers, and how they are.
    servers: BTreeMap<ServerName, ServerStatus>,
    /// The content address of their definitions.
    configuration: String,
    /// Why no MCP servers can be planned, when none can.
    unplannable: Option<String>,
    plans_nothing: bool,
    shut_down: bool,
    /// How often it was asked about any activity.
    looks: u64,
}

impl std::fmt::Debug for EchoGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EchoGateway")
            .field("admitted", &self.admitted())
            .finish_non_exhaustive()
    }
}

impl EchoGateway {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it admits nobody.
    pub fn refuse(&self, refuses: bool) {
        self.state().refuses = refuses;
    }

    /// Whether its doors are in each other's place, so that no session can open them.
    pub fn collide(&self, collides: bool) {
        self.state().collides = collides;
    }

    /// Whoever comes to the egress door is denied this host.
    pub fn deny(&self, host: &str) {
        self.state().denies = Some(host.to_owned());
    }

    /// It has credentials for these hosts.
    pub fn know(&self, hosts: &[&str]) {
        self.state().credential_hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    }

    /// What it says of every model door from now on.
    pub fn set_activity(&self, activity: ModelActivity) {
        self.state().activity = activity;
    }

    /// How often it was asked about any.
    pub fn activities(&self) -> u64 {
        self.state().looks
    }

    /// The operator declares an MCP server, or it changes its state.
    pub fn declare(&self, status: ServerStatus) {
        self.state().servers.insert(status.name.clone(), status);
    }

    /// The operator takes an MCP server away.
    pub fn undeclare(&self, name: &ServerName) {
        self.state().servers.remove(name);
    }

    /// What the definitions of its MCP servers come to from now on.
    pub fn configure(&self, configuration: &str) {
        self.state().configuration = configuration.to_owned();
    }

    /// From now on no MCP servers can be planned, or all again when `None`.
    pub fn refuse_plans(&self, reason: Option<&str>) {
        self.state().unplannable = reason.map(str::to_owned);
    }

    /// Whether it knows nothing of MCP servers, as before there was a gateway for them.
    pub fn plan_nothing(&self, nothing: bool) {
        self.state().plans_nothing = nothing;
    }

    /// Who starts programs in containers for it, once a manager was opened.
    pub fn programs(&self) -> Option<Arc<dyn Programs>> {
        self.state().programs.clone()
    }

    /// Whether its manager has stopped.
    pub fn is_shut_down(&self) -> bool {
        self.state().shut_down
    }

    /// The sessions that are admitted now.
    pub fn admitted(&self) -> Vec<SessionId> {
        self.state().grants.keys().copied().collect()
    }

    /// What a session may do here.
    pub fn grant(&self, session: &SessionId) -> Option<SessionGrant> {
        self.state().grants.get(session).cloned()
    }

    /// How many connections came at a door.
    pub fn connections(&self, door: &str) -> usize {
        self.state().came_at.iter().filter(|name| *name == door).count()
    }
}

fn door(name: &str, port: u16) -> GatewayDoor {
    GatewayDoor {
        name: name.to_owned(),
        port,
    }
}

#[async_trait]
impl Gateway for EchoGateway {
    async fn admit(&self, session: &SessionId, grant: SessionGrant) -> Result<Admission> {
        let mut state = self.state();
        if state.refuses {
            let message = "the gateway admits nobody";
            return Err(
                Error::new(ErrorKind::Internal, "admit the session", message).with_hint("this is a test")
            );
        }
        let mut doors = vec![door(MODEL_DOOR, MODEL_PORT)];
        if grant.sealed {
            doors.push(door(EGRESS_DOOR, EGRESS_PORT));
        }
        let mcp = !grant.mcp.plan.is_empty();
        if mcp {
            doors.push(door(MCP_DOOR, MCP_PORT));
        }
        if state.collides {
            doors.push(door("other", MODEL_PORT));
        }
        state.grants.insert(*session, grant);
        Ok(Admission {
            doors,
            model_api: ModelApi::Messages,
            credential_hosts: state.credential_hosts.clone(),
            mcp,
        })
    }

    fn serve(&self, session: &SessionId, door: &str, tunnel: BoxedByteStream) -> BoxFuture<'static, ()> {
        let mut state = self.state();
        state.came_at.push(door.to_owned());
        let denied = state.denies.clone().filter(|_| door == EGRESS_DOOR);
        match (denied, state.grants.get(session).cloned()) {
            (Some(host), Some(grant)) => Box::pin(refuse(tunnel, grant, host)),
            _ => Box::pin(echo(tunnel)),
        }
    }

    fn usage(&self, _session: &SessionId) -> ModelUsage {
        ModelUsage::default()
    }

    /// Gives what is asked for by name and declared; there are no profiles here.
    async fn plan_mcp(&self, selection: &McpSelection, own: Option<&serde_json::Value>) -> Result<McpPlan> {
        let state = self.state();
        if let Some(reason) = &state.unplannable {
            return Err(unplannable(reason));
        }
        if state.plans_nothing {
            return Ok(McpPlan::default());
        }
        if let Some(name) = selection
            .servers
            .iter()
            .find(|name| !state.servers.contains_key(name))
        {
            return Err(unplannable(&format!("there is no MCP server {name}")));
        }
        let own = own.and_then(|own| own["mcpServers"].as_object());
        let names = own.into_iter().flat_map(|servers| servers.keys());
        Ok(McpPlan {
            servers: selection.servers.clone(),
            own: names.map(|name| name.parse()).collect::<Result<_>>()?,
            tools: selection.tools.clone(),
            search: selection.search.unwrap_or_default(),
            configuration: state.configuration.clone(),
            ..McpPlan::default()
        })
    }

    async fn mcp_status(&self, session: Option<&SessionId>) -> McpStatus {
        let state = self.state();
        let servers = match session {
            None => state.servers.values().cloned().collect(),
            Some(session) => {
                let plan = state
                    .grants
                    .get(session)
                    .map(|grant| grant.mcp.plan.clone())
                    .unwrap_or_default();
                let all = plan.servers.iter().chain(&plan.own);
                all.map(|name| {
                    state
                        .servers
                        .get(name)
                        .cloned()
                        .unwrap_or_else(|| idle(name.clone()))
                })
                .collect()
            }
        };
        McpStatus {
            servers,
            drifted: false,
        }
    }

    async fn shutdown(&self) {
        self.state().shut_down = true;
    }

    fn attach(&self, programs: Arc<dyn Programs>) {
        self.state().programs = Some(programs);
    }

    fn activity(&self, _session: &SessionId) -> ModelActivity {
        let mut state = self.state();
        state.looks += 1;
        state.activity
    }

    async fn dismiss(&self, session: &SessionId) {
        self.state().grants.remove(session);
    }
}

/// An MCP server that nobody has called yet.
pub fn idle(name: ServerName) -> ServerStatus {
    ServerStatus {
        name,
        state: ServerState::Idle,
        reason: None,
        failures: 0,
        retry_in_ms: None,
        held: Vec::new(),
        tools: None,
    }
}

fn unplannable(reason: &str) -> Error {
    Error::new(
        ErrorKind::InvalidArgument,
        "plan the MCP servers",
        reason.to_owned(),
    )
    .with_hint("this is a test")
}

async fn refuse(mut tunnel: BoxedByteStream, grant: SessionGrant, host: String) {
    let denied = DoorEvent::EgressDenied {
        host,
        port: 443,
        reason: DenialReason::NotAllowed,
    };
    // A session that is gone meanwhile has nobody to be told.
    let _ = grant.ledger.record(denied).await;
    let _ = tunnel.write_all(b"403").await;
    let _ = tunnel.shutdown().await;
}

async fn echo(mut tunnel: BoxedByteStream) {
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = tunnel.read(&mut buffer).await {
        if tunnel.write_all(&buffer[..read]).await.is_err() || tunnel.flush().await.is_err() {
            return;
        }
    }
}
