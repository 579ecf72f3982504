//! MCP servers for a session's agent, from arguments that `create_session` and `spawn_claude_container` share: those of
//! the operator by name, and those that the session brings itself.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use serde_json::Value;
use session_core::error::Error;
use session_core::mcp::{McpSelection, ServerName};

use crate::args::given;
use crate::failure::Failure;
use crate::text::one_line;

/// More than any operator declares.
const MAX_NAMED: usize = 256;
/// The longest pattern of tools.
const MAX_PATTERN: usize = 128;

/// Which of the operator's servers were asked for.
#[derive(Debug)]
pub(in crate::tools) struct Servers<'a> {
    pub(in crate::tools) names: &'a [String],
    pub(in crate::tools) profile: Option<&'a str>,
    pub(in crate::tools) tools: &'a [String],
    pub(in crate::tools) none: Option<bool>,
}

impl Servers<'_> {
    /// The selection. Whether there are such servers is for the gateway to say.
    pub(in crate::tools) fn read(&self) -> Result<McpSelection, Failure> {
        let profile = given(self.profile)
            .map(|text| name("mcpProfile", text))
            .transpose()?;
        at_most("mcpServers", self.names.len())?;
        at_most("mcpTools", self.tools.len())?;
        let servers = self.names.iter().enumerate();
        let servers = servers.map(|(index, text)| name(&format!("mcpServers[{index}]"), text));
        let tools = self.tools.iter().enumerate();
        let tools = tools.map(|(index, text)| pattern(index, text));
        let selection = McpSelection {
            profile,
            servers: servers.collect::<Result<_, _>>()?,
            tools: tools.collect::<Result<_, _>>()?,
            none: self.none == Some(true),
            search: None,
        };
        let named =
            selection.profile.is_some() || !selection.servers.is_empty() || !selection.tools.is_empty();
        if selection.none && named {
            return Err(Failure::invalid(
                "noMcp contradicts mcpServers, mcpProfile and mcpTools",
                "leave noMcp out, or all of the others",
            ));
        }
        Ok(selection)
    }
}

fn at_most(argument: &str, count: usize) -> Result<(), Failure> {
    if count <= MAX_NAMED {
        return Ok(());
    }
    Err(Failure::invalid(
        format!("{argument}: {count} entries are more than the {MAX_NAMED} that are taken"),
        "a profile of the operator names many at once, see mcpProfile",
    ))
}

fn name(place: &str, text: &str) -> Result<ServerName, Failure> {
    text.trim().parse().map_err(|error: Error| {
        let report = error.report();
        Failure::invalid(
            format!("{place}: {}", one_line(&report.message, 200)),
            report.hint.unwrap_or_default(),
        )
    })
}

fn pattern(index: usize, text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if !text.is_empty() && text.len() <= MAX_PATTERN && text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Failure::invalid(
        format!("mcpTools[{index}]: this names no tool"),
        "write them as server__tool, or server__* for all of a server",
    ))
}

/// What the session brings itself: an object as in a `.mcp.json` file, the text of one, or that text in base64, which is
/// how some clients pass files on. `None` for one without servers. Nothing of it is repeated in a refusal: people put
/// secrets there.
pub(in crate::tools) fn own(config: Option<Value>) -> Result<Option<Value>, Failure> {
    let config = match config {
        Some(Value::String(text)) if text.trim().is_empty() => None,
        Some(Value::String(text)) => Some(parsed(text.trim()).ok_or_else(odd)?),
        other => other,
    };
    let Some(config) = config else { return Ok(None) };
    match config.get("mcpServers") {
        Some(Value::Object(servers)) if servers.is_empty() => Ok(None),
        Some(Value::Object(servers)) if servers.values().all(Value::is_object) => Ok(Some(config)),
        _ => Err(odd()),
    }
}

fn parsed(text: &str) -> Option<Value> {
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let bytes = STANDARD
        .decode(text)
        .or_else(|_| STANDARD_NO_PAD.decode(text))
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn odd() -> Failure {
    Failure::invalid(
        "mcpConfig: an object with an object `mcpServers` of servers by name was expected",
        "write it as in a .mcp.json file: {\"mcpServers\": {\"name\": {\"command\": \"…\", \"args\": []}}}; servers of the \
         operator are named in mcpServers instead",
    )
}
