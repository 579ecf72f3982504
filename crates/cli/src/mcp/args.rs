//! The command line of `cofferdam-mcp`. Most of what it can be told comes from the environment, because that is what the
//! configuration files of MCP clients can say.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{CommandFactory, Parser, ValueEnum};
use mcp_frontend::Toolset;

/// Let MCP clients run coding agents in sealed containers
///
/// Speaks MCP on standard input and output until the client leaves, or over streamable HTTP with --http. Sessions go on
/// when the server ends; the next one finds them. `cofferdam config` writes the configuration of a client.
#[derive(Debug, Clone, Parser)]
#[command(name = "cofferdam-mcp", version, max_term_width = 100)]
pub struct McpCli {
    /// Where sessions are recorded [default: $COFFERDAM_STATE_DIR, else the XDG state folder]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Work in this process instead of the daemon's [default: $COFFERDAM_EMBEDDED]
    #[arg(long)]
    pub embedded: bool,
    /// Serve streamable HTTP at http://$MCP_HOST:$MCP_PORT/mcp, for clients that present $MCP_API_KEY
    #[arg(long)]
    pub http: bool,
    /// Listen also beyond loopback, where nothing is encrypted: only behind a proxy that encrypts
    #[arg(long, requires = "http")]
    pub allow_remote: bool,
    /// A further name under which clients address the server, as in their Host header
    #[arg(long, requires = "http", value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub allow_host: Vec<String>,
    /// The origin of a web page that may talk to the server, with its scheme and port
    #[arg(long, requires = "http", value_name = "ORIGIN", value_parser = NonEmptyStringValueParser::new())]
    pub allow_origin: Vec<String>,
    /// Which tools there are: those about sessions, those about the configuration of MCP servers
    #[arg(
        long,
        value_name = "SET",
        value_delimiter = ',',
        default_value = "sessions,configuration"
    )]
    pub toolsets: Vec<Toolset>,
    /// Keep turns that are told on standard input, for a server that may die.
    #[arg(long = "__keep-turns", hide = true, value_name = "STAGE")]
    pub keep_turns: Option<KeepStage>,
}

/// The process that keeps turns is started in two steps, see [`super::keeper`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KeepStage {
    /// Start the one that stays, and end.
    Start,
    /// Stay until there is nothing left to be kept.
    Stay,
}

/// The whole command line, for completions, manual pages and the reference.
pub fn command() -> clap::Command {
    McpCli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
