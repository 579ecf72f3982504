//! The driver against what the program really wrote, and against what it might write.

macro_rules! recording {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../../testkit/fixtures/claude/",
            $name,
            ".jsonl"
        ))
    };
}

mod failures;
mod interface;
mod launch;
mod lines;
mod requests;
mod turns;

use super::*;
use crate::event::EventKind;
use crate::turn::TurnOutcome;

fn parse_all(recording: &str) -> Vec<AgentSignal> {
    recording
        .lines()
        .flat_map(|line| ClaudeCode.parse(line.as_bytes()))
        .collect()
}

fn outcomes(recording: &str) -> Vec<TurnOutcome> {
    let ended = |signal| match signal {
        AgentSignal::TurnEnded(outcome) => Some(outcome),
        _ => None,
    };
    parse_all(recording).into_iter().filter_map(ended).collect()
}

fn events(recording: &str) -> Vec<EventKind> {
    let event = |signal| match signal {
        AgentSignal::Event(kind) => Some(kind),
        _ => None,
    };
    parse_all(recording).into_iter().filter_map(event).collect()
}

/// What an event is about, in a word or two.
fn brief(event: &EventKind) -> String {
    match event {
        EventKind::AgentReady { .. } => "ready".into(),
        EventKind::AgentText { text } => format!("text {}", text.chars().take(12).collect::<String>()),
        EventKind::AgentThinking { .. } => "thinking".into(),
        EventKind::ToolCall { tool, .. } => format!("call {tool}"),
        EventKind::ToolResult { is_error, .. } => format!("result {is_error}"),
        EventKind::ModelRetry { attempt, reason, .. } => format!("retry {attempt} {reason}"),
        EventKind::AgentOther { raw } => format!("other {}", raw["subtype"].as_str().unwrap_or("?")),
        other => format!("{other:?}"),
    }
}

fn briefs(recording: &str) -> Vec<String> {
    events(recording).iter().map(brief).collect()
}
