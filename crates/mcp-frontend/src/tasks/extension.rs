//! The protocol's own tasks, for clients that declare them: the same tasks in its words.

use std::sync::Arc;

use rmcp::model::{
    CallToolResult, CreateTaskResult, DetailedTask, ErrorData, GetTaskResult, JsonObject, Task, TaskPayload,
    TaskStatus,
};
use serde_json::Value;
use session_core::turn::{TurnInfo, TurnStatus};

use super::TaskId;
use super::view::{TaskView, look};
use crate::call::Stop;
use crate::core::Core;
use crate::failure::Failure;
use crate::tools::execute_result;

/// How often a client should ask.
const POLL_MS: u64 = 1000;

/// The handle of a turn that was just accepted.
pub(crate) fn created(turn: &TurnInfo) -> CreateTaskResult {
    let at = turn.created_at.to_string();
    CreateTaskResult::new(
        Task::new(
            TaskId::of_turn(turn).to_string(),
            TaskStatus::Working,
            at.clone(),
            at,
        )
        .with_status_message("the agent works on it")
        .with_poll_interval_ms(POLL_MS),
    )
}

/// A task's state, with the tool's result once there is one.
pub(crate) async fn state(core: &Arc<Core>, task: &TaskId) -> Result<GetTaskResult, ErrorData> {
    let (at, payload, message) = match task {
        TaskId::Turn { session, turn } => {
            let turn = core
                .api
                .turn(session, turn)
                .await
                .map_err(|error| unknown(task, &error.into()))?;
            let (payload, message) = of_turn(&turn, core.options.output_limit);
            (turn.created_at.to_string(), payload, message)
        }
        TaskId::Command { .. } => {
            let view = look(core, task, 0, core.options.output_limit)
                .await
                .map_err(|stop| match stop {
                    Stop::Failed(failure) => unknown(task, &failure),
                    Stop::Handed(_) => ErrorData::internal_error("a task is no task of its own", None),
                })?;
            let at = view
                .created_at
                .clone()
                .unwrap_or_else(|| jiff::Timestamp::now().to_string());
            let message = view.status;
            (at, of_command(view), message)
        }
    };
    let now = jiff::Timestamp::now().to_string();
    let base = Task::new(task.to_string(), payload.status(), at, now)
        .with_status_message(message)
        .with_poll_interval_ms(POLL_MS);
    Ok(GetTaskResult::new(DetailedTask::new(base, payload)))
}

fn of_turn(turn: &TurnInfo, limit: usize) -> (TaskPayload, &'static str) {
    match (turn.status, &turn.outcome) {
        (TurnStatus::Queued, _) => (TaskPayload::Working, "waits for its turn"),
        (TurnStatus::Running, _) | (_, None) => (TaskPayload::Working, "the agent works on it"),
        (TurnStatus::Interrupted, _) => (TaskPayload::Cancelled, "interrupted"),
        (_, Some(outcome)) => {
            let result = execute_result(turn, outcome, limit);
            let message = if result.is_error == Some(true) {
                "failed"
            } else {
                "succeeded"
            };
            (
                TaskPayload::Completed {
                    result: object(&result),
                },
                message,
            )
        }
    }
}

fn of_command(view: TaskView) -> TaskPayload {
    if !view.ended {
        return TaskPayload::Working;
    }
    let value = serde_json::to_value(view).unwrap_or_default();
    TaskPayload::Completed {
        result: object(&CallToolResult::structured(value)),
    }
}

fn object(result: &CallToolResult) -> JsonObject {
    match serde_json::to_value(result) {
        Ok(Value::Object(object)) => object,
        _ => JsonObject::new(),
    }
}

/// What is said of a task that is not there.
pub(crate) fn unknown(task: &TaskId, failure: &Failure) -> ErrorData {
    ErrorData::invalid_params(format!("Task not found: {task} ({})", failure.code()), None)
}
