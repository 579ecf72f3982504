//! Claude Code in stream-json mode: one process for the whole session.
//!
//! What is known of the program was seen on version 2.1.329; the recordings that the tests read, and the facts behind
//! each rule here, are in `crates/testkit/fixtures/claude`.

mod launch;
mod outcome;
mod parse;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::json;

use super::{AgentContext, AgentDriver, AgentLaunch, AgentSignal};
use crate::id::TurnId;

/// Drives Claude Code.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaudeCode;

impl AgentDriver for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn launch(&self, context: &AgentContext) -> AgentLaunch {
        launch::launch(context)
    }

    /// The turn's id goes along as the message's `uuid`: a conversation does not work on the same one twice, not even in
    /// another process that resumes it.
    fn prompt(&self, turn: &TurnId, text: &str) -> Bytes {
        line(&json!({
            "type": "user",
            "uuid": turn.to_string(),
            "message": {"role": "user", "content": [{"type": "text", "text": text}]},
        }))
    }

    fn interrupt(&self, id: u64) -> Bytes {
        line(&json!({
            "type": "control_request",
            "request_id": format!("interrupt-{id}"),
            "request": {"subtype": "interrupt"},
        }))
    }

    fn parse(&self, line: &[u8]) -> Vec<AgentSignal> {
        parse::parse(line)
    }
}

/// One JSON value as one line. JSON text has no raw line end in it.
fn line(value: &serde_json::Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}
