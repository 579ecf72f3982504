//! A task as results show it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use session_core::command::{CommandExit, ExitCause};
use session_core::id::{CommandId, SessionId};
use session_core::turn::{TurnInfo, TurnOutcome, TurnStatus};

use super::TaskId;
use super::commands::{Found, Past};
use crate::book::{End, Record};
use crate::core::Core;
use crate::failure::Failure;
use crate::output::{StreamText, Usage, part};
use crate::text::cut;

/// How much of a prompt is repeated.
const PROMPT: usize = 300;

/// A prompt or a command, and what came of it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TaskView {
    /// The id that the task tools take.
    pub(crate) task_id: String,
    /// prompt or command.
    pub(crate) kind: &'static str,
    /// The session.
    pub(crate) session_id: String,
    /// queued, running, succeeded, failed, interrupted; a command that has ended is exited; unknown when nobody saw its end.
    pub(crate) status: &'static str,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// The prompt's beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt: Option<String>,
    /// The command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    /// When it was accepted, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created_at: Option<String>,
    /// What came of the prompt.
    #[serde(flatten)]
    pub(crate) turn: Option<TurnResult>,
    /// What came of the command so far.
    #[serde(flatten)]
    pub(crate) exit: Option<CommandResult>,
    /// Why it failed: code, message, cause and hint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
    /// What to know about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) note: Option<String>,
}

/// What came of a prompt.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TurnResult {
    /// The agent's final words, or a part of them.
    pub(crate) result: String,
    /// The size of all of them in bytes.
    pub(crate) result_bytes: u64,
    /// Call get_task with this offset for the next part; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_offset: Option<u64>,
    /// Tokens, as the agent counted them.
    pub(crate) usage: Usage,
    /// Cost in US dollars, as the agent reckons it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cost_usd: Option<f64>,
    /// How often the model was asked.
    pub(crate) model_calls: u64,
    /// How long the agent worked, in milliseconds.
    pub(crate) duration_ms: u64,
    /// Tool calls of the agent that were denied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) permission_denials: Vec<String>,
}

impl TurnResult {
    pub(crate) fn new(outcome: &TurnOutcome, offset: u64, limit: usize) -> Self {
        let part = part(&outcome.text, offset, limit);
        Self {
            result: part.text,
            result_bytes: part.total,
            next_offset: part.next,
            usage: outcome.usage.into(),
            cost_usd: outcome.cost_usd,
            model_calls: outcome.model_calls,
            duration_ms: outcome.duration_ms,
            permission_denials: outcome.permission_denials.clone(),
        }
    }
}

/// What a command wrote, and how it ended.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandResult {
    /// What ended it: exited, signaled, cancelled, timed_out, output_limit, out_of_memory, not_found, not_executable, bad_working_directory or supervisor_lost. Absent while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cause: Option<String>,
    /// Its exit code, when it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) exit_code: Option<i32>,
    /// The number of the signal that ended it, when one did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signal: Option<i32>,
    /// Whether its time limit ended it.
    pub(crate) timed_out: bool,
    /// How long it ran, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duration_ms: Option<u64>,
    /// What it wrote to its standard output, or a part of it. Absent when it is no longer kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stdout: Option<StreamText>,
    /// What it wrote to its standard error, or a part of it. Absent when it is no longer kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stderr: Option<StreamText>,
    /// How many bytes it wrote to both streams together, as far as that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) output_bytes: Option<u64>,
    /// Whether this result does not show all of it.
    pub(crate) truncated: bool,
    /// Call get_task with this offset for what comes next; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next_offset: Option<u64>,
    /// How many bytes within this part are gone for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lost_bytes: Option<u64>,
    /// The last of its output, when this part is not the end: errors stand there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tail: Option<String>,
}

impl CommandResult {
    pub(crate) fn new(record: &Record, exit: Option<&CommandExit>, offset: u64, limit: usize) -> Self {
        const TAIL: u64 = 2 << 10;
        let page = record.page(offset, limit);
        let (_, stdout, stderr) = record.sizes();
        let rest = page.total - page.next.min(page.total);
        let tail = (rest > 0 && exit.is_some()).then(|| {
            let from = page.next.max(page.total.saturating_sub(TAIL));
            let last = record.page(from, usize::try_from(TAIL).unwrap_or(usize::MAX));
            String::from_utf8_lossy(&[last.stdout, last.stderr].concat()).into_owned()
        });
        Self {
            cause: exit.map(|exit| name_of(exit.cause)),
            exit_code: exit.and_then(|exit| exit.code),
            signal: exit.and_then(|exit| exit.signal),
            timed_out: exit.is_some_and(|exit| exit.cause == ExitCause::TimedOut),
            duration_ms: exit.map(|exit| exit.duration_ms),
            truncated: offset > 0 || rest > 0 || page.lost.is_some(),
            next_offset: (rest > 0 || exit.is_none()).then_some(page.next),
            lost_bytes: page.lost.map(|(from, to)| to - from),
            output_bytes: Some(page.total),
            stdout: Some(StreamText::new(page.stdout, stdout)),
            stderr: Some(StreamText::new(page.stderr, stderr)),
            tail,
        }
    }
}

fn name_of(cause: ExitCause) -> String {
    match serde_json::to_value(cause) {
        Ok(serde_json::Value::String(name)) => name,
        _ => "unknown".to_owned(),
    }
}

