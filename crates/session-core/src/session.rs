//! Sessions as callers ask for them and see them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::activity::{Activity, StallCause};
use crate::budget::Budget;
use crate::egress::AllowEntry;
use crate::gateway::{ModelUsage, ProviderAccount};
use crate::id::{ImageRef, SessionId};
use crate::lifetime::{Lifetime, OnInterrupt};
use crate::mcp::{McpPlan, McpSelection, McpStatus};
use crate::runtime::{HostMount, NetworkMode, ResourceLimits, UserIds};
use crate::state::SessionState;

/// What a caller wants a session to be. `Default` is a sealed session with an empty workspace in the default image.
#[derive(Debug, Clone, Default)]
pub struct CreateSession {
    /// A name for people; not unique.
    pub name: Option<String>,
    /// What is at `/workspace`.
    pub workspace: WorkspaceSource,
    /// The image; the manager's default when `None`.
    pub image: Option<ImageRef>,
    /// What it can reach by itself.
    pub network: NetworkMode,
    /// Limits; the manager's defaults when `None`.
    pub limits: Option<ResourceLimits>,
    /// Further directories of the host.
    pub mounts: Vec<HostMount>,
    /// The model, when not the agent's own choice.
    pub model: Option<String>,
    /// The model for small tasks; the manager's default when `None`.
    pub small_model: Option<String>,
    /// Environment of the agent and of commands. No secrets: whatever runs inside can read it.
    pub env: BTreeMap<String, String>,
    /// Labels for the caller's own use, at most 64.
    pub labels: BTreeMap<String, String>,
    /// On whose behalf it is made, when a front end tells its callers apart: the name of a token, for example.
    pub owner: Option<String>,
    /// The caller's own account at a provider, for this session alone. Stays in the memory of this process.
    pub account: Option<ProviderAccount>,
    /// The hosts that a sealed session may reach. None when empty.
    pub allow: Vec<AllowEntry>,
    /// How much of the model it may use in its whole life.
    pub budget: Budget,
    /// The same key of the same owner gives the same session: a second request does not create a second one.
    pub idempotency_key: Option<String>,
    /// Whether the agent asks before it uses a tool.
    pub permissions: PermissionMode,
    /// MCP servers that the session brings itself, as the value of Claude Code's `--mcp-config` (`{"mcpServers": {…}}`).
    /// The gateway holds them beside the operator's: a command runs inside the session, an image in a sealed container of
    /// its own, a URL is asked from the host. No secrets: they are the caller's to show.
    pub mcp_config: Option<serde_json::Value>,
    /// Which of the operator's MCP servers it may use.
    pub mcp: McpSelection,
    /// Start the agent at once, so that the first prompt does not wait for it.
    pub warm_agent: bool,
    /// When it ends by itself.
    pub lifetime: Lifetime,
    /// What becomes of it when its container ends although nobody asked for it.
    pub on_interrupt: OnInterrupt,
}

/// Where the workspace comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WorkspaceSource {
    /// Nothing: an empty directory.
    #[default]
    Empty,
    /// The host's directory itself: what the agent changes is changed.
    Mount {
        /// The directory.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        path: PathBuf,
    },
    /// A copy of the host's directory, without what its `.gitignore` files exclude.
    Copy {
        /// The directory.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        path: PathBuf,
    },
    /// A git repository, cloned inside the session.
    Clone {
        /// Its address, judged by [`crate::policy::clone`].
        url: String,
        /// The branch, tag or commit; the repository's own default when `None`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<String>,
    },
}

/// Whether the agent asks before it uses a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum PermissionMode {
    /// It does not ask: the container is the wall.
    #[default]
    Bypass,
    /// It uses only tools that were allowed; what is not is denied and reported in the turn's outcome.
    Strict,
}

