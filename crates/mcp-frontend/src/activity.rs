//! What a session does, in one line: for progress, for logs, for transcripts.

use serde::Serialize;
use serde_json::Value;
use session_core::activity::StallAction;
use session_core::event::EventKind;
use session_core::mcp::{ServerState, ServerStatus};
use session_core::state::SessionState;

use crate::text::{bytes, cut, one_line};

/// The longest line of progress, in characters.
const WIDTH: usize = 160;

/// The field of a tool's input that says what it is about.
const TELLING: &[&str] = &[
    "command",
    "file_path",
    "notebook_path",
    "path",
    "pattern",
    "query",
    "url",
    "description",
    "skill",
    "prompt",
];

/// The event as a line of progress; `None` when it says nothing about what goes on.
pub(crate) fn line(kind: &EventKind) -> Option<String> {
    Some(match kind {
        EventKind::TurnQueued { .. } => "the prompt waits for its turn".to_owned(),
        EventKind::TurnStarted => "the agent has the prompt".to_owned(),
        EventKind::Progress { message } => one_line(message, WIDTH),
        EventKind::AgentReady { model, .. } => {
            format!(
                "the agent is ready, model {}",
                model.as_deref().unwrap_or("unknown")
            )
        }
        EventKind::AgentText { text } => one_line(text, WIDTH),
        EventKind::AgentThinking { .. } => "the agent thinks".to_owned(),
        EventKind::ToolCall { tool, input, .. } => call(tool, input),
        EventKind::ToolResult {
            is_error: true, text, ..
        } => one_line(&format!("the tool failed: {text}"), WIDTH),
        EventKind::ModelRetry { attempt, reason, .. } => one_line(
            &format!("the model did not answer (attempt {attempt}): {reason}"),
            WIDTH,
        ),
        EventKind::AgentExited { cause } => one_line(&format!("the agent's process ended: {cause}"), WIDTH),
        EventKind::EgressDenied { host, port, reason } => {
            one_line(&format!("denied: {host}:{port} ({})", written(reason)), WIDTH)
        }
        EventKind::EgressDecided { rule, allow, for_all } => {
            let what = if *allow { "allowed" } else { "refused" };
            let whom = if *for_all { "every session" } else { "this session" };
            format!("a person {what} {rule} for {whom}")
        }
        EventKind::BudgetSpent { limit, today } => {
            let whose = if *today { "of today" } else { "of the session" };
            format!("the budget {whose} is spent ({})", written(limit))
        }
        EventKind::ModelFailing { failure } => format!("the model's provider fails ({})", written(failure)),
        EventKind::ProviderChanged { to } => one_line(
            &format!("requests to the model go to another provider: {to}"),
            WIDTH,
        ),
        EventKind::PermissionAsked { tool, .. } => {
            one_line(&format!("the agent asks whether it may use {tool}"), WIDTH)
        }
        EventKind::AgentStalled {
            cause,
            for_ms,
            action,
        } => format!(
            "nothing moves for {} s ({}): {}",
            for_ms / 1000,
            cause.as_str(),
            match action {
                StallAction::Tell => "nothing is done about it yet",
                StallAction::Interrupt => "the turn is interrupted",
                StallAction::Restart => "the agent is restarted with its conversation",
            }
        ),
        EventKind::AgentRecovered { cause, for_ms } => {
            format!("it goes on after {} s ({})", for_ms / 1000, cause.as_str())
        }
        EventKind::McpServer { status } => server(status),
        _ => return None,
    })
}

/// A call of a tool, such as `Bash: cargo test`.
pub(crate) fn call(tool: &str, input: &Value) -> String {
    let about = TELLING
        .iter()
        .find_map(|field| input.get(field).and_then(Value::as_str))
        .map_or_else(|| whole(input), str::to_owned);
    let about = about.strip_prefix("/workspace/").unwrap_or(&about);
    let tool = one_line(tool, 60);
    if about.is_empty() {
        return tool;
    }
    one_line(&format!("{tool}: {about}"), WIDTH)
}

fn whole(input: &Value) -> String {
    match input {
        Value::Null => String::new(),
        Value::Object(fields) if fields.is_empty() => String::new(),
        other => cut(&other.to_string(), WIDTH * 4),
    }
}

