//! What the two ends say about processes: how one is started, what it said, and how it ended.

use std::{ffi::OsString, fmt, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    error::{LinkError, Result},
    wire::bytestring,
};

/// The longest process id.
pub const MAX_PROCESS_ID: usize = 96;

/// The name of a process, chosen by the host. It stays valid across links until the process is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProcessId(String);

impl ProcessId {
    /// Takes 1 to 96 of `A-Z a-z 0-9 . _ -`.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn new(id: impl Into<String>) -> Result<Self> {
        let id = id.into();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > MAX_PROCESS_ID || !id.bytes().all(legal) {
            return Err(LinkError::invalid(
                "process id",
                "an id is 1 to 96 of `A-Z a-z 0-9 . _ -`",
            ));
        }
        Ok(Self(id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProcessId {
    type Error = LinkError;

    fn try_from(id: String) -> Result<Self> {
        Self::new(id)
    }
}

impl From<ProcessId> for String {
    fn from(id: ProcessId) -> Self {
        id.0
    }
}

impl fmt::Display for ProcessId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a process reads from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// `/dev/null`.
    #[default]
    Null,
    /// A pipe, written by [`Link::write_stdin`](crate::Link::write_stdin) or [`Process::write`](crate::Process::write).
    Piped,
}

/// The most rows, and the most columns, of a terminal.
pub const MAX_WINDOW: u16 = 1000;

/// The longest note about a terminal, in bytes.
pub const MAX_NOTE: usize = 1024;

/// The size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "(u16, u16)", into = "(u16, u16)")]
pub struct WindowSize {
    rows: u16,
    columns: u16,
}

impl WindowSize {
    /// Takes 1 to [`MAX_WINDOW`] of each.
    ///
    /// # Errors
    /// `InvalidArgument` for anything else.
    pub fn new(rows: u16, columns: u16) -> Result<Self> {
        let legal = 1..=MAX_WINDOW;
        if legal.contains(&rows) && legal.contains(&columns) {
            return Ok(Self { rows, columns });
        }
        Err(LinkError::invalid(
            "window size",
            "a terminal has 1 to 1000 rows and 1 to 1000 columns",
        ))
    }

    /// Lines.
    pub fn rows(self) -> u16 {
        self.rows
    }

    /// Characters of a line.
    pub fn columns(self) -> u16 {
        self.columns
    }
}

impl TryFrom<(u16, u16)> for WindowSize {
    type Error = LinkError;

    fn try_from((rows, columns): (u16, u16)) -> Result<Self> {
        Self::new(rows, columns)
    }
}

impl From<WindowSize> for (u16, u16) {
    fn from(size: WindowSize) -> Self {
        (size.rows, size.columns)
    }
}

/// A pseudo-terminal that a process has instead of pipes. It is the controlling terminal of the process, which leads a
/// session of its own; what is written to it comes as standard output, byte for byte, and input goes into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// How large it is.
    pub size: WindowSize,
    /// What the host wants to be told again by [`Link::processes`](crate::Link::processes); at most [`MAX_NOTE`] bytes.
    pub note: String,
}

/// What becomes of a process when the link on which it was started closes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDisconnect {
    /// It runs on; its output waits in the spool.
    #[default]
    KeepRunning,
    /// It is ended with everything it started.
    Kill,
}

/// How much output waits for a reader, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolLimits {
    /// Kept in memory of the container's init.
    pub memory: u64,
    /// Kept in an unlinked file once the memory is full.
    pub file: u64,
}

impl Default for SpoolLimits {
    fn default() -> Self {
        Self {
            memory: 256 << 10,
            file: 64 << 20,
        }
    }
}

/// A program to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnSpec {
    /// The id it will be known by. Starting an id that exists starts nothing.
    pub id: ProcessId,
    /// The program, searched in `PATH` of `env` when it has no slash, and its arguments, passed on byte for byte.
    #[serde(with = "bytestring::list")]
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// The working directory; init's own if absent.
    pub cwd: Option<String>,
    /// Where it reads from; with a terminal always that.
    pub stdin: StdinMode,
    /// The terminal it has, if any.
    pub terminal: Option<Terminal>,
    /// After this time the process and all it started are ended.
    pub time_limit: Option<Duration>,
    /// After this many bytes on both streams together the process and all it started are ended.
    pub output_limit: Option<u64>,
    /// How much output waits for a reader.
    pub spool: SpoolLimits,
    /// What becomes of it without its link.
    pub on_disconnect: OnDisconnect,
}

