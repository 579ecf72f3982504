//! Agents: the coding CLIs in sessions, behind a driver that is nothing but a translation.
//!
//! A driver says how the agent's process is started and turns its lines into [`AgentSignal`]s and our wishes into
//! lines. It does no I/O and keeps no clock: the session's task owns the process and calls the driver. What the agent
//! writes is an attacker's; a driver never fails on it and keeps what it does not know.

mod claude;

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use secrecy::SecretString;

pub use self::claude::ClaudeCode;
use crate::event::EventKind;
use crate::gateway::ModelApi;
use crate::id::TurnId;
use crate::session::PermissionMode;
use crate::turn::TurnOutcome;

/// The longest prompt, in bytes: what fits into a model's context with room to spare.
pub const MAX_PROMPT_BYTES: usize = 4 << 20;
/// The longest text of a tool's result in an event, in bytes. The agent has the whole; the log keeps the start.
pub const MAX_TOOL_RESULT_BYTES: usize = 16 << 10;
/// The longest line of an agent that is parsed, in bytes. A longer one is cut and kept as unknown.
pub const MAX_LINE_BYTES: usize = 16 << 20;

/// What a driver needs to know to start its agent.
#[derive(Debug, Clone)]
pub struct AgentContext {
    /// The model proxy as seen from inside, for example `http://127.0.0.1:9101`.
    pub model_url: String,
    /// The API that the model proxy has.
    pub model_api: ModelApi,
    /// The session's token at the gateway; the only credential that an agent ever sees.
    pub token: SecretString,
    /// The model, when one was asked for.
    pub model: Option<String>,
    /// The model for small tasks, when one was asked for.
    pub small_model: Option<String>,
    /// Whether it asks before it uses a tool.
    pub permissions: PermissionMode,
    /// The gateway's MCP endpoint as seen from inside, when there is one: `http://127.0.0.1:9103/mcp`. It takes `token`.
    pub mcp_url: Option<String>,
    /// The only tools that it may use; all of them when empty.
    pub allowed_tools: Vec<String>,
    /// The session's environment; the driver's own variables win.
    pub env: BTreeMap<String, String>,
    /// The conversation to go on with, as an earlier [`AgentSignal::Ready`] named it.
    pub resume: Option<String>,
}

/// How an agent's process is started.
#[derive(Debug, Clone)]
pub struct AgentLaunch {
    /// The argument vector.
    pub argv: Vec<String>,
    /// The whole environment. The token in it is the session's own.
    pub env: BTreeMap<String, String>,
}

/// Where an agent's own interface left the conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceLeft {
    /// The name by which it can be resumed.
    pub conversation: String,
    /// The file inside that holds it once something was said.
    pub transcript: String,
}

/// What a line of an agent means.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentSignal {
    /// It is up; the name of its conversation, when it says so.
    Ready {
        /// The name by which the conversation can be resumed.
        conversation: Option<String>,
    },
    /// Something for the log.
    Event(EventKind),
    /// It cannot resume the conversation that it was told to resume, did nothing, and ends.
    ConversationLost,
    /// The running turn ended. Its `cost_usd` is what the process has cost since it started or, when it resumed one, the
    /// conversation: the session's task subtracts what earlier turns had.
    TurnEnded(TurnOutcome),
    /// The agent took an interrupt.
    Interrupted,
}

/// Translates between a session and one kind of agent.
pub trait AgentDriver: fmt::Debug + Send + Sync + 'static {
    /// The agent's name, for example `claude`.
    fn name(&self) -> &'static str;

    /// How to start it.
    fn launch(&self, context: &AgentContext) -> AgentLaunch;

    /// How its own interface is started, for a person at a terminal; `None` when it has none. It keeps at `note`, a path
    /// inside, what [`AgentDriver::interface_left`] reads. It asks for nothing before it takes the first prompt.
    fn interface(&self, context: &AgentContext, note: &str) -> Option<AgentLaunch> {
        let _ = (context, note);
        None
    }

    /// Where the interface left the conversation, as far as its note says.
    fn interface_left(&self, note: &[u8]) -> Option<InterfaceLeft> {
        let _ = note;
        None
    }

    /// The bytes that give it a prompt. An agent that knows `turn` already does not work on it again.
    fn prompt(&self, turn: &TurnId, text: &str) -> Bytes;

    /// The bytes that interrupt it; `id` is unique within the session.
    fn interrupt(&self, id: u64) -> Bytes;

    /// What a line means, without its line end. Never fails: what is not known becomes [`EventKind::AgentOther`].
    fn parse(&self, line: &[u8]) -> Vec<AgentSignal>;
}
