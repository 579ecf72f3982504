//! The host's end of a session's loopback ports, as the core sees it.
//!
//! A gateway implementation (`session-gateway`) answers the doors of sealed sessions and holds every secret; the core
//! only hands it tunnels and asks for accounts. It is a trait so that neither knows the other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

use crate::budget::{Budget, BudgetLimit, Spending, Spent};
use crate::egress::{AllowEntry, DenialReason, EgressDecision};
use crate::error::Result;
use crate::id::{ImageRef, SessionId};
use crate::mcp::{McpPlan, McpSelection, McpStatus, ServerStatus};
use crate::runtime::{BoxedByteStream, HostMount, ResourceLimits};

/// The loopback port of the model proxy inside every session.
pub const MODEL_PORT: u16 = 9101;
/// The door of the model proxy.
pub const MODEL_DOOR: &str = "model";

/// One loopback port inside a session and the name under which its connections arrive here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayDoor {
    /// The door's name, for example [`MODEL_DOOR`].
    pub name: String,
    /// The port on 127.0.0.1 inside.
    pub port: u16,
}

/// The loopback port of the egress proxy inside every session without a network.
pub const EGRESS_PORT: u16 = 9102;
/// The door of the egress proxy.
pub const EGRESS_DOOR: &str = "egress";

/// The loopback port of the MCP endpoint inside every session that has MCP servers.
pub const MCP_PORT: u16 = 9103;
/// The door of the MCP endpoint.
pub const MCP_DOOR: &str = "mcp";

/// What a session may do at the gateway.
#[derive(Clone)]
pub struct SessionGrant {
    /// The token that the session presents. Worth nothing at any other session's doors.
    pub token: SecretString,
    /// The caller's own account at a provider for this session, instead of the gateway's.
    pub account: Option<ProviderAccount>,
    /// Whether the session has no network of its own, so that it needs the egress door.
    pub sealed: bool,
    /// The hosts that it may reach. Nothing when empty.
    pub allow: Vec<AllowEntry>,
    /// The session's own budget, beside the gateway's.
    pub budget: Budget,
    /// What it has of MCP.
    pub mcp: McpGrant,
    /// Where its accounts are kept.
    pub ledger: Arc<dyn Ledger>,
}

/// What a session has of MCP.
#[derive(Debug, Clone, Default)]
pub struct McpGrant {
    /// What was decided when it was made.
    pub plan: McpPlan,
    /// The servers that it brought itself, as the value of Claude Code's `--mcp-config`.
    pub own: Option<serde_json::Value>,
}

/// A program that speaks on its standard streams, somewhere in a container.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramSpec {
    /// The argument vector.
    pub argv: Vec<String>,
    /// Added to the environment. No secrets: it is in a container.
    pub env: BTreeMap<String, String>,
    /// Where it runs; the workspace when `None`.
    pub cwd: Option<String>,
}

/// In which container.
#[derive(Debug, Clone, PartialEq)]
pub enum ProgramPlace {
    /// In the session's own, as its user.
    Session(SessionId),
    /// In a sealed one of its own that lives as long as the program.
    Sidecar(SidecarSpec),
}

/// A container for one program.
#[derive(Debug, Clone, PartialEq)]
pub struct SidecarSpec {
    /// For whom: shown to people, and part of no path.
    pub name: String,
    /// The image; the manager's default when `None`.
    pub image: Option<ImageRef>,
    /// The hosts that it may reach. None when empty.
    pub allow: Vec<AllowEntry>,
    /// Directories of the host that it sees.
    pub mounts: Vec<HostMount>,
    /// Limits; the manager's defaults when `None`.
    pub limits: Option<ResourceLimits>,
}

