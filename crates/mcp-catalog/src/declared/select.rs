//! What a session gets of what is declared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use session_core::error::{Error, ErrorKind, Result};
use session_core::mcp::{McpSelection, SEPARATOR, ServerName};

use super::{Declared, Profile};
use crate::definition::{ServerDefinition, check_pattern, matches};
use crate::digest::Digest;

const OPERATION: &str = "choose the MCP servers of a session";
/// The profile of whoever names none.
const DEFAULT_PROFILE: &str = "default";

/// Servers and tools that are used together: what a session runs under, and what is published.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Configuration {
    /// The servers.
    pub servers: BTreeMap<ServerName, ServerDefinition>,
    /// Only these tools, as `server__tool` or `server__*`, also for servers whose tools are called without their name;
    /// all that the definitions allow when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// The profile from which they were taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<ServerName>,
}

impl Configuration {
    /// Its content address: that of its JSON form.
    pub fn digest(&self) -> Digest {
        Digest::of_own(self)
    }

    /// Whether a tool of a server, by its own name, is among those of the configuration.
    pub fn admits(&self, server: &ServerName, tool: &str) -> bool {
        admits(&self.tools, server, tool)
    }
}

/// Whether patterns of `server__tool` name a tool; no patterns name all.
pub fn admits(patterns: &[String], server: &ServerName, tool: &str) -> bool {
    if patterns.is_empty() {
        return true;
    }
    let name = format!("{server}{SEPARATOR}{tool}");
    patterns.iter().any(|pattern| matches(pattern, &name))
}

impl Declared {
    /// What a session gets that asks for this. Servers of a profile that are switched off are left out.
    ///
    /// # Errors
    /// `InvalidArgument` for a server or profile that does not exist, for a server that is switched off and was named, and
    /// for tools of which none is left.
    pub fn configuration(&self, selection: &McpSelection) -> Result<Configuration> {
        for pattern in &selection.tools {
            check_pattern(pattern).map_err(|flaw| flaw.within("tools").into_error(OPERATION))?;
        }
        let mut configuration = Configuration::default();
        let profile = self.chosen_profile(selection)?;
        let named = if selection.none {
            &[][..]
        } else {
            &selection.servers[..]
        };
        if let Some((name, profile)) = profile {
            configuration.profile = Some(name.clone());
            configuration.servers = self.of_profile(profile);
        }
        for server in named {
            let definition = self.usable(server)?;
            configuration.servers.insert(server.clone(), definition.clone());
        }
        let allowed = profile.map_or_else(Vec::new, |(_, profile)| profile.allowed_with(named));
        configuration.tools = narrow(&allowed, &selection.tools)?;
        Ok(configuration)
    }

    fn chosen_profile(&self, selection: &McpSelection) -> Result<Option<(&ServerName, &Profile)>> {
        if selection.none {
            return Ok(None);
        }
        match &selection.profile {
            Some(name) => self.profiles.get_key_value(name).map(Some).ok_or_else(|| {
                Error::new(ErrorKind::InvalidArgument, OPERATION, "there is no such profile")
                    .with_context("profile", name)
                    .with_hint("`cofferdam mcp profiles` shows the profiles")
            }),
            None if selection.servers.is_empty() => Ok(self
                .profiles
                .iter()
                .find(|(name, _)| name.as_str() == DEFAULT_PROFILE)),
            None => Ok(None),
        }
    }

    pub(crate) fn of_profile(&self, profile: &Profile) -> BTreeMap<ServerName, ServerDefinition> {
        let enabled = |name: &ServerName| {
            let definition = self.servers.get(name).filter(|definition| definition.enabled)?;
            Some((name.clone(), definition.clone()))
        };
        profile.servers.iter().filter_map(enabled).collect()
    }

    fn usable(&self, server: &ServerName) -> Result<&ServerDefinition> {
        let refuse = |message| {
            Error::new(ErrorKind::InvalidArgument, OPERATION, message).with_context("server", server)
        };
        match self.servers.get(server) {
            Some(definition) if definition.enabled => Ok(definition),
            Some(_) => Err(refuse("the server is switched off")
                .with_hint("an operator switches it on with enabled = true in servers.toml")),
            None => {
                Err(refuse("there is no such server").with_hint("`cofferdam mcp list` shows the servers"))
            }
        }
    }
}

impl Profile {
    /// What the profile allows, and all tools of servers that are used beside it.
    pub(crate) fn allowed_with(&self, named: &[ServerName]) -> Vec<String> {
        let mut tools = self.tools.clone();
        if !tools.is_empty() {
            let beside = named.iter().filter(|server| !self.servers.contains(server));
            tools.extend(beside.map(|server| format!("{server}{SEPARATOR}*")));
        }
        tools
    }
}

/// The patterns of tools that are in both; an empty list holds all tools, so nothing in common cannot be one.
pub(super) fn narrow(allowed: &[String], asked: &[String]) -> Result<Vec<String>> {
    if allowed.is_empty() || asked.is_empty() {
        let mut both = [allowed, asked].concat();
        both.sort_unstable();
        both.dedup();
        return Ok(both);
    }
    let mut both: Vec<String> = allowed
        .iter()
        .flat_map(|one| asked.iter().filter_map(|other| common(one, other)))
        .collect();
    both.sort_unstable();
    both.dedup();
    if both.is_empty() {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            OPERATION,
            "none of these tools is among those of the profile",
        )
        .with_hint("`cofferdam mcp profiles` shows them and their tools"));
    }
    Ok(both)
}

/// What two patterns have in common: one of them, because each is a name or a beginning.
fn common(one: &str, other: &str) -> Option<String> {
    let narrower = match (one.strip_suffix('*'), other.strip_suffix('*')) {
        (Some(_), None) => matches(one, other).then_some(other),
        (None, _) => matches(other, one).then_some(one),
        (Some(a), Some(b)) if a.starts_with(b) => Some(one),
        (Some(a), Some(b)) => b.starts_with(a).then_some(other),
    };
    narrower.map(str::to_owned)
}
