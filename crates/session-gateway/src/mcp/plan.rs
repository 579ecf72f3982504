//! What a session is to have of MCP: decided once, when it is made.

use mcp_catalog::{Catalog, Declared, own};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::{McpPlan, McpSelection, ServerName};

const OPERATION: &str = "choose the MCP servers of a session";

/// Decides. Reads files, asks no server.
pub(super) fn plan(
    catalog: &Catalog,
    selection: &McpSelection,
    own: Option<&serde_json::Value>,
) -> Result<McpPlan> {
    let declared = catalog.declared()?;
    let own = own_servers(&declared, own)?;
    let chosen = declared.configuration(selection)?;
    let mut plan = McpPlan {
        servers: chosen.servers.keys().cloned().collect(),
        own,
        tools: chosen.tools,
        ..McpPlan::default()
    };
    if plan.servers.is_empty() {
        return Ok(plan);
    }
    plan.profile = chosen.profile;
    let profile = plan.profile.as_ref().and_then(|name| declared.profiles.get(name));
    plan.search = selection
        .search
        .or_else(|| profile.and_then(|profile| profile.search))
        .unwrap_or_default();
    let (configuration, artifact) = configuration(catalog, &declared, selection)?;
    plan.configuration = configuration;
    plan.artifact = artifact;
    Ok(plan)
}

/// Whether the operator's servers would be others if the session were made now.
pub(super) fn has_drifted(catalog: &Catalog, plan: &McpPlan) -> bool {
    if plan.servers.is_empty() {
        return false;
    }
    let same = McpSelection {
        profile: plan.profile.clone(),
        servers: plan.servers.clone(),
        ..McpSelection::default()
    };
    let now = catalog
        .declared()
        .and_then(|declared| declared.configuration(&same));
    now.map_or(true, |now| now.digest().as_str() != plan.configuration)
}

/// The content address of what was chosen, and the publication of that content. Tools that the session does without are
/// no other configuration.
fn configuration(
    catalog: &Catalog,
    declared: &Declared,
    selection: &McpSelection,
) -> Result<(String, Option<String>)> {
    let whole = McpSelection {
        tools: Vec::new(),
        ..selection.clone()
    };
    let digest = declared.configuration(&whole)?.digest();
    let artifact = match catalog.published_as(&digest) {
        Ok(found) => found.map(|(artifact, _)| artifact.artifact_id.as_str().to_owned()),
        Err(error) if declared.only_published => return Err(error),
        Err(error) => {
            tracing::warn!(%error, "what was published cannot be read");
            None
        }
    };
    if declared.only_published && artifact.is_none() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the operator lets sessions have only what was published, and this was not",
        )
        .with_context("configuration", &digest)
        .with_hint("publish it with `cofferdam mcp publish`, or ask for what was published"));
    }
    Ok((digest.as_str().to_owned(), artifact))
}

fn own_servers(declared: &Declared, own: Option<&serde_json::Value>) -> Result<Vec<ServerName>> {
    let Some(config) = own else { return Ok(Vec::new()) };
    let names: Vec<_> = own::parse(config)?.into_keys().collect();
    if declared.only_published && !names.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "the operator lets sessions have only what was published, and no servers of their own",
        ));
    }
    match names.iter().find(|name| declared.servers.contains_key(*name)) {
        None => Ok(names),
        Some(name) => Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "a server that the session brings has the name of one of the operator's",
        )
        .with_context("server", name)
        .with_hint("give it another name")),
    }
}
