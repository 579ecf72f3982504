//! The arguments of each command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use clap_complete::Shell;
use mcp_frontend::clients::ClientKind;
use session_core::id::CommandId;

use super::Program;
use super::session::SessionArgs;
use crate::parse::{CopyEnd, parse_copy_end, parse_duration, parse_environment, parse_label, parse_size};

/// `cofferdam run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// What the agent shall do; - reads it from standard input
    #[arg(value_name = "PROMPT")]
    pub prompt: String,
    /// What the session shall be.
    #[command(flatten)]
    pub session: SessionArgs,
    /// Interrupt the agent after this time, such as 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Keep the session instead of destroying it at the end
    #[arg(long)]
    pub keep: bool,
    /// Apply the changes to the directory that was copied, without asking
    #[arg(long, conflicts_with_all = ["mount", "empty", "clone", "no_apply"])]
    pub apply: bool,
    /// Do not ask whether to apply the changes
    #[arg(long)]
    pub no_apply: bool,
    /// Apply also what could run on this host, such as .envrc, .vscode/ and .claude/
    #[arg(long, requires = "apply")]
    pub apply_executable_config: bool,
    /// The variable that holds the provider's API key [default: ANTHROPIC_API_KEY]
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
}

/// `cofferdam create`.
#[derive(Debug, Clone, Args)]
pub struct CreateArgs {
    /// What the session shall be.
    #[command(flatten)]
    pub session: SessionArgs,
    /// Make one session however often it is asked for: the same key gives the same session
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
}

/// `cofferdam prompt`.
#[derive(Debug, Clone, Args)]
pub struct PromptArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// What the agent shall do; - reads it from standard input
    #[arg(value_name = "PROMPT")]
    pub prompt: String,
    /// Do not wait: print the turn's id and leave a process behind that looks after the turn until it ends
    #[arg(short, long)]
    pub detach: bool,
    /// Interrupt the agent after this time, such as 30m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// Prompt it once however often it is asked for: the same key in the same session gives the same turn
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// The variable that holds the provider's API key [default: ANTHROPIC_API_KEY]
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
}

/// `cofferdam exec`.
#[derive(Debug, Clone, Args)]
pub struct ExecArgs {
    /// Pass standard input on to the program
    #[arg(short, long, conflicts_with = "detach")]
    pub interactive: bool,
    /// Where it runs, absolute or relative to the workspace
    #[arg(long, value_name = "DIR", visible_alias = "workdir")]
    pub cwd: Option<String>,
    /// A variable for the program; no secrets, for whatever runs inside can read it
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_environment)]
    pub env: Vec<(String, String)>,
    /// End the whole process tree after this time, such as 30s (exit code 124)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub timeout: Option<Duration>,
    /// End the whole process tree after so much output, such as 10m
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub output_limit: Option<u64>,
    /// Do not wait: print the command's id; see cofferdam output
    #[arg(short, long)]
    pub detach: bool,
    /// Run it once however often it is asked for: the same key in the same session gives the same command
    #[arg(long, value_name = "KEY", requires = "detach")]
    pub idempotency_key: Option<String>,
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// The program and its arguments, passed on byte for byte
    #[arg(
        value_name = "ARGV",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    pub argv: Vec<OsString>,
}

/// `cofferdam output`.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// The command's id, as exec --detach printed it
    #[arg(value_name = "COMMAND")]
    pub command: CommandId,
    /// Start at this offset in what the command wrote to both streams together
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    pub offset: u64,
}

/// `cofferdam cp`.
#[derive(Debug, Clone, Args)]
pub struct CpArgs {
    /// What to copy: SESSION:PATH, a path of this host, or - for a tar stream on standard input
    #[arg(value_name = "SRC", value_parser = CopyEndParser, allow_hyphen_values = true)]
    pub source: CopyEnd,
    /// Where to: SESSION:PATH, a path of this host, or - for a tar stream on standard output
    #[arg(value_name = "DST", value_parser = CopyEndParser, allow_hyphen_values = true)]
    pub dest: CopyEnd,
    /// Leave out what .gitignore files exclude, when copying in
    #[arg(long)]
    pub respect_gitignore: bool,
    /// Replace what is at the destination on this host
    #[arg(short, long)]
    pub force: bool,
    /// Copy out also what could run on this host, such as .git/hooks and .envrc
    #[arg(long)]
    pub executable_config: bool,
}

