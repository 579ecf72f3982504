//! Flags that say which MCP servers a new session has.

use std::path::PathBuf;

use clap::Args;
use session_core::mcp::{McpSelection, ServerName};

use crate::parse::{parse_server, parse_tools};

/// Which MCP servers a new session has.
#[derive(Debug, Clone, Args)]
pub struct SessionMcpArgs {
    /// An MCP server that is declared on this host; see cofferdam mcp [default: those of the profile default]
    #[arg(long, value_name = "SERVER", value_parser = parse_server)]
    pub mcp: Vec<ServerName>,
    /// The MCP servers of this profile
    #[arg(long, value_name = "PROFILE", value_parser = parse_server)]
    pub mcp_profile: Option<ServerName>,
    /// Of all tools of MCP servers only these: SERVER__TOOL, or SERVER__*
    #[arg(long, value_name = "PATTERN", value_parser = parse_tools)]
    pub mcp_tool: Vec<String>,
    /// None of the MCP servers that are declared on this host
    #[arg(long, conflicts_with_all = ["mcp", "mcp_profile", "mcp_tool", "mcp_search"])]
    pub no_mcp: bool,
    /// MCP servers of the session's own, in the form of .mcp.json; they run inside, without secrets
    #[arg(long, value_name = "FILE")]
    pub mcp_config: Option<PathBuf>,
    /// The agent finds tools of MCP servers by searching instead of having all of them before it
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub mcp_search: Option<bool>,
}

impl SessionMcpArgs {
    /// What is asked of the servers that are declared on this host.
    pub fn selection(&self) -> McpSelection {
        McpSelection {
            profile: self.mcp_profile.clone(),
            servers: self.mcp.clone(),
            tools: self.mcp_tool.clone(),
            none: self.no_mcp,
            search: self.mcp_search,
        }
    }
}
