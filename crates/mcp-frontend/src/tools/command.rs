//! `execute_command`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session_core::command::{CommandRequest, OnDisconnect};
use tokio::time::Instant;

use super::{Hints, Spec, Tool};
use crate::args::{self, Seconds, given};
use crate::book::Record;
use crate::call::{Call, Stop};
use crate::failure::Failure;
use crate::tasks::view::{CommandResult, advice};
use crate::tasks::{TaskId, commands};

/// See the module.
pub(super) struct ExecuteCommand;

/// What `execute_command` takes.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Args {
    /// The session.
    pub(super) session_id: String,
    /// A line for the container's `sh -c`. Give either this or argv.
    pub(super) command: Option<String>,
    /// A program and its arguments, passed on byte for byte without a shell.
    pub(super) argv: Option<Vec<String>>,
    /// Where it runs, absolute or relative to /workspace.
    pub(super) cwd: Option<String>,
    /// Added to the environment. No secrets: whatever runs inside can read it.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// What it reads from its standard input; nothing when absent.
    pub(super) stdin: Option<String>,
    /// After how many seconds it and all that it started are ended; 300 unless the server was told otherwise, and never with background.
    pub(super) timeout_seconds: Option<Seconds>,
    /// true: return at once with a taskId; wait_task and get_task give output and exit code. It goes on when you disconnect.
    pub(super) background: Option<bool>,
    /// The same key in the same session gives the same command: send it again after a failure without running it twice. It
    /// then goes on when you cancel or disconnect; cancel_task ends it. Not together with stdin.
    pub(super) idempotency_key: Option<String>,
}

/// What `execute_command` gives.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Output {
    /// The session.
    session_id: String,
    /// The task, for get_task (more output), wait_task and cancel_task.
    task_id: String,
    /// exited, or running with background.
    status: &'static str,
    /// How it ended and what it wrote; absent with background.
    #[serde(flatten)]
    result: Option<CommandResult>,
    /// What to know, or to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
}

/// Starts a command.
pub(super) async fn start(args: Args, call: &Call, waits: bool) -> Result<Arc<Record>, Stop> {
    let id = args::session_id(&args.session_id)?;
    let argv = match (args.command, args.argv) {
        (Some(line), None) => vec!["sh".to_owned(), "-c".to_owned(), line],
        (None, Some(argv)) => argv,
        (Some(_), Some(_)) => {
            return Err(Failure::invalid(
                "command and argv are both given",
                "give command for a shell line, or argv for a program and its arguments",
            )
            .into());
        }
        (None, None) => {
            return Err(Failure::invalid(
                "there is nothing to run",
                "give command for a shell line, or argv for a program and its arguments",
            )
            .into());
        }
    };
    let key = given(args.idempotency_key.as_deref()).map(str::to_owned);
    if key.is_some() && args.stdin.is_some() {
        return Err(Failure::invalid(
            "idempotencyKey is given together with stdin",
            "a command that is come back to cannot be given its input twice; put the input into a file or into the command",
        )
        .into());
    }
    let default = waits.then_some(call.core.options.command_timeout);
    let mut request = CommandRequest::new(argv.into_iter().map(String::into_bytes));
    request.env = args.env;
    request.cwd = args.cwd;
    request.stdin = args.stdin.is_some();
    request.time_limit = args.timeout_seconds.map(Seconds::duration).or(default);
    request.output_limit = Some(call.core.options.command_output_limit);
    // What can be come back to is not ended by who leaves it.
    request.on_disconnect = if waits && key.is_none() {
        OnDisconnect::Cancel
    } else {
        OnDisconnect::Detach
    };
    request.idempotency_key = key;
    commands::start(&call.core, &id, request, args.stdin.map(Bytes::from)).await
}

/// Waits for a command's end and ends it when the client gives up, unless it can be come back to.
async fn attend(
    call: &Call,
    record: &Arc<Record>,
    keyed: bool,
) -> Result<session_core::command::CommandExit, Stop> {
    let mut guard = (!keyed).then(|| record.kill.clone().drop_guard());
    let mut beats = call.beats();
    let begun = Instant::now();
    let ended = record.ended();
    tokio::pin!(ended);
    loop {
        // The end stays in the record and the token stays cancelled: no arm loses anything.
        tokio::select! {
            end = &mut ended => {
                if let Some(guard) = guard.take() {
                    guard.disarm();
                }
                return end.map_err(|report| Stop::from(unknown_end(&report, record)));
            }
            () = call.cancelled.cancelled() => {
                let said = if keyed {
                    "the call was cancelled; the command goes on: call again with the same idempotencyKey to wait for it"
                } else {
                    "the call was cancelled and the command is ended"
                };
                return Err(Failure::cancelled(said).into());
            }
            _ = beats.tick() => call.beat(|| progress(record, begun)).await,
        }
    }
}

fn progress(record: &Record, begun: Instant) -> String {
    let (written, ..) = record.sizes();
    let size = crate::text::bytes(written);
    format!(
        "running: {} ({} s, {size} of output)",
        record.line.as_deref().unwrap_or("command"),
        begun.elapsed().as_secs()
    )
}

fn unknown_end(report: &session_core::error::ErrorReport, record: &Record) -> Failure {
    let (written, ..) = record.sizes();
    Failure::of(
        report.code,
        report.message.clone(),
        "what became of the command is not known; look before you run it again, and see get_session",
    )
    .with_more(if written == 0 {
        String::new()
    } else {
        let page = record.page(0, 4 << 10);
        format!(
            "Its output until then ({written} bytes):\n{}",
            String::from_utf8_lossy(&[page.stdout, page.stderr].concat())
        )
    })
}

impl Tool for ExecuteCommand {
    const SPEC: Spec = Spec {
        name: "execute_command",
        title: "Run a command",
        description: "Runs a program in a session, beside the agent and without it, and gives exit code, signal and both \
            streams apart. A non-zero exit code is a result, not an error. Use it to look at files, run tests or check \
            the agent's work; it costs milliseconds and no tokens.",
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
        let waits = args.background != Some(true);
        let keyed = given(args.idempotency_key.as_deref()).is_some();
        let record = start(args, call, waits).await?;
        let task = TaskId::Command {
            session: record.session,
            command: record.command,
        };
        let output = |status, result, note| Output {
            session_id: record.session.to_string(),
            task_id: task.to_string(),
            status,
            result,
            note,
        };
        if !waits {
            let note = "It runs. wait_task waits for its end; get_task shows its output so far; cancel_task ends it.";
            return Ok(output("running", None, Some(note.to_owned())));
        }
        let exit = attend(call, &record, keyed).await?;
        let result = CommandResult::new(&record, Some(&exit), 0, call.core.options.output_limit);
        Ok(output(
            "exited",
            Some(result),
            advice(exit.cause).map(str::to_owned),
        ))
    }
}
