//! What an operator declares about one MCP server.
//!
//! Written in `servers.toml` under `[servers.NAME]`; the same form, as JSON, is what is published and signed. It holds no
//! secret, only references to where each one is.

mod check;
mod check_http;
mod secrets;
#[cfg(test)]
mod tests;
mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use session_core::egress::AllowEntry;
use session_core::id::ImageRef;
use session_core::secret::SecretReference;

pub(crate) use self::check::check_pattern;
pub(crate) use self::check_http::is_loopback;
pub(crate) use self::secrets::{argument_holds_secret, is_secret_header, sounds_secret};
use crate::digest::Digest;

/// One MCP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerDefinition {
    /// What it is for, one line for people and for the search for tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How it is reached.
    #[serde(flatten)]
    pub transport: Transport,
    /// Who uses one instance of it.
    #[serde(skip_serializing_if = "is_default")]
    pub sharing: Sharing,
    /// Which of its tools exist for sessions.
    #[serde(skip_serializing_if = "is_default")]
    pub tools: ToolFilter,
    /// Tools, beside those whose own annotations say so, that may be called again when a call was lost on the way.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub idempotent: BTreeSet<String>,
    /// What happens to tools that nobody has approved.
    #[serde(skip_serializing_if = "is_default")]
    pub approval: Approval,
    /// Whether its tools are called `server__tool`; without, `tool`.
    #[serde(skip_serializing_if = "is_default")]
    pub names: Names,
    /// Times, in milliseconds.
    #[serde(skip_serializing_if = "is_default")]
    pub times: Times,
    /// Whether it can be used at all.
    #[serde(skip_serializing_if = "is_true")]
    pub enabled: bool,
}

/// How a server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "transport", rename_all = "snake_case")]
pub enum Transport {
    /// A program on the host, spoken to on its standard streams. Only the operator can declare one.
    Stdio {
        /// The program: a path, or a name that is looked up in the `PATH` of the host.
        command: String,
        /// Its arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Its environment, beside `HOME`, `PATH`, `USER`, `LANG`, `TMPDIR` and what `inherit` names. Nothing else of
        /// the host's environment.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, Value>,
        /// Where it runs, absolute; a directory of its own when `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<PathBuf>,
    },
    /// A program in a sealed container of its own. It gets no secrets: what it calls can be given a credential at the
    /// egress door.
    Container {
        /// The image; that of sessions when `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        image: Option<ImageRef>,
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Its environment; no secrets.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// Where it runs, absolute.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
        /// The hosts that it may reach. None when empty.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        allow: Vec<AllowEntry>,
        /// Directories of the host that it sees.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        mounts: Vec<Mount>,
    },
    /// A program in the session's own container, as the session's user; no secrets.
    Session {
        /// The program.
        command: String,
        /// Its arguments.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        args: Vec<String>,
        /// Its environment; no secrets.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        env: BTreeMap<String, String>,
        /// Where it runs; the workspace when `None`.
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<String>,
    },
    /// A server elsewhere, over streamable HTTP.
    Http {
        /// Its endpoint, `https://…`; `http://` for loopback only. Without credentials.
        url: String,
        /// Header fields of each request.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        headers: BTreeMap<String, Value>,
        /// A login, when it wants one.
        #[serde(skip_serializing_if = "Option::is_none")]
        oauth: Option<OAuth>,
        /// Whether the endpoint may be on this host or in a private network.
        #[serde(skip_serializing_if = "is_default")]
        private: bool,
    },
}

/// A value that stands there, or a reference to a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Value {
    /// As it is.
    Plain(String),
    /// Read on the host when the server is started, for HTTP at each request.
    Secret(SecretValue),
}

/// A reference with what stands before the secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SecretValue {
    /// Stands before the secret, for example `Bearer `.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub prefix: String,
    /// Where the secret is.
    #[serde(flatten)]
    pub secret: SecretReference,
}

/// How to log in at an HTTP server; found out from the server where nothing is said.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OAuth {
    /// The client's id; registered with the server when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// The client's secret, for clients that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<SecretReference>,
    /// What to ask for; what the server says it has when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
}

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// On the host, absolute.
    pub source: PathBuf,
    /// Inside, absolute.
    pub target: String,
    /// Whether it can be changed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub writable: bool,
}

/// Who uses one instance of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sharing {
    /// Each session has one of its own.
    #[default]
    PerSession,
    /// All sessions of a process share one. What one session leaves in it, others see.
    Shared,
}

/// Which tools exist. Patterns are names, or beginnings that end with `*`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolFilter {
    /// Only these; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
    /// None of these, also when `allow` names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
}

impl ToolFilter {
    /// Whether the tool exists.
    pub fn admits(&self, tool: &str) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, tool));
        (self.allow.is_empty() || any(&self.allow)) && !any(&self.deny)
    }
}

/// Whether a pattern names a tool: the same, or a beginning that ends with `*`.
pub fn matches(pattern: &str, tool: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => tool.starts_with(beginning),
        None => pattern == tool,
    }
}

/// What happens to tools that nobody has approved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// What a server has when it is seen for the first time is taken as approved; what changes or comes later is held.
    #[default]
    FirstSeen,
    /// Every tool is held until it was approved.
    Each,
}

/// How tools are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Names {
    /// `server__tool`.
    #[default]
    Prefixed,
    /// `tool`: for a server that is alone, or whose names nobody else has.
    Bare,
}

impl ServerDefinition {
    /// What reaches the server this way, and nothing said beside it.
    pub fn new(transport: Transport) -> Self {
        Self {
            description: None,
            transport,
            sharing: Sharing::default(),
            tools: ToolFilter::default(),
            idempotent: BTreeSet::new(),
            approval: Approval::default(),
            names: Names::default(),
            times: Times::default(),
            enabled: true,
        }
    }

    /// Its content address: that of its JSON form, in which what is left at its default is left out.
    pub fn digest(&self) -> Digest {
        Digest::of_own(self)
    }
}

impl Transport {
    /// The word for it in `transport = "…"`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stdio { .. } => "stdio",
            Self::Container { .. } => "container",
            Self::Session { .. } => "session",
            Self::Http { .. } => "http",
        }
    }
}

/// Times of a server, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Times {
    /// From the start until it is initialized: a package manager may have to fetch it first.
    pub start_ms: u64,
    /// A call without any sign of life: neither progress nor an answer.
    pub call_ms: u64,
    /// A call in any case.
    pub call_max_ms: u64,
    /// After the last call, before it is stopped.
    pub idle_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            start_ms: 60_000,
            call_ms: 300_000,
            call_max_ms: 3_600_000,
            idle_ms: 600_000,
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_true(value: &bool) -> bool {
    *value
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
