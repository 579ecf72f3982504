//! What a server offers to sessions: cleaned, filtered by its definition, without what is held.

use mcp_catalog::{Judgement, Manifest, ServerDefinition};
use rmcp::model::{Prompt, Resource, ResourceTemplate, ServerCapabilities, Tool};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Offer {
    /// Its tools, by their own names.
    pub(crate) tools: Vec<Tool>,
    pub(crate) prompts: Vec<Prompt>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) resource_templates: Vec<ResourceTemplate>,
    /// What it tells agents about itself.
    pub(crate) instructions: Option<String>,
    pub(crate) capabilities: ServerCapabilities,
    /// Tools that nobody may call before they are approved.
    pub(crate) held: Vec<String>,
    /// What people should know about it, although it works: one line.
    pub(crate) warning: Option<String>,
}

impl Offer {
    /// What a manifest comes to, as the definition and the approvals have it now.
    pub(crate) fn of(manifest: &Manifest, judgement: &Judgement, definition: &ServerDefinition) -> Self {
        let admits = |tool: &Tool| definition.tools.admits(&tool.name);
        let approved = judgement
            .approved
            .iter()
            .filter_map(|index| manifest.tools.get(*index));
        let mut held: Vec<String> = judgement
            .held
            .iter()
            .map(|tool| tool.name.clone())
            .filter(|name| definition.tools.admits(name))
            .collect();
        held.sort_unstable();
        held.dedup();
        Self {
            tools: approved.filter_map(read::<Tool>).filter(admits).collect(),
            prompts: manifest.prompts.iter().filter_map(read).collect(),
            resources: manifest.resources.iter().filter_map(read).collect(),
            resource_templates: manifest.resource_templates.iter().filter_map(read).collect(),
            instructions: manifest.instructions.clone(),
            capabilities: read(&manifest.capabilities).unwrap_or_default(),
            held,
            warning: None,
        }
    }

    /// A tool that may be called.
    pub(crate) fn tool(&self, name: &str) -> Option<&Tool> {
        self.tools.iter().find(|tool| tool.name == name)
    }

    pub(crate) fn is_held(&self, name: &str) -> bool {
        self.held.iter().any(|held| held == name)
    }

    /// What is no longer as it was, for those who look at it.
    pub(crate) fn differs(&self, before: &Self) -> (bool, bool, bool) {
        (
            self.tools != before.tools || self.held != before.held,
            self.prompts != before.prompts,
            self.resources != before.resources || self.resource_templates != before.resource_templates,
        )
    }
}

/// Whether a tool may be called again when a call was lost on the way.
pub(crate) fn is_idempotent(tool: &Tool, declared: &ServerDefinition) -> bool {
    let says = |hint: Option<bool>| hint == Some(true);
    let own = tool
        .annotations
        .as_ref()
        .is_some_and(|hints| says(hints.idempotent_hint) || says(hints.read_only_hint));
    own || declared.idempotent.contains(tool.name.as_ref())
}

fn read<T: DeserializeOwned>(value: &Value) -> Option<T> {
    T::deserialize(value).ok()
}
