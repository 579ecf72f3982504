//! Requests, their answers, and the first bytes of a tunnel.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    error::{ErrorKind, LinkError, Result},
    process::{ProcessId, Signal, SpawnSpec, WindowSize},
    transfer::{CopyInOptions, CopyOutOptions},
};

/// The longest JSON of a request: an argument vector and an environment at their longest.
pub const MAX_REQUEST: usize = 8 << 20;

/// The longest JSON of an answer.
pub const MAX_REPLY: usize = super::frame::MAX_CONTROL;

/// The most bytes of one write with a key.
pub const MAX_KEYED_WRITE: usize = 16 << 20;

/// The longest name of a door.
pub const MAX_DOOR_NAME: usize = 64;

/// The most doors of a session.
pub const MAX_DOORS: usize = 32;

/// The longest text of a failure that is passed on.
pub const MAX_FAILURE_TEXT: usize = 1024;

/// What the host asks for; the first bytes of a stream, after their length.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Request {
    /// Answered at once, with `null`.
    Ping,
    /// Answered with a [`Health`].
    Health,
    /// Loopback listeners whose connections this link takes from now on.
    OpenDoors {
        /// Each with its port.
        doors: Vec<Door>,
    },
    /// Start and read on: a [`Spawned`](crate::Spawned), then output from offset 0.
    Run {
        /// What to start.
        spec: SpawnSpec,
    },
    /// Start only: a [`Spawned`](crate::Spawned).
    Spawn {
        /// What to start.
        spec: SpawnSpec,
    },
    /// Read on: a [`Spawned`](crate::Spawned), then output.
    Attach {
        /// Of which process.
        id: ProcessId,
        /// The first offset wanted.
        from: u64,
    },
    /// `length` bytes of input follow as frames; answered with a [`WriteOutcome`](crate::WriteOutcome).
    WriteStdin {
        /// For which process.
        id: ProcessId,
        /// Higher than every key before.
        key: u64,
        /// How many bytes follow.
        length: u64,
    },
    /// No more input.
    CloseStdin {
        /// For which process.
        id: ProcessId,
    },
    /// A signal for a whole tree.
    Signal {
        /// Of which process.
        id: ProcessId,
        /// Which signal.
        signal: Signal,
    },
    /// Another size for a terminal.
    Resize {
        /// Of which process.
        id: ProcessId,
        /// How large it is from now on.
        size: WindowSize,
    },
    /// Output before `upto` was handled.
    Acknowledge {
        /// Of which process.
        id: ProcessId,
        /// The first offset that was not handled.
        upto: u64,
    },
    /// End the process if it runs, and forget its output and end.
    Forget {
        /// Which process.
        id: ProcessId,
    },
    /// Answered with a list of [`ProcessInfo`](crate::ProcessInfo).
    Processes,
    /// An archive follows as frames; answered with a [`CopyReport`](crate::CopyReport).
    CopyIn {
        /// The directory it goes to; made if absent.
        dest: String,
        /// Its bounds.
        options: CopyInOptions,
    },
    /// Answered with an archive as frames.
    CopyOut {
        /// The file or directory.
        path: String,
        /// Its bounds.
        options: CopyOutOptions,
    },
}

impl Request {
    /// The name of the method that makes this request.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Health => "health",
            Self::OpenDoors { .. } => "open_doors",
            Self::Run { .. } => "run",
            Self::Spawn { .. } => "spawn",
            Self::Attach { .. } => "attach",
            Self::WriteStdin { .. } => "write_stdin",
            Self::CloseStdin { .. } => "close_stdin",
            Self::Signal { .. } => "signal",
            Self::Resize { .. } => "resize",
            Self::Acknowledge { .. } => "acknowledge",
            Self::Forget { .. } => "forget",
            Self::Processes => "processes",
            Self::CopyIn { .. } => "copy_in",
            Self::CopyOut { .. } => "copy_out",
        }
    }
}

/// A loopback listener in the container whose connections come out of the link.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Door {
    /// What the host calls it.
    pub name: String,
    /// The port on 127.0.0.1 and, where there is one, ::1.
    pub port: u16,
}

impl Door {
    /// Whether a name is 1 to 64 of `a-z 0-9 -`.
    pub fn legal_name(name: &str) -> bool {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !name.is_empty() && name.len() <= MAX_DOOR_NAME && name.bytes().all(legal)
    }
}

/// How a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Since init started.
    pub uptime: Duration,
    /// Memory in use by the container, in bytes.
    pub memory: Option<u64>,
    /// Its limit, in bytes, if it has one.
    pub memory_limit: Option<u64>,
    /// Processor time used by the container, in microseconds.
    pub cpu_micros: Option<u64>,
    /// Tasks in the container's process-id cgroup.
    pub pids: Option<u64>,
    /// Their limit, if there is one.
    pub pids_limit: Option<u64>,
    /// Kills for memory since the container started.
    pub oom_kills: Option<u64>,
    /// Processes of the registry that run.
    pub processes: u32,
}

/// Why init could not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What a caller can act on.
    pub kind: ErrorKind,
    /// What went wrong, in words.
    pub message: String,
}

impl Failure {
    /// The failure that tells the other end of `error`, with its causes in one line.
    pub fn of(error: &LinkError) -> Self {
        use std::{error::Error as _, fmt::Write as _};
        let mut message = error.message().to_owned();
        for (key, value) in error.context() {
            let _ = write!(message, " ({key} {value})");
        }
        let mut source = error.source();
        while let Some(cause) = source {
            let _ = write!(message, ": {cause}");
            source = cause.source();
        }
        message.truncate(message.floor_char_boundary(MAX_FAILURE_TEXT));
        Self {
            kind: error.kind(),
            message,
        }
    }

    /// The error a caller on the host sees: text of a container is cut and its control characters are escaped.
    pub fn into_error(self, operation: &'static str) -> LinkError {
        LinkError::new(self.kind, operation, printable(&self.message))
    }
}

/// At most [`MAX_FAILURE_TEXT`] bytes of `text` on one line.
pub fn printable(text: &str) -> String {
    let cut = &text[..text.floor_char_boundary(MAX_FAILURE_TEXT)];
    cut.chars()
        .flat_map(|c| {
            let escape = c.is_control()
                || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}');
            let escaped = escape.then(|| c.escape_unicode());
            escaped.into_iter().flatten().chain((!escape).then_some(c))
        })
        .collect()
}

/// The bytes that open a stream with `request`.
///
/// # Errors
/// `InvalidArgument` if it is too long.
pub fn encode_request(request: &Request) -> Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, request).map_err(|error| {
        LinkError::invalid(request.operation(), "the request cannot be encoded").with_source(error)
    })?;
    let length = bytes.len() - 4;
    if length > MAX_REQUEST {
        return Err(
            LinkError::invalid(request.operation(), "arguments and environment are too long")
                .with_context("bytes", length.to_string()),
        );
    }
    bytes[..4].copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    Ok(bytes)
}

/// The bytes that open a tunnel for the door `name`.
pub fn encode_tunnel(name: &str) -> Vec<u8> {
    debug_assert!(Door::legal_name(name), "doors are checked when they are opened");
    let mut bytes = Vec::with_capacity(1 + name.len());
    bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    bytes.extend_from_slice(name.as_bytes());
    bytes
}
