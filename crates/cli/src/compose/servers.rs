//! What the MCP gateway is told: where the declarations are, how secrets are followed, who watches over programs.

use std::ffi::OsString;
use std::path::PathBuf;

use session_gateway::mcp::upstream::Network;
use session_gateway::mcp::{McpConfig, McpLimits};

use crate::process::{self, SUPERVISE};
use crate::settings::McpPlaces;

/// Everything that the gateway of MCP servers needs. Reads nothing.
pub fn mcp_config(places: &McpPlaces) -> McpConfig {
    McpConfig {
        catalog: places.catalog(),
        secrets: places.secrets.clone(),
        host_environment: places.host_environment.clone(),
        telemetry: places.telemetry.clone(),
        logins: places.catalog.storage.join("logins"),
        supervisor: supervisor(),
        network: Network::default(),
        limits: McpLimits::default(),
    }
}

/// This program again, whichever of ours it is: each of them supervises when it is told so.
fn supervisor() -> Option<Vec<OsString>> {
    let program: PathBuf = process::own_program().ok()?;
    Some(vec![program.into(), SUPERVISE.into()])
}