/// Lets clap read a [`CopyEnd`] from bytes that need not be UTF-8.
#[derive(Debug, Clone, Copy)]
struct CopyEndParser;

impl clap::builder::TypedValueParser for CopyEndParser {
    type Value = CopyEnd;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<CopyEnd, clap::Error> {
        parse_copy_end(value).map_err(|message| {
            let name = arg.map_or_else(|| "path".to_owned(), ToString::to_string);
            clap::Error::raw(
                clap::error::ErrorKind::ValueValidation,
                format!("invalid value for '{name}': {message}\n"),
            )
            .with_cmd(command)
        })
    }
}

/// `cofferdam logs`.
#[derive(Debug, Clone, Args)]
pub struct LogsArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Go on with what happens, until the session ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only the newest so many events
    #[arg(short = 'n', long, value_name = "NUMBER", conflicts_with = "since")]
    pub tail: Option<usize>,
    /// Only events after this number
    #[arg(long, value_name = "SEQ")]
    pub since: Option<u64>,
}

/// `cofferdam ls`.
#[derive(Debug, Clone, Args)]
pub struct LsArgs {
    /// Destroyed and failed sessions too
    #[arg(short, long)]
    pub all: bool,
    /// Only sessions with this label; several must all match
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
}

/// `cofferdam usage`.
#[derive(Debug, Clone, Args)]
pub struct UsageArgs {
    /// The session: its id, the start of its id, or its name; all sessions together without it
    #[arg(value_name = "SESSION")]
    pub session: Option<String>,
}

/// `cofferdam diff`.
#[derive(Debug, Clone, Args)]
pub struct DiffArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Only the changed paths, each with its letter (A added, M modified, D deleted)
    #[arg(long)]
    pub name_status: bool,
}

/// `cofferdam rm`.
#[derive(Debug, Clone, Args)]
pub struct RmArgs {
    /// The sessions: ids, starts of ids, or names
    #[arg(value_name = "SESSION", required = true)]
    pub sessions: Vec<String>,
}

/// `cofferdam doctor`.
#[derive(Debug, Clone, Args)]
pub struct DoctorArgs {
    /// Check this image instead of the default one
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<session_core::id::ImageRef>,
    /// Also make a session, run a program in it, look whether it is sealed, and destroy it
    #[arg(long)]
    pub trial: bool,
}

/// `cofferdam config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// The client
    #[arg(value_name = "CLIENT")]
    pub client: ClientChoice,
    /// Merge the server into the client's file instead of printing the snippet
    #[arg(long)]
    pub write: bool,
    /// The client's file [default: where the client looks for it]
    #[arg(long, value_name = "PATH", requires = "write")]
    pub file: Option<PathBuf>,
}

/// The clients that are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ClientChoice {
    /// Claude Desktop.
    ClaudeDesktop,
    /// Claude Code, for all projects of the user.
    ClaudeCode,
    /// Cursor.
    Cursor,
    /// Visual Studio Code.
    #[value(name = "vscode")]
    VsCode,
}

impl ClientChoice {
    /// The client.
    pub fn kind(self) -> ClientKind {
        match self {
            Self::ClaudeDesktop => ClientKind::ClaudeDesktop,
            Self::ClaudeCode => ClientKind::ClaudeCode,
            Self::Cursor => ClientKind::Cursor,
            Self::VsCode => ClientKind::VsCode,
        }
    }
}

/// `cofferdam completions`.
#[derive(Debug, Clone, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
    /// The program whose command line is completed
    #[arg(long, value_name = "PROGRAM", default_value = "cofferdam")]
    pub program: Program,
}

/// `cofferdam man`.
#[derive(Debug, Clone, Args)]
pub struct ManArgs {
    /// Write a page for each program and command into this directory
    #[arg(value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The program whose page is printed
    #[arg(
        long,
        value_name = "PROGRAM",
        default_value = "cofferdam",
        conflicts_with = "dir"
    )]
    pub program: Program,
}

/// `cofferdam help`.
#[derive(Debug, Clone, Args)]
pub struct HelpArgs {
    /// A command, `environment` or `exit-codes`
    #[arg(value_name = "TOPIC")]
    pub topic: Option<String>,
}
