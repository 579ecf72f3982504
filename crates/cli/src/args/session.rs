//! Flags that say what a new session shall be: the same for `run` and `create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use session_core::budget::Budget;
use session_core::egress::AllowEntry;
use session_core::id::ImageRef;
use session_core::lifetime::{Lifetime, OnInterrupt};
use session_core::runtime::HostMount;

use super::mcp::SessionMcpArgs;
use crate::parse::{
    parse_allow, parse_bind, parse_cpus, parse_duration, parse_environment, parse_label, parse_minutes,
    parse_size, parse_usd,
};

/// What a new session shall be.
#[derive(Debug, Clone, Args)]
pub struct SessionArgs {
    /// A name for people; it need not be unique
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
    pub name: Option<String>,
    /// Where the workspace comes from.
    #[command(flatten)]
    pub workspace: WorkspaceArgs,
    /// The image; any will do, the agent comes with us [default: $COFFERDAM_IMAGE, else cofferdam-session:latest]
    #[arg(long, value_name = "IMAGE")]
    pub image: Option<ImageRef>,
    /// The model [default: $ANTHROPIC_MODEL, else the agent's own choice]
    #[arg(long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new())]
    pub model: Option<String>,
    /// The model for small tasks [default: $ANTHROPIC_SMALL_FAST_MODEL, else the agent's own choice]
    #[arg(long, value_name = "MODEL", value_parser = NonEmptyStringValueParser::new())]
    pub small_model: Option<String>,
    /// What the session can reach: nothing but the model (sealed), the hosts of --allow too (allow), or everything (open);
    /// --allow alone means allow
    #[arg(long, value_name = "MODE", default_value = "sealed")]
    pub network: Network,
    /// A host that the session may reach, or a preset: example.com, *.example.com, example.com:8443, npm, pypi, crates,
    /// debian, git
    #[arg(long, value_name = "ENTRY", value_parser = parse_allow)]
    pub allow: Vec<AllowEntry>,
    /// Which MCP servers it has.
    #[command(flatten)]
    pub servers: SessionMcpArgs,
    /// How much of the model it may use.
    #[command(flatten)]
    pub budget: BudgetArgs,
    /// When it ends by itself.
    #[command(flatten)]
    pub lifetime: LifetimeArgs,
    /// The most memory, swap included, such as 512m or 4g [default: 4g]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,
    /// The most CPUs, such as 2 or 0.5 [default: 2]
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    pub cpus: Option<u32>,
    /// The most processes and threads [default: 1024]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(16..=4_194_304))]
    pub pids: Option<u32>,
    /// A further directory or file of this host, read-only unless it ends in :rw
    #[arg(long, value_name = "HOST:CONTAINER[:rw]", value_parser = parse_bind)]
    pub bind: Vec<HostMount>,
    /// A variable for the agent and for programs; no secrets, for whatever runs inside can read it
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_environment)]
    pub env: Vec<(String, String)>,
    /// A label for your own use
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = parse_label)]
    pub label: Vec<(String, String)>,
}

/// Where the workspace comes from.
#[derive(Debug, Clone, Args)]
pub struct WorkspaceArgs {
    /// The project's directory [default: the current directory]
    #[arg(short, long, value_name = "DIR", conflicts_with_all = ["empty", "clone"])]
    pub workspace: Option<PathBuf>,
    /// Work on a copy of it, without what .gitignore excludes (the default)
    #[arg(long, conflicts_with_all = ["mount", "empty", "clone"])]
    pub copy: bool,
    /// Work in the directory itself: what the agent changes is changed
    #[arg(long, conflicts_with_all = ["empty", "clone"])]
    pub mount: bool,
    /// Start with an empty workspace
    #[arg(long, conflicts_with = "clone")]
    pub empty: bool,
    /// Clone a git repository inside the session; its host has to be allowed, for example with --allow git
    #[arg(long, value_name = "URL")]
    pub clone: Option<String>,
    /// The branch, tag or commit to clone
    #[arg(long = "ref", value_name = "REF", requires = "clone")]
    pub reference: Option<String>,
}

/// How much of the model a session may use in its whole life.
#[derive(Debug, Clone, Copy, Args)]
pub struct BudgetArgs {
    /// The most money that the session may spend on its model, in US dollars, such as 2.50
    #[arg(long, value_name = "USD", value_parser = parse_usd)]
    pub budget_usd: Option<u64>,
    /// The most tokens, of all kinds together
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub budget_tokens: Option<u64>,
    /// The most requests to the model
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    pub budget_requests: Option<u64>,
    /// The most minutes with a request to the model under way, such as 30 or 1.5
    #[arg(long, value_name = "MINUTES", value_parser = parse_minutes)]
    pub budget_minutes: Option<u64>,
}

impl BudgetArgs {
    /// The budget.
    pub fn budget(&self) -> Budget {
        Budget {
            cost_microusd: self.budget_usd,
            tokens: self.budget_tokens,
            requests: self.budget_requests,
            model_ms: self.budget_minutes,
        }
    }
}

/// When a session ends by itself, and what becomes of it when its container is lost.
#[derive(Debug, Clone, Copy, Args)]
pub struct LifetimeArgs {
    /// Destroy the session when it had nothing to do for so long, such as 30m; one that works is never idle
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub idle_timeout: Option<Duration>,
    /// Destroy the session so long after it was made, whatever it does, such as 8h
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub max_life: Option<Duration>,
    /// Destroy the session when nobody renewed its lease for so long, such as 5m; see cofferdam renew
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub lease: Option<Duration>,
    /// Do not destroy the session for idleness when its last turn failed
    #[arg(long)]
    pub keep_on_failure: bool,
    /// What becomes of the session when its container ends although nobody asked for it
    #[arg(long, value_name = "POLICY", default_value = "stop")]
    pub on_interrupt: Interruption,
}

impl LifetimeArgs {
    /// The lifetime.
    pub fn lifetime(&self) -> Lifetime {
        // A limit that is not zero stays one.
        let ms = |limit: Duration| {
            let ms = limit.as_nanos().div_ceil(1_000_000);
            u64::try_from(ms).unwrap_or(u64::MAX)
        };
        Lifetime {
            idle_ms: self.idle_timeout.map(ms),
            max_ms: self.max_life.map(ms),
            lease_ms: self.lease.map(ms),
            keep_on_failure: self.keep_on_failure,
        }
    }

    /// What becomes of the session when it is interrupted.
    pub fn on_interrupt(&self) -> OnInterrupt {
        match self.on_interrupt {
            Interruption::Resume => OnInterrupt::Resume,
            Interruption::Stop => OnInterrupt::Stop,
        }
    }
}

/// What becomes of a session whose container ended although nobody asked for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Interruption {
    /// It stays interrupted until somebody resumes or destroys it.
    Stop,
    /// It comes back by itself, with its workspace and its conversation.
    Resume,
}

impl SessionArgs {
    /// What contradicts itself in these flags, when something does.
    pub fn contradiction(&self) -> Option<&'static str> {
        match self.network {
            Network::Allow if self.allow.is_empty() => Some(
                "--network allow needs at least one --allow: name what the session may reach, for example --allow npm \
                 or --allow docs.example.com",
            ),
            Network::Open if !self.allow.is_empty() => Some(
                "--allow cannot be used with --network open: an open session reaches everything, and nothing judges it",
            ),
            _ => None,
        }
    }
}

/// What a session can reach by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Network {
    /// Nothing but the model: no network device other than loopback.
    Sealed,
    /// The model and the hosts that are allowed.
    Allow,
    /// Everything, unrestricted.
    Open,
}