/// A session as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionInfo {
    /// The session.
    pub id: SessionId,
    /// Its name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is in its life.
    #[serde(flatten)]
    pub state: SessionState,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its record last changed.
    pub updated_at: Timestamp,
    /// The image.
    pub image: ImageRef,
    /// What it can reach by itself.
    pub network: NetworkMode,
    /// Limits in force.
    pub limits: ResourceLimits,
    /// Where its workspace comes from.
    pub workspace: WorkspaceSource,
    /// Further directories of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<HostMount>,
    /// Who runs inside.
    pub user: UserIds,
    /// The agent's name, for example `claude`.
    pub agent: String,
    /// The model, when one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The model for small tasks, when one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_model: Option<String>,
    /// The hosts that it may reach, as it was asked for; what was decided later is apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AllowEntry>,
    /// How much of the model it may use.
    #[serde(default, skip_serializing_if = "Budget::is_unlimited")]
    pub budget: Budget,
    /// Whether the agent asks before it uses a tool.
    #[serde(default)]
    pub permissions: PermissionMode,
    /// The MCP servers that it brought itself, as they were written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_config: Option<serde_json::Value>,
    /// What it has of MCP, when it has anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<McpPlan>,
    /// Whether the operator's certificates are in it, and named to its programs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub certificates: bool,
    /// Environment of the agent and of commands.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// On whose behalf it was made, when its front end told callers apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lifetime: Lifetime,
    /// Until when its lease holds, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// What becomes of it when its container ends although nobody asked for it.
    #[serde(default, skip_serializing_if = "OnInterrupt::is_stop")]
    pub on_interrupt: OnInterrupt,
    /// How many turns it had.
    pub turns: u64,
    /// The number of its latest event.
    pub last_event: u64,
    /// What its turns cost so far in US dollars, as the agent reckons it.
    pub cost_usd: f64,
}

fn is_default(lifetime: &Lifetime) -> bool {
    *lifetime == Lifetime::default()
}

/// A session looked at closely: what it takes an exchange with its container to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SessionDetails {
    /// What is known without asking.
    #[serde(flatten)]
    pub info: SessionInfo,
    /// The container's name on the engine.
    pub container: String,
    /// How the link is carried, when it is up: `socket` or `bridge`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<Carrier>,
    /// What it uses, when its container could be asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceUse>,
    /// What its agent is doing, when the session can work. Exact in the process that owns the agent; in another one it is
    /// what the stored events tell, without what goes on at the model door.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<Activity>,
    /// What the turn hangs on, when the watchdog said so and it did not recover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<StallCause>,
    /// Its MCP servers, when it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_status: Option<McpStatus>,
    /// What its doors counted since this process serves them.
    pub model_usage: ModelUsage,
}

/// How a link is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Carrier {
    /// A Unix socket in a directory of the session alone.
    Socket,
    /// The engine's exec stream.
    Bridge,
}

/// What a session uses now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ResourceUse {
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// CPU time so far, in milliseconds.
    pub cpu_ms: u64,
    /// Processes and threads.
    pub pids: u64,
    /// How often the kernel killed a process of it for lack of memory.
    pub oom_kills: u64,
    /// Since when it runs, in milliseconds.
    pub uptime_ms: u64,
}

/// The label of a session that is no session to people: a sealed container that the gateway has for one MCP server, whose
/// name is its value. Nobody else can give a session a label under this prefix.
pub const SIDECAR_LABEL: &str = "dev.cofferdam.sidecar";

/// Which sessions to list. Sidecars are among them only with `all` or [`SIDECAR_LABEL`].
#[derive(Debug, Clone, Default)]
pub struct SessionFilter {
    /// Destroyed and failed ones too.
    pub all: bool,
    /// Only those that bear all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only those that were made on behalf of this one.
    pub owner: Option<String>,
}

impl SessionFilter {
    /// Whether a session of this owner and with these labels is meant, whatever its state.
    pub fn fits(&self, info: &SessionInfo) -> bool {
        let bears = |(key, value)| info.labels.get(key) == Some(value);
        let owned = self.owner.is_none() || self.owner == info.owner;
        owned && self.labels.iter().all(bears)
    }
}

/// A prompt.
#[derive(Debug, Clone, Default)]
pub struct PromptRequest {
    /// What the agent shall do, at most [`crate::agent::MAX_PROMPT_BYTES`].
    pub prompt: String,
    /// The only tools that the agent may use in this turn; what else it tries is denied. All of them when empty.
    pub tools: Vec<String>,
    /// When the turn is interrupted; `None` means never.
    pub time_limit: Option<std::time::Duration>,
    /// The same key gives the same turn: a second request does not run a second one.
    pub idempotency_key: Option<String>,
}

/// What changed in a workspace since the session began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WorkspaceDiff {
    /// The changes as a git patch (binary files included), lossily decoded; complete unless `truncated`.
    pub patch: String,
    /// The changed paths with their status letter (`A`, `M`, `D`, …), at most 10,000.
    pub files: Vec<ChangedFile>,
    /// Whether the patch was cut at its bound.
    pub truncated: bool,
}

/// One changed path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChangedFile {
    /// git's status letter.
    pub status: char,
    /// The path, relative to the workspace, lossily decoded.
    pub path: String,
}

/// Which events to read at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventQuery {
    /// Only events after this number.
    pub after: u64,
    /// At most so many, the newest ones when `tail`; at most 10,000 in any case.
    pub limit: usize,
    /// The newest instead of the oldest ones, still in ascending order.
    pub tail: bool,
}

/// What went through a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CopyReport {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
}