/// A program that was started.
///
/// Whoever holds `stream` owns it: dropping the stream ends the program with everything that it started, and its sidecar.
/// So does the end of the manager's process, in whatever way.
pub struct RunningProgram {
    /// Its standard input (written) and output (read). The end of what is written ends its input; the end of the output is
    /// the end of the program. A program whose output is not read waits, and so does its standard error.
    pub stream: BoxedByteStream,
    /// What it writes to its standard error, in pieces; bounded: what nobody reads is dropped.
    pub stderr: BoxStream<'static, Bytes>,
    /// How it ended, in one line; known when the output ends, and after a drop of `stream` when nothing of it is left in
    /// its container.
    pub ended: BoxFuture<'static, String>,
}

impl fmt::Debug for RunningProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningProgram").finish_non_exhaustive()
    }
}

/// Starts programs in containers for the gateway: MCP servers that have no business on the host.
#[async_trait]
pub trait Programs: Send + Sync + 'static {
    /// Starts a program.
    ///
    /// # Errors
    /// `NotFound` and `StateConflict` for a session that is not there or cannot work; those of making a session for a
    /// sidecar. A program that does not exist is not an error here: its output ends at once.
    async fn start(&self, place: ProgramPlace, program: ProgramSpec) -> Result<RunningProgram>;
}

/// A caller's own account at a provider. Never stored, logged or shown.
#[derive(Debug, Clone)]
pub enum ProviderAccount {
    /// A key of the gateway's default provider.
    ApiKey(SecretString),
    /// AWS Bedrock.
    Bedrock(BedrockAccount),
}

/// Bedrock as `create_session` takes it. What is `None` comes from the host's own AWS configuration.
#[derive(Debug, Clone, Default)]
pub struct BedrockAccount {
    /// The region.
    pub region: Option<String>,
    /// The credentials.
    pub credentials: Option<AwsCredentials>,
}

/// AWS credentials.
#[derive(Debug, Clone)]
pub struct AwsCredentials {
    /// The id of the access key; no secret by itself.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: SecretString,
    /// The token of a temporary credential.
    pub session_token: Option<SecretString>,
}

/// What a session was admitted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// Its doors.
    pub doors: Vec<GatewayDoor>,
    /// The API that the agent has to speak at the model door.
    pub model_api: ModelApi,
    /// Hosts for which the egress door adds a credential, so a client inside must ask for them over plain HTTP:
    /// git and package managers are told by their environment.
    pub credential_hosts: Vec<String>,
    /// Whether there is an MCP endpoint at [`MCP_PORT`], which the agent has to be told of.
    pub mcp: bool,
}

/// The API that a model provider has. Everything in it is for the container to see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ModelApi {
    /// The Messages API.
    #[default]
    Messages,
    /// AWS Bedrock's.
    Bedrock {
        /// The region.
        region: String,
    },
    /// Google Vertex's.
    Vertex {
        /// The region.
        region: String,
        /// The project.
        project: String,
    },
}

/// What a gateway keeps about a session, and asks of it. The core implements it on the store; what it acknowledges is
/// durable, and every process that serves the session sees it.
#[async_trait]
pub trait Ledger: Send + Sync + 'static {
    /// What was used so far. Cheap: asked before every request.
    async fn spent(&self) -> Result<Spent>;

    /// Adds to the accounts, of the session and of today.
    async fn charge(&self, spending: Spending) -> Result<()>;

    /// What people decided about hosts: for this session and for all, newest first.
    async fn decisions(&self) -> Result<Vec<EgressDecision>>;

    /// Records what happened at a door, as an event of the session; a denial that a person can change becomes a request
    /// that waits. The gateway keeps repetitions down.
    async fn record(&self, event: DoorEvent) -> Result<()>;
}

