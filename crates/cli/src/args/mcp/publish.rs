//! The arguments of what drafts, signs, checks and deploys configurations of MCP servers.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use mcp_catalog::{ClientId, DraftKey};
use mcp_frontend::clients::ClientKind;
use session_core::mcp::ServerName;

use crate::parse::{parse_client, parse_server};

/// `cofferdam mcp draft`.
#[derive(Debug, Clone, Subcommand)]
pub enum DraftCommand {
    /// Put servers into the draft, as they are declared now
    Add(DraftArgs),
    /// Take servers out of the draft
    Remove(DraftArgs),
    /// Show the draft
    Show(OfArgs),
    /// Throw the draft away
    Clear(OfArgs),
}

/// Which configuration is meant.
#[derive(Debug, Clone, Args)]
pub struct OfArgs {
    /// The profile
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = parse_server)]
    pub profile: ServerName,
    /// For whom: sessions, or one client of yours alone (claude-code, claude-desktop, cursor)
    #[arg(long, value_name = "CLIENT", default_value = "sessions", value_parser = parse_client)]
    pub client: ClientId,
}

impl OfArgs {
    /// The configuration.
    pub fn key(&self) -> DraftKey {
        DraftKey {
            client: self.client.clone(),
            profile: self.profile.clone(),
        }
    }
}

/// `cofferdam mcp draft add` and `cofferdam mcp draft remove`.
#[derive(Debug, Clone, Args)]
pub struct DraftArgs {
    /// The servers
    #[arg(value_name = "SERVER", required = true, value_parser = parse_server)]
    pub servers: Vec<ServerName>,
    /// Of which configuration.
    #[command(flatten)]
    pub of: OfArgs,
}

/// `cofferdam mcp publish`.
#[derive(Debug, Clone, Args)]
pub struct PublishArgs {
    /// Which configuration.
    #[command(flatten)]
    pub of: OfArgs,
}

/// `cofferdam mcp diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// Which configuration.
    #[command(flatten)]
    pub of: OfArgs,
    /// End with 1 unless it is up to date
    #[arg(long)]
    pub exit_code: bool,
}

/// `cofferdam mcp verify`.
#[derive(Debug, Clone, Args)]
pub struct VerifyArgs {
    /// What was published, by its id or the start of it; what holds for sessions and clients now without it
    #[arg(value_name = "ARTIFACT")]
    pub artifact: Option<String>,
}

/// `cofferdam mcp deploy`.
#[derive(Debug, Clone, Args)]
pub struct DeployArgs {
    /// The client
    #[arg(value_name = "CLIENT")]
    pub client: DeployTarget,
    /// The profile
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = parse_server)]
    pub profile: ServerName,
    /// The client's file [default: where the client looks for it]
    #[arg(long, value_name = "PATH")]
    pub file: Option<PathBuf>,
    /// Show what would be changed, and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Clients whose files can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeployTarget {
    /// Claude Desktop.
    ClaudeDesktop,
    /// Claude Code, for all projects of the user.
    ClaudeCode,
    /// Cursor.
    Cursor,
}

impl DeployTarget {
    /// The client.
    pub fn kind(self) -> ClientKind {
        match self {
            Self::ClaudeDesktop => ClientKind::ClaudeDesktop,
            Self::ClaudeCode => ClientKind::ClaudeCode,
            Self::Cursor => ClientKind::Cursor,
        }
    }
}

/// `cofferdam mcp keys`.
#[derive(Debug, Clone, Subcommand)]
pub enum KeysCommand {
    /// Make the key now instead of at the first use, or a new one
    Init(KeysInitArgs),
}

/// `cofferdam mcp keys init`.
#[derive(Debug, Clone, Args)]
pub struct KeysInitArgs {
    /// Make a new key although there is one; what the old one signed still verifies
    #[arg(long)]
    pub renew: bool,
}

/// `cofferdam mcp serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// The profile
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = parse_server)]
    pub profile: ServerName,
    /// Serve what was published under this id instead of what is declared now
    #[arg(long, value_name = "ARTIFACT")]
    pub artifact: Option<String>,
}
