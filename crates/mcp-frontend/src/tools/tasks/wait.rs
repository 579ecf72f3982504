//! `wait_task`.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::id::SessionId;
use tokio::time::Instant;

use crate::args::{Count, Seconds};
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::tasks::commands::{self, Found};
use crate::tasks::view::{TaskView, look};
use crate::tasks::{TaskId, turns};
use crate::tools::{Hints, Spec, Tool, logs};

/// Clients give up on a call after 60 seconds without a word.
const LONGEST: Duration = Duration::from_secs(50);
const DEFAULT: Duration = Duration::from_secs(30);
/// How many events one result tells.
const EVENTS: usize = 200;

/// See the module.
pub(in crate::tools) struct WaitTask;

/// What `wait_task` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Args {
    /// The task.
    task_id: String,
    /// How long to wait at most, up to 50; 30 when absent.
    timeout_seconds: Option<Seconds>,
    /// Tell what happened after this event; cursor of the result before.
    cursor: Option<Count>,
    /// From which byte of its result or output on.
    offset: Option<Count>,
}

/// What `wait_task` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Output {
    #[serde(flatten)]
    task: TaskView,
    /// What happened in the session meanwhile, oldest first.
    events: Vec<logs::Line>,
    /// Give it as `cursor` next time.
    cursor: u64,
}

/// Where to begin when the caller names no event: at the task's own beginning.
async fn beginning(call: &Call, task: &TaskId) -> Result<u64, Stop> {
    Ok(match task {
        TaskId::Turn { session, turn } => call
            .core
            .api
            .turn(session, turn)
            .await?
            .first_event
            .saturating_sub(1),
        TaskId::Command { session, .. } => call.core.api.inspect(session).await?.info.last_event,
    })
}

async fn wait(call: &Call, task: &TaskId, patience: Duration) -> Result<(), Stop> {
    match task {
        TaskId::Turn { session, turn } => {
            let turn = call.core.api.turn(session, turn).await?;
            turns::wait(&call.core, &turn, patience).await?;
        }
        TaskId::Command { session, command } => {
            if let Found::Read(record) = commands::find(&call.core, session, command).await? {
                record.settle(patience).await;
            }
        }
    }
    Ok(())
}

/// Waits and tells meanwhile what goes on.
async fn attend(call: &Call, task: &TaskId, patience: Duration) -> Result<(), Stop> {
    let mut beats = call.beats();
    let begun = Instant::now();
    let waiting = wait(call, task, patience);
    tokio::pin!(waiting);
    loop {
        // Waiting is kept outside of the loop, and giving up on it changes nothing.
        tokio::select! {
            waited = &mut waiting => return waited,
            () = call.cancelled.cancelled() => return Err(Failure::cancelled("nobody waits any more").into()),
            () = call.core.stop.cancelled() => return Ok(()),
            _ = beats.tick() => call.beat(|| format!("waiting for the task ({} s)", begun.elapsed().as_secs())).await,
        }
    }
}

fn session_of(task: &TaskId) -> SessionId {
    match task {
        TaskId::Turn { session, .. } | TaskId::Command { session, .. } => *session,
    }
}

impl Tool for WaitTask {
    const SPEC: Spec = Spec {
        name: "wait_task",
        title: "Wait for a task",
        description: "Waits until a task has ended, at most 50 seconds, and gives it as get_task does, with what happened \
            since the cursor. If it has not ended, call again with the cursor. Stopping to wait does not stop the task.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = Output;

    async fn run(args: Args, call: &Call) -> Result<Output, Stop> {
        let task: TaskId = args.task_id.parse()?;
        let patience = args
            .timeout_seconds
            .map_or(DEFAULT, Seconds::duration)
            .min(LONGEST);
        let since = match args.cursor {
            Some(Count(cursor)) => cursor,
            None => beginning(call, &task).await?,
        };
        attend(call, &task, patience).await?;
        let offset = args.offset.map_or(0, |Count(offset)| offset);
        // The result and the events share the room that there is.
        let room = call.core.options.output_limit / 2;
        let view = look(&call.core, &task, offset, room).await?;
        let (events, cursor) = logs::after(&call.core, &session_of(&task), since, EVENTS).await?;
        Ok(Output {
            task: view,
            events,
            cursor,
        })
    }
}
