//! The command line as clap reads it. Nothing here decides: values become settings in [`crate::settings`] and in each
//! command's own module.

mod attach;
mod commands;
mod egress;
mod keeping;
pub mod mcp;
mod serve;
pub mod session;

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

pub use self::attach::AttachArgs;
pub use self::commands::{
    ClientChoice, CompletionsArgs, ConfigArgs, CpArgs, CreateArgs, DiffArgs, DoctorArgs, ExecArgs, HelpArgs,
    LogsArgs, LsArgs, ManArgs, OutputArgs, PromptArgs, RmArgs, RunArgs, UsageArgs,
};
pub use self::egress::{DecideArgs, EgressCommand, EgressLogArgs, WhichArgs};
pub use self::keeping::{AuditArgs, BackupArgs, GcArgs, RestoreArgs};
use self::mcp::McpCommand;
pub use self::serve::{
    DetachStage, LogFormat, ScopeChoice, ServeArgs, TokenCommand, TokenCreateArgs, TokenRevokeArgs,
};
pub use self::session::{SessionArgs, WorkspaceArgs};
use crate::mcp as server;
use crate::settings::ColorChoice;

/// Run coding agents in sealed containers
///
/// Each session is a container, a workspace and an agent's conversation under one id. The container has no network but
/// loopback, and no key ever enters it. A session is named by its id, by the first characters of its id (at least four),
/// or by its name.
#[derive(Debug, Parser)]
#[command(
    name = "cofferdam",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Refuses flags that contradict one another, before anything is opened.
    ///
    /// # Errors
    /// A usage error, printed as clap prints its own.
    pub fn checked(self) -> Result<Self, clap::Error> {
        let contradiction = match &self.command {
            Command::Run(args) => args.session.contradiction(),
            Command::Create(args) => args.session.contradiction(),
            Command::Mcp(McpCommand::Add(args)) => args.contradiction(),
            _ => None,
        };
        match contradiction {
            Some(message) => Err(command().error(ErrorKind::ArgumentConflict, message)),
            None => Ok(self),
        }
    }
}