/// What happens at doors and is worth an event. Names come from the session: hostile, bounded by the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DoorEvent {
    /// A host was reached.
    EgressAllowed {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// By which rule, as it is written.
        rule: String,
    },
    /// A host was denied.
    EgressDenied {
        /// The host as asked for, escaped and cut.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        reason: DenialReason,
    },
    /// A request was refused because a budget is spent.
    BudgetSpent {
        /// Which limit.
        limit: BudgetLimit,
        /// Of the day; of the session otherwise.
        today: bool,
    },
    /// The provider fails in a way that a person should know of.
    ModelFailing {
        /// How.
        failure: ModelFailure,
    },
    /// Requests go to another provider since now.
    ProviderChanged {
        /// Its name in the configuration.
        to: String,
    },
    /// An MCP server of the session changed its state. Told when the session has to do with it: not each time it idles.
    McpServer {
        /// Its state since then.
        status: ServerStatus,
    },
}

/// How a provider fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ModelFailure {
    /// It cannot be reached, or broke off.
    Unreachable,
    /// It answers that it has too much to do (429, 529, 503).
    Overloaded,
    /// It refuses the credential (401, 403).
    Unauthorized,
    /// It does not answer in time.
    Silent,
    /// It answers with another error.
    Failing,
}

/// What goes on at the model door of a session, for whoever judges whether its agent hangs. Ages are in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelActivity {
    /// Requests that wait for the provider or receive its answer.
    pub under_way: u32,
    /// Requests that wait here for their turn.
    pub queued: u32,
    /// Since when nothing has moved on any request; `None` when none is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
    /// How long ago the last request ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// How the last request failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<ModelFailure>,
    /// How many requests in a row failed.
    pub failures: u32,
}

/// What a session used so far, as counted at the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelUsage {
    /// Requests that went out to the provider.
    pub requests: u64,
    /// Input tokens, cached ones apart.
    pub input_tokens: u64,
    /// Output tokens.
    pub output_tokens: u64,
    /// Input tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Input tokens written to the provider's cache.
    pub cache_creation_tokens: u64,
}

/// Answers the doors of sessions.
#[async_trait]
pub trait Gateway: Send + Sync + 'static {
    /// Starts to serve a session and says what it has. Replaces an earlier grant of the same session.
    ///
    /// # Errors
    /// `InvalidArgument` for an account that cannot be used or a preset that does not exist, `Unsupported` for a provider
    /// that this gateway cannot speak to.
    async fn admit(&self, session: &SessionId, grant: SessionGrant) -> Result<Admission>;

    /// Serves one connection that came in at `door` until either side ends it. Never fails towards the core: what goes
    /// wrong is told to the session in the protocol of the door. Dropping the future cuts the connection.
    fn serve(&self, session: &SessionId, door: &str, tunnel: BoxedByteStream) -> BoxFuture<'static, ()>;

    /// What the session used since it was admitted here.
    fn usage(&self, session: &SessionId) -> ModelUsage;

    /// Decides what a session that is to be made has of MCP. Asks no server.
    ///
    /// # Errors
    /// `InvalidArgument` for servers or a profile that do not exist or that the operator does not let be used, for
    /// servers of its own that cannot be used or have the name of one of the operator's.
    async fn plan_mcp(&self, selection: &McpSelection, own: Option<&serde_json::Value>) -> Result<McpPlan>;

    /// The MCP servers of a session, or all that the operator declared when `None`; without starting any, or changing
    /// what is known of them.
    async fn mcp_status(&self, session: Option<&SessionId>) -> McpStatus;

    /// Told once, before any session is admitted: who starts programs in containers. Holds it for as long as it serves.
    fn attach(&self, programs: Arc<dyn Programs>);

    /// What goes on at its model door now.
    fn activity(&self, session: &SessionId) -> ModelActivity;

    /// Forgets the session: its token is worth nothing from now on and open connections end.
    async fn dismiss(&self, session: &SessionId);

    /// Ends what it holds beside sessions, MCP servers and whatever they started, and starts none any more. Told once, when
    /// the manager stops; sessions may be admitted still. Within a second or two: the manager does not wait much longer,
    /// and what has not ended by itself by then is ended by force.
    async fn shutdown(&self) {}
}
