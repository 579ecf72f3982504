//! What the MCP gateway is told.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use session_core::secret::Secrets;

use mcp_catalog::Catalog;

use super::upstream::Network;

/// See the module.
#[derive(Debug, Clone)]
pub struct McpConfig {
    /// What the operator declared, and what is known and approved of it.
    pub catalog: Arc<Catalog>,
    /// Follows references to secrets.
    pub secrets: Arc<dyn Secrets>,
    /// The environment of programs on the host, all of it: `HOME`, `PATH`, `USER`, `LANG`, `TMPDIR`.
    pub host_environment: BTreeMap<String, String>,
    /// Below it each program on the host has a directory of its own, and each server's standard error a file. May be
    /// lost.
    pub telemetry: PathBuf,
    /// Where logins at HTTP servers are kept, a file each.
    pub logins: PathBuf,
    /// The program, with its first arguments, that [`supervise`](super::supervise) runs in: each program on the host gets
    /// one, so that nothing of it is left when it or this process ends, however. Without, a group of processes is ended,
    /// and what left it, or outlives this process, is not.
    pub supervisor: Option<Vec<OsString>>,
    /// How servers over HTTP are reached.
    pub network: Network,
    /// Bounds.
    pub limits: McpLimits,
}

/// Bounds on what servers and sessions can make of the gateway.
#[derive(Debug, Clone)]
pub struct McpLimits {
    /// The longest message in either direction, in bytes.
    pub max_message: usize,
    /// The longest text of a description, in bytes; longer ones are cut.
    pub max_description: usize,
    /// The longest result of a call, in bytes of all its texts; longer ones are cut, and say so.
    pub max_result: usize,
    /// Tools of one server.
    pub max_tools: usize,
    /// Calls of one session that are under way.
    pub max_calls: usize,
    /// Instances of servers in this process.
    pub max_instances: usize,
    /// The first pause after a failed start; doubled after each further one.
    pub backoff: Duration,
    /// The longest pause.
    pub max_backoff: Duration,
    /// Failures in a row after which a server is left alone for [`Self::max_backoff`].
    pub max_failures: u32,
    /// How often a server that has calls under way or pending is asked whether it lives. Never asked when idle.
    pub health_interval: Duration,
    /// How long it may take to say so.
    pub health_timeout: Duration,
    /// How long a server may take to end after its input was closed, and again after SIGTERM, before SIGKILL.
    pub stop_grace: Duration,
}

impl Default for McpLimits {
    fn default() -> Self {
        Self {
            max_message: 16 << 20,
            max_description: 4 << 10,
            max_result: 1 << 20,
            max_tools: 1000,
            max_calls: 64,
            max_instances: 256,
            backoff: Duration::from_millis(250),
            max_backoff: Duration::from_secs(60),
            max_failures: 8,
            health_interval: Duration::from_secs(30),
            health_timeout: Duration::from_secs(10),
            stop_grace: Duration::from_secs(2),
        }
    }
}
