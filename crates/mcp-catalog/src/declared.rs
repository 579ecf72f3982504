//! What stands in `servers.toml`.
//!
//! Judged at once and as a whole: a key that nobody knows, a server that cannot be, a profile that names a server that is
//! not there is an error with its line, never a declaration that silently does not hold. Errors repeat nothing of the
//! file but names and keys.

mod lines;
mod select;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub(crate) use self::lines::to_json;
pub use self::select::{Configuration, admits};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::ServerName;

use crate::definition::{ServerDefinition, check_pattern};
use crate::flaw::{self, Flaw};

const OPERATION: &str = "read the declared MCP servers";
const MAX_SERVERS: usize = 512;
const MAX_TOOLS: usize = 1024;
const SEARCH_ABOVE: u32 = 40;

/// The servers of an operator. `Default` is what holds without a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// By name.
    pub servers: BTreeMap<ServerName, ServerDefinition>,
    /// Named choices of them.
    pub profiles: BTreeMap<ServerName, Profile>,
    /// Whether sessions get only what was published and whose signature holds.
    pub only_published: bool,
    /// With more tools than this a session finds tools by searching.
    pub search_above: u32,
}

impl Default for Declared {
    fn default() -> Self {
        Self {
            servers: BTreeMap::new(),
            profiles: BTreeMap::new(),
            only_published: false,
            search_above: SEARCH_ABOVE,
        }
    }
}

/// A choice of servers and tools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its servers.
    pub servers: Vec<ServerName>,
    /// Only these tools of them, as `server__tool` or `server__*`, also for servers whose tools are called without their
    /// name; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Whether tools are found by searching; decided by their number when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    only_published: Option<bool>,
    search_above: Option<u32>,
    servers: Option<BTreeMap<String, Value>>,
    profiles: Option<BTreeMap<String, Value>>,
}

/// With names as text: the error of a name would quote it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProfile {
    servers: Vec<String>,
    tools: Option<Vec<String>>,
    search: Option<bool>,
}

impl Declared {
    /// Reads the file's text.
    ///
    /// # Errors
    /// `InvalidArgument` with the line.
    pub fn parse(text: &str) -> Result<Self> {
        let document = toml_edit::Document::parse(text).map_err(|error| {
            let line = error.span().map_or(1, |span| lines::line_of(text, span.start));
            refuse(lines::syntax(error.message()), line)
                .with_hint("see docs/guides/mcp-gateway.md for the form of the file")
        })?;
        let value = lines::to_json(document.as_item());
        Self::read(&value).map_err(|flaw| {
            let line =
                lines::find(document.as_item(), flaw.path()).map_or(1, |offset| lines::line_of(text, offset));
            let error = refuse(flaw.message().to_owned(), line).with_context("field", flaw.place());
            match flaw.hint() {
                Some(hint) => error.with_hint(hint.to_owned()),
                None => error.with_hint("see docs/guides/mcp-gateway.md for every key"),
            }
        })
    }

    fn read(value: &Value) -> Result<Self, Flaw> {
        let written: Written = flaw::read(value)?;
        let servers = written.servers.unwrap_or_default();
        if servers.len() > MAX_SERVERS {
            return Err(Flaw::new(format!("these are more than {MAX_SERVERS} servers")).within("servers"));
        }
        let servers = servers
            .into_iter()
            .map(|(name, server)| {
                read_server(&name, &server).map_err(|flaw| flaw.within(name).within("servers"))
            })
            .collect::<Result<BTreeMap<_, _>, Flaw>>()?;
        let profiles = written
            .profiles
            .unwrap_or_default()
            .into_iter()
            .map(|(name, profile)| {
                read_profile(&name, &profile, &servers).map_err(|flaw| flaw.within(name).within("profiles"))
            })
            .collect::<Result<BTreeMap<_, _>, Flaw>>()?;
        Ok(Self {
            servers,
            profiles,
            only_published: written.only_published.unwrap_or_default(),
            search_above: written.search_above.unwrap_or(SEARCH_ABOVE),
        })
    }
}

fn read_server(name: &str, written: &Value) -> Result<(ServerName, ServerDefinition), Flaw> {
    let name = read_name(name)?;
    let definition = ServerDefinition::read(written)?;
    definition.flaw()?;
    Ok((name, definition))
}

fn read_name(name: &str) -> Result<ServerName, Flaw> {
    name.parse().map_err(|_| {
        Flaw::new("this is no name of a server or profile").with_hint(
            "use at most 24 lower case letters, digits, - and single _, beginning with a letter or digit",
        )
    })
}

fn read_profile(
    name: &str,
    written: &Value,
    servers: &BTreeMap<ServerName, ServerDefinition>,
) -> Result<(ServerName, Profile), Flaw> {
    let name = read_name(name)?;
    let written: WrittenProfile = flaw::read(written)?;
    let mut chosen = Vec::new();
    for (index, server) in written.servers.iter().enumerate() {
        let within = |flaw: Flaw| flaw.within(index.to_string()).within("servers");
        let server = read_name(server).map_err(within)?;
        if !servers.contains_key(&server) {
            return Err(within(
                Flaw::new(format!(
                    "the profile names the server {server}, which is not declared"
                ))
                .with_hint("declare it with `cofferdam mcp add`, or take it out of the profile"),
            ));
        }
        if chosen.contains(&server) {
            return Err(within(Flaw::new(format!(
                "the server {server} stands here twice"
            ))));
        }
        chosen.push(server);
    }
    let profile = Profile {
        servers: chosen,
        tools: written.tools.unwrap_or_default(),
        search: written.search,
    };
    profile.flaw()?;
    Ok((name, profile))
}

impl Profile {
    pub(crate) fn flaw(&self) -> Result<(), Flaw> {
        if self.tools.len() > MAX_TOOLS {
            return Err(Flaw::new(format!("these are more than {MAX_TOOLS} patterns")).within("tools"));
        }
        self.tools.iter().enumerate().try_for_each(|(index, pattern)| {
            check_pattern(pattern).map_err(|flaw| flaw.within(index.to_string()).within("tools"))
        })
    }
}

fn refuse(message: impl Into<std::borrow::Cow<'static, str>>, line: usize) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_context("line", line)
}
