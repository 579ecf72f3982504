//! What a test has: the product on a temporary state directory, a scripted model, a key that is nowhere else, and a log.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use runtime_docker::{DEFAULT_HOST, DockerOptions, DockerRuntime};
use secrecy::SecretString;
use session_core::activity::WatchdogPolicy;
use session_core::api::{SessionApi, SessionApiExt};
use session_core::command::{CommandOutput, CommandRequest};
use session_core::event::Event;
use session_core::id::{ImageRef, SessionId};
use session_core::label::Signer;
use session_core::manager::{ManagerOptions, SessionManager};
use session_core::policy::mounts::HostPaths;
use session_core::runtime::ContainerRuntime;
use session_core::session::{CreateSession, PromptRequest, SessionInfo, WorkspaceSource};
use session_core::state::StateName;
use session_core::state_dir::StateDir;
use session_core::turn::TurnOutcome;
use session_gateway::SessionGateway;
use session_gateway::model::{Credential, CredentialSource, ModelProxyConfig};
use tempfile::TempDir;
use testkit::canary::Canary;
use testkit::model::{ModelServer, Script, Surface};
use testkit::second_engine::SecondEngine;
use tokio::sync::Mutex;
use tracing_subscriber::fmt::MakeWriter;

use super::Outcome;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How much of a command's output a test looks at.
const OUTPUT_LIMIT: usize = 1 << 20;

/// What a test has in hand.
pub(crate) struct World {
    state: TempDir,
    pub(crate) manager: SessionManager,
    pub(crate) runtime: Arc<dyn ContainerRuntime>,
    pub(crate) model: ModelServer,
    pub(crate) key: Canary,
    /// The engine of a test that kills it; others share the machine's own.
    own_engine: Option<Mutex<SecondEngine>>,
}

impl World {
    pub(crate) async fn open(script: Script) -> Result<Self> {
        Self::open_at(Surface::Messages, script, |model, key| {
            vendor(&model.url(), key.text())
        })
        .await
    }

    /// A model with another API, and a gateway that knows how to reach it.
    pub(crate) async fn open_at(
        surface: Surface,
        script: Script,
        config: impl FnOnce(&ModelServer, &Canary) -> Result<ModelProxyConfig>,
    ) -> Result<Self> {
        let runtime = Arc::new(DockerRuntime::connect(DockerOptions::default())?);
        Self::open_on(runtime, surface, script, config).await
    }

    /// On an engine of its own, with the session image of the machine's. Its data stay from run to run, so that the image is
    /// copied once.
    pub(crate) async fn open_on_own_engine(script: Script) -> Result<Self> {
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("second-engine");
        let bridge = Path::new("/sys/class/net/docker0");
        let before = bridge.exists();
        let engine = SecondEngine::open(&root).await?;
        assert_eq!(
            bridge.exists(),
            before,
            "the machine's own engine keeps its network"
        );
        let from = DEFAULT_HOST.strip_prefix("unix://").map(PathBuf::from);
        let from = from.ok_or("the default engine has a socket")?;
        engine
            .load(&from, &[runtime_docker::DEFAULT_TOOLBOX_IMAGE])
            .await?;
        let runtime = Arc::new(DockerRuntime::connect(DockerOptions {
            host: Some(engine.host()),
            ..DockerOptions::default()
        })?);
        let config = |model: &ModelServer, key: &Canary| vendor(&model.url(), key.text());
        let mut world = Self::open_on(runtime, Surface::Messages, script, config).await?;
        world.own_engine = Some(Mutex::new(engine));
        Ok(world)
    }

    async fn open_on(
        runtime: Arc<dyn ContainerRuntime>,
        surface: Surface,
        script: Script,
        config: impl FnOnce(&ModelServer, &Canary) -> Result<ModelProxyConfig>,
    ) -> Result<Self> {
        log().clear();
        let model = ModelServer::start_as(surface, script).await?;
        let key = Canary::new();
        let state = state_dir()?;
        let config = config(&model, &key)?;
        let manager = open_on(state.path(), Arc::clone(&runtime), config, |_| {}).await?;
        Ok(Self {
            state,
            manager,
            runtime,
            model,
            key,
            own_engine: None,
        })
    }

