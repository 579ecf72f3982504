//! Events: typed facts about a session, numbered without gaps.
//!
//! An event is stored before anybody sees it. A client that remembers the last number it saw resumes from there and
//! gets every event once. Texts in events come from agents and models: they are data, never instructions, and a front
//! end escapes them for wherever it shows them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::activity::{StallAction, StallCause};
use crate::budget::BudgetLimit;
use crate::egress::{DenialReason, HostRule};
use crate::error::ErrorReport;
use crate::gateway::ModelFailure;
use crate::id::{CheckpointId, CommandId, SessionId, TurnId};
use crate::lifetime::ExpiryCause;
use crate::mcp::ServerStatus;
use crate::state::{InterruptCause, SessionState};
use crate::turn::TurnOutcome;

/// One fact about a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Event {
    /// The session.
    pub session: SessionId,
    /// The number in the session's sequence, from 1, without gaps.
    pub seq: u64,
    /// When it was recorded.
    pub at: Timestamp,
    /// The turn to which it belongs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub turn: Option<TurnId>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What can happen. Serialised with the tag `event`; readers skip kinds and fields that they do not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The session changed its state.
    StateChanged {
        /// The state since then.
        #[serde(flatten)]
        to: SessionState,
    },
    /// Preparation of the image or the workspace went on.
    Progress {
        /// What is being done, one line.
        message: String,
    },
    /// A turn was accepted.
    TurnQueued {
        /// The prompt.
        prompt: String,
    },
    /// The prompt was handed to the agent.
    TurnStarted,
    /// The turn ended.
    TurnFinished {
        /// How.
        outcome: TurnOutcome,
    },
    /// The agent's process is up and told what it has.
    AgentReady {
        /// The model that it uses.
        model: Option<String>,
        /// The names of its tools.
        tools: Vec<String>,
    },
    /// The agent said something.
    AgentText {
        /// Its words.
        text: String,
    },
    /// The agent thought aloud.
    AgentThinking {
        /// Its words.
        text: String,
    },
    /// The agent called a tool.
    ToolCall {
        /// The call's id, to find its result.
        id: String,
        /// The tool.
        tool: String,
        /// Its input, as the agent wrote it.
        input: Value,
    },
    /// A tool answered.
    ToolResult {
        /// The call's id.
        id: String,
        /// Whether the tool says that it failed.
        is_error: bool,
        /// What it answered, at most [`crate::agent::MAX_TOOL_RESULT_BYTES`]; the agent has the whole.
        text: String,
    },
    /// The agent retries a request to its model.
    ModelRetry {
        /// Which attempt failed, from 1.
        attempt: u64,
        /// How long it waits before the next, in milliseconds.
        delay_ms: u64,
        /// What the provider said.
        reason: String,
    },
    /// The agent asks whether it may use a tool, and waits for the answer.
    PermissionAsked {
        /// The id of the tool's call.
        call: String,
        /// The tool.
        tool: String,
    },
    /// The turn does not get on, and this is what is done about it. Told once, and again when more is done.
    AgentStalled {
        /// What it hangs on.
        cause: StallCause,
        /// For how long, in milliseconds.
        for_ms: u64,
        /// What is done about it.
        action: StallAction,
    },
    /// The turn gets on again. A turn that ended with its stall says so by its outcome alone.
    AgentRecovered {
        /// What it hung on.
        cause: StallCause,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// The agent wrote to its standard error.
    AgentStderr {
        /// One or more lines, lossily decoded.
        text: String,
    },
    /// The agent's process ended.
    AgentExited {
        /// How, in one line.
        cause: String,
    },
    /// The agent said something that this version does not know; kept as it came.
    AgentOther {
        /// The line, as JSON when it was JSON, else as a string.
        raw: Value,
    },
    /// Output of the agent was lost because nobody read it for too long.
    AgentOutputLost {
        /// How many bytes.
        bytes: u64,
    },
    /// A command was started.
    CommandStarted {
        /// The command.
        command: CommandId,
        /// Its argument vector, lossily decoded and cut to a bounded length.
        argv: Vec<String>,
    },
    /// A command ended.
    CommandFinished {
        /// The command.
        command: CommandId,
        /// Its exit code, when it has one.
        code: Option<i32>,
        /// The signal that ended it, when one did.
        signal: Option<i32>,
        /// How it ended, as in [`crate::command::ExitCause`].
        cause: crate::command::ExitCause,
    },
    /// Files went in or came out.
    FilesCopied {
        /// `true` into the session, `false` out of it.
        inward: bool,
        /// The path inside.
        path: String,
        /// How many bytes of content.
        bytes: u64,
        /// How many entries.
        entries: u64,
    },
    /// A host was reached through the egress door.
    EgressAllowed {
        /// The host.
        host: String,
        /// The port.
        port: u16,
        /// By which rule, as it is written.
        rule: String,
    },
    /// A host was denied at the egress door.
    EgressDenied {
        /// The host as it was asked for, escaped and cut.
        host: String,
        /// The port.
        port: u16,
        /// Why.
        reason: DenialReason,
    },
    /// A person decided about hosts.
    EgressDecided {
        /// Which hosts.
        rule: HostRule,
        /// Whether they may be reached since then.
        allow: bool,
        /// For every session, not for this one alone.
        for_all: bool,
    },
    /// A request to the model was refused because a budget is spent.
    BudgetSpent {
        /// Which limit was reached.
        limit: BudgetLimit,
        /// Of the day's budget; of the session's otherwise.
        today: bool,
    },
    /// The model's provider fails in a way that a person should know of.
    ModelFailing {
        /// How.
        failure: ModelFailure,
    },
    /// Requests to the model go to another provider since then.
    ProviderChanged {
        /// Its name in the gateway's configuration.
        to: String,
    },
    /// An MCP server of the session changed its state.
    McpServer {
        /// Its state since then.
        #[serde(flatten)]
        status: ServerStatus,
    },
    /// The session ends by itself.
    Expired {
        /// Why.
        cause: ExpiryCause,
    },
    /// The session came back after its container was lost: same workspace, same conversation.
    Recovered {
        /// What had happened.
        cause: InterruptCause,
        /// Whether the workspace had to be brought back from a checkpoint, and from which.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        checkpoint: Option<CheckpointId>,
    },
    /// The uncommitted work was kept.
    CheckpointTaken {
        /// As what.
        checkpoint: CheckpointId,
        /// How many paths it changes.
        files: u64,
        /// The size of the patch in bytes.
        bytes: u64,
    },
    /// Something failed that no caller waits for.
    Problem {
        /// What.
        error: ErrorReport,
    },
}

impl EventKind {
    /// Whether nothing more is expected to happen to the session.
    pub(crate) fn ends_session(&self) -> bool {
        matches!(self, Self::StateChanged { to } if to.has_ended())
    }
}
