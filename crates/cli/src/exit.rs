//! How the process ends: every exit code, in one place, so that scripts can act on them.
//!
//! `exec` and `output` are the exception by design: they end with the program's own code, and with
//! [`ExitStatus::EXEC_FAILED`] when the failure is ours, as `docker exec` and `timeout` do.

use session_core::error::ErrorKind;

/// The exit code of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// Done.
    pub const SUCCESS: Self = Self(0);
    /// The agent's turn failed, or somebody else interrupted it. For `doctor`: a check failed.
    pub const TURN_FAILED: Self = Self(1);
    /// The command line, or a value in it, cannot be used.
    pub const USAGE: Self = Self(2);
    /// No session, turn, command or path like that.
    pub const NOT_FOUND: Self = Self(3);
    /// The session's state does not allow it, or somebody else holds what it needs.
    pub const CONFLICT: Self = Self(4);
    /// The container engine does not answer, or failed.
    pub const ENGINE: Self = Self(5);
    /// The workspace is missing, refused or not writable.
    pub const WORKSPACE: Self = Self(6);
    /// The image does not exist.
    pub const IMAGE: Self = Self(7);
    /// The session's container or the link to it was lost.
    pub const SESSION_LOST: Self = Self(8);
    /// The agent, or a program in the session, could not be started.
    pub const AGENT: Self = Self(9);
    /// A limit was reached, or an archive or patch was refused.
    pub const REFUSED: Self = Self(10);
    /// Files of this host could not be used: the state directory, the store, or what was to be copied.
    pub const HOST: Self = Self(11);
    /// A defect of Cofferdam.
    pub const INTERNAL: Self = Self(70);
    /// A command's time limit passed (`exec`).
    pub const TIMED_OUT: Self = Self(124);
    /// Cofferdam itself failed before the program's own end was known (`exec`).
    pub const EXEC_FAILED: Self = Self(125);
    /// The program cannot be executed (`exec`).
    pub const NOT_EXECUTABLE: Self = Self(126);
    /// There is no such program (`exec`).
    pub const PROGRAM_NOT_FOUND: Self = Self(127);
    /// Interrupted by the user (Ctrl-C). Other signals are 128 + their number likewise.
    pub const INTERRUPTED: Self = Self(130);
    /// Whoever read standard output went away, as in `cofferdam logs ID | head`.
    pub const STDOUT_CLOSED: Self = Self(141);

    /// Every fixed code with its meaning, for `cofferdam help exit-codes` and the reference.
    pub const ALL: &'static [(Self, &'static str)] = &[
        (Self::SUCCESS, "Done."),
        (
            Self::TURN_FAILED,
            "The agent's turn failed, or somebody else interrupted it; for `doctor`, `audit --verify`, `mcp validate` and \
             `mcp verify`, a check failed; for `mcp diff --exit-code`, it is not up to date.",
        ),
        (Self::USAGE, "The command line, or a value in it, cannot be used."),
        (
            Self::NOT_FOUND,
            "There is no such session, turn, command, MCP server or path in a session.",
        ),
        (
            Self::CONFLICT,
            "The session's state does not allow it, or somebody else holds what it needs.",
        ),
        (Self::ENGINE, "The container engine does not answer, or failed."),
        (
            Self::WORKSPACE,
            "The workspace is missing, refused or not writable.",
        ),
        (Self::IMAGE, "The image does not exist."),
        (
            Self::SESSION_LOST,
            "The session's container, or the link to it, was lost.",
        ),
        (
            Self::AGENT,
            "The agent, a program in the session, or an MCP server under test could not be started.",
        ),
        (
            Self::REFUSED,
            "A limit was reached, or an archive or patch was refused.",
        ),
        (
            Self::HOST,
            "Files of this host could not be used: the state directory, the store, or what was to be copied.",
        ),
        (Self::INTERNAL, "A defect of Cofferdam."),
        (
            Self::TIMED_OUT,
            "`exec`, `output`: the command's time limit passed.",
        ),
        (
            Self::EXEC_FAILED,
            "`exec`, `output`: Cofferdam failed, so that the program's own end is not known.",
        ),
        (
            Self::NOT_EXECUTABLE,
            "`exec`, `output`: the program cannot be executed.",
        ),
        (
            Self::PROGRAM_NOT_FOUND,
            "`exec`, `output`: there is no such program.",
        ),
        (
            Self::INTERRUPTED,
            "Interrupted by Ctrl-C; after another signal, 128 plus its number.",
        ),
        (Self::STDOUT_CLOSED, "Whoever read standard output went away."),
    ];

    /// The number that the process ends with.
    pub fn code(self) -> u8 {
        self.0
    }

    /// The end of a program in a session. A code outside `0..=255` cannot exist on the systems that we run on.
    pub fn of_program(code: i32) -> Self {
        u8::try_from(code).map_or(Self::EXEC_FAILED, Self)
    }

    /// The end after a signal to this process.
    pub fn of_signal(number: i32) -> Self {
        Self::of_program(128 + number)
    }
}

impl From<ErrorKind> for ExitStatus {
    fn from(kind: ErrorKind) -> Self {
        use ErrorKind as K;
        match kind {
            K::InvalidArgument | K::IdempotencyMismatch | K::Unsupported => Self::USAGE,
            K::NotFound | K::PathNotFound => Self::NOT_FOUND,
            K::StateConflict | K::Busy => Self::CONFLICT,
            K::WorkspaceMissing | K::WorkspaceRefused | K::WorkspaceNotWritable => Self::WORKSPACE,
            K::ImageNotFound => Self::IMAGE,
            K::EngineUnavailable | K::EngineTimeout | K::EngineFailed => Self::ENGINE,
            K::ContainerLost | K::LinkLost => Self::SESSION_LOST,
            K::AgentFailed | K::ProgramNotFound | K::ProgramNotExecutable => Self::AGENT,
            K::ArchiveRefused | K::LimitExceeded => Self::REFUSED,
            K::StateDirRefused | K::StoreFailed | K::HostIo => Self::HOST,
            K::Cancelled => Self::INTERRUPTED,
            K::Internal => Self::INTERNAL,
            // The enum may grow in another crate; a kind that is not known here is a defect until it is.
            _ => Self::INTERNAL,
        }
    }
}

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        status.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ascending() {
        assert!(
            ExitStatus::ALL
                .windows(2)
                .all(|pair| pair[0].0.code() < pair[1].0.code())
        );
    }

    #[test]
    fn signals_and_programs_map_as_in_a_shell() {
        assert_eq!(ExitStatus::of_signal(2), ExitStatus::INTERRUPTED);
        assert_eq!(ExitStatus::of_signal(15).code(), 143);
        assert_eq!(ExitStatus::of_program(300), ExitStatus::EXEC_FAILED);
        assert_eq!(ExitStatus::of_program(-1), ExitStatus::EXEC_FAILED);
    }
}
