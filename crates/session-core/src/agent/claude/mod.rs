//! Claude Code, in stream-json mode: one process for the whole session, a JSON object a line in both directions.
//!
//! What it says was recorded from the real program (`crates/testkit/fixtures/claude`, with a page of facts), and those
//! recordings are this driver's tests. Releases add types and fields all the time, so every field is read on its own and
//! leniently, and a line that is not known is kept. And since whoever controls the session can write any line, nothing is
//! taken apart further than it is used: memory stays near the length of the line.

mod fields;
mod interface;
mod launch;
mod outcome;
mod signals;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde_json::json;

use super::{AgentContext, AgentDriver, AgentLaunch, AgentSignal, InterfaceLeft};
use crate::id::TurnId;

/// Where the program is inside a session.
const PROGRAM: &str = "/opt/cofferdam/bin/claude";

/// Marks the answers to our interrupts.
const INTERRUPT_PREFIX: &str = "interrupt-";

/// Drives Claude Code.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaudeCode;

impl AgentDriver for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn launch(&self, context: &AgentContext) -> AgentLaunch {
        AgentLaunch {
            argv: launch::argv(context),
            env: launch::env(context),
        }
    }

    fn interface(&self, context: &AgentContext, note: &str) -> Option<AgentLaunch> {
        Some(AgentLaunch {
            argv: interface::argv(context, note),
            env: interface::env(context),
        })
    }

    fn interface_left(&self, note: &[u8]) -> Option<InterfaceLeft> {
        interface::left(note)
    }

    /// The turn's id is the message's `uuid`: a message that the conversation has seen is not worked on again.
    fn prompt(&self, turn: &TurnId, text: &str) -> Bytes {
        let content = json!([{ "type": "text", "text": text }]);
        line(&json!({
            "type": "user",
            "uuid": turn.to_string(),
            "message": { "role": "user", "content": content },
        }))
    }

    fn interrupt(&self, id: u64) -> Bytes {
        line(&json!({
            "type": "control_request",
            "request_id": format!("{INTERRUPT_PREFIX}{id}"),
            "request": { "subtype": "interrupt" },
        }))
    }

    fn parse(&self, line: &[u8]) -> Vec<AgentSignal> {
        signals::of(line)
    }
}

/// One line. JSON leaves U+2028 and U+2029 as they are, and readers of lines in JavaScript take them for ends; a line
/// that is not whole JSON ends the program.
fn line(value: &serde_json::Value) -> Bytes {
    let text = value
        .to_string()
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029");
    Bytes::from(text + "\n")
}
