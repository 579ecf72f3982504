//! What an agent is given: the model and the tools, which become arguments of its program, and the MCP servers, which the
//! gateway holds for it.
//!
//! An argument is one of a vector, so no shell reads it; but none may look like an option, and none may be longer than the
//! kernel takes.

use serde_json::Value;

use super::environment::{is_secret_name, looks_secret};
use super::{at_most, bad, shown};
use crate::error::{Error, Result};
use crate::mcp::{McpSelection, SEPARATOR, ServerName};

const MAX_MODEL_BYTES: usize = 256;
const MAX_TOOLS: usize = 128;
const MAX_TOOL_BYTES: usize = 512;
/// Far more than anybody declares; it is stored with the session and shown with it.
const MAX_MCP_CONFIG_BYTES: usize = 96 << 10;
const MAX_MCP_SERVERS: usize = 64;
const MAX_MCP_TOOLS: usize = 256;
const MAX_MCP_TOOL_BYTES: usize = 128;

/// A model's name becomes an argument of the agent, so it must not look like an option.
pub(super) fn validate_model(model: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@[]".contains(c);
    if !model.starts_with(|c: char| c.is_ascii_alphanumeric()) || !model.chars().all(allowed) {
        return Err(bad("this is not the name of a model")
            .with_context("model", shown(model))
            .with_hint("write it as the provider does, for example claude-opus-5-5"));
    }
    at_most("the name of a model", model.len(), MAX_MODEL_BYTES)
}

/// Judges the tools that a turn may use, as rules of the agent: `Read`, `Bash(git log *)`, `mcp__server__tool`.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_tools(tools: &[String]) -> Result<()> {
    if tools.len() > MAX_TOOLS {
        return Err(bad("there are too many tools")
            .with_context("tools", tools.len())
            .with_context("limit", MAX_TOOLS));
    }
    for tool in tools {
        if !tool.starts_with(|c: char| c.is_ascii_alphabetic()) || tool.chars().any(char::is_control) {
            return Err(bad("this is not the name of a tool")
                .with_context("tool", shown(tool))
                .with_hint("for example Read, Bash(git log *) or mcp__server__tool"));
        }
        at_most("the name of a tool", tool.len(), MAX_TOOL_BYTES)?;
    }
    Ok(())
}

/// Judges which of the operator's MCP servers and their tools a session asks for. Whether they exist is the gateway's to
/// say.
///
/// # Errors
/// `InvalidArgument`.
pub fn validate_mcp_selection(selection: &McpSelection) -> Result<()> {
    if selection.none && (selection.profile.is_some() || !selection.servers.is_empty()) {
        return Err(bad("it asks for MCP servers and for none of them").with_hint("leave one of the two out"));
    }
    let counts = [
        ("servers", selection.servers.len(), MAX_MCP_SERVERS),
        ("tools", selection.tools.len(), MAX_MCP_TOOLS),
    ];
    for (what, count, limit) in counts {
        if count > limit {
            return Err(bad(format!("there are too many MCP {what}"))
                .with_context(what, count)
                .with_context("limit", limit)
                .with_hint("use a profile for servers, and server__* for all tools of one"));
        }
    }
    selection
        .tools
        .iter()
        .try_for_each(|tool| validate_mcp_tool(tool))
}

/// `server__tool` or `server__*`.
fn validate_mcp_tool(tool: &str) -> Result<()> {
    at_most("the name of an MCP tool", tool.len(), MAX_MCP_TOOL_BYTES)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let fine = tool.split_once(SEPARATOR).is_some_and(|(server, tool)| {
        let named = !tool.is_empty() && tool.chars().all(legal);
        server.parse::<ServerName>().is_ok() && (named || tool == "*")
    });
    if fine {
        return Ok(());
    }
    Err(bad("this is not the name of a tool of an MCP server")
        .with_context("tool", shown(tool))
        .with_hint("write server__tool, or server__* for all tools of a server"))
}

/// Judges MCP servers that a session brings itself: an object of servers, and no credential in it. The gateway holds them;
/// what each has to be is its to say.
///
/// # Errors
/// `InvalidArgument`, without any value in it.
pub fn validate_mcp_config(config: &Value) -> Result<()> {
    if !config.get("mcpServers").is_some_and(Value::is_object) {
        return Err(bad("the MCP configuration names no servers")
            .with_hint(r#"write {"mcpServers": {"name": {"command": "program", "args": []}}}"#));
    }
    at_most(
        "the MCP configuration",
        config.to_string().len(),
        MAX_MCP_CONFIG_BYTES,
    )?;
    no_secret(config)
}

fn no_secret(value: &Value) -> Result<()> {
    match value {
        Value::String(text) if looks_secret(text) => {
            Err(secret("a value in the MCP configuration looks like a credential"))
        }
        Value::Array(values) => values.iter().try_for_each(no_secret),
        Value::Object(fields) => fields.iter().try_for_each(|(name, value)| {
            if is_secret_name(name) && value.as_str().is_some_and(|text| !text.is_empty()) {
                return Err(
                    secret("the MCP configuration holds a credential").with_context("field", shown(name))
                );
            }
            no_secret(value)
        }),
        _ => Ok(()),
    }
}

fn secret(message: &'static str) -> Error {
    bad(message).with_hint("servers that need a secret belong to the gateway, which adds it on the host")
}
