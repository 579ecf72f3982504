//! A turn as it happens: one line for each thing that the agent says and does, with its time since the prompt.

use std::time::{Duration, Instant};

use futures::StreamExt;
use session_core::api::SessionApi;
use session_core::event::EventKind;
use session_core::id::SessionId;
use session_core::session::PromptRequest;
use session_core::turn::TurnOutcome;
use xtask::error::{Context, Error, Result};
use xtask::reporter::Reporter;

/// No turn of the demo takes longer, not even with the real model.
const PATIENCE: Duration = Duration::from_secs(300);
const LINE_CHARS: usize = 110;

/// Gives the prompt and tells what becomes of it, to its outcome.
pub(super) async fn follow(
    api: &dyn SessionApi,
    session: &SessionId,
    request: PromptRequest,
    reporter: &Reporter,
) -> Result<TurnOutcome> {
    let started = Instant::now();
    let doing = || "cannot prompt the agent".to_owned();
    let turn = api.prompt(session, request).await.context(doing)?;
    let mut events = api
        .events(session, turn.first_event.saturating_sub(1))
        .await
        .context(doing)?;
    loop {
        let left = PATIENCE.saturating_sub(started.elapsed());
        let next = tokio::time::timeout(left, events.next()).await;
        let event = next.context(|| format!("the turn did not end within {} s", PATIENCE.as_secs()))?;
        let event = event
            .ok_or_else(|| Error::new("the session ended before the turn did"))?
            .context(doing)?;
        if let EventKind::TurnFinished { outcome } = event.kind {
            return Ok(outcome);
        }
        if let Some(line) = line(&event.kind) {
            let time = started.elapsed().as_secs_f64();
            reporter.notice(&format!("  {time:5.1} s  {line}"));
        }
    }
}

/// The agent's words are data: escaped, and cut to a line.
fn line(kind: &EventKind) -> Option<String> {
    let text = match kind {
        EventKind::TurnStarted => "the agent has the prompt".to_owned(),
        EventKind::AgentReady { model, tools } => {
            format!(
                "the agent is up: {}, {} tools",
                model.as_deref().unwrap_or("its own model"),
                tools.len()
            )
        }
        EventKind::AgentThinking { text } => format!("thinks   {text}"),
        EventKind::AgentText { text } => format!("says     {text}"),
        EventKind::ToolCall { tool, input, .. } => format!("{tool:8} {}", purpose(input)),
        EventKind::ToolResult { is_error, text, .. } => {
            let last = text.trim().lines().last().unwrap_or_default();
            format!("{} {last}", if *is_error { "  error: " } else { "      → " })
        }
        EventKind::ModelRetry { attempt, reason, .. } => {
            format!("asks the model again ({attempt}): {reason}")
        }
        EventKind::AgentExited { cause } => format!("the agent is gone: {cause}"),
        EventKind::Problem { error } => format!("problem: {}", error.message),
        _ => return None,
    };
    let escaped: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(LINE_CHARS)
        .collect();
    Some(escaped.trim_end().to_owned())
}

/// What a tool is called for, in the one field that says it.
fn purpose(input: &serde_json::Value) -> String {
    let field = ["command", "file_path", "pattern", "description"]
        .into_iter()
        .find_map(|name| input[name].as_str());
    field.map_or_else(|| input.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_one_line_whatever_the_agent_says() {
        let said = line(&EventKind::AgentText {
            text: format!("one\ntwo \x1b[2J{}", "x".repeat(500)),
        })
        .expect("a line");
        assert!(!said.chars().any(char::is_control), "{said}");
        assert_eq!(said.chars().count(), LINE_CHARS);
    }

    #[test]
    fn a_tool_call_says_what_for() {
        let call = EventKind::ToolCall {
            id: "t".to_owned(),
            tool: "Bash".to_owned(),
            input: json!({ "command": "ls", "description": "List" }),
        };
        assert_eq!(line(&call).as_deref(), Some("Bash     ls"));
        assert_eq!(purpose(&json!({ "x": 1 })), r#"{"x":1}"#);
    }
}
