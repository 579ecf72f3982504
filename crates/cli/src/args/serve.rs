//! Flags of the daemon, and of the commands that are about it.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use http_api::TokenScope;

use crate::parse::parse_duration;

/// `cofferdam serve`.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Listen on TCP too, for clients that present a token; beyond loopback with TLS only
    #[arg(long, value_name = "HOST:PORT", value_parser = NonEmptyStringValueParser::new())]
    pub listen: Vec<String>,
    /// The same as --listen $MCP_HOST:$MCP_PORT (127.0.0.1:3001)
    #[arg(long)]
    pub http: bool,
    /// The certificate chain of TCP listeners, in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, in PEM form
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Listen beyond loopback without TLS, because a proxy in front of it encrypts
    #[arg(long, conflicts_with = "tls_cert")]
    pub behind_tls_proxy: bool,
    /// A further name under which clients address the server, as in their Host header
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub allow_host: Vec<String>,
    /// The origin of a web page that may talk to the server, with its scheme and port
    #[arg(long, value_name = "ORIGIN", value_parser = NonEmptyStringValueParser::new())]
    pub cors_origin: Vec<String>,
    /// The form of the log [default: $LOG_FORMAT, else text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// End when nobody is connected and nothing has run for this time, such as 5m
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_exit: Option<Duration>,
    /// The variable that holds the provider's API key [default: ANTHROPIC_API_KEY]
    #[arg(long, value_name = "NAME")]
    pub api_key_env: Option<String>,
    /// End the daemon that runs, and wait until it is gone; sessions go on
    #[arg(
        long,
        conflicts_with_all = ["listen", "http", "tls_cert", "tls_key", "behind_tls_proxy", "allow_host", "cors_origin", "idle_exit"]
    )]
    pub stop: bool,
    /// Leave the process that started it, for clients that start the daemon.
    #[arg(long = "__detached", hide = true, value_name = "STAGE")]
    pub detached: Option<DetachStage>,
}

/// A daemon is detached in two steps, see [`crate::daemon::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DetachStage {
    /// Start the one that stays, and end.
    Start,
    /// Serve.
    Stay,
}

/// The form of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `cofferdam token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once
    Create(TokenCreateArgs),
    /// List the tokens, without their secrets
    #[command(visible_alias = "ls")]
    List,
    /// Revoke a token: it is refused from now on, and what it has open is cut within seconds
    #[command(visible_alias = "rm")]
    Revoke(TokenRevokeArgs),
}

/// `cofferdam token create`.
#[derive(Debug, Clone, Args)]
pub struct TokenCreateArgs {
    /// Its name; sessions that are made with it bear it as their owner
    #[arg(value_name = "NAME")]
    pub name: String,
    /// What it may do: look at sessions (read), make sessions and work with those (use), everything (admin)
    #[arg(long, value_name = "SCOPE", default_value = "use")]
    pub scope: ScopeChoice,
    /// Let a token of the scope use work with all sessions, not only with those that it made
    #[arg(long)]
    pub all_sessions: bool,
    /// After how long it is refused, such as 90d [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub expires: Option<Duration>,
}

/// `cofferdam token revoke`.
#[derive(Debug, Clone, Args)]
pub struct TokenRevokeArgs {
    /// Its name
    #[arg(value_name = "NAME")]
    pub name: String,
}

/// What a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ScopeChoice {
    /// Look at every session.
    Read,
    /// Make sessions and work with those that it made.
    Use,
    /// Everything.
    Admin,
}

impl From<ScopeChoice> for TokenScope {
    fn from(scope: ScopeChoice) -> Self {
        match scope {
            ScopeChoice::Read => Self::Read,
            ScopeChoice::Use => Self::Use,
            ScopeChoice::Admin => Self::Admin,
        }
    }
}