/// The event as an entry of a log: all of it that a reader wants, at most about `limit` bytes.
pub(crate) fn entry(kind: &EventKind, limit: usize) -> String {
    match kind {
        EventKind::StateChanged { to } => state(to),
        EventKind::Progress { message } => cut(message, limit),
        EventKind::TurnQueued { prompt } => cut(prompt, limit),
        EventKind::TurnStarted => "the agent has the prompt".to_owned(),
        EventKind::TurnFinished { outcome } => {
            let how = match &outcome.failure {
                Some(failure) => failure.error.message.clone(),
                None => serde_json::to_string(&outcome.status)
                    .unwrap_or_default()
                    .replace('"', ""),
            };
            cut(&format!("{how}\n{}", outcome.text), limit)
                .trim_end()
                .to_owned()
        }
        EventKind::AgentText { text }
        | EventKind::AgentThinking { text }
        | EventKind::AgentStderr { text } => cut(text, limit),
        EventKind::ToolCall { tool, input, .. } => cut(&format!("{tool} {input}"), limit),
        EventKind::ToolResult { is_error, text, .. } => {
            let mark = if *is_error { "error: " } else { "" };
            cut(&format!("{mark}{text}"), limit)
        }
        EventKind::AgentOutputLost { bytes: lost } => {
            format!("{} of the agent's output were lost", bytes(*lost))
        }
        EventKind::CommandStarted { argv, .. } => cut(&argv.join(" "), limit),
        EventKind::CommandFinished { code, signal, .. } => match (code, signal) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(signal)) => format!("ended by signal {signal}"),
            (None, None) => "ended without an exit code".to_owned(),
        },
        EventKind::FilesCopied {
            inward,
            path,
            bytes: size,
            entries,
        } => {
            let way = if *inward { "copied to" } else { "copied from" };
            format!(
                "{way} {}: {entries} entries, {}",
                one_line(path, WIDTH),
                bytes(*size)
            )
        }
        EventKind::Problem { error } => cut(&error.message, limit),
        EventKind::EgressAllowed { host, port, rule } => {
            one_line(&format!("reached: {host}:{port} ({rule})"), 2 * WIDTH)
        }
        other => line(other).unwrap_or_else(|| cut(&serde_json::to_string(other).unwrap_or_default(), limit)),
    }
}

/// How an MCP server is, and why. Reasons come from the server.
pub(crate) fn server(status: &ServerStatus) -> String {
    let how = match status.state {
        ServerState::Idle => "is idle",
        ServerState::Starting => "is starting",
        ServerState::Ready => "is ready",
        ServerState::Failed => "failed",
        ServerState::GaveUp => "failed too often and is left alone",
        ServerState::NeedsLogin => "needs a person to log in",
        ServerState::Removed => "was taken away by the operator",
        _ => "has changed",
    };
    let mut text = format!("MCP server {} {how}", status.name);
    if let Some(reason) = &status.reason {
        text.push_str(&format!(": {reason}"));
    }
    if let Some(retry) = status.retry_in_ms {
        text.push_str(&format!(" (again in {} s)", retry.div_ceil(1000)));
    }
    if !status.held.is_empty() {
        text.push_str(&format!(
            "; {} of its tools are held until a person approves them",
            status.held.len()
        ));
    }
    one_line(&text, 2 * WIDTH)
}

fn state(to: &SessionState) -> String {
    match to {
        SessionState::Failed { cause } => format!("failed: {cause}"),
        SessionState::Interrupted { cause } => format!("interrupted: {}", cause.as_str()),
        other => other.name().as_str().to_owned(),
    }
}

/// A value's name as it stands in JSON.
fn written(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        _ => String::new(),
    }
}

/// The event's kind as it is written, for example `tool_call`.
pub(crate) fn name(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::StateChanged { .. } => "state_changed",
        EventKind::Progress { .. } => "progress",
        EventKind::TurnQueued { .. } => "turn_queued",
        EventKind::TurnStarted => "turn_started",
        EventKind::TurnFinished { .. } => "turn_finished",
        EventKind::AgentReady { .. } => "agent_ready",
        EventKind::AgentText { .. } => "agent_text",
        EventKind::AgentThinking { .. } => "agent_thinking",
        EventKind::ToolCall { .. } => "tool_call",
        EventKind::ToolResult { .. } => "tool_result",
        EventKind::ModelRetry { .. } => "model_retry",
        EventKind::AgentStderr { .. } => "agent_stderr",
        EventKind::AgentExited { .. } => "agent_exited",
        EventKind::AgentOther { .. } => "agent_other",
        EventKind::AgentOutputLost { .. } => "agent_output_lost",
        EventKind::CommandStarted { .. } => "command_started",
        EventKind::CommandFinished { .. } => "command_finished",
        EventKind::FilesCopied { .. } => "files_copied",
        EventKind::PermissionAsked { .. } => "permission_asked",
        EventKind::AgentStalled { .. } => "agent_stalled",
        EventKind::AgentRecovered { .. } => "agent_recovered",
        EventKind::EgressAllowed { .. } => "egress_allowed",
        EventKind::EgressDenied { .. } => "egress_denied",
        EventKind::EgressDecided { .. } => "egress_decided",
        EventKind::BudgetSpent { .. } => "budget_spent",
        EventKind::ModelFailing { .. } => "model_failing",
        EventKind::ProviderChanged { .. } => "provider_changed",
        EventKind::McpServer { .. } => "mcp_server",
        EventKind::Problem { .. } => "problem",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn calls_say_what_they_are_about() {
        assert_eq!(
            call("Bash", &json!({"command": "ls\n-la", "timeout": 5})),
            "Bash: ls -la"
        );
        assert_eq!(
            call("Edit", &json!({"file_path": "/workspace/a.py"})),
            "Edit: a.py"
        );
        assert_eq!(call("Odd", &json!({"k": 1})), r#"Odd: {"k":1}"#);
        assert_eq!(call("Odd", &json!({})), "Odd");
    }

    #[test]
    fn kinds_have_the_names_that_are_written() {
        for kind in [
            EventKind::TurnStarted,
            EventKind::AgentText { text: "x".into() },
            EventKind::AgentExited { cause: "x".into() },
            EventKind::AgentOutputLost { bytes: 1 },
        ] {
            assert_eq!(serde_json::to_value(&kind).unwrap()["event"], name(&kind));
        }
    }
}
