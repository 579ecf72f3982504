//! `get_session`, and how a session looks in results.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::activity::StallCause;
use session_core::budget::Spending;
use session_core::id::SessionId;
use session_core::runtime::NetworkMode;
use session_core::session::{Carrier, PermissionMode, SessionDetails, SessionInfo, WorkspaceSource};
use session_core::state::SessionState;
use session_core::turn::{TurnInfo, TurnStatus};

use super::doors::{ActivityView, BudgetView, DeniedView, UsageView};
use super::mcp_view::{self, McpView};
use super::{Hints, Spec, Tool};
use crate::args;
use crate::call::{Call, Stop};
use crate::core::Core;
use crate::tasks::TaskId;

/// See the module.
pub(super) struct GetSession;

/// A session, as results show it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SessionView {
    /// The id that all tools take.
    pub(crate) session_id: String,
    /// The name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// creating, ready, busy (a prompt runs), paused, failed, interrupted (its container is gone), destroying or destroyed.
    pub(crate) state: String,
    /// Why it failed or was interrupted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// Where /workspace comes from.
    pub(crate) workspace: WorkspaceView,
    /// The container image.
    pub(crate) image: String,
    /// sealed, allow (sealed but for the hosts in `allow`) or open.
    pub(crate) network: String,
    /// The hosts that it was given, as rules and presets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) allow: Vec<String>,
    /// How much of the model it may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<BudgetView>,
    /// Memory in bytes.
    pub(crate) memory_bytes: u64,
    /// CPUs.
    pub(crate) cpus: f64,
    /// The most processes and threads.
    pub(crate) pids: u32,
    /// The model, when one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<String>,
    /// The model for small tasks, when one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) small_model: Option<String>,
    /// Whether the agent may use only tools that were allowed.
    pub(crate) strict_permissions: bool,
    /// Names of the MCP servers that the agent has.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) mcp_servers: Vec<String>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// How many prompts it was given.
    pub(crate) turns: u64,
    /// The number of its latest event.
    pub(crate) last_event: u64,
    /// What it cost so far in US dollars, as the agent reckons it.
    pub(crate) cost_usd: f64,
    /// When it was asked for, RFC 3339.
    pub(crate) created_at: String,
    /// When its record last changed, RFC 3339.
    pub(crate) updated_at: String,
}

/// Where a workspace comes from.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WorkspaceView {
    /// empty, mount, copy or clone.
    kind: &'static str,
    /// The directory of this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_url: Option<String>,
    /// The branch, tag or commit.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
}

impl WorkspaceView {
    fn new(source: &WorkspaceSource) -> Self {
        let mut view = Self {
            kind: "empty",
            path: None,
            repository_url: None,
            reference: None,
        };
        match source {
            WorkspaceSource::Empty => {}
            WorkspaceSource::Mount { path } => {
                (view.kind, view.path) = ("mount", Some(path.display().to_string()))
            }
            WorkspaceSource::Copy { path } => {
                (view.kind, view.path) = ("copy", Some(path.display().to_string()))
            }
            WorkspaceSource::Clone { url, reference } => {
                view.kind = "clone";
                view.repository_url = Some(url.clone());
                view.reference.clone_from(reference);
            }
        }
        view
    }
}

impl SessionView {
    pub(crate) fn new(info: &SessionInfo) -> Self {
        let cause = match &info.state {
            SessionState::Failed { cause } => Some(cause.clone()),
            SessionState::Interrupted { cause } => Some(cause.as_str().to_owned()),
            _ => None,
        };
        Self {
            session_id: info.id.to_string(),
            name: info.name.clone(),
            state: info.state.name().as_str().to_owned(),
            cause,
            workspace: WorkspaceView::new(&info.workspace),
            image: info.image.to_string(),
            network: match info.network {
                NetworkMode::Sealed if info.allow.is_empty() => "sealed",
                NetworkMode::Sealed => "allow",
                NetworkMode::Open => "open",
            }
            .to_owned(),
            allow: info.allow.iter().map(ToString::to_string).collect(),
            budget: BudgetView::new(&info.budget),
            memory_bytes: info.limits.memory_bytes,
            cpus: f64::from(info.limits.milli_cpus) / 1000.0,
            pids: info.limits.pids,
            model: info.model.clone(),
            small_model: info.small_model.clone(),
            strict_permissions: info.permissions == PermissionMode::Strict,
            mcp_servers: mcp_view::names(info),
            labels: info.labels.clone(),
            turns: info.turns,
            last_event: info.last_event,
            cost_usd: info.cost_usd,
            created_at: info.created_at.to_string(),
            updated_at: info.updated_at.to_string(),
        }
    }
}

