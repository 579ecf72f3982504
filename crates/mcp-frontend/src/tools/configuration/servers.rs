//! `list_available_servers`, and what is known of declared servers without asking them.

use std::collections::BTreeSet;
use std::sync::Arc;

use mcp_catalog::{Catalog, Manifest, ServerDefinition, Transport};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::Result;
use session_core::mcp::{McpStatus, ServerName};

use super::super::server_state;
use super::{Hints, Spec, Tool, ask, line};
use crate::call::{Call, Stop};

/// See the module.
pub(super) struct ListServers;

/// What `list_available_servers` takes: nothing.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Nothing {}

/// What `list_available_servers` gives.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct List {
    /// The servers, by name.
    servers: Vec<Available>,
    /// The operator's own choices among them.
    profiles: Vec<DeclaredProfile>,
    /// What an empty list means.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// One server.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Available {
    server_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    /// stdio (on this host), container (in one of its own), session (inside the session) or http.
    transport: &'static str,
    /// false: the operator has switched it off.
    enabled: bool,
    /// idle (starts with the first call), starting, ready, failed, gave_up or needs_login.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Why it does not work.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many tools it has, when it was ever asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<usize>,
    /// How many of them wait for a person to approve them.
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<usize>,
}

/// A choice that the operator made.
#[derive(Debug, Serialize, JsonSchema)]
struct DeclaredProfile {
    profile_id: String,
    servers: Vec<String>,
}

/// What is known of a server without asking it.
pub(super) struct Known {
    pub(super) definition: ServerDefinition,
    manifest: Option<Arc<Manifest>>,
    pub(super) held: BTreeSet<String>,
}

impl Known {
    pub(super) fn of(catalog: &Catalog, name: &ServerName, definition: &ServerDefinition) -> Result<Self> {
        let pending = catalog.pending(name)?;
        Ok(Self {
            manifest: catalog.manifest(name, &definition.digest())?,
            held: pending.into_iter().map(|tool| tool.name).collect(),
            definition: definition.clone(),
        })
    }

    /// Names and descriptions of the tools that exist for sessions; `None` when the server was never asked.
    pub(super) fn tools(&self) -> Option<Vec<(&str, &str)>> {
        let manifest = self.manifest.as_ref()?;
        let named = manifest.tools.iter().filter_map(|tool| {
            let name = tool.get("name")?.as_str()?;
            let description = tool.get("description").and_then(Value::as_str);
            Some((name, description.unwrap_or_default()))
        });
        Some(
            named
                .filter(|(name, _)| self.definition.tools.admits(name))
                .collect(),
        )
    }

    pub(super) fn available(&self, name: &ServerName, status: &McpStatus) -> Available {
        let status = status.servers.iter().find(|server| server.name == *name);
        Available {
            server_id: name.to_string(),
            description: self.definition.description.as_deref().map(line),
            transport: transport(&self.definition.transport),
            enabled: self.definition.enabled,
            state: status.map(|status| server_state(status.state)),
            reason: status.and_then(|status| status.reason.as_deref()).map(line),
            tools: self.tools().map(|tools| tools.len()),
            held: Some(self.held.len()).filter(|held| *held > 0),
        }
    }
}

fn transport(transport: &Transport) -> &'static str {
    match transport {
        Transport::Stdio { .. } => "stdio",
        Transport::Container { .. } => "container",
        Transport::Session { .. } => "session",
        Transport::Http { .. } => "http",
    }
}

/// How the servers are, as far as whoever holds them tells; what is declared is known without.
pub(super) async fn status(call: &Call) -> McpStatus {
    call.core.api.mcp_status(None).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "nobody tells how the MCP servers are");
        McpStatus::default()
    })
}

impl Tool for ListServers {
    const SPEC: Spec = Spec {
        name: "list_available_servers",
        title: "List MCP servers",
        description: "The MCP servers that the operator declared, which are all that there are to choose from. Use it \
            before add_server_to_config, or to find names for mcpServers of create_session.",
        hints: Hints::READS,
    };
    type Args = Nothing;
    type Output = List;

    async fn run(_: Nothing, call: &Call) -> std::result::Result<List, Stop> {
        let status = status(call).await;
        let (servers, profiles) = ask(call, move |catalog| {
            let declared = catalog.declared()?;
            let servers = declared.servers.iter();
            let servers = servers
                .map(|(name, definition)| Ok(Known::of(catalog, name, definition)?.available(name, &status)));
            let profiles = declared.profiles.iter().map(|(name, profile)| DeclaredProfile {
                profile_id: name.to_string(),
                servers: profile.servers.iter().map(ToString::to_string).collect(),
            });
            Ok((servers.collect::<Result<Vec<_>>>()?, profiles.collect()))
        })
        .await?;
        let note = servers
            .is_empty()
            .then_some("the operator has declared no MCP servers; a person does it with `cofferdam mcp add`");
        Ok(List {
            servers,
            profiles,
            note,
        })
    }
}
