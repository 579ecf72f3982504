//! Terminals: programs in a session that a person sits in front of.
//!
//! A terminal is a program with a pseudo-terminal. It outlives those who look at it: people attach, detach and come back,
//! and several may look at once. It ends with its program, with its session, or when somebody closes it.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::command::CommandExit;
use crate::error::Result;
use crate::id::{SessionId, TerminalId};

/// The most terminals of a session at once.
pub const MAX_TERMINALS: usize = 8;
/// The most that look at one terminal at once.
pub const MAX_VIEWERS: usize = 16;
/// How many bytes of what was written last a viewer is shown when it comes.
pub const REPLAY_BYTES: usize = 256 << 10;

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TerminalSize {
    /// Lines, 1 to 1,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub rows: u16,
    /// Columns, 1 to 1,000.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 1000))]
    pub columns: u16,
}

impl Default for TerminalSize {
    fn default() -> Self {
        Self {
            rows: 24,
            columns: 80,
        }
    }
}

/// What runs in a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TerminalProgram {
    /// The session's shell: the first of `bash` and `sh` that is there.
    #[default]
    Shell,
    /// The agent's own interface, in the session's conversation. Turns wait while it is open.
    Agent,
    /// A program.
    Command {
        /// Its argument vector.
        argv: Vec<String>,
    },
}

/// What is asked of a new terminal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenTerminal {
    /// What runs in it.
    pub program: TerminalProgram,
    /// Its first size.
    pub size: TerminalSize,
    /// The same key in the same session gives the same terminal: a second request opens no second one. Its first size may
    /// differ, its program may not.
    pub idempotency_key: Option<String>,
}

/// A terminal as callers see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TerminalInfo {
    /// The terminal.
    pub id: TerminalId,
    /// Its session.
    pub session: SessionId,
    /// What runs in it.
    pub program: TerminalProgram,
    /// Its size now: what the smallest of its viewers shows.
    pub size: TerminalSize,
    /// How many look at it.
    pub viewers: u32,
    /// When it was opened.
    pub opened_at: Timestamp,
}

/// What a viewer sees, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TerminalEvent {
    /// Bytes for the screen. The first of a viewer repeat what was written last, at most [`REPLAY_BYTES`].
    Output(Bytes),
    /// This viewer was too slow and has missed bytes; what follows begins with a repetition like the first.
    Skipped,
    /// The terminal has another size.
    Resized(TerminalSize),
    /// Its program ended. Nothing follows.
    Exited(CommandExit),
}

/// What a viewer can do. All viewers may type.
#[async_trait]
pub trait TerminalControl: Send + Sync {
    /// Types; waits while the program does not read.
    async fn write(&self, bytes: Bytes) -> Result<()>;
    /// Says how much this viewer can show.
    async fn resize(&self, size: TerminalSize) -> Result<()>;
}

/// A terminal that somebody looks at. Dropping it detaches; the terminal stays.
pub struct AttachedTerminal {
    /// The terminal as it was at that moment.
    pub info: TerminalInfo,
    /// What is seen; ends after [`TerminalEvent::Exited`].
    pub events: BoxStream<'static, Result<TerminalEvent>>,
    /// What can be done.
    pub control: Box<dyn TerminalControl>,
}

impl std::fmt::Debug for AttachedTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AttachedTerminal")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}