/// What `get_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    session_id: String,
}

/// What `get_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Output {
    /// The session.
    #[serde(flatten)]
    session: SessionView,
    /// The container's name on the engine.
    container_name: String,
    /// How the host talks to it: socket or bridge; absent while it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    carrier: Option<&'static str>,
    /// What it uses now, when it could be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<Resources>,
    /// What its agent is doing.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<ActivityView>,
    /// What its work hangs on, when it does: model_unreachable, model_overloaded, agent_silent, waiting_for_permission or tool_running.
    #[serde(skip_serializing_if = "Option::is_none")]
    stall: Option<&'static str>,
    /// Its MCP servers: how each is, and under which configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    mcp: Option<McpView>,
    /// What it used of the model in its whole life.
    usage: UsageView,
    /// Hosts that it was denied and about which nobody has decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    denied: Option<DeniedView>,
    /// Requests that it sent to the model since this server serves it.
    model_requests: u64,
    /// Tasks that run or wait, oldest first.
    open_tasks: Vec<String>,
}

/// What a session uses.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Resources {
    /// Memory in bytes.
    memory_bytes: u64,
    /// CPU time so far, in milliseconds.
    cpu_ms: u64,
    /// Processes and threads.
    pids: u64,
    /// How often the kernel killed a process for lack of memory.
    oom_kills: u64,
    /// Since when it runs, in milliseconds.
    uptime_ms: u64,
}

impl Output {
    /// Looks at a session.
    pub(crate) async fn of(core: &Core, id: &SessionId) -> Result<Self, Stop> {
        let details = core.api.inspect(id).await?;
        let turns = core.api.turns(id).await?;
        let spent = core.api.usage(Some(id)).await?;
        let requests = core.api.egress_requests(Some(id)).await?;
        Ok(Self {
            usage: UsageView::new(&spent.session),
            denied: DeniedView::new(&requests),
            ..Self::new(&details, &turns)
        })
    }

    fn new(details: &SessionDetails, turns: &[TurnInfo]) -> Self {
        let open = turns
            .iter()
            .filter(|turn| matches!(turn.status, TurnStatus::Queued | TurnStatus::Running));
        Self {
            session: SessionView::new(&details.info),
            container_name: details.container.clone(),
            carrier: details.carrier.map(|carrier| match carrier {
                Carrier::Socket => "socket",
                Carrier::Bridge => "bridge",
            }),
            resources: details.resources.map(|used| Resources {
                memory_bytes: used.memory_bytes,
                cpu_ms: used.cpu_ms,
                pids: used.pids,
                oom_kills: used.oom_kills,
                uptime_ms: used.uptime_ms,
            }),
            activity: details.activity.as_ref().map(ActivityView::new),
            stall: details.stall.map(StallCause::as_str),
            mcp: McpView::new(details),
            usage: UsageView::new(&Spending::default()),
            denied: None,
            model_requests: details.model_usage.requests,
            open_tasks: open.map(|turn| TaskId::of_turn(turn).to_string()).collect(),
        }
    }
}

impl Tool for GetSession {
    const SPEC: Spec = Spec {
        name: "get_session",
        title: "Look at a session",
        description: "One session closely: state, limits, what it uses now, what its agent is doing, how its MCP servers \
            are, which hosts it was denied, its open tasks. Use it to find out why a session does not answer; use list_sessions to find a session.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let id = args::session_id(&args.session_id)?;
        Output::of(&call.core, &id).await
    }
}
