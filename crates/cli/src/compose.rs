//! The composition root: the one place that knows which runtime, which gateway and which manager work together.
//!
//! Everything else in this crate consumes the traits of `session-core`. Composing asks nothing of an engine and opens no
//! connection: a command that needs neither pays for neither.

mod gateway;
mod providers;
mod servers;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::BoxFuture;
use http_api::ServerInfo;
use runtime_docker::{DockerOptions, DockerRuntime};
use session_core::api::SessionApi;
use session_core::audit::Audited;
use session_core::error::Result;
use session_core::id::ImageRef;
use session_core::label::Signer;
use session_core::manager::{ManagerOptions, SessionManager};
use session_core::policy::mounts::HostPaths;
use session_core::runtime::{ContainerRuntime, Guarded, Progress, RuntimeHealth, TimeLimits, UserIds};
use session_core::state_dir::StateDir;
use session_core::store::{Quarantined, Store};
use session_gateway::mcp::McpGateway;

pub use self::gateway::GatewaySettings;
pub use self::servers::mcp_config;
use crate::daemon::connect::{self, Wish};
use crate::settings::Settings;

/// The image of sessions that name none.
const DEFAULT_IMAGE: &str = runtime_docker::DEFAULT_TOOLBOX_IMAGE;

/// The agent of the toolbox that this version was made with.
pub const AGENT_VERSION: &str = include_str!("../../../images/session/claude-code.version").trim_ascii();

/// Where engines usually listen, besides where the user says.
const ENGINE_SOCKETS: &[&str] = &[
    "/run/docker.sock",
    "/var/run/docker.sock",
    "/run/podman/podman.sock",
    "/run/containerd/containerd.sock",
];
/// The same below the runtime directory of a user.
const USER_SOCKETS: &[&str] = &["docker.sock", "podman/podman.sock"];

/// The lifecycle API, and how to let go of it.
pub struct Opened {
    /// What commands consume.
    pub api: Arc<dyn SessionApi>,
    /// The MCP servers of this process, when it can have any.
    pub servers: Option<McpGateway>,
    /// Whether what was begun goes on when this process ends: with a daemon.
    pub lasting: bool,
    /// To be awaited when the command is done: lets go of sessions without ending any.
    pub close: BoxFuture<'static, ()>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").finish_non_exhaustive()
    }
}

/// What a front end rests on. [`Local`] is the real one; tests bring their own.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Reaches the daemon, and starts it when it is absent.
    ///
    /// # Errors
    /// `StateDirRefused`, and what keeps a daemon from being started.
    async fn connect(&self, wish: Wish<'_>) -> Result<Opened>;

    /// What the daemon says of itself, when one runs. None is started.
    ///
    /// # Errors
    /// `StateDirRefused`, and `LinkLost` when it does not answer.
    async fn daemon(&self, state_dir: &Path) -> Result<Option<ServerInfo>>;

    /// Opens the lifecycle API in this process.
    ///
    /// # Errors
    /// `StateDirRefused`, `StoreFailed`, and `InvalidArgument` for settings that cannot be used.
    async fn open(&self, settings: &Settings) -> Result<Opened>;

    /// Looks whether the state directory can be used.
    ///
    /// # Errors
    /// `StateDirRefused`, `HostIo`.
    fn state_dir(&self, settings: &Settings) -> Result<()>;

    /// What the store had to put aside because it could not be read; nothing when there is no store yet.
    ///
    /// # Errors
    /// `StateDirRefused` and `StoreFailed` for a store that is newer or damaged.
    async fn quarantined(&self, settings: &Settings) -> Result<Vec<Quarantined>>;

    /// Asks the engine whether it works.
    ///
    /// # Errors
    /// `EngineUnavailable` and others of its kind.
    async fn engine(&self, settings: &Settings) -> Result<RuntimeHealth>;

    /// Makes sure that sessions can be made from `image`; fetches it when that is possible.
    ///
    /// # Errors
    /// `ImageNotFound` and those of the engine.
    async fn image(&self, settings: &Settings, image: &ImageRef, progress: &dyn Progress) -> Result<()>;

    /// Judges the provider's address and credential, and says where requests would go.
    ///
    /// # Errors
    /// `InvalidArgument`.
    fn provider(&self, settings: &Settings) -> Result<String>;

    /// The image of sessions that name none.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no reference.
    fn default_image(&self, settings: &Settings) -> Result<ImageRef>;
}

/// A Docker engine, a gateway and a manager in this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

#[async_trait]
impl Backend for Local {
    async fn connect(&self, wish: Wish<'_>) -> Result<Opened> {
        connect::connect(wish).await
    }

    async fn daemon(&self, state_dir: &Path) -> Result<Option<ServerInfo>> {
        connect::look(state_dir).await
    }

