//! Commands: programs run in a session that are not the agent.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::id::CommandId;

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRequest {
    /// The argument vector, bytes as they are. The first is looked up in the `PATH` of `env`.
    pub argv: Vec<Vec<u8>>,
    /// Added to the session's environment. No secrets: whatever runs inside can read it.
    pub env: BTreeMap<String, String>,
    /// Where it runs, absolute or relative to the workspace.
    pub cwd: Option<String>,
    /// Whether its standard input is open; otherwise it is empty.
    pub stdin: bool,
    /// When the whole process tree is ended; `None` means never.
    pub time_limit: Option<Duration>,
    /// After how many bytes of output the whole process tree is ended; `None` means never.
    pub output_limit: Option<u64>,
    /// What becomes of it when its caller goes away.
    pub on_disconnect: OnDisconnect,
    /// The same key in the same session gives the same command: a second request does not run a second one, it comes back
    /// to the first. Needs [`OnDisconnect::Detach`].
    pub idempotency_key: Option<String>,
}

impl CommandRequest {
    /// A command with no input, no limits and the session's environment, which ends with its caller.
    pub fn new<A: Into<Vec<u8>>>(argv: impl IntoIterator<Item = A>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            cwd: None,
            stdin: false,
            time_limit: None,
            output_limit: None,
            on_disconnect: OnDisconnect::Cancel,
            idempotency_key: None,
        }
    }
}

/// What becomes of a command when its caller goes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// Its whole process tree is ended.
    #[default]
    Cancel,
    /// It goes on; its output is kept and can be read later from any offset that was not acknowledged.
    Detach,
}

/// The two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum OutputStream {
    Stdout,
    Stderr,
}

/// What a command does, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandEvent {
    /// It wrote.
    Output {
        /// Where to.
        stream: OutputStream,
        /// The position of the first byte in what the command wrote to both streams together.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Output from `from` to `to` is gone: it was past the bound of what is kept, and nobody read it.
    Gap {
        /// The first lost position.
        from: u64,
        /// The first position that is there again.
        to: u64,
    },
    /// It ended. Nothing follows.
    Exited(CommandExit),
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CommandExit {
    /// What ended it.
    pub cause: ExitCause,
    /// Its exit code, when it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, when one did.
    pub signal: Option<i32>,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// How many bytes it wrote to both streams together.
    pub output_bytes: u64,
}

/// What ended a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// It ended by itself; see the exit code.
    Exited,
    /// A signal that was not ours ended it.
    Signaled,
    /// Its caller ended it.
    Cancelled,
    /// Its time limit passed.
    TimedOut,
    /// Its output limit was reached.
    OutputLimit,
    /// The kernel ended it for lack of memory.
    OutOfMemory,
    /// There is no such program (127).
    NotFound,
    /// The program cannot be executed (126).
    NotExecutable,
    /// The working directory does not exist or cannot be entered.
    BadWorkingDirectory,
    /// Something in the session ended our supervisor of the command; what became of it is not known.
    SupervisorLost,
}

impl CommandExit {
    /// The exit code as a shell would give it: the code, or 128 + signal, 124 for a time limit, 125 for other ends.
    pub fn shell_code(&self) -> i32 {
        match (self.cause, self.code, self.signal) {
            (ExitCause::NotFound, ..) => 127,
            (ExitCause::NotExecutable, ..) => 126,
            (ExitCause::TimedOut, ..) => 124,
            (_, Some(code), _) => code,
            (_, None, Some(signal)) => 128 + signal,
            (_, None, None) => 125,
        }
    }
}

/// Steers a command that runs.
#[async_trait]
pub trait CommandControl: Send + Sync {
    /// Writes to standard input; waits while the command does not read.
    async fn write(&self, bytes: Bytes) -> Result<()>;
    /// Ends standard input.
    async fn close_stdin(&self) -> Result<()>;
    /// Sends a signal (its number) to the command's whole process tree.
    async fn signal(&self, signal: i32) -> Result<()>;
}

/// A command that runs: its events and its controls. Dropping it is what [`OnDisconnect`] speaks of.
pub struct RunningCommand {
    /// Its id, to come back to it.
    pub id: CommandId,
    /// What it does; ends after [`CommandEvent::Exited`]. Asking for the next event acknowledges the ones before.
    pub events: BoxStream<'static, Result<CommandEvent>>,
    /// Its controls.
    pub control: Box<dyn CommandControl>,
}

impl std::fmt::Debug for RunningCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunningCommand")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The whole of a short command: what [`crate::api::SessionApiExt::command_output`] collects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Its standard output, cut at the collector's bound.
    pub stdout: Vec<u8>,
    /// Its standard error, cut at the collector's bound.
    pub stderr: Vec<u8>,
    /// Whether anything was cut.
    pub truncated: bool,
    /// How it ended.
    pub exit: CommandExit,
}
