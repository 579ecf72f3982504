//! MCP servers of sessions, in the words that callers, stores and gateways share.
//!
//! The servers themselves are declared by the operator (`mcp-catalog`) and held by the gateway; the core knows which of
//! them a session may use, under which configuration it runs, and what became of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The longest name of a server, in bytes: with `mcp__gw__` before and a tool's name behind it, there must be room in
/// the 64 bytes that some model APIs allow for the name of a tool.
const MAX_NAME: usize = 24;

/// What stands between the name of a server and that of its tool.
pub const SEPARATOR: &str = "__";

/// The name under which the gateway's endpoint stands in an agent's configuration. Short: it is part of the name of
/// each tool, as the agent's model sees it (`mcp__gw__git__log`).
pub const ENDPOINT_NAME: &str = "gw";

/// The name of an MCP server or of a profile: lower case letters, digits, `-` and single `_`, beginning with a letter or
/// digit, at most 24 bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(
        value_type = String,
        max_length = 24,
        pattern = "^[a-z0-9][a-z0-9-]*(_[a-z0-9-]+)*$",
        example = "git"
    )
)]
#[serde(try_from = "String", into = "String")]
pub struct ServerName(String);

impl ServerName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServerName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !begins
            || text.len() > MAX_NAME
            || !text.chars().all(legal)
            || text.contains(SEPARATOR)
            || text.ends_with('_')
        {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                "read the name of an MCP server",
                "this is no name of a server",
            )
            .with_hint(
                "use at most 24 lower case letters, digits, - and single _, beginning with a letter or digit",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for ServerName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<ServerName> for String {
    fn from(name: ServerName) -> Self {
        name.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of the operator's servers a session asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct McpSelection {
    /// The profile; `default` when `None` and no server is named, and none at all if there is no such profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ServerName>,
    /// Servers by name, beside those of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerName>,
    /// Only these tools, as `server__tool` or `server__*`; all that the operator allows when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// None of the operator's servers, whatever the profile `default` has.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// Whether tools are found by searching instead of being listed; the operator's choice when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<bool>,
}

impl McpSelection {
    /// Whether nothing was asked for: then a session gets what the operator gives to all.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a session has of MCP: decided when it is made, part of it ever after.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct McpPlan {
    /// The operator's servers that it may use, in the order of their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<ServerName>,
    /// The profile from which they were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ServerName>,
    /// Servers that the session brought itself, in its `mcp_config`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<ServerName>,
    /// Only these tools, as `server__tool` or `server__*`; all that the operator allows when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// Whether tools are found by searching instead of being listed.
    #[serde(default)]
    pub search: bool,
    /// The content address (`sha256:…`) of the configuration of `servers` when the session was made: the operator's
    /// definitions without any secret.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub configuration: String,
    /// The id of the published artifact of that content, when there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
}

impl McpPlan {
    /// Whether the session has no server at all, and needs no endpoint.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty() && self.own.is_empty()
    }
}

/// How a server is, as a session sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ServerState {
    /// Not started: nobody has called it, or it had nothing to do.
    Idle,
    /// Being started.
    Starting,
    /// It answers.
    Ready,
    /// It failed and is started again after a while, or by the next call.
    Failed,
    /// It failed too often in a row and is left alone for longer.
    GaveUp,
    /// A person has to log in.
    NeedsLogin,
    /// The operator has taken it away.
    Removed,
}

/// The state of one server at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServerStatus {
    /// The server.
    pub name: ServerName,
    /// How it is.
    pub state: ServerState,
    /// Why, when it does not work: one line, without control characters, at most 300 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was started in a row without success.
    #[serde(default)]
    pub failures: u32,
    /// In how many milliseconds it may be started again, when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Its tools that are held until a person approves what changed about them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// How many tools it has, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<u32>,
}

/// The MCP servers of a session, looked at now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct McpStatus {
    /// Each server. Exact in the process that serves the session; what is known without asking otherwise.
    pub servers: Vec<ServerStatus>,
    /// Whether the operator's definitions are no longer those under which the session was made.
    #[serde(default)]
    pub drifted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_leave_room_for_a_separator_and_a_tool() {
        for name in ["git", "a", "0", "my-server_2"] {
            assert_eq!(name.parse::<ServerName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "_a", "a__b", "a_", "A", "ä", "a.b", &"a".repeat(25)] {
            assert!(name.parse::<ServerName>().is_err(), "{name}");
        }
    }
}
