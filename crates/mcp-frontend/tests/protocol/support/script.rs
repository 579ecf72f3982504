//! What the fake's agents and commands do.

use std::time::Duration;

use session_core::command::{CommandExit, ExitCause, OutputStream};
use session_core::error::{ErrorKind, ErrorReport};
use session_core::event::EventKind;
use session_core::turn::{TokenUsage, TurnFailure, TurnFailureCause, TurnOutcome, TurnStatus};

/// One thing that an agent does.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Event(EventKind),
    Sleep(Duration),
    /// Until it is interrupted.
    Hang,
    End(TurnOutcome),
}

/// One thing that a command does.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Out(OutputStream, Vec<u8>),
    /// What it was given to read, back.
    Echo,
    Sleep(Duration),
    /// Until it is ended.
    Hang,
    /// The connection breaks.
    Break,
    Exit(CommandExit),
}

pub(crate) fn says(text: &str) -> Act {
    Act::Event(EventKind::AgentText { text: text.into() })
}

pub(crate) fn uses(tool: &str, input: serde_json::Value) -> Act {
    Act::Event(EventKind::ToolCall {
        id: "t1".into(),
        tool: tool.into(),
        input,
    })
}

pub(crate) fn outcome(status: TurnStatus, text: &str) -> TurnOutcome {
    TurnOutcome {
        status,
        text: text.into(),
        usage: TokenUsage {
            input: 10,
            output: 20,
            cache_read: 3,
            cache_creation: 4,
        },
        cost_usd: Some(0.25),
        model_calls: 2,
        duration_ms: 1500,
        permission_denials: Vec::new(),
        failure: None,
    }
}

pub(crate) fn answers(text: &str) -> Act {
    Act::End(outcome(TurnStatus::Succeeded, text))
}

pub(crate) fn fails(cause: TurnFailureCause, message: &str) -> Act {
    let mut outcome = outcome(TurnStatus::Failed, "");
    outcome.failure = Some(TurnFailure {
        cause,
        error: ErrorReport {
            code: ErrorKind::AgentFailed,
            message: message.into(),
            hint: Some("look at the key".into()),
            retryable: false,
        },
    });
    Act::End(outcome)
}

pub(crate) fn out(text: &str) -> Step {
    Step::Out(OutputStream::Stdout, text.into())
}

pub(crate) fn err(text: &str) -> Step {
    Step::Out(OutputStream::Stderr, text.into())
}

pub(crate) fn exit(code: i32) -> Step {
    Step::Exit(ended(ExitCause::Exited, Some(code), None))
}

pub(crate) fn ended(cause: ExitCause, code: Option<i32>, signal: Option<i32>) -> CommandExit {
    CommandExit {
        cause,
        code,
        signal,
        duration_ms: 7,
        output_bytes: 0,
    }
}
