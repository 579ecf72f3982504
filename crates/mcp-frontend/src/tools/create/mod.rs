//! `create_session`.

mod account;
mod reach;
mod request;
mod servers;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::gateway::ProviderAccount;
use session_core::id::ContainerName;
use session_core::session::{SessionInfo, WorkspaceSource};

use super::{Hints, SessionView, Spec, Tool};
use crate::args::{Count, Cpus, Minutes, Seconds, Secret, Size, Usd};
use crate::call::{Call, Stop};
use crate::making;

pub(super) use self::reach::{Limits, Reach};
pub(super) use self::request::limits;
pub(super) use self::servers::{Servers, own};

/// See the module.
pub(super) struct CreateSession;

/// What `create_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// Absolute path of a project directory on this host. Mounted at /workspace unless `workspace` says otherwise. Leave it out for an empty workspace.
    project_path: Option<String>,
    /// A name for people; not unique.
    session_name: Option<String>,
    /// A provider key for this session alone. It stays on the host and never enters the session.
    api_key: Option<Secret>,
    /// true: this session uses the model through AWS Bedrock. Requests are signed on the host; no credential enters the session.
    use_bedrock: Option<bool>,
    /// With useBedrock: the region. That of the host's AWS configuration when absent.
    aws_region: Option<String>,
    /// With useBedrock: the account of this session alone. That of the host's AWS configuration when none of the three is given.
    aws_access_key_id: Option<Secret>,
    /// With awsAccessKeyId.
    aws_secret_access_key: Option<Secret>,
    /// With awsAccessKeyId, for temporary credentials.
    aws_session_token: Option<Secret>,
    /// With useBedrock: the model's id or inference profile.
    bedrock_model: Option<String>,
    /// With useBedrock: the model for small tasks.
    bedrock_small_model: Option<String>,
    /// Further directories or files of this host to show inside.
    #[serde(default)]
    mcp_mounts: Vec<McpMount>,
    /// Names of MCP servers of the operator that the agent may use, beside those of the profile. Their secrets stay on the host.
    #[serde(default)]
    mcp_servers: Vec<String>,
    /// The operator's profile of MCP servers; "default", if there is one, when neither it nor mcpServers is given.
    mcp_profile: Option<String>,
    /// Only these tools of theirs: "server__tool" or "server__*".
    #[serde(default)]
    mcp_tools: Vec<String>,
    /// true: none of the operator's MCP servers.
    no_mcp: Option<bool>,
    /// MCP servers that the session brings itself, as in a `.mcp.json` file: {"mcpServers": {"name": {"command": …}}}. They run inside the session. No secrets: whatever runs inside can read it.
    #[schemars(with = "Option<McpConfig>")]
    mcp_config: Option<Value>,
    /// true: the agent may use only tools that were allowed. false (default): it may use all; the container is the wall.
    strict_permissions: Option<bool>,
    /// mount: the agent changes projectPath itself. copy: it works on a copy (without what .gitignore excludes) and projectPath stays as it is. clone: repositoryUrl is cloned inside.
    workspace: Option<Workspace>,
    /// A repository (https://…) to clone into the workspace. A sealed session reaches its host only when `allow` names it, or the preset "git".
    repository_url: Option<String>,
    /// The branch, tag or commit of repositoryUrl.
    #[serde(rename = "ref")]
    reference: Option<String>,
    /// The container image. Any image works.
    image: Option<String>,
    /// The model for the agent.
    model: Option<String>,
    /// sealed (default): nothing but the model. allow: the hosts in `allow`, too; giving `allow` is enough. open: unrestricted network, which the operator may forbid.
    network: Option<Network>,
    /// Hosts that the session may reach: "docs.example.com", "*.example.com", "host.example.com:8443", or the presets npm, pypi, crates, debian, git.
    #[serde(default)]
    allow: Vec<String>,
    /// The most money in US dollars that it may spend on the model.
    budget_usd: Option<Usd>,
    /// The most tokens of all kinds.
    budget_tokens: Option<Count>,
    /// The most requests to the model.
    budget_requests: Option<Count>,
    /// The most minutes with a request to the model under way.
    budget_minutes: Option<Minutes>,
    /// Memory, for example "2g".
    memory: Option<Size>,
    /// CPUs, for example 1.5.
    cpus: Option<Cpus>,
    /// The most processes and threads.
    pids: Option<Count>,
    /// Destroy the session when it had nothing to do for so long. One that works is never idle.
    idle_timeout_seconds: Option<Seconds>,
    /// Destroy the session so long after it was made, whatever it does.
    max_life_seconds: Option<Seconds>,
    /// true: do not destroy it for idleness when its last prompt failed.
    keep_on_failure: Option<bool>,
    /// What becomes of it when its container is lost. stop (default): it stays interrupted until resume_session. resume: it comes back by itself.
    on_interrupt: Option<Interruption>,
    /// How long creation may take, fetching the image and cloning included.
    timeout_seconds: Option<Seconds>,
    /// The same key gives the same session: send it again after a failure or timeout without making a second one.
    idempotency_key: Option<String>,
    /// Labels for your own use; list_sessions can filter by them.
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A further directory.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct McpMount {
    /// Absolute path on this host.
    host_path: String,
    /// Absolute path inside.
    container_path: String,
    /// Whether the session may only read it.
    #[serde(default = "yes")]
    read_only: bool,
}

