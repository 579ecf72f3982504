//! `start_task`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::args::Seconds;
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::tasks::TaskId;
use crate::tools::{Hints, Spec, Tool, command, execute};

/// See the module.
pub(in crate::tools) struct StartTask;

/// What `start_task` takes.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Args {
    /// The session.
    session_id: String,
    /// What the agent shall do. Give exactly one of prompt, command and argv.
    prompt: Option<String>,
    /// A line for the container's `sh -c`.
    command: Option<String>,
    /// A program and its arguments.
    argv: Option<Vec<String>>,
    /// With prompt: the only tools that the agent may use. All of them when empty.
    #[serde(default)]
    tools: Vec<String>,
    /// With command or argv: where it runs, absolute or relative to /workspace.
    cwd: Option<String>,
    /// With command or argv: added to the environment. No secrets.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// With command or argv: what it reads from its standard input.
    stdin: Option<String>,
    /// After how many seconds it is ended; never when absent.
    timeout_seconds: Option<Seconds>,
    /// The same key gives the same task: send it again after a failure without starting it twice. Not together with stdin.
    idempotency_key: Option<String>,
}

/// What `start_task` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::tools) struct Output {
    /// The handle. It stays valid when you disconnect and when this server restarts.
    task_id: String,
    /// prompt or command.
    kind: &'static str,
    /// The session.
    session_id: String,
    /// queued or running.
    status: &'static str,
    /// What to do next.
    message: String,
}

impl Output {
    fn new(task: TaskId, session_id: String) -> Self {
        let (kind, status) = match task {
            TaskId::Turn { .. } => ("prompt", "queued"),
            TaskId::Command { .. } => ("command", "running"),
        };
        Self {
            task_id: task.to_string(),
            kind,
            session_id,
            status,
            message: "Started. wait_task waits for it; cancel_task stops it.".to_owned(),
        }
    }
}

impl Tool for StartTask {
    const SPEC: Spec = Spec {
        name: "start_task",
        title: "Start a task",
        description: "Starts a prompt or a command and returns at once with a handle. Use it for work longer than a few \
            minutes, or to let several sessions work at the same time; then wait_task. It goes on when you disconnect.",
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
        let session_id = args.session_id.trim().to_owned();
        let Some(prompt) = args.prompt else {
            let command = command::Args {
                session_id: args.session_id,
                command: args.command,
                argv: args.argv,
                cwd: args.cwd,
                env: args.env,
                stdin: args.stdin,
                timeout_seconds: args.timeout_seconds,
                background: Some(true),
                idempotency_key: args.idempotency_key,
            };
            let record = command::start(command, call, false).await?;
            return Ok(Output::new(
                TaskId::Command {
                    session: record.session,
                    command: record.command,
                },
                session_id,
            ));
        };
        if args.command.is_some() || args.argv.is_some() {
            return Err(Failure::invalid(
                "prompt is given together with command or argv",
                "a task is one of them; start two tasks for both",
            )
            .into());
        }
        let prompt = execute::Args {
            session_id: args.session_id,
            prompt,
            tools: args.tools,
            timeout_seconds: args.timeout_seconds,
            background: Some(true),
            idempotency_key: args.idempotency_key,
        };
        let turn = execute::accept(&prompt, call, false).await?;
        Ok(Output::new(TaskId::of_turn(&turn), session_id))
    }
}
