//! What a session's agent is doing, and on what it may hang.
//!
//! People ask two things of an agent that has been quiet for a while: is it at work, and if not, whose fault is it? The
//! answer is put together from what the agent says ([`Course`]) and from what goes on at its model door
//! ([`ModelActivity`]). Like the rules of a session's states it is a pure function: no clock, no lock, no I/O. Ages come
//! in as milliseconds, so a session's task, another process and a test judge alike.
//!
//! What the agent says is hostile: it can pretend to work, and then it is left alone until its turn's time limit. It can
//! never make the judgement fail, and what is remembered of it is bounded.

mod course;
mod policy;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::course::{Course, Told};
pub use self::policy::{Remedy, StallRule, WatchdogPolicy};
use crate::gateway::{ModelActivity, ModelFailure};

/// By how much what the agent announced and what the gateway saw may differ, in milliseconds.
const SLACK_MS: u64 = 1000;

/// What a session's agent is doing. Serialised with the tag `kind`; readers skip kinds and fields that they do not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activity {
    /// Nothing is asked of it.
    Idle,
    /// It has a prompt, or is about to get one, and has not begun to speak.
    Starting,
    /// It asked the model and waits for it, or for the time to ask again.
    WaitingForModel {
        /// For how long nothing has come from the model, in milliseconds.
        silent_ms: u64,
    },
    /// Its request to the model waits at the gateway for its place.
    ModelQueued {
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// A tool runs.
    ToolRunning {
        /// The tool that was called last.
        tool: String,
        /// For how long it has been running, in milliseconds.
        for_ms: u64,
    },
    /// It asked whether it may use a tool.
    WaitingForPermission {
        /// The tool.
        tool: String,
        /// How long ago it asked, in milliseconds.
        for_ms: u64,
    },
    /// It is at it by itself: neither the model nor a tool is known to be at work.
    Working {
        /// For how long it has said nothing, in milliseconds.
        quiet_ms: u64,
    },
}

/// On what a turn hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StallCause {
    /// The model's provider cannot be reached, or has not sent anything for too long.
    ModelUnreachable,
    /// The model's provider has too much to do, or our share of it has.
    ModelOverloaded,
    /// The agent says nothing, although no model, tool or person keeps it waiting.
    AgentSilent,
    /// The agent asked whether it may use a tool, and nobody answers.
    WaitingForPermission,
    /// A tool has been running for very long.
    ToolRunning,
}

impl StallCause {
    /// Every cause.
    pub const ALL: [Self; 5] = [
        Self::ModelUnreachable,
        Self::ModelOverloaded,
        Self::AgentSilent,
        Self::WaitingForPermission,
        Self::ToolRunning,
    ];

    /// The cause as it is stored and shown, `snake_case`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ModelUnreachable => "model_unreachable",
            Self::ModelOverloaded => "model_overloaded",
            Self::AgentSilent => "agent_silent",
            Self::WaitingForPermission => "waiting_for_permission",
            Self::ToolRunning => "tool_running",
        }
    }
}

/// What is done about a stall; a later one does more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum StallAction {
    /// An event says so.
    Tell,
    /// The agent is interrupted, as a caller would do it.
    Interrupt,
    /// The agent's process is ended and started again with its conversation. What it was at is not repeated.
    Restart,
}

/// What is known about a session at one moment. Ages are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// The turn that runs.
    pub turn: Option<TurnFacts>,
    /// What goes on at the model door; `None` when another process serves it.
    pub model: Option<ModelActivity>,
    /// For how long requests to the model have waited at the gateway while none was under way.
    pub queued_ms: u64,
}

/// What a turn's course tells about it at one moment; see [`Course::facts`]. Ages are in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TurnFacts {
    /// Whether the agent has said anything in it.
    pub begun: bool,
    /// For how long it has said nothing whatever.
    pub quiet_ms: u64,
    /// For how long it has not got on: no words, no call and no result of a tool.
    pub stuck_ms: u64,
    /// The tool that was called last and has not answered.
    pub tool: Option<OpenCall>,
    /// The tool for which it asked permission and that it did not get.
    pub permission: Option<OpenCall>,
    /// It announced to ask the model again, and said nothing after that.
    pub retry: Option<Retrying>,
}

/// Something that was asked for and not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpenCall {
    /// The tool.
    pub tool: String,
    /// How long ago, in milliseconds.
    pub for_ms: u64,
}

/// What the agent says about the model while it tries again. Ages are in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retrying {
    /// What is at fault; `None` for what the agent tells by itself in the end.
    pub fault: Option<StallCause>,
    /// For how long this has been at fault.
    pub for_ms: u64,
    /// How long ago it said so last.
    pub latest_ms: u64,
    /// How long it wanted to wait then.
    pub delay_ms: u64,
}

