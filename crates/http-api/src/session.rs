//! What a session shall be.
//!
//! These types repeat the core's because the wire is stricter: each refuses fields that it does not know and states its
//! bounds. Conversions go both ways, so that the client of a manager sends what its caller asked for and nothing else.

mod account;
mod limits;
mod mcp;
mod texts;
mod workspace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_core::egress::AllowEntry;
use session_core::error::{Error, ErrorKind, Result};
use session_core::id::ImageRef;
use session_core::lifetime::OnInterrupt;
use session_core::runtime::NetworkMode;
use session_core::session::{CreateSession, PermissionMode};
use utoipa::ToSchema;

use crate::object::objects;

pub use self::account::{AccountBody, CredentialsBody};
pub use self::limits::{BudgetBody, LifetimeBody, LimitsBody};
pub use self::mcp::McpBody;
pub use self::texts::{
    AllowText, Environment, HostRuleText, LabelText, Labels, McpConfig, McpToolText, ToolName,
};
pub use self::workspace::{MountBody, WorkspaceBody};

/// A session to be made. Everything has a default: `{}` is a sealed session with an empty workspace in the default image.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"name": "fix the parser", "labels": {"team": "compilers"}}))]
pub struct CreateSessionBody {
    /// A name for people; one line, not unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[!-~][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 128
    )]
    pub name: Option<String>,
    /// What is at `/workspace`.
    #[serde(default)]
    pub workspace: WorkspaceBody,
    /// The image; the server's default when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageRef>,
    /// What it can reach by itself.
    #[serde(default)]
    pub network: NetworkMode,
    /// Limits; the server's defaults when they are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsBody>,
    /// Further directories of the host, each with a target of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub mounts: Vec<MountBody>,
    /// The model, when not the agent's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", max_length = 256)]
    pub model: Option<String>,
    /// The model for small tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", max_length = 256)]
    pub small_model: Option<String>,
    /// Environment of the agent and of commands. No secrets: whatever runs inside can read it, and what looks like one is
    /// refused.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Environment)]
    pub env: BTreeMap<String, String>,
    /// Labels for the caller's own use. Those under `dev.cofferdam.` are kept for ours.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Labels)]
    pub labels: BTreeMap<String, String>,
    /// On whose behalf it is made. With a token of the scope `use` it is the token's name, and only that may be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[!-~][^\x00-\x1f\x7f-\x9f]*$",
        min_length = 1,
        max_length = 128
    )]
    pub owner: Option<String>,
    /// The caller's own account at a provider, for this session alone. It stays in the memory of the server.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "account::quietly"
    )]
    pub account: Option<AccountBody>,
    /// The hosts that a sealed session may reach: presets such as `npm`, and rules such as `*.example.com:8443`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<AllowText>, max_items = 256)]
    pub allow: Vec<AllowEntry>,
    /// How much of the model it may use in its whole life.
    #[serde(default, skip_serializing_if = "BudgetBody::is_unlimited")]
    pub budget: BudgetBody,
    /// The same key gives the same session. The header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
    /// Whether the agent asks before it uses a tool.
    #[serde(default)]
    pub permissions: PermissionMode,
    /// MCP servers that the session brings itself, as the value of `--mcp-config`. No secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<McpConfig>)]
    pub mcp_config: Option<serde_json::Value>,
    /// Which of the operator's MCP servers it may use.
    #[serde(default, skip_serializing_if = "McpBody::is_default")]
    pub mcp: McpBody,
    /// Starts the agent at once, so that the first prompt does not wait for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub warm_agent: bool,
    /// When it ends by itself.
    #[serde(default, skip_serializing_if = "LifetimeBody::is_default")]
    pub lifetime: LifetimeBody,
    /// What becomes of it when its container ends although nobody asked for it.
    #[serde(default, skip_serializing_if = "OnInterrupt::is_stop")]
    pub on_interrupt: OnInterrupt,
}

impl From<CreateSessionBody> for CreateSession {
    fn from(body: CreateSessionBody) -> Self {
        Self {
            name: body.name,
            workspace: body.workspace.into(),
            image: body.image,
            network: body.network,
            limits: body.limits.map(Into::into),
            mounts: body.mounts.into_iter().map(Into::into).collect(),
            model: body.model,
            small_model: body.small_model,
            env: body.env,
            labels: body.labels,
            owner: body.owner,
            account: body.account.map(Into::into),
            allow: body.allow,
            budget: body.budget.into(),
            idempotency_key: body.idempotency_key,
            permissions: body.permissions,
            mcp_config: body.mcp_config,
            mcp: body.mcp.into(),
            warm_agent: body.warm_agent,
            lifetime: body.lifetime.into(),
            on_interrupt: body.on_interrupt,
        }
    }
}

/// Fails for paths of the host that are no UTF-8: JSON cannot carry them.
impl TryFrom<CreateSession> for CreateSessionBody {
    type Error = Error;

    fn try_from(request: CreateSession) -> Result<Self> {
        Ok(Self {
            name: request.name,
            workspace: request.workspace.try_into()?,
            image: request.image,
            network: request.network,
            limits: request.limits.map(Into::into),
            mounts: request
                .mounts
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_>>()?,
            model: request.model,
            small_model: request.small_model,
            env: request.env,
            labels: request.labels,
            owner: request.owner,
            account: request.account.map(Into::into),
            allow: request.allow,
            budget: request.budget.into(),
            idempotency_key: request.idempotency_key,
            permissions: request.permissions,
            mcp_config: request.mcp_config,
            mcp: request.mcp.into(),
            warm_agent: request.warm_agent,
            lifetime: request.lifetime.into(),
            on_interrupt: request.on_interrupt,
        })
    }
}

/// A path of the host as JSON can carry it.
fn utf8(path: std::path::PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| {
        Error::new(
            ErrorKind::InvalidArgument,
            "send the request",
            "a path of the host is not UTF-8",
        )
        .with_context("path", path.to_string_lossy().escape_debug())
        .with_hint("rename it, or work without the daemon")
    })
}

objects!(CreateSessionBody);
