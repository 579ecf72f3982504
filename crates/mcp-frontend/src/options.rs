//! What the server is told when it is made. Resolved values only: whoever links this crate reads the environment.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use session_core::error::{Error, ErrorKind};
use session_core::id::ImageRef;
use session_core::policy::mounts::HostPaths;
use session_core::runtime::ResourceLimits;

/// Tools that belong together. Each costs a client's model tokens, so an operator may leave some out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Toolset {
    /// Sessions and what is done with them, with their resources.
    Sessions,
    /// The configuration of MCP servers. There only with a catalog, see [`crate::McpServer::with_catalog`].
    Configuration,
}

impl Toolset {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sessions, Self::Configuration];

    /// The name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Configuration => "configuration",
        }
    }
}

impl fmt::Display for Toolset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Toolset {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|toolset| toolset.name() == text);
        known.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidArgument,
                "read the name of a toolset",
                "there is no such toolset",
            )
            .with_hint("there are sessions and configuration")
        })
    }
}

/// Settings of an [`crate::McpServer`].
#[derive(Debug, Clone)]
pub struct McpOptions {
    /// The version that clients are told.
    pub version: String,
    /// Which tools there are.
    pub toolsets: BTreeSet<Toolset>,
    /// What is particular to this host: which paths `transfer_files` never touches. `None` when clients may not touch files
    /// of this host at all: they are somebody else's, at the other end of a network. The tool is not there then.
    pub host: Option<HostPaths>,
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
    /// Defaults for a host whose files are the clients' own: they run as the user that this process runs as.
    pub fn new(host: HostPaths) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            toolsets: Toolset::ALL.into(),
            host: Some(host),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toolsets_have_names() {
        for toolset in Toolset::ALL {
            assert_eq!(toolset.to_string().parse::<Toolset>().unwrap(), toolset);
        }
        for bad in ["", "Sessions", "all"] {
            assert_eq!(
                bad.parse::<Toolset>().unwrap_err().kind(),
                ErrorKind::InvalidArgument
            );
        }
    }
}
