//! The arguments of `cofferdam egress`.

use clap::{Args, Subcommand};
use session_core::egress::HostRule;

use crate::parse::parse_rule;

/// `cofferdam egress`.
#[derive(Debug, Clone, Subcommand)]
pub enum EgressCommand {
    /// Show what was reached, what was denied and what was decided
    Log(EgressLogArgs),
    /// List the hosts that sessions were denied and about which nobody has decided
    Pending(WhichArgs),
    /// Allow hosts, from the next connection on
    Approve(DecideArgs),
    /// Refuse hosts; stronger than every rule that allows
    Deny(DecideArgs),
    /// List what is allowed and refused: what a session was given, and what was decided
    Rules(WhichArgs),
}

/// `cofferdam egress log`.
#[derive(Debug, Clone, Args)]
pub struct EgressLogArgs {
    /// The session: its id, the start of its id, or its name; all living ones without it
    #[arg(value_name = "SESSION")]
    pub session: Option<String>,
    /// Go on with what happens
    #[arg(short, long)]
    pub follow: bool,
}

/// Which sessions to look at.
#[derive(Debug, Clone, Args)]
pub struct WhichArgs {
    /// The session: its id, the start of its id, or its name; all without it
    #[arg(value_name = "SESSION")]
    pub session: Option<String>,
}

/// `cofferdam egress approve` and `cofferdam egress deny`.
#[derive(Debug, Clone, Args)]
pub struct DecideArgs {
    /// The session: its id, the start of its id, or its name; `all` for every session, also of the future
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// The hosts: example.com, *.example.com or example.com:8443; may be left out when exactly one request waits
    #[arg(value_name = "RULE", value_parser = parse_rule)]
    pub rule: Option<HostRule>,
    /// Decide for every session, also of the future
    #[arg(long)]
    pub for_all: bool,
}
