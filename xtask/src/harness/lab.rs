//! Puts the product together as the command line does, with a scripted model in the place of the provider.
//!
//! The state directory is a temporary one, so nothing of a user's own sessions is touched and all of it is gone at the end.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use runtime_docker::{DEFAULT_TOOLBOX_IMAGE, DockerOptions, DockerRuntime};
use secrecy::SecretString;
use session_core::manager::{ManagerOptions, SessionManager};
use session_core::policy::mounts::HostPaths;
use session_core::state_dir::StateDir;
use session_gateway::SessionGateway;
use session_gateway::egress::EgressConfig;
use session_gateway::mcp::McpConfig;
use session_gateway::model::{BaseUrl, Credential, CredentialSource, ModelProxyConfig};
use tempfile::TempDir;
use xtask::error::{Context, Result};

/// Where the engine is found when nothing else is said.
pub(crate) const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";

/// Where sessions' requests to their model go.
#[derive(Clone, Debug)]
pub(crate) struct Provider {
    /// The provider's address; the vendor's own when `None`.
    pub(crate) url: Option<String>,
    /// The key, which stays on the host.
    pub(crate) key: SecretString,
}

/// A state directory that goes away with its owner.
#[derive(Debug)]
pub(crate) struct State {
    dir: TempDir,
}

impl State {
    pub(crate) fn new() -> Result<Self> {
        let made = tempfile::Builder::new()
            .prefix("cofferdam-state-")
            .permissions(std::fs::Permissions::from_mode(0o700))
            .tempdir();
        Ok(Self {
            dir: made.context(|| "cannot make a temporary directory".to_owned())?,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Opens a manager on a state directory. Its sessions reach nothing but their model.
pub(crate) async fn manager(state: &Path, host: &str, provider: &Provider) -> Result<SessionManager> {
    manager_with(state, host, provider, EgressConfig::default()).await
}

/// The same with an egress door of its own.
pub(crate) async fn manager_with(
    state: &Path,
    host: &str,
    provider: &Provider,
    egress: EgressConfig,
) -> Result<SessionManager> {
    let gateway = gateway(provider)?.with_egress(egress);
    put_together(state, host, gateway).await
}

/// The same with MCP servers.
pub(crate) async fn manager_behind(
    state: &Path,
    host: &str,
    provider: &Provider,
    egress: EgressConfig,
    servers: McpConfig,
) -> Result<SessionManager> {
    let gateway = gateway(provider)?.with_egress(egress).with_mcp(servers);
    put_together(state, host, gateway).await
}

fn doing() -> String {
    "cannot put a manager together".to_owned()
}

fn gateway(provider: &Provider) -> Result<SessionGateway> {
    let base_url = match &provider.url {
        Some(url) => url.parse().context(doing)?,
        None => BaseUrl::default(),
    };
    let key = Credential::api_key(&provider.key).context(doing)?;
    let model = ModelProxyConfig::messages(base_url, CredentialSource::new(Some(key)));
    Ok(SessionGateway::new(model))
}

async fn put_together(state: &Path, host: &str, gateway: SessionGateway) -> Result<SessionManager> {
    let runtime = DockerRuntime::connect(DockerOptions {
        host: Some(host.to_owned()),
        ..DockerOptions::default()
    })
    .context(doing)?;
    let image = DEFAULT_TOOLBOX_IMAGE.parse().context(doing)?;
    let paths = HostPaths {
        home: xtask::workspace::env("HOME").map(PathBuf::from),
        state_dir: state.to_owned(),
        engine_sockets: host
            .strip_prefix("unix://")
            .map(PathBuf::from)
            .into_iter()
            .collect(),
    };
    let state_dir = StateDir::open(state).context(doing)?;
    SessionManager::open(
        state_dir,
        ManagerOptions::new(image, paths),
        Arc::new(runtime),
        Arc::new(gateway),
    )
    .await
    .context(doing)
}
