//! Whether what would be published can be used.

use std::collections::BTreeMap;

use serde::Serialize;
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::{SEPARATOR, ServerName};

use super::id::DraftKey;
use crate::catalog::Catalog;
use crate::declared::{Configuration, Declared};
use crate::definition::Names;
use crate::digest::Digest;

const OPERATION: &str = "judge a configuration of MCP servers";

/// What is wrong with it, and its address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Validation {
    /// In the order of the servers.
    pub problems: Vec<Problem>,
    /// The content address of what would be published, as far as its servers exist.
    pub digest: Digest,
}

impl Validation {
    /// Whether it can be published.
    pub fn is_publishable(&self) -> bool {
        self.problems.iter().all(|problem| !problem.blocks)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// With which server; with the whole when `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// `unknown_server`, `disabled_server`, `no_servers`, `held_tools`, `tools_match_nothing`, `names_may_collide`.
    pub code: &'static str,
    /// For people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
    /// Whether it stands in the way of publishing.
    pub blocks: bool,
}

impl Catalog {
    /// Judges the draft, or else the profile.
    ///
    /// # Errors
    /// `NotFound` for a profile that nobody declared or drafted; as [`Catalog::declared`]; `StateDirRefused`, `HostIo`.
    pub fn validate(&self, key: &DraftKey) -> Result<Validation> {
        let (configuration, problems) = self.weigh(key)?;
        Ok(Validation {
            problems,
            digest: configuration.digest(),
        })
    }

    /// What would be published now, as far as its servers exist.
    pub(super) fn current(&self, key: &DraftKey) -> Result<Configuration> {
        let declared = self.declared()?;
        let chosen = self.chosen(key, &declared)?;
        Ok(configuration_of(key, &declared, &chosen))
    }

    /// What is to be published, if nothing stands in the way.
    pub(super) fn publishable(&self, key: &DraftKey) -> Result<Configuration> {
        let (configuration, problems) = self.weigh(key)?;
        match problems.into_iter().find(|problem| problem.blocks) {
            None => Ok(configuration),
            Some(problem) => Err(Error::new(ErrorKind::InvalidArgument, OPERATION, problem.message)
                .with_context("code", problem.code)
                .with_hint(problem.hint)),
        }
    }

    fn weigh(&self, key: &DraftKey) -> Result<(Configuration, Vec<Problem>)> {
        let declared = self.declared()?;
        let chosen = self.chosen(key, &declared)?;
        let configuration = configuration_of(key, &declared, &chosen);
        let mut problems = Vec::new();
        for server in &chosen {
            self.judge_server(&declared, server, &mut problems)?;
        }
        judge_whole(&configuration, &mut problems);
        Ok((configuration, problems))
    }

    fn chosen(&self, key: &DraftKey, declared: &Declared) -> Result<Vec<ServerName>> {
        if let Some(draft) = self.draft(key)? {
            return Ok(draft.servers);
        }
        let profile = declared.profiles.get(&key.profile).ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                OPERATION,
                "there is neither a draft nor a profile of this name",
            )
            .with_context("client", &key.client)
            .with_context("profile", &key.profile)
            .with_hint(
                "`cofferdam mcp profiles` shows the profiles; a draft begins with the first server that is added",
            )
        })?;
        Ok(profile.servers.clone())
    }

    fn judge_server(
        &self,
        declared: &Declared,
        server: &ServerName,
        problems: &mut Vec<Problem>,
    ) -> Result<()> {
        let Some(definition) = declared.servers.get(server) else {
            problems.push(Problem {
                server: Some(server.clone()),
                code: "unknown_server",
                message: format!("the server {server} is not declared"),
                hint: "declare it with `cofferdam mcp add`, or take it out of the draft".to_owned(),
                blocks: true,
            });
            return Ok(());
        };
        if !definition.enabled {
            problems.push(Problem {
                server: Some(server.clone()),
                code: "disabled_server",
                message: format!("the server {server} is switched off and is left out"),
                hint: "write enabled = true in servers.toml, or take it out".to_owned(),
                blocks: false,
            });
        }
        let held = self.pending(server)?.len();
        if held > 0 {
            problems.push(Problem {
                server: Some(server.clone()),
                code: "held_tools",
                message: format!("{held} tools of the server {server} are held until somebody approves them"),
                hint: format!("look at them with `cofferdam mcp approve {server}`"),
                blocks: false,
            });
        }
        Ok(())
    }
}

fn configuration_of(key: &DraftKey, declared: &Declared, chosen: &[ServerName]) -> Configuration {
    let usable = |name: &ServerName| {
        let definition = declared
            .servers
            .get(name)
            .filter(|definition| definition.enabled)?;
        Some((name.clone(), definition.clone()))
    };
    let servers: BTreeMap<_, _> = chosen.iter().filter_map(usable).collect();
    let tools = declared
        .profiles
        .get(&key.profile)
        .map_or_else(Vec::new, |profile| {
            let used: Vec<ServerName> = servers.keys().cloned().collect();
            profile.allowed_with(&used)
        });
    Configuration {
        servers,
        tools,
        profile: Some(key.profile.clone()),
    }
}

fn judge_whole(configuration: &Configuration, problems: &mut Vec<Problem>) {
    if configuration.servers.is_empty() {
        problems.push(Problem {
            server: None,
            code: "no_servers",
            message: "there is no server in it".to_owned(),
            hint: "add one to the draft, or to the profile in servers.toml".to_owned(),
            blocks: true,
        });
    }
    for pattern in &configuration.tools {
        if !configuration
            .servers
            .keys()
            .any(|server| may_name(pattern, server))
        {
            problems.push(Problem {
                server: None,
                code: "tools_match_nothing",
                message: format!(
                    "the pattern {} names no tool of these servers",
                    crate::flaw::shown(pattern)
                ),
                hint: "write tools as server__tool or server__*".to_owned(),
                blocks: false,
            });
        }
    }
    let bare = |names: &Names| *names == Names::Bare;
    let bare: Vec<&ServerName> = configuration
        .servers
        .iter()
        .filter(|(_, definition)| bare(&definition.names))
        .map(|(name, _)| name)
        .collect();
    if bare.len() > 1 {
        problems.push(Problem {
            server: bare.last().map(|name| (*name).clone()),
            code: "names_may_collide",
            message: "the tools of several servers are called without the servers' names".to_owned(),
            hint: "leave out names = \"bare\" for all but one".to_owned(),
            blocks: false,
        });
    }
}

/// Whether a pattern can name a tool of a server.
fn may_name(pattern: &str, server: &ServerName) -> bool {
    let beginning = format!("{server}{SEPARATOR}");
    match pattern.strip_suffix('*') {
        Some(start) => start.starts_with(&beginning) || beginning.starts_with(start),
        None => pattern.starts_with(&beginning),
    }
}
