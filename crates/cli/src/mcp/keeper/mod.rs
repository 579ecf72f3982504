//! Without a daemon, prompts that go on when the server dies, at any moment and however it dies.
//!
//! The model proxy of a sealed session lives in the process that owns the session's agent. So a second process waits to
//! own the sessions whose turns nobody waits for: it contends for the agent's lock, which the system takes from a process
//! that dies, goes on with the turn where the store says it is, and ends when there is nothing left to be kept.
//!
//! One process keeps all turns of a server. It is started with the first one, in two steps: the process that the server
//! starts starts another one and ends, so that whoever kills the server with all its descendants does not find it.
//! Credentials come with the environment that it inherits, and never by argument or pipe. What is told to it is a line of
//! JSON each way.

mod ask;
mod stay;

use serde::{Deserialize, Serialize};
use session_core::error::ErrorReport;
use session_core::id::{SessionId, TurnId};

pub use self::ask::ProcessKeeper;
pub use self::stay::{start, stay};

/// What is asked of the process.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Wish {
    session: SessionId,
    turn: TurnId,
}

/// What it answers, in the order in which it was asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    /// The turn goes on whatever becomes of the server.
    Kept(TurnId),
    /// It cannot be followed.
    Refused(ErrorReport),
}
