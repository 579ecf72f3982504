//! Settings of servers under test.

use mcp_frontend::McpOptions;
use session_core::policy::mounts::HostPaths;

/// Those of a host that is none.
pub(crate) fn options() -> McpOptions {
    let mut options = McpOptions::new(HostPaths {
        home: Some("/home/nobody-here".into()),
        state_dir: "/var/lib/cofferdam-test".into(),
        engine_sockets: vec!["/var/run/docker.sock".into()],
    });
    options.version = "0.0.0-test".into();
    options.shutdown_grace = std::time::Duration::from_secs(5);
    options
}
