//! `get_task`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::args::Count;
use crate::call::{Call, Stop};
use crate::tasks::TaskId;
use crate::tasks::view::{TaskView, look};
use crate::tools::{Hints, Spec, Tool};

/// See the module.
pub(in crate::tools) struct GetTask;

/// What `get_task` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Args {
    /// The task.
    task_id: String,
    /// From which byte of its result or output on; nextOffset of the part before.
    offset: Option<Count>,
    /// At most so many bytes of it.
    limit: Option<Count>,
}

/// How many bytes a caller gets who asks for `limit`.
pub(super) fn clamp(limit: Option<Count>, most: usize) -> usize {
    limit.map_or(most, |Count(limit)| {
        usize::try_from(limit).unwrap_or(most).clamp(1, most)
    })
}

impl Tool for GetTask {
    const SPEC: Spec = Spec {
        name: "get_task",
        title: "Look at a task",
        description: "A task as it is now: status, result, and for a command its output so far. Use it to page through \
            long output with offset, also for what execute_command and execute_in_session cut short.",
        hints: Hints::READS,
    };
    type Args = Args;
    type Output = TaskView;

    async fn run(args: Args, call: &Call) -> Result<TaskView, Stop> {
        let task: TaskId = args.task_id.parse()?;
        let offset = args.offset.map_or(0, |Count(offset)| offset);
        look(
            &call.core,
            &task,
            offset,
            clamp(args.limit, call.core.options.output_limit),
        )
        .await
    }
}
