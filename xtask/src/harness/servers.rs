//! MCP servers for the sessions of a task, declared as an operator declares them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use mcp_catalog::{Catalog, CatalogPaths};
use secrecy::SecretString;
use session_core::error::{Error, ErrorKind, Result};
use session_core::secret::{SecretReference, SecretSource, Secrets};
use session_gateway::mcp::upstream::Network;
use session_gateway::mcp::{McpConfig, McpLimits};
use xtask::error::Context;
use xtask::workspace;

/// What programs on the host get of this task's environment.
const HANDED_ON: [&str; 5] = ["HOME", "LANG", "PATH", "TMPDIR", "USER"];

/// Writes `servers.toml` below a state directory, for a gateway that keeps there what it keeps.
pub(crate) fn declare(
    state: &Path,
    servers: &str,
    secrets: &[(&str, SecretString)],
) -> xtask::error::Result<McpConfig> {
    let file = state.join("servers.toml");
    std::fs::write(&file, servers).context(|| format!("cannot write {}", file.display()))?;
    let catalog = Catalog::new(CatalogPaths {
        servers: file,
        storage: state.join("storage/mcp"),
        keys: state.join("keys"),
    });
    let environment = HANDED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), workspace::env(name)?)));
    let known = secrets
        .iter()
        .map(|(name, secret)| ((*name).to_owned(), secret.clone()));
    Ok(McpConfig {
        catalog: Arc::new(catalog),
        secrets: Arc::new(Known(known.collect())),
        host_environment: environment.collect(),
        telemetry: state.join("telemetry/mcp"),
        logins: state.join("storage/mcp/logins"),
        supervisor: supervisor(),
        network: Network::default(),
        limits: McpLimits::default(),
    })
}

/// This program again, see `Task::Supervise`.
fn supervisor() -> Option<Vec<OsString>> {
    let program = std::env::current_exe().ok()?;
    Some(vec![program.into(), "supervise".into()])
}

/// The environment that references lead into: this one, and not the process's own.
#[derive(Debug)]
struct Known(BTreeMap<String, SecretString>);

impl Secrets for Known {
    fn follow(&self, reference: &SecretReference) -> Result<Arc<dyn SecretSource>> {
        let known = match reference {
            SecretReference::Env(name) => self.0.get(name),
            _ => None,
        };
        let unknown = || {
            Error::new(
                ErrorKind::InvalidArgument,
                "follow a reference",
                "it leads nowhere",
            )
        };
        Ok(Arc::new(Constant(known.cloned().ok_or_else(unknown)?)))
    }
}

struct Constant(SecretString);

#[async_trait]
impl SecretSource for Constant {
    async fn secret(&self) -> Option<SecretString> {
        Some(self.0.clone())
    }
}
