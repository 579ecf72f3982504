//! Finds the servers in the file of a client.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};

use super::OPERATION;

const MAX_BYTES: usize = 16 << 20;
const MAX_SERVERS: usize = 512;
const TWICE: &str = "two servers have the same name";

/// Where clients keep their servers: `mcpServers` nearly all, `servers` VS Code, `mcp.servers` its settings.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "mcpServers")]
    mcp_servers: Option<Members>,
    servers: Option<Members>,
    mcp: Option<Settings>,
}

#[derive(Deserialize)]
struct Settings {
    servers: Option<Members>,
}

/// An object in the order of the file; of two members with one name, serde would silently take the last.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of servers")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if members.len() >= MAX_SERVERS || members.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(TWICE));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// The servers of a client's file, in its order.
pub(super) fn servers(json: &str) -> Result<Vec<(String, Value)>> {
    if json.len() > MAX_BYTES {
        return Err(refuse("the file is too long").with_context("limit", MAX_BYTES));
    }
    let json = json.trim_start_matches('\u{feff}');
    let file: File = serde_json::from_str(json).map_err(|error| {
        // Its own text can quote a value.
        let message = match error.classify() {
            serde_json::error::Category::Data if error.to_string().starts_with(TWICE) => TWICE,
            serde_json::error::Category::Data => "this is not a client's file with MCP servers",
            _ => "this is not JSON",
        };
        refuse(message)
            .with_context("line", error.line())
            .with_context("column", error.column())
            .with_hint("if the file has comments or trailing commas, take them out first")
    })?;
    file.mcp_servers
        .or(file.servers)
        .or(file.mcp.and_then(|mcp| mcp.servers))
        .map(|Members(servers)| servers)
        .ok_or_else(|| refuse("the file has no MCP servers"))
}

fn refuse(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_hint(
        "it has an object `mcpServers`, as in claude_desktop_config.json, .mcp.json or .cursor/mcp.json",
    )
}
