//! Flags of `cofferdam attach`.

use clap::Args;
use session_core::id::TerminalId;

use crate::parse::{DetachKeys, parse_detach_keys};

/// `cofferdam attach`.
#[derive(Debug, Clone, Args)]
pub struct AttachArgs {
    /// The session: its id, the start of its id, or its name
    #[arg(value_name = "SESSION")]
    pub session: String,
    /// Open a shell
    #[arg(long, conflicts_with_all = ["agent", "terminal", "argv"])]
    pub shell: bool,
    /// Open the agent's own interface, in the session's conversation; prompts wait meanwhile
    #[arg(long, conflicts_with_all = ["terminal", "argv"])]
    pub agent: bool,
    /// Come back to this terminal, or look at it beside others
    #[arg(long, value_name = "ID", conflicts_with = "argv")]
    pub terminal: Option<TerminalId>,
    /// List the session's terminals instead
    #[arg(long, conflicts_with_all = ["shell", "agent", "terminal", "argv", "close"])]
    pub list: bool,
    /// End the terminal with everything that runs in it, instead of looking at it
    #[arg(long, requires = "terminal")]
    pub close: bool,
    /// The keys that detach: letters, digits or ctrl-LETTER, separated by commas; none with ""
    #[arg(long, value_name = "KEYS", default_value = "ctrl-p,ctrl-q", value_parser = parse_detach_keys)]
    pub detach_keys: DetachKeys,
    /// Open a terminal with this program
    #[arg(value_name = "ARGV", last = true)]
    pub argv: Vec<String>,
}