impl SpawnSpec {
    /// `argv` with an empty environment, no input and no limits.
    pub fn new(id: ProcessId, argv: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            id,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            stdin: StdinMode::default(),
            terminal: None,
            time_limit: None,
            output_limit: None,
            spool: SpoolLimits::default(),
            on_disconnect: OnDisconnect::default(),
        }
    }
}

/// What starting a process led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// Its process id inside the container, if it could be started at all.
    pub pid: Option<u32>,
    /// The id existed: nothing was started now.
    pub existed: bool,
}

/// One of the two streams a process writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What a reader of a process sees, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessEvent {
    /// Bytes of one stream. Offsets count the bytes of both streams in the order in which they were read.
    Output {
        /// Which stream they came on.
        stream: OutputStream,
        /// The offset of the first byte.
        offset: u64,
        /// The bytes, as written.
        bytes: Bytes,
    },
    /// The bytes from `from` up to, not including, `to` are gone: the spool was full and nobody read.
    Gap {
        /// The first lost offset.
        from: u64,
        /// The first offset that is there again.
        to: u64,
    },
    /// The process ended. Nothing follows.
    Exited(ExitReport),
}

/// Why a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitCause {
    /// By itself, with a code.
    Exited,
    /// By a signal that it, or something else in the container, or [`Link::signal`](crate::Link::signal) sent.
    Signaled,
    /// Its time limit passed.
    TimedOut,
    /// It wrote more than its output limit.
    OutputLimit,
    /// The kernel killed it, or something it started, for memory.
    OutOfMemory,
    /// It was killed on request: `Signal::Kill`, or its link closed and it was not to run on.
    Cancelled,
    /// There is no such program (a shell would say 127).
    NotFound,
    /// The program cannot be executed (a shell would say 126).
    NotExecutable,
    /// The working directory is missing or not a directory.
    BadWorkingDirectory,
    /// Something in the container killed its supervisor; what was left of it was ended.
    SupervisorLost,
}

/// How a process ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitReport {
    /// Its exit code, if it exited; 126 and 127 where it could not be started.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why.
    pub cause: ExitCause,
    /// From start to end.
    pub duration: Duration,
    /// Kills for memory in the container while it ran.
    pub oom_kills: u64,
}

impl ExitReport {
    /// The program ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.cause == ExitCause::Exited && self.code == Some(0)
    }
}

/// A signal for a process and everything it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// SIGHUP.
    Hangup,
    /// SIGINT.
    Interrupt,
    /// SIGQUIT.
    Quit,
    /// SIGTERM.
    Terminate,
    /// SIGKILL, repeated until nothing of it is left.
    Kill,
    /// SIGUSR1.
    User1,
    /// SIGUSR2.
    User2,
    /// SIGSTOP.
    Stop,
    /// SIGCONT.
    Continue,
}

/// What became of bytes given with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteOutcome {
    /// They went into the pipe, once.
    Written,
    /// The key, or a higher one, was used before: nothing was written.
    Duplicate,
}

/// Where a process is in its life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It ended.
    Exited(ExitReport),
}

/// One line of [`Link::processes`](crate::Link::processes).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub id: ProcessId,
    /// Its process id inside the container, if it could be started at all.
    pub pid: Option<u32>,
    /// Where it is in its life.
    pub state: ProcessState,
    /// The oldest offset that can still be read.
    pub start: u64,
    /// The offset after the last byte written so far.
    pub end: u64,
    /// How far its output was acknowledged.
    pub acknowledged: u64,
    /// The highest key used with [`Link::write_stdin`](crate::Link::write_stdin).
    pub stdin_key: Option<u64>,
    /// Its terminal as it is now, if it has one.
    pub terminal: Option<Terminal>,
    /// Time since it was started.
    pub age: Duration,
}
