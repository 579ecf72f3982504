//! Claude Code.

use bytes::Bytes;

use super::{AgentContext, AgentDriver, AgentLaunch, AgentSignal};

/// Drives Claude Code in stream-json mode, one process for the whole session.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClaudeCode;

impl AgentDriver for ClaudeCode {
    fn name(&self) -> &'static str {
        "claude"
    }

    fn launch(&self, _context: &AgentContext) -> AgentLaunch {
        AgentLaunch {
            argv: Vec::new(),
            env: std::collections::BTreeMap::new(),
        }
    }

    fn prompt(&self, _turn: &crate::id::TurnId, text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    fn interrupt(&self, _id: u64) -> Bytes {
        Bytes::new()
    }

    fn parse(&self, _line: &[u8]) -> Vec<AgentSignal> {
        Vec::new()
    }
}
