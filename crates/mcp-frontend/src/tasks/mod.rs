//! Tasks: prompts and commands that somebody comes back to.
//!
//! There is no list of tasks beside the sessions' own: a turn in the store and a detached command in its container *are*
//! the tasks. A task's id says which, so it means the same to every server and survives them all.

pub(crate) mod commands;
pub(crate) mod extension;
pub(crate) mod turns;
pub(crate) mod view;

use std::fmt;
use std::str::FromStr;

use session_core::id::{CommandId, SessionId, TurnId};
use session_core::turn::TurnInfo;

use crate::failure::Failure;
use crate::text::one_line;

/// Names a task for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskId {
    /// A prompt.
    Turn { session: SessionId, turn: TurnId },
    /// A command.
    Command { session: SessionId, command: CommandId },
}

impl TaskId {
    /// The id of a turn.
    pub(crate) fn of_turn(turn: &TurnInfo) -> Self {
        Self::Turn {
            session: turn.session,
            turn: turn.id,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn { session, turn } => write!(f, "turn:{session}:{turn}"),
            Self::Command { session, command } => write!(f, "command:{session}:{command}"),
        }
    }
}

impl FromStr for TaskId {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        parse(text.trim()).ok_or_else(|| {
            Failure::invalid(
                format!("taskId: `{}` is not the id of a task", one_line(text, 100)),
                "use an id as start_task, execute_in_session and list_tasks give it",
            )
        })
    }
}

fn parse(text: &str) -> Option<TaskId> {
    let mut parts = text.split(':');
    let (kind, session, id) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    match kind {
        "turn" => Some(TaskId::Turn {
            session,
            turn: id.parse().ok()?,
        }),
        "command" => Some(TaskId::Command {
            session,
            command: id.parse().ok()?,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let session = SessionId::new();
        for id in [
            TaskId::Turn {
                session,
                turn: TurnId::new(),
            },
            TaskId::Command {
                session,
                command: CommandId::new(),
            },
        ] {
            assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        }
    }

    proptest! {
        #[test]
        fn what_is_no_id_is_refused(text in "(turn|command|x)?(:[0-9a-f-]{0,40}){0,4}") {
            if let Ok(id) = text.parse::<TaskId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
