//! Turns: one prompt and everything up to its result.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::ErrorReport;
use crate::id::{SessionId, TurnId};

/// Where a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum TurnStatus {
    /// Accepted, waiting for its place.
    Queued,
    /// Handed to the agent.
    Running,
    /// The agent finished it.
    Succeeded,
    /// It ended without a result; the outcome names the cause.
    Failed,
    /// Somebody interrupted it.
    Interrupted,
}

impl TurnStatus {
    /// Whether the turn has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Interrupted)
    }
}

/// A turn as callers see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TurnInfo {
    /// The turn.
    pub id: TurnId,
    /// Its session.
    pub session: SessionId,
    /// Where it is.
    pub status: TurnStatus,
    /// The prompt.
    pub prompt: String,
    /// The only tools that the agent may use; all of them when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The number of the first event of this turn: read events from here to see all of it.
    pub first_event: u64,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// After how many milliseconds of work it is interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_limit_ms: Option<u64>,
    /// How it ended, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<TurnOutcome>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TurnOutcome {
    /// [`TurnStatus::Succeeded`], [`TurnStatus::Failed`] or [`TurnStatus::Interrupted`].
    pub status: TurnStatus,
    /// The agent's final words.
    pub text: String,
    /// Tokens, as the agent counted them.
    pub usage: TokenUsage,
    /// Cost in US dollars, as the agent reckons it; `None` when it does not say.
    pub cost_usd: Option<f64>,
    /// How often the model was asked.
    pub model_calls: u64,
    /// From handing over the prompt to the result, in milliseconds.
    pub duration_ms: u64,
    /// Tool calls that were denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub permission_denials: Vec<String>,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TurnFailure>,
}

/// Why a turn failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TurnFailure {
    /// What a caller can act on.
    pub cause: TurnFailureCause,
    /// Code, message and hint.
    #[serde(flatten)]
    pub error: ErrorReport,
}

/// The causes of failed turns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TurnFailureCause {
    /// The provider does not accept the credential (401, 403), or there is none.
    ModelUnauthorized,
    /// The provider refuses for now (429, 529).
    ModelOverloaded,
    /// The provider failed or answered what is no answer.
    ModelFailed,
    /// The provider cannot be reached.
    ModelUnreachable,
    /// The agent stopped at a limit of its own (turns, budget).
    AgentLimit,
    /// The agent reported an error while it worked.
    AgentError,
    /// The agent's process ended in the middle.
    AgentDied,
    /// The agent's process was ended for lack of memory.
    OutOfMemory,
    /// The turn's time limit passed.
    TimedOut,
    /// The session's container went away.
    SessionLost,
    /// The manager that ran the turn went away and what became of the turn is not known.
    OwnerLost,
    /// The watchdog ended it: the agent said nothing, although nothing kept it waiting.
    AgentSilent,
    /// The watchdog ended it: the agent asked whether it may use a tool, and nobody answered.
    WaitingForPermission,
    /// The watchdog ended it: a tool ran for too long.
    ToolRunning,
}

/// Tokens that a turn used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenUsage {
    /// Input tokens, cached ones apart.
    pub input: u64,
    /// Output tokens.
    pub output: u64,
    /// Input tokens read from the cache.
    pub cache_read: u64,
    /// Input tokens written to the cache.
    pub cache_creation: u64,
}

impl std::ops::AddAssign for TokenUsage {
    fn add_assign(&mut self, other: Self) {
        self.input = self.input.saturating_add(other.input);
        self.output = self.output.saturating_add(other.output);
        self.cache_read = self.cache_read.saturating_add(other.cache_read);
        self.cache_creation = self.cache_creation.saturating_add(other.cache_creation);
    }
}
