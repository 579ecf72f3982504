//! `cancel_task`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::call::{Call, Stop};
use crate::tasks::commands::{self, Found};
use crate::tasks::view::look;
use crate::tasks::{TaskId, turns};
use crate::tools::{Hints, Spec, Tool};

/// How long is waited for the end of what was cancelled.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module.
pub(in crate::tools) struct CancelTask;

/// What `cancel_task` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Args {
    /// The task.
    task_id: String,
}

/// What `cancel_task` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Output {
    /// The task.
    task_id: String,
    /// Whether it had not ended before and was stopped by this call.
    cancelled: bool,
    /// What it is now.
    status: &'static str,
    /// What to do next.
    message: String,
}

/// Stops a task; answers whether it had not ended before.
pub(crate) async fn cancel(call: &Call, task: &TaskId) -> Result<bool, Stop> {
    match task {
        TaskId::Turn { session, turn } => {
            let turn = call.core.api.turn(session, turn).await?;
            let taken = turns::take_back(&call.core, &turn).await?;
            if taken {
                turns::wait(&call.core, &turn, PATIENCE).await?;
            }
            Ok(taken)
        }
        TaskId::Command { session, command } => match commands::find(&call.core, session, command).await? {
            Found::Read(record) if record.end().is_none() => {
                record.kill.cancel();
                record.settle(PATIENCE).await;
                Ok(true)
            }
            Found::Read(_) | Found::Past(_) => Ok(false),
        },
    }
}

impl Tool for CancelTask {
    const SPEC: Spec = Spec {
        name: "cancel_task",
        title: "Cancel a task",
        description: "Stops one task: interrupts the agent, or ends the command and all that it started. The session \
            stays usable, and what was done so far stays done.",
        hints: Hints {
            read_only: false,
            destructive: true,
            idempotent: true,
            open_world: false,
        },
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let task: TaskId = args.task_id.parse()?;
        let cancelled = cancel(call, &task).await?;
        let now = look(&call.core, &task, 0, 1).await?;
        let message = match (cancelled, now.ended) {
            (true, true) => "It was stopped.",
            (true, false) => "It is being stopped; wait_task says when it has ended.",
            (false, _) => "It had ended before.",
        };
        Ok(Output {
            task_id: task.to_string(),
            cancelled,
            status: now.status,
            message: message.to_owned(),
        })
    }
}
