//! The MCP servers of a session, as results show them.

use schemars::JsonSchema;
use serde::Serialize;
use session_core::mcp::{McpPlan, McpStatus, ServerName, ServerState, ServerStatus};
use session_core::session::{SessionDetails, SessionInfo};

use crate::text::one_line;

/// The longest reason, in characters.
const WIDTH: usize = 300;
/// How many held tools of a server one result names.
const SHOWN: usize = 50;

/// What a session has of MCP.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct McpView {
    /// The operator's profile that it was made with.
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<String>,
    /// Only these tools of the servers; all when absent.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<String>,
    /// Whether its agent finds tools by searching.
    search: bool,
    /// The content address of the operator's configuration when it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<String>,
    /// The published artifact of that content.
    #[serde(skip_serializing_if = "Option::is_none")]
    artifact_id: Option<String>,
    /// true: the operator has changed the configuration since.
    drifted: bool,
    /// Each server.
    servers: Vec<ServerView>,
    /// What can be done about tools that are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    how_to_approve: Option<&'static str>,
}

/// One of its servers.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct ServerView {
    name: String,
    /// idle (not started yet), starting, ready, failed, gave_up, needs_login, removed, or unknown.
    state: &'static str,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Failed starts in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    failures: Option<u32>,
    /// When it may be started again, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_in_ms: Option<u64>,
    /// How many tools it has, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<u32>,
    /// Tools that are held because they changed since a person approved them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    held: Vec<String>,
    /// Whether the session brought it itself.
    own: bool,
}

impl McpView {
    /// `None` for a session without servers.
    pub(super) fn new(details: &SessionDetails) -> Option<Self> {
        let plan = details.info.mcp.as_ref().filter(|plan| !plan.is_empty())?;
        let nothing = McpStatus::default();
        let status = details.mcp_status.as_ref().unwrap_or(&nothing);
        let known = |name: &ServerName| status.servers.iter().find(|server| server.name == *name);
        let planned = plan.servers.iter().map(|name| (name, false));
        let planned = planned.chain(plan.own.iter().map(|name| (name, true)));
        let servers: Vec<_> = planned
            .map(|(name, own)| match known(name) {
                Some(status) => ServerView::new(status, own),
                None => ServerView::unknown(name.to_string(), own),
            })
            .collect();
        let held = servers.iter().any(|server| !server.held.is_empty());
        Some(Self {
            profile: plan.profile.as_ref().map(ToString::to_string),
            tools: plan.tools.iter().map(|tool| one_line(tool, WIDTH)).collect(),
            search: plan.search,
            configuration: (!plan.configuration.is_empty()).then(|| plan.configuration.clone()),
            artifact_id: plan.artifact.clone(),
            drifted: status.drifted,
            how_to_approve: held.then_some(
                "Only a person can approve tools that changed, on the host: cofferdam mcp approve SERVER. No tool does \
                 it; ask the user.",
            ),
            servers,
        })
    }
}

impl ServerView {
    fn new(status: &ServerStatus, own: bool) -> Self {
        Self {
            name: status.name.to_string(),
            state: state(status.state),
            reason: status.reason.as_ref().map(|reason| one_line(reason, WIDTH)),
            failures: (status.failures > 0).then_some(status.failures),
            retry_in_ms: status.retry_in_ms,
            tools: status.tools,
            held: status
                .held
                .iter()
                .take(SHOWN)
                .map(|tool| one_line(tool, 128))
                .collect(),
            own,
        }
    }

    /// One of which whoever was asked knows nothing.
    fn unknown(name: String, own: bool) -> Self {
        Self {
            name,
            state: "unknown",
            reason: None,
            failures: None,
            retry_in_ms: None,
            tools: None,
            held: Vec::new(),
            own,
        }
    }
}

/// The state's name as it is written.
pub(crate) fn state(state: ServerState) -> &'static str {
    match state {
        ServerState::Idle => "idle",
        ServerState::Starting => "starting",
        ServerState::Ready => "ready",
        ServerState::Failed => "failed",
        ServerState::GaveUp => "gave_up",
        ServerState::NeedsLogin => "needs_login",
        ServerState::Removed => "removed",
        _ => "unknown",
    }
}

/// The names of a session's servers, the operator's first. Before it was decided what it has, those that it brought.
pub(super) fn names(info: &SessionInfo) -> Vec<String> {
    let brought = || {
        let config = info.mcp_config.as_ref();
        let servers = config.and_then(|config| config.get("mcpServers")?.as_object());
        servers
            .map(|servers| servers.keys().cloned().collect())
            .unwrap_or_default()
    };
    let of_plan = |plan: &McpPlan| {
        plan.servers
            .iter()
            .chain(&plan.own)
            .map(ToString::to_string)
            .collect()
    };
    info.mcp.as_ref().map_or_else(brought, of_plan)
}
