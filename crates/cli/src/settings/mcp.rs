//! Where MCP servers are declared and what is kept about them, and what programs of theirs find on this host.
//!
//! Paths alone: no file is read here, so a command that has nothing to do with MCP servers pays nothing for them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mcp_catalog::{Catalog, CatalogPaths};

use super::env::{self, EnvVar, Environment};
use crate::operator::HostSecrets;

/// All that programs on this host are handed of our environment; more is declared for each by its name.
const HANDED: [EnvVar; 5] = [env::HOME, env::PATH, env::USER, env::LANG, env::TMPDIR];

/// See the module.
#[derive(Debug, Clone)]
pub struct McpPlaces {
    /// Where sessions are recorded.
    pub state_dir: PathBuf,
    /// The user's home directory.
    pub home: Option<PathBuf>,
    /// Where the declarations are, and what is kept about them.
    pub catalog: CatalogPaths,
    /// Logs of servers and their directories; may be lost.
    pub telemetry: PathBuf,
    /// Follows references to secrets.
    pub secrets: Arc<HostSecrets>,
    /// What programs on this host find in their environment.
    pub host_environment: BTreeMap<String, String>,
}

impl McpPlaces {
    /// Resolves the places of a state directory and an environment.
    pub fn resolve(state_dir: &Path, home: Option<&Path>, environment: &dyn Environment) -> Self {
        Self {
            state_dir: state_dir.to_owned(),
            home: home.map(Path::to_owned),
            catalog: CatalogPaths {
                servers: servers(state_dir, home, environment),
                storage: state_dir.join("storage/mcp"),
                keys: state_dir.join("keys"),
            },
            telemetry: state_dir.join("telemetry/mcp"),
            secrets: Arc::new(HostSecrets(environment.shared())),
            host_environment: HANDED
                .iter()
                .filter_map(|variable| {
                    let value = environment.get(*variable)?.into_string().ok()?;
                    Some((variable.name.to_owned(), value))
                })
                .collect(),
        }
    }

    /// The catalog. Reads nothing yet.
    pub fn catalog(&self) -> Arc<Catalog> {
        Arc::new(Catalog::new(self.catalog.clone()))
    }
}

/// What the variable says, else beside the policy; where nobody has a home, with what is kept about them.
fn servers(state_dir: &Path, home: Option<&Path>, environment: &dyn Environment) -> PathBuf {
    const FILE: &str = "servers.toml";
    let named = environment.get(env::COFFERDAM_SERVERS).map(PathBuf::from);
    let file = named
        .or_else(|| Some(env::config_dir(home, environment)?.join(FILE)))
        .unwrap_or_else(|| state_dir.join(FILE));
    std::path::absolute(&file).unwrap_or(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(pairs: &[(&str, &str)]) -> McpPlaces {
        let environment: BTreeMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let home = environment.get("HOME").map(PathBuf::from);
        McpPlaces::resolve(Path::new("/state"), home.as_deref(), &environment)
    }

    #[test]
    fn the_declarations_are_beside_the_policy_unless_said_otherwise() {
        let file = |pairs: &[(&str, &str)]| places(pairs).catalog.servers;
        let all = [
            ("COFFERDAM_SERVERS", "/own/s.toml"),
            ("XDG_CONFIG_HOME", "/xdg"),
            ("HOME", "/h"),
        ];
        assert_eq!(file(&all), Path::new("/own/s.toml"));
        assert_eq!(file(&all[1..]), Path::new("/xdg/cofferdam/servers.toml"));
        assert_eq!(file(&all[2..]), Path::new("/h/.config/cofferdam/servers.toml"));
        assert_eq!(file(&[]), Path::new("/state/servers.toml"));
    }

    #[test]
    fn programs_find_five_variables_and_no_key() {
        let found = places(&[("HOME", "/h"), ("PATH", "/bin"), ("ANTHROPIC_API_KEY", "canary")]);
        assert_eq!(
            found.host_environment.keys().collect::<Vec<_>>(),
            ["HOME", "PATH"]
        );
        assert!(!format!("{found:?}").contains("canary"));
    }
}
