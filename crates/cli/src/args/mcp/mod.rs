//! The arguments of `cofferdam mcp`.

mod add;
mod publish;
mod session;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use session_core::mcp::ServerName;

pub use self::add::{AddArgs, HttpArgs, PlaceArgs, ProgramArgs};
pub use self::publish::{
    DeployArgs, DeployTarget, DiffArgs, DraftArgs, DraftCommand, KeysCommand, KeysInitArgs, OfArgs,
    PublishArgs, ServeArgs, VerifyArgs,
};
pub use self::session::SessionMcpArgs;
use crate::parse::{parse_server, parse_tools};

/// `cofferdam mcp`.
#[derive(Debug, Clone, Subcommand)]
pub enum McpCommand {
    /// Declare a server: a program on this host, in a container of its own or in the session, or one elsewhere
    ///
    /// A program's command is written behind --. Secrets are named, never given: they are read on this host when the server
    /// is started, and handed to nobody else.
    Add(Box<AddArgs>),
    /// Take declarations away, and their servers out of the profiles
    Remove(RemoveArgs),
    /// List the servers that are declared
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about a server: its declaration, its tools, what was approved, where its log is
    Describe(NameArgs),
    /// Check declarations without starting anything: programs exist, secrets can be read
    Validate(ValidateArgs),
    /// Start a server, list its tools, stop it
    Test(TestArgs),
    /// Show how servers are: of a session, or what is known of all
    Status(StatusArgs),
    /// Approve what changed about the tools of a server, after showing it
    Approve(ApproveArgs),
    /// Hold all tools of a server until they are approved again
    Revoke(NameArgs),
    /// Log in at a server that wants it, in a browser
    Login(LoginArgs),
    /// Forget the login at a server
    Logout(NameArgs),
    /// Declare the servers of another program's file: Claude Desktop, Claude Code, Cursor
    ///
    /// What looks like a secret in that file is not taken over: you are told which variables to export instead.
    Import(ImportArgs),
    /// List the profiles: which servers and tools go together
    #[command(args_conflicts_with_subcommands = true)]
    Profiles(ProfilesArgs),
    /// Collect a configuration before it is published
    #[command(subcommand)]
    Draft(DraftCommand),
    /// Sign what is declared, or the draft, and keep it under its hash
    Publish(PublishArgs),
    /// Say whether what was published and deployed is what is declared
    Diff(DiffArgs),
    /// Check what was published: hash, signature, key
    Verify(VerifyArgs),
    /// Tell a client of yours about the published servers: an entry in its file that runs `cofferdam mcp serve`
    Deploy(DeployArgs),
    /// List the clients that are known, and what was published for them and deployed to them
    Clients,
    /// The keys that sign what is published
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Serve the servers of a profile on standard input and output, for a client of yours
    Serve(ServeArgs),
}

/// A server that is declared.
#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// The server
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: ServerName,
}

/// `cofferdam mcp remove`.
#[derive(Debug, Clone, Args)]
pub struct RemoveArgs {
    /// The servers
    #[arg(value_name = "NAME", required = true, value_parser = parse_server)]
    pub names: Vec<ServerName>,
}

/// `cofferdam mcp validate`.
#[derive(Debug, Clone, Args)]
pub struct ValidateArgs {
    /// The server; all without it
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: Option<ServerName>,
}

/// `cofferdam mcp test`.
#[derive(Debug, Clone, Args)]
pub struct TestArgs {
    /// The server
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: ServerName,
}

/// `cofferdam mcp status`.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// The servers of this session: its id, the start of its id, or its name
    #[arg(long, value_name = "SESSION")]
    pub session: Option<String>,
}

/// `cofferdam mcp approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveArgs {
    /// The server
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: ServerName,
    /// Only these of its tools
    #[arg(value_name = "TOOL")]
    pub tools: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `cofferdam mcp login`.
#[derive(Debug, Clone, Args)]
pub struct LoginArgs {
    /// The server
    #[arg(value_name = "NAME", value_parser = parse_server)]
    pub name: ServerName,
    /// Print the address instead of opening a browser
    #[arg(long)]
    pub no_browser: bool,
}

/// `cofferdam mcp import`.
#[derive(Debug, Clone, Args)]
pub struct ImportArgs {
    /// The file; - reads standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only the server of this name in the file
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Into which profile they go.
    #[command(flatten)]
    pub profile: ProfileArgs,
    /// Replace declarations of the same names
    #[arg(long)]
    pub replace: bool,
}

/// Into which profile a server goes.
#[derive(Debug, Clone, Args)]
pub struct ProfileArgs {
    /// Put it into this profile
    #[arg(long, value_name = "PROFILE", default_value = "default", value_parser = parse_server)]
    pub profile: ServerName,
    /// Put it into no profile: sessions get it when they name it
    #[arg(long, conflicts_with = "profile")]
    pub no_profile: bool,
}

impl ProfileArgs {
    /// The profile, when there is to be one.
    pub fn chosen(&self) -> Option<&ServerName> {
        (!self.no_profile).then_some(&self.profile)
    }
}

/// `cofferdam mcp profiles`.
#[derive(Debug, Clone, Args)]
pub struct ProfilesArgs {
    /// What to do; list them when nothing is said.
    #[command(subcommand)]
    pub command: Option<ProfilesCommand>,
}

/// Changes of profiles.
#[derive(Debug, Clone, Subcommand)]
pub enum ProfilesCommand {
    /// Say which servers a profile has
    Set(SetProfileArgs),
    /// Take a profile away; its servers stay
    Remove(NamedProfileArgs),
}

/// A profile.
#[derive(Debug, Clone, Args)]
pub struct NamedProfileArgs {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = parse_server)]
    pub profile: ServerName,
}

/// `cofferdam mcp profiles set`.
#[derive(Debug, Clone, Args)]
pub struct SetProfileArgs {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = parse_server)]
    pub profile: ServerName,
    /// Its servers
    #[arg(value_name = "SERVER", required = true, value_parser = parse_server)]
    pub servers: Vec<ServerName>,
    /// Only these tools: SERVER__TOOL, or SERVER__*
    #[arg(long, value_name = "PATTERN", value_parser = parse_tools)]
    pub tool: Vec<String>,
    /// Sessions find its tools by searching
    #[arg(long)]
    pub search: bool,
}
