//! Failures as a client reads them.
//!
//! A tool that failed is a result whose text is complete on its own: the code to branch on, what happened, and what to
//! do next in the words of this server's tools. Sources of errors stay in the log.

use rmcp::model::{CallToolResult, ContentBlock};
use session_core::error::{Error, ErrorKind};
use session_core::turn::{TurnFailure, TurnFailureCause, TurnOutcome, TurnStatus};

/// Why a tool did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    code: &'static str,
    message: String,
    cause: Option<String>,
    hint: Option<String>,
    retryable: bool,
    /// What the caller would lose if it were not told now.
    more: Option<String>,
}

impl Failure {
    /// A refusal of what the caller asked for.
    pub(crate) fn invalid(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: ErrorKind::InvalidArgument.code(),
            message: message.into(),
            cause: None,
            hint: Some(hint.into()),
            retryable: false,
            more: None,
        }
    }

    /// A failure of another kind.
    pub(crate) fn of(kind: ErrorKind, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            code: kind.code(),
            retryable: kind.retryable_by_default(),
            ..Self::invalid(message, hint)
        }
    }

    /// What is said of a call that its client took back.
    pub(crate) fn cancelled(message: impl Into<String>) -> Self {
        Self::of(ErrorKind::Cancelled, message, "nothing needs to be done")
    }

    /// A turn that did not succeed; `None` for one that did.
    pub(crate) fn of_turn(outcome: &TurnOutcome) -> Option<Self> {
        match (outcome.status, &outcome.failure) {
            (TurnStatus::Succeeded, _) => None,
            (_, Some(failure)) => Some(Self::of_turn_failure(failure, &outcome.text)),
            _ => Some(Self {
                code: ErrorKind::Cancelled.code(),
                message: "the prompt was interrupted before the agent finished it".into(),
                cause: Some("interrupted".into()),
                hint: Some(
                    "the session is usable and its files are as the agent left them; prompt again to go on"
                        .into(),
                ),
                retryable: false,
                more: last_words(&outcome.text),
            }),
        }
    }

    fn of_turn_failure(failure: &TurnFailure, text: &str) -> Self {
        let cause = serde_json::to_value(failure.cause)
            .ok()
            .and_then(|value| value.as_str().map(str::to_owned));
        let hint = match failure.cause {
            TurnFailureCause::TimedOut => Some(
                "its work so far is in the workspace; prompt it to go on, with a larger timeoutSeconds or background: true"
                    .to_owned(),
            ),
            _ => failure.error.hint.clone(),
        };
        Self {
            code: failure.error.code.code(),
            message: failure.error.message.clone(),
            cause,
            hint,
            retryable: failure.error.retryable,
            more: last_words(text),
        }
    }

    /// With another hint.
    #[must_use]
    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// Adds what the caller would lose if it were not told now.
    #[must_use]
    pub(crate) fn with_more(mut self, more: impl Into<String>) -> Self {
        let more = more.into();
        self.more = Some(match self.more.take() {
            Some(before) => format!("{before}\n{more}"),
            None => more,
        });
        self
    }

    /// The stable code.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    /// All of it as text.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}: {}", self.code, self.message);
        let mut line = |name: &str, value: &str| text.push_str(&format!("\n{name}: {value}"));
        if let Some(cause) = &self.cause {
            line("cause", cause);
        }
        if let Some(hint) = &self.hint {
            line("hint", hint);
        }
        if self.retryable {
            line("retry", "the same call may succeed later");
        }
        if let Some(more) = &self.more {
            text.push_str("\n\n");
            text.push_str(more);
        }
        text
    }

    /// The result of the tool.
    pub(crate) fn into_result(self) -> CallToolResult {
        CallToolResult::error(vec![ContentBlock::text(self.text())])
    }
}

/// An agent that fails has often said before what went wrong.
fn last_words(text: &str) -> Option<String> {
    const SHOWN: usize = 4 << 10;
    let text = text.trim();
    (!text.is_empty()).then(|| format!("The agent's last words:\n{}", crate::text::cut(text, SHOWN)))
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let report = error.report();
        Self {
            code: report.code.code(),
            hint: hint(&error).or(report.hint),
            message: report.message,
            cause: None,
            retryable: report.retryable,
            more: None,
        }
    }
}

/// The core's hints speak to people at a shell; where they name its commands, ours name our tools.
fn hint(error: &Error) -> Option<String> {
    let has = |key: &str| error.context().iter().any(|(name, _)| *name == key);
    if let Some(text) = allow_hint(error) {
        return Some(text);
    }
    let text = match error.kind() {
        ErrorKind::NotFound if has("turn") || has("command") => "list_tasks shows the tasks of a session",
        ErrorKind::NotFound => "list_sessions shows the sessions that exist; create_session makes one",
        ErrorKind::WorkspaceNotWritable => {
            "use workspace: \"copy\" to work on a copy, or let the directory belong to the user named above"
        }
        ErrorKind::IdempotencyMismatch => "use a fresh idempotencyKey for each different request",
        ErrorKind::EngineUnavailable => {
            "the container engine of this host does not answer; ask the operator to start it, then try again"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// What a person would do with `--allow`, a client does with the argument `allow`.
fn allow_hint(error: &Error) -> Option<String> {
    error.hint().filter(|hint| hint.contains("--allow"))?;
    let rule = error.context().iter().find(|(name, _)| *name == "rule");
    Some(match rule {
        Some((_, rule)) => format!(
            "create it anew with allow: [\"{rule}\"], or with the preset of the hosts that git is used with on this machine, \
             allow: [\"git\"]"
        ),
        None => "name the hosts that it needs instead, for example allow: [\"npm\", \"docs.example.com\"]"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use session_core::error::ErrorReport;
    use session_core::turn::TokenUsage;

    use super::*;

    #[test]
    fn text_says_code_message_hint_and_never_the_source() {
        let error = Error::new(ErrorKind::EngineTimeout, "start it", "too slow")
            .with_hint("look at the engine")
            .with_source(std::io::Error::other("internal detail"));
        assert_eq!(
            Failure::from(error).text(),
            "engine_timeout: could not start it: too slow\nhint: look at the engine\nretry: the same call may succeed later"
        );
    }

    #[test]
    fn hints_name_tools_of_this_server() {
        let error = Error::new(ErrorKind::NotFound, "prompt", "there is no such session")
            .with_hint("see `cofferdam ls`");
        assert!(Failure::from(error).text().contains("list_sessions"));
    }

    #[test]
    fn a_failed_turn_gives_its_cause_and_the_agents_last_words() {
        let outcome = TurnOutcome {
            status: TurnStatus::Failed,
            text: "I could not".into(),
            usage: TokenUsage::default(),
            cost_usd: None,
            model_calls: 1,
            duration_ms: 5,
            permission_denials: Vec::new(),
            failure: Some(TurnFailure {
                cause: TurnFailureCause::ModelUnauthorized,
                error: ErrorReport {
                    code: ErrorKind::AgentFailed,
                    message: "the provider refused the key".into(),
                    hint: Some("give another".into()),
                    retryable: false,
                },
            }),
        };
        let text = Failure::of_turn(&outcome).unwrap().text();
        assert!(text.starts_with(
            "agent_failed: the provider refused the key\ncause: model_unauthorized\nhint: give another"
        ));
        assert!(text.ends_with("I could not"));
    }
}
