//! Terminals: what is asked of one, and the frames between it and those who look at it.
//!
//! On the WebSocket of a terminal binary messages are raw bytes in both directions. Everything else is text.

use serde::{Deserialize, Serialize};
use session_core::command::CommandExit;
use session_core::terminal::{OpenTerminal, TerminalInfo, TerminalProgram, TerminalSize};
use utoipa::ToSchema;

use crate::object::objects;
use crate::problem::Problem;

/// A terminal to be opened. `{}` is the session's shell on 24 lines of 80 columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"program": {"kind": "shell"}, "size": {"rows": 50, "columns": 120}}))]
pub struct OpenTerminalBody {
    /// What runs in it.
    #[serde(default)]
    pub program: ProgramBody,
    /// Its first size.
    #[serde(default)]
    pub size: SizeBody,
    /// The same key gives the same terminal. The header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[!-~]+$", min_length = 1, max_length = 255)]
    pub idempotency_key: Option<String>,
}

/// What runs in a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ProgramBody {
    /// The session's shell.
    Shell {},
    /// The agent's own interface, in the session's conversation.
    Agent {},
    /// A program.
    Command {
        /// Its argument vector.
        #[schema(value_type = crate::command::ArgumentTexts)]
        argv: Vec<String>,
    },
}

impl Default for ProgramBody {
    fn default() -> Self {
        Self::Shell {}
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"rows": 50, "columns": 120}))]
pub struct SizeBody {
    /// Lines.
    #[serde(deserialize_with = "crate::object::whole")]
    #[schema(minimum = 1, maximum = 1_000)]
    pub rows: u16,
    /// Columns.
    #[serde(deserialize_with = "crate::object::whole")]
    #[schema(minimum = 1, maximum = 1_000)]
    pub columns: u16,
}

impl Default for SizeBody {
    fn default() -> Self {
        TerminalSize::default().into()
    }
}

/// What a viewer says in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalClientFrame {
    /// How much it can show.
    Resize(SizeBody),
}

/// What a viewer is told in text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalServerFrame {
    /// It looks at this terminal now. The first frame.
    Attached {
        /// The terminal.
        info: TerminalInfo,
    },
    /// The terminal has another size.
    Resized(TerminalSize),
    /// The viewer was too slow and has missed bytes; what follows repeats the screen.
    Skipped,
    /// The program ended. Nothing follows.
    Exited {
        /// How.
        exit: CommandExit,
    },
    /// It failed. Nothing follows.
    Error {
        /// How.
        problem: Problem,
    },
}

impl From<SizeBody> for TerminalSize {
    fn from(body: SizeBody) -> Self {
        Self {
            rows: body.rows,
            columns: body.columns,
        }
    }
}

impl From<TerminalSize> for SizeBody {
    fn from(size: TerminalSize) -> Self {
        Self {
            rows: size.rows,
            columns: size.columns,
        }
    }
}

impl From<OpenTerminalBody> for OpenTerminal {
    fn from(body: OpenTerminalBody) -> Self {
        Self {
            program: match body.program {
                ProgramBody::Shell {} => TerminalProgram::Shell,
                ProgramBody::Agent {} => TerminalProgram::Agent,
                ProgramBody::Command { argv } => TerminalProgram::Command { argv },
            },
            size: body.size.into(),
            idempotency_key: body.idempotency_key,
        }
    }
}

impl From<OpenTerminal> for OpenTerminalBody {
    fn from(request: OpenTerminal) -> Self {
        Self {
            program: match request.program {
                TerminalProgram::Shell => ProgramBody::Shell {},
                TerminalProgram::Agent => ProgramBody::Agent {},
                TerminalProgram::Command { argv } => ProgramBody::Command { argv },
            },
            size: request.size.into(),
            idempotency_key: request.idempotency_key,
        }
    }
}

objects!(OpenTerminalBody, ProgramBody, SizeBody);