    /// The engine of a test that was opened on its own.
    pub(crate) fn own_engine(&self) -> Result<&Mutex<SecondEngine>> {
        Ok(self
            .own_engine
            .as_ref()
            .ok_or("this world has no engine of its own")?)
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Another manager on the same state directory, as another process would open it.
    pub(crate) async fn another_manager(&self) -> Result<SessionManager> {
        open_manager(
            self.state.path(),
            Arc::clone(&self.runtime),
            &self.model.url(),
            self.key.text(),
        )
        .await
    }

    /// The same, with a watchdog of its own.
    pub(crate) async fn watching_manager(&self, watchdog: WatchdogPolicy) -> Result<SessionManager> {
        self.manager_with(|options| options.watchdog = watchdog).await
    }

    /// The same, on another gateway.
    pub(crate) async fn manager_on(&self, gateway: SessionGateway) -> Result<SessionManager> {
        open_behind(self.state.path(), Arc::clone(&self.runtime), gateway, |_| {}).await
    }

    /// The same, with options of its own.
    pub(crate) async fn manager_with(
        &self,
        change: impl FnOnce(&mut ManagerOptions),
    ) -> Result<SessionManager> {
        open_with(
            self.state.path(),
            Arc::clone(&self.runtime),
            &self.model.url(),
            self.key.text(),
            change,
        )
        .await
    }

    pub(crate) async fn create(&self, request: CreateSession) -> Result<SessionInfo> {
        Ok(self.manager.create(request).await?)
    }

    /// A session with an empty workspace.
    pub(crate) async fn session(&self) -> Result<SessionId> {
        Ok(self.create(CreateSession::default()).await?.id)
    }

    /// A session with an empty workspace whose agent and commands have these variables.
    pub(crate) async fn session_with(&self, env: &[(&str, &str)]) -> Result<SessionId> {
        let env = env
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let request = CreateSession {
            env: env.collect::<BTreeMap<_, _>>(),
            ..CreateSession::default()
        };
        Ok(self.create(request).await?.id)
    }

    pub(crate) async fn session_on_copy(&self, path: &Path) -> Result<SessionId> {
        let workspace = WorkspaceSource::Copy {
            path: path.to_owned(),
        };
        Ok(self
            .create(CreateSession {
                workspace,
                ..CreateSession::default()
            })
            .await?
            .id)
    }

    pub(crate) async fn prompt(&self, session: &SessionId, prompt: &str) -> Result<TurnOutcome> {
        Ok(self.manager.prompt_and_wait(session, prompt_of(prompt)).await?)
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, session: &SessionId, argv: &[&str]) -> Result<CommandOutput> {
        self.run_request(session, CommandRequest::new(argv.iter().copied()))
            .await
    }

    pub(crate) async fn run_request(
        &self,
        session: &SessionId,
        request: CommandRequest,
    ) -> Result<CommandOutput> {
        Ok(self
            .manager
            .command_output(session, request, OUTPUT_LIMIT)
            .await?)
    }

    /// What a program that succeeds prints.
    pub(crate) async fn read(&self, session: &SessionId, argv: &[&str]) -> Result<String> {
        let output = self.run(session, argv).await?;
        if output.exit.code != Some(0) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{argv:?} ended with {:?}: {said}", output.exit).into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// Waits until the engine's facts have brought the session there.
    pub(crate) async fn wait_state(&self, session: &SessionId, name: StateName) -> Result<SessionInfo> {
        let waiting = async {
            loop {
                let info = self.manager.inspect(session).await?.info;
                if info.state.name() == name {
                    return Ok(info);
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited: std::result::Result<Result<SessionInfo>, _> =
            tokio::time::timeout(Duration::from_secs(10), waiting).await;
        waited.map_err(|_| format!("the session is not {name:?} after 10 s"))?
    }

    /// All events so far, which must be numbered without gaps.
    pub(crate) async fn events(&self, session: &SessionId) -> Result<Vec<Event>> {
        let query = session_core::session::EventQuery {
            after: 0,
            limit: 10_000,
            tail: false,
        };
        let events = self.manager.event_page(session, query).await?;
        for (event, number) in events.iter().zip(1_u64..) {
            if event.seq != number {
                return Err(format!("event {number} has the number {}", event.seq).into());
            }
        }
        Ok(events)
    }

    /// What our own crates logged since the test began: the last of it.
    pub(crate) fn log(&self) -> String {
        let text = log().text();
        let ours = |line: &&str| {
            ["session_", "runtime_docker"]
                .iter()
                .any(|name| line.contains(name))
        };
        let ours: Vec<_> = text
            .lines()
            .filter(ours)
            .map(|line| line.get(..400).unwrap_or(line))
            .collect();
        ours[ours.len().saturating_sub(60)..].join("\n")
    }

    /// Keeps no log until the next test: it would be measured along with the manager.
    pub(crate) fn stop_logging(&self) {
        log().stop();
    }

    /// Everything that was logged since the test began.
    pub(crate) fn whole_log(&self) -> String {
        log().text()
    }

    /// Destroys what is left, and fails when something is there after that.
    pub(crate) async fn finish(&self) -> Outcome {
        let sessions = self.manager.list(Default::default()).await.unwrap_or_default();
        let mut failure = None;
        for session in sessions {
            if let Err(error) = self.manager.destroy(&session.id).await {
                failure = Some(error);
            }
        }
        self.manager.shutdown().await;
        let left = self.sweep().await?;
        match (failure, left) {
            (Some(error), _) => Err(error.into()),
            (None, left) if left.is_empty() => Ok(()),
            (None, left) => Err(left.join(", ").into()),
        }
    }

    /// Removes by force what bears our label, and says what that was.
    async fn sweep(&self) -> Result<Vec<String>> {
        let signer = Signer::new(StateDir::open(self.state.path())?.signing_key()?);
        let mut names = Vec::new();
        for left in self.runtime.list(signer.owner()).await? {
            names.push(left.name.to_string());
            self.runtime.remove(&left.name).await?;
        }
        Ok(names)
    }
}

/// A temporary directory that is good enough for a state directory.
pub(crate) fn state_dir() -> Result<TempDir> {
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    Ok(tempfile::Builder::new()
        .prefix("cofferdam-e2e-")
        .permissions(private)
        .tempdir()?)
}

pub(crate) fn prompt_of(prompt: &str) -> PromptRequest {
    PromptRequest {
        prompt: prompt.to_owned(),
        ..PromptRequest::default()
    }
}

/// Puts the product together as the command line does.
pub(crate) async fn open_manager(
    state: &Path,
    runtime: Arc<dyn ContainerRuntime>,
    model: &str,
    key: &str,
) -> Result<SessionManager> {
    open_with(state, runtime, model, key, |_| {}).await
}

async fn open_with(
    state: &Path,
    runtime: Arc<dyn ContainerRuntime>,
    model: &str,
    key: &str,
    change: impl FnOnce(&mut ManagerOptions),
) -> Result<SessionManager> {
    open_on(state, runtime, vendor(model, key)?, change).await
}

fn vendor(model: &str, key: &str) -> Result<ModelProxyConfig> {
    let key = Credential::api_key(&SecretString::from(key))?;
    Ok(ModelProxyConfig::messages(
        model.parse()?,
        CredentialSource::new(Some(key)),
    ))
}

async fn open_on(
    state: &Path,
    runtime: Arc<dyn ContainerRuntime>,
    config: ModelProxyConfig,
    change: impl FnOnce(&mut ManagerOptions),
) -> Result<SessionManager> {
    open_behind(state, runtime, SessionGateway::new(config), change).await
}

async fn open_behind(
    state: &Path,
    runtime: Arc<dyn ContainerRuntime>,
    gateway: SessionGateway,
    change: impl FnOnce(&mut ManagerOptions),
) -> Result<SessionManager> {
    let image: ImageRef = runtime_docker::DEFAULT_TOOLBOX_IMAGE.parse()?;
    let paths = HostPaths {
        home: None,
        state_dir: state.to_owned(),
        engine_sockets: DEFAULT_HOST
            .strip_prefix("unix://")
            .map(PathBuf::from)
            .into_iter()
            .collect(),
    };
    // As a server: the engine's facts come by themselves.
    let mut options = ManagerOptions {
        supervise: true,
        ..ManagerOptions::new(image, paths)
    };
    change(&mut options);
    Ok(SessionManager::open(StateDir::open(state)?, options, runtime, Arc::new(gateway)).await?)
}

/// Everything that anything logs, at the finest level: to explain a failure, and to be searched for secrets.
#[derive(Clone, Default)]
struct Log {
    bytes: Arc<std::sync::Mutex<Vec<u8>>>,
    stopped: Arc<AtomicBool>,
}

/// The one log of this process; tests run one at a time.
fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        // Only the first of a process can be installed, and this is it.
        let _installed = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .try_init();
        log
    })
}

impl Log {
    const LIMIT: usize = 32 << 20;

    fn bytes(&self) -> std::sync::MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self) {
        self.stopped.store(false, Ordering::Relaxed);
        self.bytes().clear();
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut bytes = self.bytes();
        if bytes.len() < Self::LIMIT && !self.stopped.load(Ordering::Relaxed) {
            bytes.extend_from_slice(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