/// What a caller should know about how a command ended.
pub(crate) fn advice(cause: ExitCause) -> Option<&'static str> {
    Some(match cause {
        ExitCause::TimedOut => {
            "its time limit ended it and all that it had started; give it more with timeoutSeconds, or use background: true"
        }
        ExitCause::OutputLimit => {
            "it wrote more than a command may; send its output to a file and read parts of that"
        }
        ExitCause::OutOfMemory => {
            "the session's memory was used up; make a session with more (memory), or let the command use less"
        }
        ExitCause::NotFound => {
            "there is no such program in the session's image; install it, use another image, or check the spelling"
        }
        ExitCause::NotExecutable => {
            "the file is there and cannot be executed; check its mode and its first line"
        }
        ExitCause::BadWorkingDirectory => "cwd does not exist in the session or cannot be entered",
        ExitCause::SupervisorLost => {
            "something in the session ended its supervisor; what became of it is not known"
        }
        ExitCause::Exited | ExitCause::Signaled | ExitCause::Cancelled => return None,
    })
}

/// A turn, with the part of its result from `offset` on.
pub(crate) fn of_turn(turn: &TurnInfo, offset: u64, limit: usize) -> TaskView {
    let outcome = turn.outcome.as_ref();
    TaskView {
        task_id: TaskId::of_turn(turn).to_string(),
        kind: "prompt",
        session_id: turn.session.to_string(),
        status: status_of(turn.status),
        ended: turn.status.is_ended(),
        prompt: Some(cut(&turn.prompt, PROMPT)),
        command: None,
        created_at: Some(turn.created_at.to_string()),
        turn: outcome.map(|outcome| TurnResult::new(outcome, offset, limit)),
        exit: None,
        failure: outcome.and_then(Failure::of_turn).map(|failure| failure.text()),
        note: outcome.and_then(silence),
    }
}

/// What it means that a turn that succeeded has no words.
pub(crate) fn silence(outcome: &TurnOutcome) -> Option<String> {
    let silent = outcome.status == TurnStatus::Succeeded && outcome.text.trim().is_empty();
    silent.then(|| {
        "the agent ended without final words; get_session_logs shows what it did, get_session_diff what it changed"
            .to_owned()
    })
}

fn status_of(status: TurnStatus) -> &'static str {
    match status {
        TurnStatus::Queued => "queued",
        TurnStatus::Running => "running",
        TurnStatus::Succeeded => "succeeded",
        TurnStatus::Failed => "failed",
        TurnStatus::Interrupted => "interrupted",
    }
}

/// A command, with the part of its output from `offset` on.
pub(crate) fn of_command(
    session: &SessionId,
    command: &CommandId,
    found: &Found,
    offset: u64,
    limit: usize,
) -> TaskView {
    match found {
        Found::Read(record) => of_record(record, offset, limit),
        Found::Past(past) => of_past(session, command, past),
    }
}

/// A command that this server reads.
pub(crate) fn of_record(record: &Arc<Record>, offset: u64, limit: usize) -> TaskView {
    let end = record.end();
    let exit = match &end {
        Some(Ok(exit)) => Some(exit),
        _ => None,
    };
    let task = TaskId::Command {
        session: record.session,
        command: record.command,
    };
    let failure = match &end {
        Some(Err(report)) => Some(format!(
            "{}: {}\nhint: what became of the command is not known; look with execute_command before you run it again",
            report.code, report.message
        )),
        _ => None,
    };
    TaskView {
        task_id: task.to_string(),
        kind: "command",
        session_id: record.session.to_string(),
        status: command_status(end.as_ref()),
        ended: end.is_some(),
        prompt: None,
        command: record.line.clone(),
        created_at: Some(record.since.to_string()),
        turn: None,
        exit: Some(CommandResult::new(record, exit, offset, limit)),
        failure,
        note: exit.and_then(|exit| advice(exit.cause)).map(str::to_owned),
    }
}

fn command_status(end: Option<&End>) -> &'static str {
    match end {
        None => "running",
        Some(Ok(_)) => "exited",
        Some(Err(_)) => "unknown",
    }
}

fn of_past(session: &SessionId, command: &CommandId, past: &Past) -> TaskView {
    let task = TaskId::Command {
        session: *session,
        command: *command,
    };
    let exit = past.end.map(|(code, signal, cause)| CommandResult {
        cause: Some(name_of(cause)),
        exit_code: code,
        signal,
        timed_out: cause == ExitCause::TimedOut,
        duration_ms: None,
        stdout: None,
        stderr: None,
        output_bytes: None,
        truncated: true,
        next_offset: None,
        lost_bytes: None,
        tail: None,
    });
    TaskView {
        task_id: task.to_string(),
        kind: "command",
        session_id: session.to_string(),
        status: if past.end.is_some() { "exited" } else { "unknown" },
        ended: true,
        prompt: None,
        command: past.line.clone(),
        created_at: past.started.map(|at| at.to_string()),
        turn: None,
        exit,
        failure: None,
        note: Some(
            "its output is no longer kept; run it again with its output sent to a file if you need it"
                .to_owned(),
        ),
    }
}

/// The core is asked once more for what a command became; used where only the id is known.
pub(crate) async fn look(
    core: &Arc<Core>,
    task: &TaskId,
    offset: u64,
    limit: usize,
) -> Result<TaskView, crate::call::Stop> {
    match task {
        TaskId::Turn { session, turn } => Ok(of_turn(&core.api.turn(session, turn).await?, offset, limit)),
        TaskId::Command { session, command } => {
            let found = super::commands::find(core, session, command).await?;
            Ok(of_command(session, command, &found, offset, limit))
        }
    }
}