/// What a turn may hang on. Whether that is long enough to be worth a word is the policy's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suspicion {
    /// On what.
    pub cause: StallCause,
    /// For how long, in milliseconds.
    pub for_ms: u64,
}

impl Facts {
    /// What the agent is doing, and what it may hang on.
    pub fn judge(&self) -> (Activity, Option<Suspicion>) {
        let Some(turn) = &self.turn else {
            return (Activity::Idle, None);
        };
        if let Some(asked) = &turn.permission {
            let activity = Activity::WaitingForPermission {
                tool: asked.tool.clone(),
                for_ms: asked.for_ms,
            };
            let unanswered = suspicion(StallCause::WaitingForPermission, asked.for_ms);
            return (activity, Some(unanswered));
        }
        if let Some(judgement) = self.judge_model(turn) {
            return judgement;
        }
        if let Some(open) = &turn.tool {
            let activity = Activity::ToolRunning {
                tool: open.tool.clone(),
                for_ms: open.for_ms,
            };
            // A tool that calls others is not stuck while they come and go.
            let for_ms = open.for_ms.min(turn.stuck_ms);
            return (activity, Some(suspicion(StallCause::ToolRunning, for_ms)));
        }
        let activity = if turn.begun {
            Activity::Working {
                quiet_ms: turn.quiet_ms,
            }
        } else {
            Activity::Starting
        };
        // Who cannot see the model door cannot tell a silent agent from one that waits there.
        let silent = self.model.map(|model| {
            let since_answer = model.idle_ms.unwrap_or(u64::MAX);
            suspicion(StallCause::AgentSilent, turn.quiet_ms.min(since_answer))
        });
        (activity, silent)
    }

    /// What the model has to do with it, if it has.
    fn judge_model(&self, turn: &TurnFacts) -> Option<(Activity, Option<Suspicion>)> {
        let model = self.model.unwrap_or_default();
        let retry = turn.retry.filter(|retry| !retry.is_overcome(&model));
        let announced = retry.and_then(|retry| Some(suspicion(retry.fault?, retry.for_ms)));
        if model.under_way > 0 {
            let silent_ms = model.silent_ms.unwrap_or_default();
            // The gateway asks again by itself as well, and the request stays under way meanwhile.
            let fault = fault_at(&model).unwrap_or(StallCause::ModelUnreachable);
            let silent = suspicion(fault, silent_ms);
            return Some((
                Activity::WaitingForModel { silent_ms },
                announced.or(Some(silent)),
            ));
        }
        if model.queued > 0 {
            let for_ms = self.queued_ms;
            let crowded = suspicion(StallCause::ModelOverloaded, for_ms);
            return Some((Activity::ModelQueued { for_ms }, announced.or(Some(crowded))));
        }
        if let Some(retry) = retry {
            let silent_ms = retry.for_ms;
            return Some((Activity::WaitingForModel { silent_ms }, announced));
        }
        // An agent that does not announce its attempts: the last one failed, and nothing has happened since.
        let fault = fault_at(&model).filter(|_| turn.tool.is_none())?;
        let silent_ms = turn.quiet_ms.min(model.idle_ms.unwrap_or(u64::MAX));
        let silent = suspicion(fault, silent_ms);
        Some((Activity::WaitingForModel { silent_ms }, Some(silent)))
    }
}

impl Retrying {
    /// Whether the attempt that was announced has got an answer meanwhile, of which the agent has not spoken yet.
    fn is_overcome(&self, model: &ModelActivity) -> bool {
        let attempt_ms = self
            .latest_ms
            .saturating_sub(self.delay_ms)
            .saturating_sub(SLACK_MS);
        if model.under_way > 0 {
            // It began that long ago, and something has come since.
            model.silent_ms.is_some_and(|silent| silent < attempt_ms)
        } else {
            model.failures == 0 && model.idle_ms.is_some_and(|idle| idle < attempt_ms)
        }
    }
}

fn suspicion(cause: StallCause, for_ms: u64) -> Suspicion {
    Suspicion { cause, for_ms }
}

/// What is at fault when the last request failed. An agent that gets a plain refusal or error gives up by itself and
/// names it.
fn fault_at(model: &ModelActivity) -> Option<StallCause> {
    match model.failure.filter(|_| model.failures > 0)? {
        ModelFailure::Unreachable | ModelFailure::Silent => Some(StallCause::ModelUnreachable),
        ModelFailure::Overloaded => Some(StallCause::ModelOverloaded),
        ModelFailure::Unauthorized | ModelFailure::Failing => None,
    }
}
