//! What the server is told when it is made. Resolved values only: whoever links this crate reads the environment.

use std::time::Duration;

use session_core::id::ImageRef;
use session_core::policy::mounts::HostPaths;
use session_core::runtime::ResourceLimits;

/// Settings of an [`crate::McpServer`].
#[derive(Debug, Clone)]
pub struct McpOptions {
    /// The version that clients are told.
    pub version: String,
    /// What is particular to this host: which paths `transfer_files` never touches.
    pub host: HostPaths,
    /// The image of sessions that name none; the manager's own default when `None`.
    pub default_image: Option<ImageRef>,
    /// The model of sessions that name none; the manager's own default when `None`.
    pub default_model: Option<String>,
    /// What a request that names only some limits gets for the others.
    pub default_limits: ResourceLimits,
    /// How long a session may take to become ready, image pull and clone included.
    pub create_timeout: Duration,
    /// The time limit of prompts that somebody waits for and that name none.
    pub prompt_timeout: Duration,
    /// The time limit of commands that somebody waits for and that name none.
    pub command_timeout: Duration,
    /// How many bytes of text one result carries. What is longer is cut, says so, and can be paged through.
    pub output_limit: usize,
    /// How many bytes of commands' output are kept to be paged through, all commands together.
    pub kept_output: usize,
    /// After how many bytes of output a command is ended.
    pub command_output_limit: u64,
    /// The longest message of a client, in bytes.
    pub max_message: usize,
    /// How many tool calls run at once; more are refused and may be tried again.
    pub max_calls: usize,
    /// How long a call that waits may be silent towards its client.
    pub heartbeat: Duration,
    /// How often it is looked whether other programs made or destroyed sessions.
    pub watch_period: Duration,
    /// How long the server waits at its end for what was begun.
    pub shutdown_grace: Duration,
    /// Start agents together with their sessions, so that first prompts do not wait for them.
    pub warm_agents: bool,
}

impl McpOptions {
    /// Defaults for a host.
    pub fn new(host: HostPaths) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host,
            default_image: None,
            default_model: None,
            default_limits: ResourceLimits::default(),
            create_timeout: Duration::from_secs(600),
            prompt_timeout: Duration::from_secs(300),
            command_timeout: Duration::from_secs(300),
            output_limit: 40 << 10,
            kept_output: 8 << 20,
            command_output_limit: 1 << 30,
            max_message: 16 << 20,
            max_calls: 256,
            heartbeat: Duration::from_secs(10),
            watch_period: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(10),
            warm_agents: true,
        }
    }
}