/// Flags of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Where sessions are recorded [default: $COFFERDAM_STATE_DIR, else the XDG state folder]
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Work in this process instead of the daemon's: for CI, and where nothing may stay behind [default: $COFFERDAM_EMBEDDED]
    #[arg(long, global = true)]
    pub embedded: bool,
    /// Print data as JSON, one object a line; errors are JSON on standard error
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but data and errors
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more: causes of errors and what the agent thinks; twice: the log too
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a session, give it a prompt, show what the agent does and the diff, destroy it
    ///
    /// By default the agent works on a copy of the current directory. At the end its changes are printed as a patch on
    /// standard output, and on a terminal you are asked whether to apply them. Changes that are not applied are kept as
    /// a patch file in the state directory.
    Run(RunArgs),
    /// Create a session and print its id
    #[command(visible_alias = "create-session")]
    Create(CreateArgs),
    /// Give a session's agent a prompt and follow what it does
    #[command(visible_alias = "execute")]
    Prompt(PromptArgs),
    /// Run a program in a session
    ///
    /// The program's own bytes pass unchanged in both directions, and its exit code is that of this command. Ctrl-C and
    /// SIGTERM go to the whole process tree of the program; a third Ctrl-C kills it.
    Exec(ExecArgs),
    /// Sit in front of a program in a session: a shell, the agent's own interface, or any other
    ///
    /// Without --shell, --agent or a program, this comes back to the newest terminal that is open, else it opens a shell. A
    /// terminal outlives those who look at it, and several may: ctrl-p ctrl-q leaves it, and the program's end ends it with
    /// the program's exit code.
    Attach(AttachArgs),
    /// Read the output of a detached command, from any offset, until it ends
    Output(OutputArgs),
    /// Copy files into a session or out of it
    ///
    /// One end is SESSION:PATH (a relative PATH is in the workspace), the other a path of this host or - for a tar
    /// stream. As with cp -r, the source is put into a destination that is a directory, and named like the destination
    /// otherwise.
    Cp(CpArgs),
    /// Show what happened in a session
    Logs(LogsArgs),
    /// List sessions, newest first
    #[command(visible_alias = "list")]
    Ls(LsArgs),
    /// Show everything about a session
    Inspect(TargetArgs),
    /// Show what changed in a session's workspace, as a patch
    Diff(DiffArgs),
    /// See what sessions reach and are denied, and decide about it
    ///
    /// A session reaches the hosts that it was given, and no others. What it was denied waits here for a decision, which
    /// holds from the next connection on.
    #[command(subcommand)]
    Egress(EgressCommand),
    /// Declare MCP servers, see how they are, publish them
    ///
    /// The servers run on this host, in containers or elsewhere; sessions find them at one endpoint, and their secrets never
    /// leave this host. Which of them a session has is said when it is made: those of the profile `default`, or --mcp.
    #[command(subcommand)]
    Mcp(McpCommand),
    /// Show what was used of the model, by a session or by all
    Usage(UsageArgs),
    /// Interrupt the turn that runs and take back those that wait
    Interrupt(TargetArgs),
    /// Freeze a session's processes
    Pause(TargetArgs),
    /// Let a paused session's processes go on, or bring an interrupted session back
    ///
    /// An interrupted session is one whose container was lost. It comes back with its workspace and its conversation; what
    /// was under way is not run again. Prompts that waited go on when it was made with `--on-interrupt resume`; otherwise they
    /// have failed when it was lost.
    Resume(TargetArgs),
    /// Renew a session's lease, from now on for as long as it was given
    Renew(TargetArgs),
    /// Keep a session's uncommitted work now
    ///
    /// It is also kept after every turn, every few minutes while one runs, and before the session is destroyed.
    Checkpoint(TargetArgs),
    /// List what was kept of a session's uncommitted work, newest first
    Checkpoints(TargetArgs),
    /// Bring a session's uncommitted work back
    ///
    /// Into the session itself when it lives and its workspace is as it began, otherwise into a new session that is made as
    /// that one was; the session's id is printed. With --backup, everything: see cofferdam backup.
    Restore(RestoreArgs),
    /// Write a backup of the state directory, while it is in use
    ///
    /// It holds the records of all sessions, the keys, the operator's policy, the checkpoints, and what was approved and
    /// published of MCP servers. Whoever has the file has all that, so it is readable by its owner alone.
    Backup(BackupArgs),
    /// Remove what no session wants: containers, storage and files of ours without a record
    ///
    /// The daemon does this by itself every few seconds.
    Gc(GcArgs),
    /// Show who changed what, and what was refused
    Audit(AuditArgs),
    /// Destroy sessions; their history stays readable
    #[command(visible_alias = "destroy")]
    Rm(RmArgs),
    /// Run the daemon: the one process that owns the state directory, with the HTTP API and MCP
    ///
    /// It always listens on the socket `cofferdam.sock` in the state directory, which is open to its own user alone; on TCP when
    /// it is asked to, for clients with a token. Commands that need it start one where none runs, and that one leaves by
    /// itself. Stays in the foreground, for a service manager; SIGTERM and Ctrl-C end it in order, a second one at once.
    Serve(ServeArgs),
    /// Make, list and revoke the tokens of clients over TCP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Ask the daemon by its socket whether it works: for health checks
    Health,
    /// Check whether everything that sessions need is there, and what cannot be promised here
    Doctor(DoctorArgs),
    /// Tell an MCP client about cofferdam-mcp: print the snippet for it, or merge it into its file
    ///
    /// Merging changes the one entry and nothing else, comments included, and keeps a backup beside the file. The entry names
    /// the program by its path and holds no secret: the client starts it with its own environment.
    Config(ConfigArgs),
    /// Print a completion script of one of our programs for a shell
    Completions(CompletionsArgs),
    /// Print the manual page of one of our programs, or write the pages of all into a directory
    Man(ManArgs),
    /// Help on a command, on the environment or on exit codes
    Help(HelpArgs),
    /// Print the reference of a program as Markdown
    #[command(name = "__reference", hide = true)]
    Reference(ReferenceArgs),
    /// Own a turn until it ends, for `prompt --detach`
    #[command(name = "__own-turn", hide = true)]
    OwnTurn(OwnTurnArgs),
}

/// A session, as the user calls it.
#[derive(Debug, Clone, Args)]
pub struct TargetArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
}

/// What a detached owner of a turn is told; the prompt comes on standard input.
#[derive(Debug, Clone, Args)]
pub struct OwnTurnArgs {
    /// The session's id
    pub session: session_core::id::SessionId,
    /// The turn's time limit in milliseconds
    #[arg(long)]
    pub timeout_ms: Option<u64>,
    /// By which the turn is found when it is asked for again
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// The variable that holds the provider's credential
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
}

/// What `__reference` is about.
#[derive(Debug, Clone, Args)]
pub struct ReferenceArgs {
    /// The program
    #[arg(default_value = "cofferdam")]
    pub program: Program,
}

/// Our programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// The command line.
    Cofferdam,
    /// The MCP server.
    CofferdamMcp,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Cofferdam, Self::CofferdamMcp];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cofferdam => "cofferdam",
            Self::CofferdamMcp => "cofferdam-mcp",
        }
    }

    /// Its command line, for completions, manual pages and the reference.
    pub fn command(self) -> clap::Command {
        match self {
            Self::Cofferdam => command(),
            Self::CofferdamMcp => server::args::command(),
        }
    }
}

/// The whole command line of `cofferdam`, for completions, manual pages and the reference.
pub fn command() -> clap::Command {
    Cli::command()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
