//! The agent with what this host's environment chooses for it.

use bytes::Bytes;
use session_core::agent::{AgentContext, AgentDriver, AgentLaunch, AgentSignal, ClaudeCode};
use session_core::id::TurnId;

use crate::settings::env;

/// Claude Code with a model for small tasks. A session's own environment goes before it.
#[derive(Debug, Clone)]
pub struct WithSmallModel {
    model: String,
}

impl WithSmallModel {
    /// With this model, as the provider calls it.
    pub fn new(model: String) -> Self {
        Self { model }
    }
}

impl AgentDriver for WithSmallModel {
    fn name(&self) -> &'static str {
        ClaudeCode.name()
    }

    fn launch(&self, context: &AgentContext) -> AgentLaunch {
        let mut launch = ClaudeCode.launch(context);
        launch
            .env
            .entry(env::ANTHROPIC_SMALL_FAST_MODEL.name.to_owned())
            .or_insert_with(|| self.model.clone());
        launch
    }

    fn prompt(&self, turn: &TurnId, text: &str) -> Bytes {
        ClaudeCode.prompt(turn, text)
    }

    fn interrupt(&self, id: u64) -> Bytes {
        ClaudeCode.interrupt(id)
    }

    fn parse(&self, line: &[u8]) -> Vec<AgentSignal> {
        ClaudeCode.parse(line)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use session_core::session::PermissionMode;

    use super::*;

    fn launched(env: BTreeMap<String, String>) -> AgentLaunch {
        WithSmallModel::new("small-1".to_owned()).launch(&AgentContext {
            model_url: "http://127.0.0.1:9101".to_owned(),
            token: "placeholder".to_owned().into(),
            model_api: session_core::gateway::ModelApi::Messages,
            model: None,
            small_model: None,
            permissions: PermissionMode::Bypass,
            mcp_config: None,
            allowed_tools: Vec::new(),
            env,
            resume: None,
        })
    }

    #[test]
    fn the_agent_gets_the_model_unless_the_session_names_one() {
        let name = env::ANTHROPIC_SMALL_FAST_MODEL.name;
        assert_eq!(launched(BTreeMap::new()).env[name], "small-1");
        let own = BTreeMap::from([(name.to_owned(), "small-2".to_owned())]);
        assert_eq!(launched(own).env[name], "small-2");
    }
}
