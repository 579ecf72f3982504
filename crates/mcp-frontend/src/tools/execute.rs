//! `execute_in_session`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::session::PromptRequest;
use session_core::turn::{TurnInfo, TurnOutcome};

use super::{Hints, Spec, Tool};
use crate::args::{self, Seconds, given};
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::keeper;
use crate::tasks::view::{TurnResult, silence};
use crate::tasks::{TaskId, extension, turns};

/// See the module.
pub(super) struct Execute;

/// What `execute_in_session` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    pub(super) session_id: String,
    /// What the agent shall do.
    pub(super) prompt: String,
    /// The only tools that the agent may use for this, by Claude Code's names (Bash, Edit, …). All of them when empty.
    #[serde(default)]
    pub(super) tools: Vec<String>,
    /// After how many seconds the agent is interrupted; 300 unless the server was told otherwise, and never with background.
    pub(super) timeout_seconds: Option<Seconds>,
    /// true: return at once with a taskId; wait_task and get_task give the result. It goes on when you disconnect.
    pub(super) background: Option<bool>,
    /// The same key gives the same task: send it again after a failure without running the prompt twice.
    pub(super) idempotency_key: Option<String>,
}

/// What `execute_in_session` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Output {
    /// The session.
    session_id: String,
    /// The task, for get_task, wait_task and cancel_task.
    task_id: String,
    /// succeeded; queued or running with background.
    status: &'static str,
    /// What came of it; absent with background.
    #[serde(flatten)]
    result: Option<TurnResult>,
    /// What to know, or to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

impl Output {
    /// A turn that succeeded.
    pub(crate) fn finished(turn: &TurnInfo, outcome: &TurnOutcome, limit: usize) -> Self {
        Self {
            session_id: turn.session.to_string(),
            task_id: TaskId::of_turn(turn).to_string(),
            status: "succeeded",
            result: Some(TurnResult::new(outcome, 0, limit)),
            note: silence(outcome),
        }
    }

    fn accepted(turn: &TurnInfo) -> Self {
        Self {
            session_id: turn.session.to_string(),
            task_id: TaskId::of_turn(turn).to_string(),
            status: "queued",
            result: None,
            note: Some(
                "The agent works on it. wait_task waits for the result; cancel_task stops it.".to_owned(),
            ),
        }
    }
}

/// Hands a prompt to the lifecycle API.
pub(super) async fn accept(args: &Args, call: &Call, waits: bool) -> Result<TurnInfo, Stop> {
    let id = args::session_id(&args.session_id)?;
    let default = waits.then_some(call.core.options.prompt_timeout);
    let request = PromptRequest {
        prompt: args.prompt.clone(),
        tools: args.tools.clone(),
        time_limit: args.timeout_seconds.map(Seconds::duration).or(default),
        idempotency_key: given(args.idempotency_key.as_deref()).map(str::to_owned),
    };
    let turn = call.core.api.prompt(&id, request).await?;
    if !waits || call.takes_tasks {
        keeper::keep(call, &turn).await;
    }
    Ok(turn)
}

/// The tool's result for an outcome.
pub(crate) fn conclude(turn: &TurnInfo, outcome: &TurnOutcome, limit: usize) -> Result<Output, Failure> {
    match Failure::of_turn(outcome) {
        Some(failure) => Err(failure.with_more(format!("task: {}", TaskId::of_turn(turn)))),
        None => Ok(Output::finished(turn, outcome, limit)),
    }
}

impl Tool for Execute {
    const SPEC: Spec = Spec {
        name: "execute_in_session",
        title: "Prompt the agent",
        description: "Gives the agent of a session a prompt and waits for its final answer; the agent keeps its \
            conversation between prompts, and prompts run one after another. Use it for work that takes minutes; with \
            background: true (or start_task) for longer work. Cancelling the call interrupts the agent.",
        hints: Hints {
            read_only: false,
            destructive: true,
            idempotent: false,
            open_world: true,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        if args.background == Some(true) {
            return Ok(Output::accepted(&accept(&args, call, false).await?));
        }
        if call.takes_tasks {
            let turn = accept(&args, call, true).await?;
            return Err(Stop::Handed(Box::new(extension::created(&turn))));
        }
        let turn = accept(&args, call, true).await?;
        let outcome = turns::follow(call, &turn).await?;
        Ok(conclude(&turn, &outcome, call.core.options.output_limit)?)
    }
}
