//! What becomes an argument of the agent: the model, the tools, the MCP servers.
//!
//! Each is one argument of a vector, so no shell reads it; but none may look like an option, and none may be longer than
//! the kernel takes.

use serde_json::Value;

use super::environment::{is_secret_name, looks_secret};
use super::{at_most, bad, shown};
use crate::error::{Error, Result};

const MAX_MODEL_BYTES: usize = 256;
const MAX_TOOLS: usize = 128;
const MAX_TOOL_BYTES: usize = 512;
/// Below the longest argument, whatever is added around it.
const MAX_MCP_CONFIG_BYTES: usize = 96 << 10;

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

/// Judges MCP servers for the agent: an object of servers, and no credential in it.
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