    async fn open(&self, settings: &Settings) -> Result<Opened> {
        let (manager, servers) = manage(settings, StateDir::open(&settings.state_dir)?).await?;
        let closing = manager.clone();
        let actor = format!("embedded uid {}", rustix::process::geteuid().as_raw());
        let log = manager.audit_log();
        Ok(Opened {
            api: Arc::new(Audited::new(Arc::new(manager), log, actor)),
            servers,
            lasting: false,
            close: Box::pin(async move { closing.shutdown().await }),
        })
    }

    fn state_dir(&self, settings: &Settings) -> Result<()> {
        StateDir::open(&settings.state_dir).map(drop)
    }

    async fn quarantined(&self, settings: &Settings) -> Result<Vec<Quarantined>> {
        // A directory that is refused has a check of its own.
        let Ok(dir) = StateDir::open(&settings.state_dir) else {
            return Ok(Vec::new());
        };
        if !dir.store_path().exists() {
            return Ok(Vec::new());
        }
        Store::open(&dir).await?.quarantined().await
    }

    async fn engine(&self, settings: &Settings) -> Result<RuntimeHealth> {
        guarded(settings, None)?.probe().await
    }

    async fn image(&self, settings: &Settings, image: &ImageRef, progress: &dyn Progress) -> Result<()> {
        let signer = signer(&StateDir::open(&settings.state_dir)?)?;
        guarded(settings, Some(signer))?
            .prepare(image, UserIds::DEFAULT, progress)
            .await
            .map(drop)
    }

    fn provider(&self, settings: &Settings) -> Result<String> {
        Ok(settings.gateway.model.to_string())
    }

    fn default_image(&self, settings: &Settings) -> Result<ImageRef> {
        match &settings.image {
            Some(image) => Ok(image.clone()),
            None => DEFAULT_IMAGE.parse(),
        }
    }
}

/// A manager in this process, and the MCP servers of its gateway.
///
/// # Errors
/// As [`Backend::open`].
pub async fn manage(
    settings: &Settings,
    state_dir: StateDir,
) -> Result<(SessionManager, Option<McpGateway>)> {
    let runtime = runtime(settings, Some(signer(&state_dir)?))?;
    let gateway = settings.gateway.build().with_mcp(mcp_config(&settings.mcp));
    let servers = gateway.mcp().cloned();
    let mut options = ManagerOptions::new(Local.default_image(settings)?, host_paths(settings));
    options.default_model.clone_from(&settings.model);
    options.default_limits = settings.limits.unwrap_or_default();
    options.default_small_model.clone_from(&settings.small_model);
    options.supervise = settings.supervise;
    options.allow_open = settings.gateway.allow_open;
    options.checkpoints = settings.gateway.checkpoints;
    options.admission = settings.gateway.admission;
    options.default_lifetime = settings.gateway.lifetime;
    options.keep_images = settings.gateway.keep_images.unwrap_or(options.keep_images);
    options.certificates = settings.gateway.read_certificates()?;
    options.presets = Some(settings.gateway.presets.clone());
    let manager = SessionManager::open(state_dir, options, runtime, Arc::new(gateway)).await?;
    Ok((manager, servers))
}

/// What this state directory makes on an engine for many sessions is signed like what it makes for one.
fn signer(state_dir: &StateDir) -> Result<Signer> {
    state_dir.signing_key().map(Signer::new)
}

fn runtime(settings: &Settings, signer: Option<Signer>) -> Result<Arc<dyn ContainerRuntime>> {
    #[cfg(feature = "faults")]
    if let Some(socket) = &settings.test_engine {
        return Ok(Arc::new(engine_rpc::RemoteRuntime::connect(socket)?));
    }
    Ok(Arc::new(DockerRuntime::connect(DockerOptions {
        host: settings.docker_host.clone(),
        shares_files: settings.host_mounts,
        signer,
        ..DockerOptions::default()
    })?))
}

fn guarded(settings: &Settings, signer: Option<Signer>) -> Result<Guarded> {
    Ok(Guarded::new(runtime(settings, signer)?, TimeLimits::default()))
}

/// What of this host is never handed to a session.
pub fn host_paths(settings: &Settings) -> HostPaths {
    let said = settings
        .docker_host
        .as_deref()
        .and_then(|host| host.strip_prefix("unix://"))
        .map(PathBuf::from);
    let of_user = settings
        .runtime_dir
        .iter()
        .flat_map(|dir| USER_SOCKETS.iter().map(|socket| dir.join(socket)));
    HostPaths {
        home: settings.home.clone(),
        state_dir: settings.state_dir.clone(),
        engine_sockets: ENGINE_SOCKETS
            .iter()
            .map(PathBuf::from)
            .chain(of_user)
            .chain(said)
            .collect(),
    }
}