fn yes() -> bool {
    true
}

/// The form of `mcpConfig`, for the schema.
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct McpConfig {
    /// Servers by name.
    mcp_servers: BTreeMap<String, Value>,
}

/// Where the workspace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Workspace {
    /// The host's directory itself.
    Mount,
    /// A copy of it.
    Copy,
    /// A repository.
    Clone,
}

/// What a session may reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Network {
    /// Nothing but the model.
    Sealed,
    /// The model and the hosts that are allowed.
    Allow,
    /// Everything.
    Open,
}

/// What becomes of a session whose container is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Interruption {
    /// It stays interrupted.
    Stop,
    /// It comes back.
    Resume,
}

/// What `create_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// What to do next.
    message: String,
    /// The container's name on the engine.
    container_name: String,
    /// The project directory on this host, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    project_path: Option<String>,
    /// Whether it has an account of its own at AWS Bedrock.
    use_bedrock: bool,
    /// Further directories of the host.
    mcp_mounts: Vec<McpMount>,
    /// The session. Its sessionId is what all other tools take.
    #[serde(flatten)]
    session: SessionView,
}

impl Output {
    fn new(info: &SessionInfo, use_bedrock: bool) -> Self {
        let project_path = match &info.workspace {
            WorkspaceSource::Mount { path } | WorkspaceSource::Copy { path } => {
                Some(path.display().to_string())
            }
            _ => None,
        };
        Self {
            message: format!(
                "Session {} is ready. Next: execute_in_session gives its agent work, execute_command runs a program \
                 in it, get_session_diff shows what changed, destroy_session removes it.",
                info.id
            ),
            container_name: ContainerName::of(&info.id).to_string(),
            project_path,
            use_bedrock,
            mcp_mounts: info
                .mounts
                .iter()
                .map(|mount| McpMount {
                    host_path: mount.source.display().to_string(),
                    container_path: mount.target.clone(),
                    read_only: mount.read_only,
                })
                .collect(),
            session: SessionView::new(info),
        }
    }
}

impl Tool for CreateSession {
    const SPEC: Spec = Spec {
        name: "create_session",
        title: "Create a session",
        description: "Starts a sealed container with a coding agent (Claude Code) in it and waits until it is ready. \
            Use it once per piece of work, then give the agent work with execute_in_session. For one single task with \
            nothing to follow, spawn_claude_container does everything in one call.",
        hints: Hints {
            read_only: false,
            destructive: false,
            idempotent: false,
            open_world: true,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let limit = args
            .timeout_seconds
            .map_or(call.core.options.create_timeout, Seconds::duration);
        let request = request::build(args, call)?;
        let use_bedrock = matches!(request.account, Some(ProviderAccount::Bedrock(_)));
        let info = making::make(call, request, limit).await?;
        Ok(Output::new(&info, use_bedrock))
    }
}
