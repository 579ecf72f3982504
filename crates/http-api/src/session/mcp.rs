//! Which of the operator's MCP servers a session may use.

use serde::{Deserialize, Serialize};
use session_core::mcp::{McpSelection, ServerName};
use utoipa::ToSchema;

use super::texts::McpToolText;

use crate::object::objects;

/// Which of the operator's MCP servers a session may use; what the operator gives to all when it is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(remote = "Self", deny_unknown_fields)]
#[schema(example = json!({"servers": ["git"], "tools": ["git__*"]}))]
pub struct McpBody {
    /// The profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ServerName>,
    /// Servers by name, beside those of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub servers: Vec<ServerName>,
    /// Only these tools, as `server__tool` or `server__*`; all that the operator allows when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<McpToolText>, max_items = 256)]
    pub tools: Vec<String>,
    /// None of the operator's servers. Not together with a profile or servers.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// Whether tools are found by searching instead of being listed; the operator's choice when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<bool>,
}

impl McpBody {
    /// Whether nothing was asked for.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<McpBody> for McpSelection {
    fn from(body: McpBody) -> Self {
        Self {
            profile: body.profile,
            servers: body.servers,
            tools: body.tools,
            none: body.none,
            search: body.search,
        }
    }
}

impl From<McpSelection> for McpBody {
    fn from(selection: McpSelection) -> Self {
        Self {
            profile: selection.profile,
            servers: selection.servers,
            tools: selection.tools,
            none: selection.none,
            search: selection.search,
        }
    }
}

objects!(McpBody);
